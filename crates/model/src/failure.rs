//! Why a cluster failed.

use serde::{Deserialize, Serialize};

use cfgsync_support::clock::Timestamp;

/// What made the cluster fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The set was not complete when the spec's `deadline` passed. Ends with the next registration.
    Deadline,
    /// A materializer failed. Ends with the next accepted input or changed spec.
    Render,
    /// An operator said so. Stays until `reset`.
    Operator,
}

/// A failure and its reason. It frees every waiter; registrations stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind, and so what ends it.
    pub kind: FailureKind,
    /// The reason in words, shown to every node and operator.
    pub reason: String,
    /// When it happened.
    pub at: Timestamp,
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Deadline => "deadline",
            Self::Render => "render",
            Self::Operator => "operator",
        })
    }
}
