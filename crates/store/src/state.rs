//! The state of a store at one revision, and the meaning of every change to it.

use std::{collections::VecDeque, sync::Arc};

use imbl::OrdMap;

use crate::{
    Bounds, CapacityExceeded, Change, Commit, Rejection, RejectionReason, SealOutcome,
    bounds::bytes_of,
    event::{Event, EventHistory, EventKind},
};
use cfgsync_model::{
    ArtifactSet, Digest, Failure, Generation, GenerationNumber, Identifier, NodeRegistration,
    Revision,
};

/// The content of a store at one revision. Cloning is cheap: clones share what did not change.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The revision of the newest change of any kind.
    pub revision: Revision,
    /// The revision of the newest input of any kind.
    pub inputs: Revision,
    /// The revision of the newest change of a registration, including removals.
    pub registrations_revision: Revision,
    /// The revision of the newest change of an override, including removals.
    pub overrides_revision: Revision,
    /// The registered nodes, sorted by identifier.
    pub registrations: OrdMap<Identifier, RegisteredNode>,
    /// The size of the metadata of all registered nodes, in bytes of memory.
    pub metadata_total_bytes: usize,
    /// The overrides, by node.
    pub overrides: OrdMap<Identifier, NodeOverride>,
    /// The newest generation that was handed to each registered node.
    pub deliveries: OrdMap<Identifier, GenerationNumber>,
    /// The hash of the key that owns an identifier.
    pub keys: OrdMap<Identifier, Digest>,
    /// The failure that an operator declared, if any.
    pub failure: Option<Arc<Failure>>,
    /// The newest generations, oldest first. A store keeps a bounded number.
    pub generations: Arc<VecDeque<Arc<Generation>>>,
    /// The newest events.
    pub(crate) events: EventHistory,
}

/// A registration and its revision. Two are equal if they were accepted at the same revision.
#[derive(Debug, Clone)]
pub struct RegisteredNode {
    /// The node's facts.
    pub registration: Arc<NodeRegistration>,
    /// The revision at which they were accepted.
    pub revision: Revision,
    /// The size of the metadata, in bytes of memory.
    pub metadata_bytes: usize,
}

/// An override and its revision. Two are equal if they were accepted at the same revision.
#[derive(Debug, Clone)]
pub struct NodeOverride {
    /// The files that replace the node's own.
    pub files: Arc<ArtifactSet>,
    /// The revision at which they were accepted.
    pub revision: Revision,
}

impl PartialEq for RegisteredNode {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
    }
}

impl PartialEq for NodeOverride {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
    }
}

impl State {
    /// The newest generation.
    pub fn generation(&self) -> Option<&Arc<Generation>> {
        self.generations.back()
    }

    /// The nodes that have an override and are not registered.
    pub fn overridden_absent(&self) -> impl Iterator<Item = &Identifier> {
        let identifiers = self.overrides.keys();
        identifiers.filter(|identifier| !self.registrations.contains_key(*identifier))
    }

    /// The registered nodes whose identifier no key owns.
    pub fn registered_without_key(&self) -> impl Iterator<Item = &Identifier> {
        let identifiers = self.registrations.keys();
        identifiers.filter(|identifier| !self.keys.contains_key(*identifier))
    }

    /// Whether `identifier` is registered, sealed, owned by a key, or overridden.
    pub fn mentions(&self, identifier: &str) -> bool {
        self.registrations.contains_key(identifier)
            || self.overrides.contains_key(identifier)
            || self.keys.contains_key(identifier)
            || self
                .generation()
                .is_some_and(|newest| newest.seats.contains_key(identifier))
    }

    /// All identifiers that [`State::mentions`] is true for. Some occur more than once.
    pub fn mentioned_identifiers(&self) -> impl Iterator<Item = &Identifier> {
        let sealed = self.generation().into_iter();
        let sealed = sealed.flat_map(|newest| newest.seats.keys());
        let identifiers = self.registrations.keys().chain(self.overrides.keys());
        identifiers.chain(self.keys.keys()).chain(sealed)
    }

    /// Checks that `registration` fits in `within`; returns the size of its metadata, in bytes. A registered node may
    /// always change its facts if its metadata do not grow.
    fn check_capacity(
        &self,
        registration: &NodeRegistration,
        within: Bounds,
    ) -> Result<usize, CapacityExceeded> {
        let known = self.registrations.get(&registration.identifier);
        if known.is_none() && self.registrations.len() >= within.nodes_max {
            let max = within.nodes_max;
            return Err(CapacityExceeded::Nodes { max });
        }
        let bytes_before = known.map_or(0, |known| known.metadata_bytes);
        let bytes = bytes_of(&registration.metadata);
        let total_bytes = self.metadata_total_bytes - bytes_before + bytes;
        let max_bytes = within.metadata_total_max_bytes;
        if bytes > bytes_before && total_bytes > max_bytes {
            return Err(CapacityExceeded::Metadata { max_bytes });
        }
        Ok(bytes)
    }

    /// The events of each commit after `revision`, oldest first: complete, each event once. `None` if the history
    /// does not reach back to `revision`, or if `revision` is newer than this state. The caller then reads the state
    /// itself and resumes at [`State::revision`].
    pub fn events_after(
        &self,
        revision: Revision,
    ) -> Option<impl Iterator<Item = Arc<[Event]>> + use<>> {
        if revision > self.revision {
            return None;
        }
        self.events.after(revision)
    }

    /// Inserts a registration that was accepted at `revision`, in place of the node's earlier one.
    pub(crate) fn insert_registration(
        &mut self,
        registration: Arc<NodeRegistration>,
        metadata_bytes: usize,
        revision: Revision,
    ) {
        let identifier = registration.identifier.clone();
        let registered = RegisteredNode {
            metadata_bytes,
            registration,
            revision,
        };
        self.metadata_total_bytes += registered.metadata_bytes;
        if let Some(before) = self.registrations.insert(identifier, registered) {
            self.metadata_total_bytes -= before.metadata_bytes;
        }
    }

    /// Applies `changes` at `revision`, all or none. This is the one place that says what a change means; every store
    /// uses it. If nothing changes, `revision` is not used up. `revision` must be newer than this state, or equal if
    /// the store shows several batches of one revision together.
    ///
    /// # Errors
    /// The first change that is not allowed. The state is then as before.
    pub fn apply(&mut self, changes: Vec<Change>, revision: Revision) -> Result<Commit, Rejection> {
        // A single change is checked before it changes anything.
        let before = (changes.len() > 1).then(|| self.clone());
        let mut kinds = Vec::with_capacity(changes.len());
        let mut in_effect_since = None;
        for (index, change) in changes.into_iter().enumerate() {
            match self.apply_one(change, revision) {
                Ok(Effect::Changed(kind)) => kinds.push(kind),
                Ok(Effect::Unchanged(since)) => in_effect_since = in_effect_since.max(since),
                Err(reason) => {
                    if let Some(before) = before {
                        *self = before;
                    }
                    return Err(Rejection { index, reason });
                }
            }
        }
        if kinds.is_empty() {
            return Ok(Commit {
                revision: in_effect_since.unwrap_or(self.revision),
                events: Arc::default(),
            });
        }
        Ok(self.commit(kinds, revision))
    }

    /// Records what changed at `revision`.
    fn commit(&mut self, kinds: Vec<EventKind>, revision: Revision) -> Commit {
        let parts = self.events.next_part(revision)..;
        let events: Arc<[Event]> = kinds
            .into_iter()
            .zip(parts)
            .map(|(kind, part)| Event {
                revision,
                part,
                kind,
            })
            .collect();
        self.events.push(events.clone());
        self.revision = revision;
        Commit { revision, events }
    }

    fn apply_one(&mut self, change: Change, revision: Revision) -> Result<Effect, RejectionReason> {
        let kind = match change {
            Change::Register {
                registration,
                within,
            } => {
                if let Some(known) = self.registrations.get(&registration.identifier)
                    && *known.registration == registration
                {
                    return Ok(Effect::Unchanged(Some(known.revision)));
                }
                let bytes = self.check_capacity(&registration, within)?;
                let registration = Arc::new(registration);
                self.insert_registration(registration.clone(), bytes, revision);
                self.registrations_revision = revision;
                EventKind::NodeRegistered { registration }
            }
            Change::Remove {
                identifier,
                only_if,
            } => {
                let Some(known) = self.registrations.get(&identifier) else {
                    return Err(RejectionReason::NotRegistered(identifier));
                };
                if only_if.is_some_and(|facts| *known.registration != facts) {
                    return Err(RejectionReason::DifferentFacts(identifier));
                }
                self.metadata_total_bytes -= known.metadata_bytes;
                self.registrations.remove(&identifier);
                self.deliveries.remove(&identifier);
                self.registrations_revision = revision;
                EventKind::NodeRemoved { identifier }
            }
            Change::Override { identifier, files } => {
                if let Some(known) = self.overrides.get(&identifier)
                    && *known.files == files
                {
                    return Ok(Effect::Unchanged(Some(known.revision)));
                }
                let overridden = NodeOverride {
                    files: Arc::new(files),
                    revision,
                };
                self.overrides.insert(identifier.clone(), overridden);
                self.overrides_revision = revision;
                EventKind::OverrideSet { identifier }
            }
            Change::RemoveOverride(identifier) => {
                if self.overrides.remove(&identifier).is_none() {
                    return Err(RejectionReason::NoOverride(identifier));
                }
                self.overrides_revision = revision;
                EventKind::OverrideRemoved { identifier }
            }
            Change::Deliver {
                identifier,
                generation,
            } => {
                let is_known = self.deliveries.get(&identifier) == Some(&generation);
                if is_known || !self.registrations.contains_key(&identifier) {
                    return Ok(Effect::Unchanged(None));
                }
                self.deliveries.insert(identifier.clone(), generation);
                EventKind::Delivered {
                    identifier,
                    generation,
                }
            }
            Change::Claim {
                identifier,
                key,
                within,
            } => {
                match self.keys.get(&identifier) {
                    Some(owner) if *owner == key => return Ok(Effect::Unchanged(None)),
                    Some(_) => return Err(RejectionReason::DifferentKey(identifier)),
                    None => {}
                }
                let max = within.nodes_max;
                if self.keys.len() >= max && !self.registrations.contains_key(&identifier) {
                    return Err(CapacityExceeded::Names { max }.into());
                }
                self.keys.insert(identifier.clone(), key);
                EventKind::NameClaimed { identifier }
            }
            Change::Release(identifier) => {
                if self.keys.remove(&identifier).is_none() {
                    return Ok(Effect::Unchanged(None));
                }
                EventKind::NameReleased { identifier }
            }
            Change::Fail(failure) => {
                if self.failure.as_deref() == Some(&failure) {
                    return Ok(Effect::Unchanged(None));
                }
                let failure = Arc::new(failure);
                self.failure = Some(failure.clone());
                EventKind::ClusterFailed { failure }
            }
            Change::Reset => {
                if self.failure.take().is_none() {
                    return Ok(Effect::Unchanged(None));
                }
                EventKind::ClusterReset
            }
        };
        self.inputs = self.registrations_revision.max(self.overrides_revision);
        Ok(Effect::Changed(kind))
    }

    /// Seals `generation` at `revision` if its number follows the newest one. The newest `history` generations, at
    /// least one, stay.
    ///
    /// # Errors
    /// A number other than 1 while nothing is sealed.
    pub fn seal(
        &mut self,
        generation: Arc<Generation>,
        history: usize,
        revision: Revision,
    ) -> Result<SealOutcome, Rejection> {
        let newest = self.generation();
        let number = newest.map_or(GenerationNumber(0), |newest| newest.number);
        if generation.number != number.next() {
            // Equal files are not enough: later generations continue these seats and drawn values.
            let is_same = |sealed: &Arc<Generation>| {
                (sealed.number, sealed.digest) == (generation.number, generation.digest)
                    && sealed.seats == generation.seats
                    && sealed.once == generation.once
            };
            if self.generations.iter().any(is_same) {
                return Ok(SealOutcome::Won);
            }
            return match newest {
                Some(newest) => Ok(SealOutcome::Lost(newest.clone())),
                None => Err(Rejection {
                    index: 0,
                    reason: RejectionReason::NotFirstGeneration(generation.number),
                }),
            };
        }
        let sealed = EventKind::GenerationSealed {
            generation: generation.number,
            digest: generation.digest,
        };
        let generations = Arc::make_mut(&mut self.generations);
        generations.push_back(generation);
        while generations.len() > history.max(1) {
            generations.pop_front();
        }
        self.commit(vec![sealed], revision);
        Ok(SealOutcome::Won)
    }
}

/// The effect of one change.
enum Effect {
    Changed(EventKind),
    /// It was in effect already, since this revision where that is known.
    Unchanged(Option<Revision>),
}
