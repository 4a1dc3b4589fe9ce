//! The encoding of events on disk. The order of fields and variants is the format: new variants go to the end.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    entry::{FailureEntry, NodeEntry},
    error::DecodeError,
    scalar_entry::TimestampEntry,
    value_entry::VersionEntry,
};
use crate::{Event, EventKind};
use cfgsync_model::{
    Digest, Fence, GenerationNumber, Identifier, Namespace, Phase, Revision, RunName, ValueKey,
};
use cfgsync_support::clock::Timestamp;

/// The encoding of one event, without its revision and its part.
#[derive(Serialize, Deserialize)]
pub(crate) enum EventEntry<'a> {
    NodeRegistered(#[serde(borrow)] NodeEntry<'a>),
    JoinerChanged(&'a str),
    NodeRemoved(&'a str),
    OverrideSet(&'a str),
    OverrideRemoved(&'a str),
    Delivered(&'a str, u64),
    NameClaimed(&'a str),
    NameReleased(&'a str),
    ClusterFailed(#[serde(borrow)] FailureEntry<'a>),
    ClusterReset,
    ValueSet(&'a str, &'a str, #[serde(borrow)] VersionEntry<'a>),
    ValueDeleted(&'a str, &'a str),
    /// The name, the target and the time of an alias.
    AliasSet(&'a str, &'a str, TimestampEntry),
    AliasDeleted(&'a str),
    GenerationConfirmed(u64, u64),
    NodeBanned(&'a str),
    NodeUnbanned(&'a str),
    RedrawRequested(&'a str),
    PhaseReported(&'a str, &'a str, u64, Option<&'a str>),
    GenerationSealed(u64, [u8; 32]),
    /// The name, the runner and the fence.
    RunClaimed(&'a str, &'a str, u64),
    RunDone(&'a str, &'a str, u64),
    /// The name, the runner, the fence and the reason.
    RunFailed(&'a str, &'a str, u64, &'a str),
    RunForgotten(&'a str),
    /// The generation and the reason.
    RolloutStopped(u64, Option<&'a str>),
    RolloutResumed(u64),
    /// Another event, with the time of its change.
    At(TimestampEntry, #[serde(borrow)] Box<EventEntry<'a>>),
}

impl<'a> EventEntry<'a> {
    pub(crate) fn of(event: &'a Event) -> Self {
        let entry = Self::of_kind(&event.kind);
        match event.at {
            Some(at) => Self::At(TimestampEntry::of(at), Box::new(entry)),
            None => entry,
        }
    }

    /// Returns the time of the event, if it has one, and its kind.
    pub(crate) fn timed_kind(self) -> Result<(Option<Timestamp>, EventKind), DecodeError> {
        match self {
            Self::At(at, entry) => Ok((Some(at.timestamp()?), entry.kind()?)),
            entry => Ok((None, entry.kind()?)),
        }
    }

    fn of_kind(kind: &'a EventKind) -> Self {
        match kind {
            EventKind::NodeRegistered { registration } => {
                Self::NodeRegistered(NodeEntry::of(registration))
            }
            EventKind::JoinerChanged { identifier } => Self::JoinerChanged(identifier.as_str()),
            EventKind::NodeRemoved { identifier } => Self::NodeRemoved(identifier.as_str()),
            EventKind::OverrideSet { identifier } => Self::OverrideSet(identifier.as_str()),
            EventKind::OverrideRemoved { identifier } => Self::OverrideRemoved(identifier.as_str()),
            EventKind::Delivered {
                identifier,
                generation,
            } => Self::Delivered(identifier.as_str(), generation.0),
            EventKind::NameClaimed { identifier } => Self::NameClaimed(identifier.as_str()),
            EventKind::NameReleased { identifier } => Self::NameReleased(identifier.as_str()),
            EventKind::ClusterFailed { failure } => Self::ClusterFailed(FailureEntry::of(failure)),
            EventKind::ClusterReset => Self::ClusterReset,
            EventKind::ValueSet {
                namespace,
                key,
                content,
            } => Self::ValueSet(namespace.as_str(), key.as_str(), VersionEntry::of(content)),
            EventKind::ValueDeleted { namespace, key } => {
                Self::ValueDeleted(namespace.as_str(), key.as_str())
            }
            EventKind::AliasSet {
                alias,
                target,
                created_at,
            } => {
                let at = TimestampEntry::of(*created_at);
                Self::AliasSet(alias.as_str(), target.as_str(), at)
            }
            EventKind::AliasDeleted { alias } => Self::AliasDeleted(alias.as_str()),
            EventKind::GenerationConfirmed { generation, inputs } => {
                Self::GenerationConfirmed(generation.0, inputs.0)
            }
            EventKind::NodeBanned { identifier } => Self::NodeBanned(identifier.as_str()),
            EventKind::NodeUnbanned { identifier } => Self::NodeUnbanned(identifier.as_str()),
            EventKind::RedrawRequested { key } => Self::RedrawRequested(key),
            EventKind::PhaseReported {
                identifier,
                phase,
                generation,
                reason,
            } => {
                let (node, phase) = (identifier.as_str(), phase.as_str());
                Self::PhaseReported(node, phase, generation.0, reason.as_deref())
            }
            EventKind::GenerationSealed { generation, digest } => {
                Self::GenerationSealed(generation.0, *digest.as_bytes())
            }
            EventKind::RunClaimed {
                name,
                identifier,
                fence,
            } => Self::RunClaimed(name.as_str(), identifier.as_str(), fence.0),
            EventKind::RunDone {
                name,
                identifier,
                fence,
            } => Self::RunDone(name.as_str(), identifier.as_str(), fence.0),
            EventKind::RunFailed {
                name,
                identifier,
                fence,
                reason,
            } => Self::RunFailed(name.as_str(), identifier.as_str(), fence.0, reason),
            EventKind::RunForgotten { name } => Self::RunForgotten(name.as_str()),
            EventKind::RolloutStopped { generation, reason } => {
                Self::RolloutStopped(generation.0, reason.as_deref())
            }
            EventKind::RolloutResumed { generation } => Self::RolloutResumed(generation.0),
        }
    }

    #[expect(clippy::too_many_lines, reason = "it has one row for each kind")]
    fn kind(self) -> Result<EventKind, DecodeError> {
        let id = Identifier::recorded;
        Ok(match self {
            Self::NodeRegistered(node) => EventKind::NodeRegistered {
                registration: Arc::new(node.registration()?),
            },
            Self::JoinerChanged(identifier) => EventKind::JoinerChanged {
                identifier: id(identifier)?,
            },
            Self::NodeRemoved(identifier) => EventKind::NodeRemoved {
                identifier: id(identifier)?,
            },
            Self::OverrideSet(identifier) => EventKind::OverrideSet {
                identifier: id(identifier)?,
            },
            Self::OverrideRemoved(identifier) => EventKind::OverrideRemoved {
                identifier: id(identifier)?,
            },
            Self::Delivered(identifier, generation) => EventKind::Delivered {
                identifier: id(identifier)?,
                generation: GenerationNumber(generation),
            },
            Self::NameClaimed(identifier) => EventKind::NameClaimed {
                identifier: id(identifier)?,
            },
            Self::NameReleased(identifier) => EventKind::NameReleased {
                identifier: id(identifier)?,
            },
            Self::ClusterFailed(failure) => EventKind::ClusterFailed {
                failure: Arc::new(failure.failure()?),
            },
            Self::ClusterReset => EventKind::ClusterReset,
            Self::ValueSet(namespace, key, content) => EventKind::ValueSet {
                namespace: Namespace::new(namespace)?,
                key: ValueKey::new(key)?,
                content: Arc::new(content.version()?),
            },
            Self::ValueDeleted(namespace, key) => EventKind::ValueDeleted {
                namespace: Namespace::new(namespace)?,
                key: ValueKey::new(key)?,
            },
            Self::AliasSet(alias, target, created_at) => EventKind::AliasSet {
                alias: ValueKey::new(alias)?,
                target: ValueKey::new(target)?,
                created_at: created_at.timestamp()?,
            },
            Self::AliasDeleted(alias) => EventKind::AliasDeleted {
                alias: ValueKey::new(alias)?,
            },
            Self::GenerationConfirmed(generation, inputs) => EventKind::GenerationConfirmed {
                generation: GenerationNumber(generation),
                inputs: Revision(inputs),
            },
            Self::NodeBanned(identifier) => EventKind::NodeBanned {
                identifier: id(identifier)?,
            },
            Self::NodeUnbanned(identifier) => EventKind::NodeUnbanned {
                identifier: id(identifier)?,
            },
            Self::RedrawRequested(key) => EventKind::RedrawRequested {
                key: key.to_owned(),
            },
            Self::PhaseReported(identifier, phase, generation, reason) => {
                EventKind::PhaseReported {
                    identifier: id(identifier)?,
                    phase: Phase::new(phase)?,
                    generation: GenerationNumber(generation),
                    reason: reason.map(Into::into),
                }
            }
            Self::GenerationSealed(generation, digest) => EventKind::GenerationSealed {
                generation: GenerationNumber(generation),
                digest: Digest::from_bytes(digest),
            },
            Self::RunClaimed(name, identifier, fence) => EventKind::RunClaimed {
                name: RunName::new(name)?,
                identifier: id(identifier)?,
                fence: Fence(fence),
            },
            Self::RunDone(name, identifier, fence) => EventKind::RunDone {
                name: RunName::new(name)?,
                identifier: id(identifier)?,
                fence: Fence(fence),
            },
            Self::RunFailed(name, identifier, fence, reason) => EventKind::RunFailed {
                name: RunName::new(name)?,
                identifier: id(identifier)?,
                fence: Fence(fence),
                reason: reason.into(),
            },
            Self::RunForgotten(name) => EventKind::RunForgotten {
                name: RunName::new(name)?,
            },
            Self::RolloutStopped(generation, reason) => EventKind::RolloutStopped {
                generation: GenerationNumber(generation),
                reason: reason.map(Arc::from),
            },
            Self::RolloutResumed(generation) => EventKind::RolloutResumed {
                generation: GenerationNumber(generation),
            },
            Self::At(..) => {
                let what = "an event has two times".to_owned();
                return Err(DecodeError::Other(what));
            }
        })
    }
}
