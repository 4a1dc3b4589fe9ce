//! Whoever keeps account of what the coordinator does by itself, asked by no request.

use std::fmt;

use cfgsync_model::{Digest, GenerationNumber, Revision};
use cfgsync_store::BoxFuture;

/// What it does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditEvent {
    /// It seals a generation.
    Seal {
        /// Its number.
        generation: GenerationNumber,
        /// Of which inputs.
        revision: Revision,
        /// Its digest.
        digest: Digest,
    },
    /// It renders these inputs. Told when that fails: the waiters are freed, or an older generation stays served.
    Render {
        /// Up to which input.
        revision: Revision,
    },
    /// It waits for the set to be ready. Told when the deadline passes: the waiters are freed.
    Attempt,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenderOutcome {
    /// It is done.
    Done,
    /// It came to nothing; why, as a slug.
    Failed(&'static str),
}

/// Why something is not done for now: a clause, for everybody who waits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuditRefused(pub String);

/// Whoever keeps account.
pub trait AuditSink: fmt::Debug + Send + Sync + 'static {
    /// Asked before a seal, which is not done if the answer is no: it is asked again then, a second later.
    fn allows(&self, deed: AuditEvent) -> BoxFuture<'_, Result<(), AuditRefused>>;

    /// Told afterwards. Must not wait.
    fn sees(&self, deed: AuditEvent, ending: RenderOutcome);
}
