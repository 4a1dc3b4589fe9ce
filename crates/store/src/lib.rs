//! Where inputs, records and generations are kept.
//!
//! The seam that matters: nothing above it knows which store it has. A store hands out immutable
//! [`State`]s, so readers never take a lock, and a follower that falls behind just finds a newer state.

mod bounds;
mod state;
mod memory;
mod journal;
#[cfg(test)]
mod conformance;

pub use bounds::{Bounds, Full};
pub use journal::{JournalConfig, JournalContents, JournalError, JournalStore};
pub use memory::MemoryStore;
pub use state::{Overridden, Registered, State};

use std::{future::Future, pin::Pin, sync::Arc};

use arc_swap::Guard;
use tokio::sync::watch;

use cfgsync_model::{
    ArtifactSet, Digest, Failure, Generation, GenerationNumber, Identifier, Instance,
    NodeRegistration, Revision,
};

/// The newest state, borrowed: readers on all processors count no reference that they would share.
/// [`Guard::into_inner`] makes it an `Arc` to keep.
pub type StateGuard = Guard<Arc<State>>;

/// The store's answer, later.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps what was acknowledged.
pub trait Store: Send + Sync + 'static {
    /// Whose revisions and generation numbers these are.
    fn instance(&self) -> Instance;

    /// The newest state, without a lock. It is as it was for as long as it is held, which should not be long.
    fn state(&self) -> StateGuard;

    /// Follows changes: the receiver is marked changed whenever [`Store::state`] has become newer. Many
    /// changes may be seen as one.
    fn follow(&self) -> watch::Receiver<Revision>;

    /// Puts or removes an input. Answered once it is as durable as this store makes it, and visible.
    fn put(&self, input: Input) -> BoxFuture<'_, Result<Outcome, Unavailable>>;

    /// Notes records, all at once.
    fn record(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Revision, Unavailable>>;

    /// Compare-and-set: `generation` becomes the newest if its number follows the newest one's.
    fn seal(&self, generation: Arc<Generation>) -> BoxFuture<'_, Seal>;
}

/// What rendering depends on, changed.
#[derive(Debug, Clone)]
pub enum Input {
    /// A node's facts.
    Register {
        /// Which.
        registration: NodeRegistration,
        /// What they must find room in.
        within: Bounds,
    },
    /// A node is taken out.
    Remove {
        /// Who.
        identifier: Identifier,
        /// Only if these are its facts still.
        only_if: Option<NodeRegistration>,
    },
    /// An operator's files in place of a node's own.
    Override {
        /// Whose.
        identifier: Identifier,
        /// Which.
        files: ArtifactSet,
    },
    /// The override ends.
    RemoveOverride(Identifier),
}

impl Input {
    /// A node's facts, which find room.
    pub fn register(registration: NodeRegistration) -> Self {
        Self::Register {
            registration,
            within: Bounds::NONE,
        }
    }
}

/// What became of an [`Input`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted at this revision.
    Changed(Revision),
    /// It was so already, since this revision.
    Unchanged(Revision),
    /// There is nothing to remove.
    Absent,
    /// The facts are others than `only_if`.
    OtherFacts,
    /// There is no room for the registration.
    Full(Full),
}

/// What is noted beside. Never causes a render.
#[derive(Debug, Clone)]
pub enum Record {
    /// A node was handed this generation.
    Delivered {
        /// Which node.
        identifier: Identifier,
        /// Which generation.
        generation: GenerationNumber,
    },
    /// A node came with its own key, of which this is the hash: the identifier is that key's from now on, unless it
    /// is another's already.
    Claimed {
        /// Which node.
        identifier: Identifier,
        /// The hash of its key.
        key: Digest,
    },
    /// The identifier is nobody's again.
    Released(Identifier),
    /// An operator declared the cluster failed.
    Failed(Failure),
    /// An operator took that back.
    Reset,
}

/// What became of a [`Store::seal`].
#[derive(Debug, Clone)]
pub enum Seal {
    /// It is the newest generation.
    Won,
    /// This one is: another was sealed first.
    Lost(Arc<Generation>),
    /// Nobody knows; ask again.
    Unavailable(Unavailable),
}

/// The store could not take a change; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store is unavailable: {0}")]
pub struct Unavailable(pub String);
