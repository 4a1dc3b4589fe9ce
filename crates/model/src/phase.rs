//! Phases: what a node has reached with the files of a generation, such as `started` or `healthy`.

use std::sync::Arc;

use super::{GenerationNumber, Revision, short_name::short_name};
use cfgsync_support::clock::Timestamp;

/// The longest reason of a report, in bytes.
pub const PHASE_REASON_MAX_BYTES: usize = 1000;

short_name!(
    /// The name of a phase: 1 to 64 characters of `[a-z0-9._-]` that start with a letter or a digit.
    Phase,
    "phase"
);

/// The newest report of a node about a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseReport {
    /// The generation with whose files the node reached the phase.
    pub generation: GenerationNumber,
    /// The reason that the node gave. It has at most [`PHASE_REASON_MAX_BYTES`].
    pub reason: Option<Arc<str>>,
    /// The time of the report.
    pub at: Timestamp,
    /// The revision of the report.
    pub revision: Revision,
}

impl Phase {
    /// The node has received its files. The server records this phase by itself.
    pub const DELIVERED: &str = "delivered";

    /// The node has failed. A node that waits for another phase of this node does not wait any longer.
    pub const FAILED: &str = "failed";

    /// An operator lets the node try a generation again that it has refused. The server records this phase.
    pub const RETRY: &str = "retry";

    /// Whether this is the phase `delivered`.
    pub fn is_delivered(&self) -> bool {
        self.as_str() == Self::DELIVERED
    }

    /// Whether this is the phase `retry`.
    pub fn is_retry(&self) -> bool {
        self.as_str() == Self::RETRY
    }

    /// Whether this is the phase `failed`.
    pub fn is_failed(&self) -> bool {
        self.as_str() == Self::FAILED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_short_lower_case_names() {
        for valid in ["started", "healthy", "0", "db.v2_done-x", &"a".repeat(64)] {
            assert_eq!(Phase::new(valid).unwrap().as_str(), valid);
        }
        for (invalid, beginning) in [
            ("", "a phase must not be empty"),
            (&*"a".repeat(65), "a phase has at most 64 bytes"),
            ("Healthy", "phase \"Healthy\" contains 'H'"),
            ("a/b", "phase \"a/b\" contains '/'"),
            ("-a", "phase \"-a\" must start"),
            ("é", "phase \"é\" contains 'é'"),
        ] {
            let message = Phase::new(invalid).unwrap_err().to_string();
            assert!(message.starts_with(beginning), "{message}");
        }
    }
}
