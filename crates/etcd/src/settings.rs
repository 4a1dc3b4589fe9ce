//! How this program reaches etcd, and where its data are there.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

use crate::Endpoint;
use cfgsync_store::EventBounds;

/// The settings of a store on etcd.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// The members of etcd, at least one. After a failure the next one is tried.
    pub endpoints: Vec<Endpoint>,
    /// The prefix of all keys, without a slash at its end.
    pub prefix: String,
    /// The name of the cluster. Its keys are below the prefix.
    pub cluster: String,
    /// A PEM file of certificate authorities, in place of those of the public web.
    pub authorities: Option<PathBuf>,
    /// The certificate and the key that this program presents: two PEM files.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name and the password of etcd's user.
    pub user: Option<(String, SecretString)>,
    /// The time that the store may take to open.
    pub start_timeout: Duration,
    /// The time after which a change that etcd has not confirmed is answered.
    pub write_timeout: Duration,
    /// The number of generations that are kept, at least one.
    pub history: usize,
    /// The bounds on the history of events.
    pub event_bounds: EventBounds,
    /// When data that are no longer needed are deleted.
    pub housekeeping: Housekeeping,
}

/// The size of a short entry of the log in etcd, with its key and its revision, in bytes.
const ENTRY_BYTES: usize = 256;

/// When the data in etcd are made smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Housekeeping {
    /// The interval at which the data are looked through.
    pub interval: Duration,
    /// The size of the log, in bytes, at which a snapshot is taken. If twice the size of the last snapshot is more, that
    /// size counts.
    pub snapshot_after_bytes: usize,
    /// The number of entries of the log at which a snapshot is taken. If the last snapshot is large, a larger number
    /// counts.
    pub snapshot_after_entries: usize,
    /// The time after which a part that nothing refers to is deleted. A server that writes parts refers to them sooner.
    pub unreferenced_max: Duration,
}

impl Default for Housekeeping {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            snapshot_after_bytes: 4 << 20,
            snapshot_after_entries: 10_000,
            unreferenced_max: Duration::from_mins(10),
        }
    }
}

impl Housekeeping {
    /// Whether a log of this size is long enough for a snapshot. `snapshot_bytes` is the size of the last one. The log
    /// must be twice as large. Therefore the cost of snapshots for each change does not depend on the size of the state.
    pub(crate) fn is_snapshot_due(
        &self,
        snapshot_bytes: usize,
        log_bytes: usize,
        entries: usize,
    ) -> bool {
        let due_bytes = 2 * snapshot_bytes;
        log_bytes > self.snapshot_after_bytes.max(due_bytes)
            || entries > self.snapshot_after_entries.max(due_bytes / ENTRY_BYTES)
    }
}

impl EtcdConfig {
    /// Returns the prefix of the keys of the cluster, with a slash at its end.
    pub(crate) fn cluster_prefix(&self) -> String {
        format!("{}/{}/", self.prefix, self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_when_the_log_outweighs_the_last_one() {
        let limits = Housekeeping::default();
        let small = 1 << 10;
        assert!(!limits.is_snapshot_due(0, 4 << 20, 10_000));
        assert!(limits.is_snapshot_due(0, (4 << 20) + 1, 1));
        assert!(limits.is_snapshot_due(0, small, 10_001));

        let large = 16 << 20;
        assert!(!limits.is_snapshot_due(large, 32 << 20, 10_001));
        assert!(limits.is_snapshot_due(large, (32 << 20) + 1, 1));
        assert!(limits.is_snapshot_due(large, small, 131_073));
    }
}
