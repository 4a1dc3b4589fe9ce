//! The interface to an audit log, for the actions that the coordinator takes without a request.

use std::fmt;

use cfgsync_model::{Digest, GenerationNumber, Revision};
use cfgsync_store::BoxFuture;

/// An action that the coordinator takes without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditEvent {
    /// A generation is sealed.
    Seal {
        /// The number of the generation.
        generation: GenerationNumber,
        /// The revision of the inputs.
        revision: Revision,
        /// The digest of the generation.
        digest: Digest,
    },
    /// A render failed. Waiting nodes are released, or an older generation stays served.
    Render {
        /// The revision of the inputs.
        revision: Revision,
    },
    /// The deadline of the attempt to reach the first seal passed. Waiting nodes are released.
    Attempt,
}

/// The result of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenderOutcome {
    /// The action succeeded.
    Done,
    /// The action failed. The value is a short code for the reason.
    Failed(&'static str),
}

/// The reason why the audit log refuses an action for now, as a clause for waiting nodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuditRefused(pub String);

/// Records the coordinator's own actions.
pub trait AuditSink: fmt::Debug + Send + Sync + 'static {
    /// Called before a seal. If it refuses, the generation is not sealed, and the coordinator calls it again after a
    /// second.
    fn allows(&self, event: AuditEvent) -> BoxFuture<'_, Result<(), AuditRefused>>;

    /// Called after an action. Must not block.
    fn record(&self, event: AuditEvent, outcome: RenderOutcome);
}
