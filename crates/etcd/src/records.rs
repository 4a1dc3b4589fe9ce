//! The records beside the log. They are JSON, and are read strictly.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{EtcdError, EtcdErrorKind, parts::PART_MAX_BYTES};
use cfgsync_model::{Digest, Instance};

/// The format of the records and of the log. A server refuses data of another format.
pub(crate) const FORMAT: u32 = 1;

/// Says to which cluster and instance the data belong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetaRecord {
    /// The format of all data of the cluster.
    pub(crate) format: u32,
    /// The version of the program that created the data.
    pub(crate) created_by: String,
    /// The name of the cluster.
    pub(crate) cluster: String,
    /// The identity of the cluster's revisions and generations.
    pub(crate) instance: Instance,
    /// The number that is added to etcd's revisions, so that revisions go on above those of a store that was copied.
    pub(crate) revision_base: u64,
    /// The identity of the etcd that the data were written to.
    pub(crate) etcd_cluster: u64,
}

/// The newest snapshot: the state at one revision, in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnapshotRecord {
    /// The revision of etcd whose state it is.
    pub(crate) etcd_revision: i64,
    /// The parts of the state, in order.
    pub(crate) parts: Vec<Digest>,
    /// The parts of the history of events, in order.
    pub(crate) events: Vec<Digest>,
    /// The parts of the files of each generation that the state has.
    pub(crate) generations: BTreeMap<u64, Vec<Digest>>,
}

impl SnapshotRecord {
    /// Returns the size of the snapshot without its last, shorter parts, in bytes.
    pub(crate) fn bytes_min(&self) -> usize {
        let full = |parts: &[Digest]| parts.len().saturating_sub(1);
        (full(&self.parts) + full(&self.events)) * PART_MAX_BYTES
    }
}

/// A running server. A newer program may add fields, so unknown ones are ignored: nothing is decided by this record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ServerRecord {
    /// Its name.
    pub(crate) name: String,
    /// The version of its program.
    pub(crate) version: String,
    /// The URLs under which nodes reach it.
    pub(crate) urls: Vec<String>,
    /// The digests of its own files, by name: the spec, the tokens, the signing key.
    pub(crate) digests: BTreeMap<String, String>,
    /// When it started.
    pub(crate) since: String,
    /// The newest revision that it has applied.
    pub(crate) applied: u64,
}

/// The render that a server has begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MarkRecord {
    /// The text that names its inputs.
    pub(crate) render: String,
    /// The number of servers that have begun it and not ended it.
    pub(crate) starts: u32,
}

/// Decodes the record at `key`.
pub(crate) fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, EtcdError> {
    serde_json::from_slice(bytes).map_err(|error| malformed(key, &error))
}

/// Encodes a record.
pub(crate) fn encode(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have string keys")
}

/// Returns the error for a record that is not valid.
pub(crate) fn malformed(key: &str, reason: &dyn std::fmt::Display) -> EtcdError {
    let reason = format!("the record {key} in etcd is not valid: {reason}");
    EtcdError::new(EtcdErrorKind::Malformed, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_snapshot_is_that_of_its_full_parts() {
        let part = Digest::of(b"part");
        let snapshot = |parts: usize, events: usize| SnapshotRecord {
            etcd_revision: 7,
            parts: vec![part; parts],
            events: vec![part; events],
            generations: BTreeMap::new(),
        };
        assert_eq!(snapshot(0, 0).bytes_min(), 0);
        assert_eq!(snapshot(1, 1).bytes_min(), 0);
        assert_eq!(snapshot(3, 2).bytes_min(), 3 * PART_MAX_BYTES);
    }
}
