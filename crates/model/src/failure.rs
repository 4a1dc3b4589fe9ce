//! Failures: why a cluster failed, and what ends the failure.

use serde::{Deserialize, Serialize};

use cfgsync_support::clock::Timestamp;

/// The cause of a failure. It decides what ends the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The set of nodes was not complete when the spec's `deadline` passed. The next registration ends this failure.
    Deadline,
    /// A materializer failed. The next accepted input or spec change ends this failure.
    Render,
    /// An operator ran `cfgsync fail`. Only `cfgsync reset` ends this failure.
    Operator,
    /// A node reported the phase `failed`, and the spec says `fail_fast: true`. Only `cfgsync reset` ends this failure.
    Node,
}

/// A failure of the cluster. It releases all waiting nodes with the reason; registrations stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The cause, which decides what ends the failure.
    pub kind: FailureKind,
    /// The reason in words. Every node and operator can see it.
    pub reason: String,
    /// The time of the failure.
    pub at: Timestamp,
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Deadline => "deadline",
            Self::Render => "render",
            Self::Operator => "operator",
            Self::Node => "node",
        })
    }
}
