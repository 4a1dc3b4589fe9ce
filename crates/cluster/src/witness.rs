//! Whoever keeps account of what the coordinator does by itself, asked by no request.

use std::fmt;

use cfgsync_model::{Digest, GenerationNumber, Revision};
use cfgsync_store::Promise;

/// What it does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
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
pub enum Ending {
    /// It is done.
    Done,
    /// It came to nothing; why, as a slug.
    Failed(&'static str),
}

/// Why something is not done for now: a clause, for everybody who waits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Objection(pub String);

/// Whoever keeps account.
pub trait Witness: fmt::Debug + Send + Sync + 'static {
    /// Asked before a seal, which is not done if the answer is no: it is asked again then, a second later.
    fn allows(&self, deed: Deed) -> Promise<'_, Result<(), Objection>>;

    /// Told afterwards. Must not wait.
    fn sees(&self, deed: Deed, ending: Ending);
}
