//! The bodies of the routes of phases.

use serde::{Deserialize, Serialize};

use super::{Code, InvalidBody, request::read};
use cfgsync_model::{GenerationNumber, PHASE_REASON_MAX_BYTES, PhaseProgress};

/// The body of `PUT /v1/nodes/{id}/phases/{phase}`, with which a node reports that it has reached a phase.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReportBody {
    /// The generation with whose files the node has reached the phase. If it is absent, the server takes the newest
    /// one that the node has received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<GenerationNumber>,
    /// The reason, for operators and for the nodes that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The body of the response to `GET /v1/phases/{phase}`. With a status other than 200, it is also an
/// [`ErrorBody`](crate::ErrorBody).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseBody {
    /// Whether the nodes have reached the phase.
    pub state: PhaseState,
    /// The progress in one line.
    pub message: String,
    /// The code of the error, unless the phase is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The reason of the error, unless the phase is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The progress.
    pub phase: PhaseProgress,
}

/// Whether a set of nodes has reached a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseState {
    /// Enough nodes have reached it. The status is 200.
    Reached,
    /// Nodes are missing. The status is 425.
    Waiting,
    /// A node has failed, so the phase cannot be reached until it reports again. The status is 410.
    Failed,
}

/// The reason in the response about a phase that a failed node has not reached.
pub const PHASE_FAILED: &str = "phase_failed";

impl PhaseBody {
    /// Returns the body for `progress`.
    pub fn new(state: PhaseState, progress: PhaseProgress) -> Self {
        let (code, reason) = match state {
            PhaseState::Reached => (None, None),
            PhaseState::Waiting => (Some(Code::NotReady), Some("phase_waiting")),
            PhaseState::Failed => (Some(Code::Internal), Some(PHASE_FAILED)),
        };
        Self {
            state,
            message: progress.to_string(),
            code,
            reason: reason.map(str::to_owned),
            phase: progress,
        }
    }

    /// Returns the body as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a body of a phase has no map keys but strings")
    }
}

/// Reads the body of a report. An empty body is a report without a generation and a reason.
///
/// # Errors
/// Fails if the body is not a report, or if its reason is too long.
pub fn read_report(body: &[u8]) -> Result<ReportBody, InvalidBody> {
    if body.is_empty() {
        return Ok(ReportBody::default());
    }
    let report: ReportBody = read(body)?;
    let bytes = report.reason.as_deref().map_or(0, str::len);
    if bytes > PHASE_REASON_MAX_BYTES {
        let problem = format!("it has {bytes} bytes; the limit is {PHASE_REASON_MAX_BYTES}");
        return Err(InvalidBody::field("reason", problem));
    }
    Ok(report)
}
