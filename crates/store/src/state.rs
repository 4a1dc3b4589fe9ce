//! The state of a store at one revision.

use std::{collections::VecDeque, sync::Arc};

use imbl::{OrdMap, OrdSet};

use crate::{
    Phases, Runs, StoppedRollout, Values,
    event::Event,
    event_history::{EventBounds, EventHistory, PositionedEvent},
    payload_ages::PayloadAges,
};
use cfgsync_model::{
    ArtifactSet, Digest, EventPosition, Failure, Generation, GenerationNumber, Identifier,
    NodeRegistration, Origin, Revision,
};
use cfgsync_support::clock::Timestamp;

/// The content of a store at one revision. Cloning is cheap, because clones share unchanged data.
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
    /// The revision of the newest change of a value or an alias.
    pub values_revision: Revision,
    /// The revision of the newest request for another value of `once`.
    pub redraws_revision: Revision,
    /// The registered nodes, sorted by identifier.
    pub registrations: OrdMap<Identifier, RegisteredNode>,
    /// The size of the metadata of all registered nodes, in bytes of memory.
    pub metadata_total_bytes: usize,
    /// The overrides, by node.
    pub overrides: OrdMap<Identifier, NodeOverride>,
    /// Operators' values and aliases.
    pub values: Values,
    /// The newest generation that each registered node has received.
    pub deliveries: OrdMap<Identifier, GenerationNumber>,
    /// The time of the newest delivery to each registered node, with the generation that it received then.
    pub delivery_times: OrdMap<Identifier, (GenerationNumber, Timestamp)>,
    /// The phases that registered nodes have reported.
    pub phases: Phases,
    /// The programs that one node runs for all.
    pub runs: Runs,
    /// The generation since which each node has had the same files.
    pub(crate) payload_ages: PayloadAges,
    /// The hash of the key that owns an identifier.
    pub keys: OrdMap<Identifier, Digest>,
    /// The identifiers that may not register.
    pub bans: OrdSet<Identifier>,
    /// The failure that an operator declared, if any.
    pub failure: Option<Arc<Failure>>,
    /// The values of `once` that the next generation evaluates again, with the revisions of the requests. All of them are
    /// values of the newest generation.
    pub redraws: OrdMap<String, Revision>,
    /// The newest input for which a later render gave the files of the newest generation. Zero if there was none.
    pub(crate) confirmed: Revision,
    /// The stop of the roll-outs, until an operator resumes.
    pub stopped_rollout: Option<StoppedRollout>,
    /// The newest generations, oldest first. A store keeps a bounded number.
    pub generations: Arc<VecDeque<Arc<Generation>>>,
    /// The history of the newest events.
    pub(crate) events: EventHistory,
}

/// A registration and its revision. Two are equal if they were accepted at the same revision.
#[derive(Debug, Clone)]
pub struct RegisteredNode {
    /// The registration of the node.
    pub registration: Arc<NodeRegistration>,
    /// Where it comes from.
    pub origin: Origin,
    /// The revision at which it was accepted.
    pub revision: Revision,
    /// The size of the metadata, in bytes of memory.
    pub metadata_bytes: usize,
}

/// An override and its revision. Two are equal if they were accepted at the same revision.
#[derive(Debug, Clone)]
pub struct NodeOverride {
    /// The files that replace the node's own.
    pub files: Arc<ArtifactSet>,
    /// The revision at which it was accepted.
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
    /// Returns the newest generation, if one is sealed.
    pub fn generation(&self) -> Option<&Arc<Generation>> {
        self.generations.back()
    }

    /// Returns the revision up to which the newest generation includes all inputs. Zero if nothing is sealed.
    pub fn included_inputs(&self) -> Revision {
        let sealed = self.generation().map(|newest| newest.revision);
        sealed.map_or(Revision(0), |sealed| sealed.max(self.confirmed))
    }

    /// Returns the newest generation in which a node has the same files as in `generation`. A phase that it reached with
    /// `generation` is about this one as well.
    pub fn carried(&self, identifier: &str, generation: GenerationNumber) -> GenerationNumber {
        let newest = self.generation().map_or(generation, |newest| newest.number);
        if generation >= self.payload_ages.since(identifier, newest) {
            newest
        } else {
            generation
        }
    }

    /// Returns the nodes that have an override and are not registered.
    pub fn overridden_absent(&self) -> impl Iterator<Item = &Identifier> {
        let identifiers = self.overrides.keys();
        identifiers.filter(|identifier| !self.registrations.contains_key(*identifier))
    }

    /// Returns the registered nodes whose identifier no key owns.
    pub fn registered_without_key(&self) -> impl Iterator<Item = &Identifier> {
        let identifiers = self.registrations.keys();
        identifiers.filter(|identifier| !self.keys.contains_key(*identifier))
    }

    /// Returns whether `identifier` is registered, sealed, owned by a key, banned, or overridden.
    pub fn mentions(&self, identifier: &str) -> bool {
        self.registrations.contains_key(identifier)
            || self.overrides.contains_key(identifier)
            || self.keys.contains_key(identifier)
            || self.bans.contains(identifier)
            || self
                .generation()
                .is_some_and(|newest| newest.seats.contains_key(identifier))
    }

    /// Returns all identifiers for which [`State::mentions`] is true. Some occur more than once.
    pub fn mentioned_identifiers(&self) -> impl Iterator<Item = &Identifier> {
        let sealed = self.generation().into_iter();
        let sealed = sealed.flat_map(|newest| newest.seats.keys());
        let identifiers = self.registrations.keys().chain(self.overrides.keys());
        let identifiers = identifiers.chain(self.keys.keys()).chain(&self.bans);
        identifiers.chain(sealed)
    }

    /// Returns the events of each commit after `revision`, oldest first. Each event occurs once. `None` if the history
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

    /// Returns the events behind `position`, oldest first, under the same conditions as [`State::events_after`].
    pub fn events_behind(
        &self,
        position: EventPosition,
    ) -> Option<impl Iterator<Item = PositionedEvent> + use<>> {
        if position.revision > self.revision {
            return None;
        }
        self.events.behind(position)
    }

    /// Returns the position before the oldest event that the history has.
    pub fn oldest_event_position(&self) -> EventPosition {
        EventPosition::after(self.events.complete_after())
    }

    /// Bounds the history of events from now on.
    pub(crate) fn set_event_bounds(&mut self, bounds: EventBounds) {
        self.events.set_bounds(bounds);
    }

    /// Inserts a registration that was accepted at `revision`, in place of the node's earlier one.
    pub(crate) fn insert_registration(
        &mut self,
        registration: Arc<NodeRegistration>,
        origin: Origin,
        metadata_bytes: usize,
        revision: Revision,
    ) {
        let identifier = registration.identifier.clone();
        let registered = RegisteredNode {
            registration,
            origin,
            revision,
            metadata_bytes,
        };
        self.metadata_total_bytes += registered.metadata_bytes;
        if let Some(before) = self.registrations.insert(identifier, registered) {
            self.metadata_total_bytes -= before.metadata_bytes;
        }
    }
}
