//! The changes that a store takes, and its answers to them.

use std::sync::Arc;

use crate::{
    Bounds, CapacityExceeded, NewReport, RunChange, RunRejection, ValueChange, ValueRejection,
    event::Event,
};
use cfgsync_model::{
    ArtifactSet, Digest, Failure, Generation, GenerationNumber, Identifier, JoinerId,
    NodeRegistration, Origin, Revision,
};
use cfgsync_support::clock::Timestamp;

/// One change. A change is either an input, which causes rendering, or a record, which never does.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Registers a node, or replaces its facts. Equal facts change nothing. An input.
    Register {
        /// The node's facts.
        registration: NodeRegistration,
        /// Where they come from. Another joiner with equal facts is a record and no input.
        origin: Origin,
        /// The bounds that the registration must fit in.
        within: Bounds,
        /// Whether a node that is not registered is rejected once a generation is sealed.
        before_seal: bool,
    },
    /// Removes a registered node and forgets its delivery. Rejected if the node is not registered. An input.
    Remove {
        /// The node to remove.
        identifier: Identifier,
        /// If given, the removal is rejected unless the node is registered with exactly these facts.
        only_if: Option<NodeRegistration>,
        /// The process that removes its own registration. If the registration has a joiner too, this one decides in place
        /// of the facts.
        joiner: Option<JoinerId>,
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
    /// Notes that a node was handed a generation. Ignored for nodes that are not registered. A record.
    Deliver {
        /// The node that received the generation.
        identifier: Identifier,
        /// The generation it received.
        generation: GenerationNumber,
        /// The time at which it was handed. Directories of older programs have none.
        at: Option<Timestamp>,
    },
    /// Makes an identifier the property of a key. Rejected if another key owns it. A record.
    ///
    /// A batch of a claim and a registration is one decision: the node is registered only if it owns its name.
    Claim {
        /// The claimed identifier.
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
    /// Changes a value or an alias. An input.
    Value(ValueChange),
    /// Requests that the next generation evaluates a value of `once` again. Rejected if the newest generation has no such
    /// value. Changes nothing if it is requested already. An input.
    Redraw {
        /// The name of the value.
        key: String,
    },
    /// Removes a node, if it is registered, and rejects its registrations until [`Change::Unban`]. Changes nothing if it is
    /// banned already. An input.
    Ban {
        /// The node to keep out.
        identifier: Identifier,
        /// The bounds for banned identifiers: at most `nodes_max`.
        within: Bounds,
    },
    /// Ends a ban. Changes nothing if there is none. A record.
    Unban(Identifier),
    /// Notes that a render of newer inputs gave the files of a generation, so that the generation includes these inputs.
    /// Ignored unless it is the newest generation. A record.
    Confirm {
        /// The generation whose files the render gave.
        generation: GenerationNumber,
        /// The revision of the newest input of the render.
        inputs: Revision,
    },
    /// Notes that a node has reached a phase. Rejected if the node is not registered, or if the generation does not exist.
    /// Changes nothing if the node has reported the same, or about a newer generation. A record.
    Report(NewReport),
    /// Changes a run. A record.
    Run(RunChange),
    /// Notes that the roll-out of a generation and of newer ones is stopped, by a failure or by an operator. Changes nothing
    /// if it is. A record.
    StopRollout(StoppedRollout),
    /// Notes that an operator continues roll-outs. Changes nothing if none is stopped. A record.
    ResumeRollout {
        /// The generation that is rolled out.
        generation: GenerationNumber,
    },
}

/// The stop of a roll-out. It counts for newer generations as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedRollout {
    /// The generation that was rolled out.
    pub generation: GenerationNumber,
    /// The reason. `None` if an operator has stopped it.
    pub reason: Option<Arc<str>>,
}

impl Change {
    /// Creates a registration of unknown origin, without bounds.
    pub fn register(registration: NodeRegistration) -> Self {
        Self::Register {
            registration,
            origin: Origin::default(),
            within: Bounds::NONE,
            before_seal: false,
        }
    }

    /// Returns the time of this change, if it has one.
    pub(crate) fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Register { origin, .. } => origin.at,
            Self::Deliver { at, .. } => *at,
            Self::Fail(failure) => Some(failure.at),
            Self::Report(report) => Some(report.at),
            Self::Value(change) => change.at(),
            Self::Remove { .. }
            | Self::Override { .. }
            | Self::RemoveOverride(_)
            | Self::Claim { .. }
            | Self::Release(_)
            | Self::Reset
            | Self::Redraw { .. }
            | Self::Ban { .. }
            | Self::Unban(_)
            | Self::Confirm { .. }
            | Self::StopRollout(_)
            | Self::ResumeRollout { .. }
            | Self::Run(_) => None,
        }
    }

    /// Whether this is an input: rendering depends on inputs, and never on records.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Register { .. }
            | Self::Remove { .. }
            | Self::Override { .. }
            | Self::RemoveOverride(_)
            | Self::Value(_)
            | Self::Redraw { .. }
            | Self::Ban { .. } => true,
            Self::Deliver { .. }
            | Self::Claim { .. }
            | Self::Release(_)
            | Self::Unban(_)
            | Self::Confirm { .. }
            | Self::Report(_)
            | Self::Run(_)
            | Self::StopRollout(_)
            | Self::ResumeRollout { .. }
            | Self::Fail(_)
            | Self::Reset => false,
        }
    }
}

/// The answer to a batch that was applied.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The revision of the batch. If it changed nothing: a revision at which all of it was in effect already.
    pub revision: Revision,
    /// The changes that took effect, in the order of the batch. Empty if everything was in effect already.
    pub events: Arc<[Event]>,
}

impl Commit {
    /// Whether the batch changed anything.
    pub fn is_changed(&self) -> bool {
        !self.events.is_empty()
    }
}

/// The result of a [`Store::seal`](crate::Store::seal) that was decided.
#[derive(Debug, Clone)]
pub enum SealOutcome {
    /// This very generation (same number and digest) is sealed, now or by an earlier try.
    Won,
    /// Another generation was sealed first. This is the newest one.
    Lost(Arc<Generation>),
    /// A [`SealCondition`] does not hold. Nothing was changed. The caller renders the newest state.
    Outdated,
}

/// The parts of the state that must be as the render saw them, so that a generation is sealed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SealCondition {
    /// The newest change of a registration, for the first generation of a cluster that takes no node later. Then the
    /// generation has every node that was acknowledged.
    pub registrations: Option<Revision>,
    /// Whether the newest generation must come from the same spec. Servers with different specs do not seal in turn then.
    pub same_spec: bool,
}

/// The reason why a batch or a seal was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A change is not allowed in the current state. Nothing was changed, and trying again has the same result until
    /// the state changes.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store cannot take changes now. Nothing was changed; a later try may succeed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The change may or may not have taken effect. It is safe to try again.
    #[error("the store did not confirm the change, which may or may not be in effect: {0}")]
    Unknown(String),
}

/// The change of a batch that was rejected, and the reason. All changes of the batch are without effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// The position of the rejected change in the batch, from 0.
    pub index: usize,
    /// The reason why it was rejected.
    pub reason: RejectionReason,
}

/// The reason why a change was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RejectionReason {
    /// The node to remove is not registered.
    #[error("{0} is not registered")]
    NotRegistered(Identifier),
    /// The node is registered with other facts than the removal requires, or by another joiner.
    #[error("{0} is registered with another address or other metadata")]
    DifferentFacts(Identifier),
    /// There is no override to remove.
    #[error("{0} has no override")]
    NoOverride(Identifier),
    /// Another key owns the identifier.
    #[error("{0} is owned by a different key")]
    DifferentKey(Identifier),
    /// A change of a value or an alias is not allowed.
    #[error(transparent)]
    Value(#[from] ValueRejection),
    /// A generation is sealed, and takes no further node.
    #[error("{0} is too late: a generation is sealed")]
    TooLate(Identifier),
    /// An operator has banned the node.
    #[error("{0} is banned")]
    Banned(Identifier),
    /// The newest generation has no such value of `once`.
    #[error("no generation has a value of once.{0}")]
    NoOnceValue(String),
    /// The change does not fit in the bounds that it came with.
    #[error(transparent)]
    CapacityExceeded(#[from] CapacityExceeded),
    /// A change of a run is not allowed.
    #[error(transparent)]
    Run(#[from] RunRejection),
    /// A report is about a generation that is not sealed.
    #[error("generation {0} is not sealed")]
    NotSealed(GenerationNumber),
    /// The number of the generation to seal does not follow the newest one, and there is no newest one to answer with.
    #[error("generation {0} cannot be the first one")]
    NotFirstGeneration(GenerationNumber),
}
