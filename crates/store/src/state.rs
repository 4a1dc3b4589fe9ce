//! What a store holds at one revision, immutable.

use std::{collections::VecDeque, sync::Arc};

use imbl::OrdMap;

use super::{Bounds, Full, Input, Outcome, Record, Seal, Unavailable, bounds::bytes_of};
use cfgsync_model::{
    ArtifactSet, Digest, Failure, Generation, GenerationNumber, Identifier, NodeRegistration,
    Revision,
};

/// Everything at one revision. Cloning is cheap: the maps share what did not change.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The newest change of any kind.
    pub revision: Revision,
    /// The newest input.
    pub inputs: Revision,
    /// The newest input that is an override.
    pub override_inputs: Revision,
    /// Who is registered, sorted by identifier.
    pub registrations: OrdMap<Identifier, Registered>,
    /// The metadata of all of them together, in bytes as they take them in memory.
    pub metadata_total_bytes: usize,
    /// Operators' files, by node.
    pub overrides: OrdMap<Identifier, Overridden>,
    /// The newest generation handed to each node.
    pub deliveries: OrdMap<Identifier, GenerationNumber>,
    /// The hash of the key that owns an identifier, where nodes have keys of their own.
    pub keys: OrdMap<Identifier, Digest>,
    /// An operator's `fail`.
    pub failure: Option<Arc<Failure>>,
    /// The newest generations, oldest first; a store keeps a bounded number.
    pub generations: Arc<VecDeque<Arc<Generation>>>,
}

/// A registration and when it came. Equal when it is the same acceptance.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The facts.
    pub registration: Arc<NodeRegistration>,
    /// The revision at which they were accepted.
    pub revision: Revision,
    /// Their metadata, in bytes as they take them in memory.
    pub metadata_bytes: usize,
}

/// An override and when it came. Equal when it is the same acceptance.
#[derive(Debug, Clone)]
pub struct Overridden {
    /// The files.
    pub files: Arc<ArtifactSet>,
    /// The revision at which they were accepted.
    pub revision: Revision,
}

impl PartialEq for Registered {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
    }
}

impl PartialEq for Overridden {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
    }
}

impl State {
    /// The newest generation.
    pub fn generation(&self) -> Option<&Arc<Generation>> {
        self.generations.back()
    }

    /// Whose files an operator has replaced, who is not registered.
    pub fn overridden_absent(&self) -> impl Iterator<Item = &Identifier> {
        let names = self.overrides.keys();
        names.filter(|identifier| !self.registrations.contains_key(*identifier))
    }

    /// Who is registered under a name that no key has.
    pub fn registered_without_key(&self) -> impl Iterator<Item = &Identifier> {
        let names = self.registrations.keys();
        names.filter(|identifier| !self.keys.contains_key(*identifier))
    }

    /// Whether something here is about `identifier`: it is registered, it was sealed, a key has its name, or an
    /// operator's files are kept for it.
    pub fn names(&self, identifier: &str) -> bool {
        self.registrations.contains_key(identifier)
            || self.overrides.contains_key(identifier)
            || self.keys.contains_key(identifier)
            || self
                .generation()
                .is_some_and(|newest| newest.seats.contains_key(identifier))
    }

    /// All identifiers that something here is about; some of them twice.
    pub fn all_names(&self) -> impl Iterator<Item = &Identifier> {
        let seats = self.generation().into_iter();
        let seats = seats.flat_map(|newest| newest.seats.keys());
        let names = self.registrations.keys().chain(self.overrides.keys());
        names.chain(self.keys.keys()).chain(seats)
    }

    /// What the metadata of `registration` take, if it finds room. A node that is there may always change, if its
    /// metadata do not grow.
    pub fn room_for(&self, registration: &NodeRegistration, within: Bounds) -> Result<usize, Full> {
        let known = self.registrations.get(&registration.identifier);
        if known.is_none() && self.registrations.len() >= within.nodes_max {
            let max = within.nodes_max;
            return Err(Full::Nodes { max });
        }
        let held = known.map_or(0, |known| known.metadata_bytes);
        let bytes = bytes_of(&registration.metadata);
        let max_bytes = within.metadata_total_max_bytes;
        match bytes > held && self.metadata_total_bytes - held + bytes > max_bytes {
            true => Err(Full::Metadata { max_bytes }),
            false => Ok(bytes),
        }
    }

    /// Puts a registration that was accepted at `revision` in the place of the node's last one.
    pub(super) fn enter(
        &mut self,
        registration: NodeRegistration,
        metadata_bytes: usize,
        revision: Revision,
    ) {
        let identifier = registration.identifier.clone();
        let registered = Registered {
            metadata_bytes,
            registration: Arc::new(registration),
            revision,
        };
        self.metadata_total_bytes += registered.metadata_bytes;
        if let Some(before) = self.registrations.insert(identifier, registered) {
            self.metadata_total_bytes -= before.metadata_bytes;
        }
    }

    /// Applies `input`. The one place that says what an input does; every store goes through it.
    pub fn apply(&mut self, input: Input) -> Outcome {
        let next = self.revision.next();
        match input {
            Input::Register {
                registration,
                within,
            } => {
                if let Some(known) = self.registrations.get(&registration.identifier)
                    && *known.registration == registration
                {
                    return Outcome::Unchanged(known.revision);
                }
                match self.room_for(&registration, within) {
                    Ok(bytes) => self.enter(registration, bytes, next),
                    Err(full) => return Outcome::Full(full),
                }
            }
            Input::Remove {
                identifier,
                only_if,
            } => {
                let Some(known) = self.registrations.get(&identifier) else {
                    return Outcome::Absent;
                };
                if only_if.is_some_and(|facts| *known.registration != facts) {
                    return Outcome::OtherFacts;
                }
                self.metadata_total_bytes -= known.metadata_bytes;
                self.registrations.remove(&identifier);
                self.deliveries.remove(&identifier);
            }
            Input::Override { identifier, files } => {
                if let Some(known) = self.overrides.get(&identifier)
                    && *known.files == files
                {
                    return Outcome::Unchanged(known.revision);
                }
                let overridden = Overridden {
                    files: Arc::new(files),
                    revision: next,
                };
                self.overrides.insert(identifier, overridden);
                self.override_inputs = next;
            }
            Input::RemoveOverride(identifier) => {
                if self.overrides.remove(&identifier).is_none() {
                    return Outcome::Absent;
                }
                self.override_inputs = next;
            }
        }
        self.revision = next;
        self.inputs = next;
        Outcome::Changed(next)
    }

    /// Applies `records` under one new revision.
    pub fn note(&mut self, records: Vec<Record>) {
        self.revision = self.revision.next();
        for record in records {
            match record {
                Record::Delivered {
                    identifier,
                    generation,
                } => {
                    if self.registrations.contains_key(&identifier) {
                        self.deliveries.insert(identifier, generation);
                    }
                }
                Record::Claimed { identifier, key } => {
                    self.keys.entry(identifier).or_insert(key);
                }
                Record::Released(identifier) => {
                    self.keys.remove(&identifier);
                }
                Record::Failed(failure) => self.failure = Some(Arc::new(failure)),
                Record::Reset => self.failure = None,
            }
        }
    }

    /// Applies a seal; of the generations, the newest `history` stay.
    pub fn seal(&mut self, generation: Arc<Generation>, history: usize) -> Seal {
        let newest = self
            .generation()
            .map_or(GenerationNumber(0), |newest| newest.number);
        if generation.number != newest.next() {
            return match self.generation() {
                Some(newest) => Seal::Lost(newest.clone()),
                None => Seal::Unavailable(Unavailable(format!(
                    "generation {} cannot be the first",
                    generation.number
                ))),
            };
        }
        self.revision = self.revision.next();
        let generations = Arc::make_mut(&mut self.generations);
        generations.push_back(generation);
        while generations.len() > history.max(1) {
            generations.pop_front();
        }
        Seal::Won
    }
}
