//! The contract of every store: its requests, its answers, and the guarantees for its callers.
//!
//! Callers know only this contract. They never ask which store they have, so a new store changes nothing above it.

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::sync::watch;

use crate::{Bounds, CapacityExceeded, StateGuard, event::Event};
use cfgsync_model::{
    ArtifactSet, Digest, Failure, Generation, GenerationNumber, Identifier, Instance,
    NodeRegistration, Revision,
};

/// A boxed future that borrows the store.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps registrations, overrides, records and sealed generations.
///
/// # Read after write
/// After [`Store::apply`] or [`Store::seal`] has answered `Ok`, [`Store::state`] of the same store shows the change,
/// also to other tasks. A store that replicates a remote database waits for its local view before it answers.
///
/// # Revisions
/// Every batch that changes something gets one revision, which is higher than all earlier ones. Revisions may have
/// gaps. A store may give several batches the same revision if it makes them visible together.
pub trait Store: Send + Sync + 'static {
    /// The identity of this store. Revisions and generation numbers are comparable only within one instance.
    fn instance(&self) -> Instance;

    /// Returns the newest state. Takes no lock and does no I/O: a remote store answers from its local view.
    fn state(&self) -> StateGuard;

    /// Returns a receiver that is marked changed whenever [`Store::state`] is newer than before. Several changes may
    /// arrive as one; [`State::events_after`](crate::State::events_after) tells them apart.
    fn follow(&self) -> watch::Receiver<Revision>;

    /// Applies all of `changes`, in order, or none of them. Answers when they are visible and as durable as this store
    /// makes them. Changes that are already in effect are not an error: the commit then has no events.
    ///
    /// # Errors
    /// Fails with a [`CommitError`].
    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>>;

    /// Seals `generation` as the newest one if its number directly follows the newest number (compare-and-set).
    ///
    /// # Errors
    /// Fails with a [`CommitError`]. After [`CommitError::Unknown`] the caller may seal the same generation again. If the
    /// first request took effect, the second one answers [`SealOutcome::Won`].
    fn seal(&self, generation: Arc<Generation>) -> BoxFuture<'_, Result<SealOutcome, CommitError>>;

    /// Resolves with the reason when the store can never accept another change. Acknowledged changes are kept, but the
    /// server must end. For a store that cannot fail in this way it never resolves.
    fn failed(&self) -> BoxFuture<'_, String> {
        Box::pin(std::future::pending())
    }
}

/// One change. A change is either an input, which causes rendering, or a record, which never does.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Registers a node, or replaces its facts. Equal facts change nothing. An input.
    Register {
        /// The registration to store.
        registration: NodeRegistration,
        /// The bounds that the registration must fit in.
        within: Bounds,
    },
    /// Removes a registered node and forgets its delivery. Rejected if the node is not registered. An input.
    Remove {
        /// The node to remove.
        identifier: Identifier,
        /// If given, the removal is rejected unless the node is registered with exactly these facts.
        only_if: Option<NodeRegistration>,
    },
    /// Replaces a node's own files by an operator's. Equal files change nothing. An input.
    Override {
        /// The node whose files are replaced. It need not be registered.
        identifier: Identifier,
        /// The files that replace them.
        files: ArtifactSet,
    },
    /// Ends an override. Rejected if there is none. An input.
    RemoveOverride(Identifier),
    /// Records that a node has received a generation. Ignored for nodes that are not registered. A record.
    Deliver {
        /// The node that received the generation.
        identifier: Identifier,
        /// The generation it received.
        generation: GenerationNumber,
    },
    /// Makes a key the owner of an identifier. Rejected if another key owns it. A record.
    ///
    /// If a batch has a claim and a registration, the node is registered only if its key owns the identifier.
    Claim {
        /// The identifier to claim.
        identifier: Identifier,
        /// The hash of the key.
        key: Digest,
        /// The bounds for identifiers with an owner: at most `nodes_max`, except for registered nodes.
        within: Bounds,
    },
    /// Ends the ownership of an identifier. Changes nothing if no key owns it. A record.
    Release(Identifier),
    /// Declares the cluster failed, until [`Change::Reset`]. A record.
    Fail(Failure),
    /// Ends a declared failure. Changes nothing if there is none. A record.
    Reset,
}

impl Change {
    /// Returns the change that registers a node without bounds.
    pub fn register(registration: NodeRegistration) -> Self {
        Self::Register {
            registration,
            within: Bounds::NONE,
        }
    }

    /// Returns whether this is an input. Rendering depends on inputs, and never on records.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Register { .. }
            | Self::Remove { .. }
            | Self::Override { .. }
            | Self::RemoveOverride(_) => true,
            Self::Deliver { .. }
            | Self::Claim { .. }
            | Self::Release(_)
            | Self::Fail(_)
            | Self::Reset => false,
        }
    }
}

/// The answer to a batch that was applied.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The revision of the batch. If the batch changed nothing, a revision at which all of it was already in effect.
    pub revision: Revision,
    /// The effects, in the order of the batch. Empty if everything was already in effect.
    pub events: Arc<[Event]>,
}

impl Commit {
    /// Returns whether the batch changed anything.
    pub fn is_changed(&self) -> bool {
        !self.events.is_empty()
    }
}

/// The result of a [`Store::seal`] that was decided.
#[derive(Debug, Clone)]
pub enum SealOutcome {
    /// This generation (same number and digest) is sealed, by this request or by an earlier one.
    Won,
    /// Another generation was sealed first. The value is the newest one.
    Lost(Arc<Generation>),
}

/// The reason why a batch or a seal was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A change is not allowed in the current state. Nothing was changed. A retry has the same result until the state
    /// changes.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store cannot accept changes now. Nothing was changed, and a later retry may succeed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The change may or may not have taken effect. It is safe to retry.
    #[error("the store did not confirm the change, which may or may not be in effect: {0}")]
    Unknown(String),
}

/// The rejected change of a batch, and the reason. No change of the batch takes effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// The position of the rejected change in the batch, from 0.
    pub index: usize,
    /// The reason for the rejection.
    pub reason: RejectionReason,
}

/// The reason why a change was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RejectionReason {
    /// The node to remove is not registered.
    #[error("{0} is not registered")]
    NotRegistered(Identifier),
    /// The node is registered with other facts than the removal requires.
    #[error("{0} is registered with different facts")]
    DifferentFacts(Identifier),
    /// There is no override to remove.
    #[error("{0} has no override")]
    NoOverride(Identifier),
    /// Another key owns the identifier.
    #[error("{0} is owned by a different key")]
    DifferentKey(Identifier),
    /// The change does not fit in the bounds that it came with.
    #[error(transparent)]
    CapacityExceeded(#[from] CapacityExceeded),
    /// No generation is sealed yet, and the number of the generation to seal is not 1.
    #[error("generation {0} cannot be the first one")]
    NotFirstGeneration(GenerationNumber),
}
