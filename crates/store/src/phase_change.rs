//! The change that records a phase.

use std::sync::Arc;

use crate::PhaseBounds;
use cfgsync_model::{GenerationNumber, Identifier, Phase};
use cfgsync_support::clock::Timestamp;

/// A report of a node about a phase.
#[derive(Debug, Clone, PartialEq)]
pub struct NewReport {
    /// The node that reports.
    pub identifier: Identifier,
    /// The phase that it has reached.
    pub phase: Phase,
    /// The generation with whose files it has reached the phase.
    pub generation: GenerationNumber,
    /// The reason that the node gives.
    pub reason: Option<Arc<str>>,
    /// The time of the report.
    pub at: Timestamp,
    /// The bounds that the report must fit in.
    pub within: PhaseBounds,
}
