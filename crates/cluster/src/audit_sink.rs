//! The interface to an audit log, for what the coordinator does without a request.

use std::fmt;

use cfgsync_model::{Digest, GenerationNumber, Revision};
use cfgsync_store::BoxFuture;

/// An action of the coordinator that no request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditEvent {
    /// A generation is sealed.
    Seal {
        /// Its number.
        generation: GenerationNumber,
        /// The revision of its inputs.
        revision: Revision,
        /// Its digest.
        digest: Digest,
    },
    /// A render. Recorded when it fails: waiting nodes are released, or an older generation stays served.
    Render {
        /// The revision of its inputs.
        revision: Revision,
    },
    /// An attempt to reach the first seal. Recorded when its deadline passes: waiting nodes are released.
    Attempt,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenderOutcome {
    /// It is done.
    Done,
    /// It failed; the slug says why.
    Failed(&'static str),
}

/// Why the audit log refuses an action for now, as a clause for waiting nodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuditRefused(pub String);

/// Keeps account of the coordinator's own actions.
pub trait AuditSink: fmt::Debug + Send + Sync + 'static {
    /// Called before a seal. If the answer is a refusal, the generation is not sealed, and this is called again a
    /// second later.
    fn allows(&self, event: AuditEvent) -> BoxFuture<'_, Result<(), AuditRefused>>;

    /// Called after an action. Must not block.
    fn record(&self, event: AuditEvent, outcome: RenderOutcome);
}
