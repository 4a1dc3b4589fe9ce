//! A state in one file: what the log said up to a revision. The generations' files stand beside it.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    disk::{Disk, Trouble, put},
    entry::{self, FailureEntry, FileEntry, NodeEntry, SealEntry},
    error::{JournalError, Unreadable},
    frame::{self, Kind},
    log::read_first,
};
use crate::{Overridden, State, bounds::bytes_of, event::EventHistory};
use cfgsync_model::{Digest, GenerationNumber, Instance, Revision};

/// Its name in the directory.
pub(super) const SNAPSHOT: &str = "snapshot";

/// A snapshot is a list of these. The order of fields and variants is the format; new ones come last.
#[derive(Serialize, Deserialize)]
enum Part<'a> {
    Head {
        instance: [u8; 16],
        revision: u64,
        inputs: u64,
        override_inputs: u64,
    },
    /// A registration and its revision.
    Node(#[serde(borrow)] NodeEntry<'a>, u64),
    /// Whose override, its files and its revision.
    Override(&'a str, #[serde(borrow)] Vec<FileEntry<'a>>, u64),
    /// The newest generation that was handed to a node.
    Delivered(&'a str, u64),
    /// An operator's.
    Failure(#[serde(borrow)] FailureEntry<'a>),
    /// A generation, the oldest first.
    Generation(#[serde(borrow)] SealEntry<'a>),
    /// Whose key has which identifier.
    Key(&'a str, [u8; 32]),
    /// The newest revision of each kind of input. Format 2 begins with it, and format 1 has none.
    Revisions { registrations: u64, overrides: u64 },
}

/// Writes `state` in the place of the last snapshot; answers how many bytes it has.
pub(super) fn write(
    disk: &dyn Disk,
    instance: Instance,
    state: &State,
    history: usize,
) -> Result<u64, Trouble> {
    let file = to_file(instance, state, history);
    put(disk, SNAPSHOT, &[&file])?;
    Ok(file.len() as u64)
}

/// Reads a snapshot. Its generations have no files yet.
pub(super) fn read(
    file: &[u8],
    instance: Instance,
    path: impl Fn() -> PathBuf,
) -> Result<State, JournalError> {
    read_first(file, Kind::Snapshot, path, |_, body, _| {
        from_body(body, instance)
    })
}

pub(super) fn to_file(instance: Instance, state: &State, history: usize) -> Vec<u8> {
    frame::whole_file(Kind::Snapshot, |body| {
        let mut part = |part: &Part| entry::write(body, part);
        part(&Part::Head {
            instance: *instance.as_bytes(),
            revision: state.revision.0,
            inputs: state.inputs.0,
            override_inputs: state.overrides_revision.0,
        });
        part(&Part::Revisions {
            registrations: state.registrations_revision.0,
            overrides: state.overrides_revision.0,
        });
        for known in state.registrations.values() {
            let node = NodeEntry::of(&known.registration);
            part(&Part::Node(node, known.revision.0));
        }
        for (identifier, known) in &state.overrides {
            let files = FileEntry::all_of(&known.files);
            part(&Part::Override(
                identifier.as_str(),
                files,
                known.revision.0,
            ));
        }
        for (identifier, number) in &state.deliveries {
            part(&Part::Delivered(identifier.as_str(), number.0));
        }
        if let Some(failure) = &state.failure {
            part(&Part::Failure(FailureEntry::of(failure)));
        }
        for (identifier, key) in &state.keys {
            part(&Part::Key(identifier.as_str(), *key.as_bytes()));
        }
        let mut before = None;
        for generation in state.generations.iter() {
            let seal = SealEntry::of(generation, before.map(Arc::as_ref), history);
            part(&Part::Generation(seal));
            before = Some(generation);
        }
    })
}

fn from_body(mut rest: &[u8], instance: Instance) -> Result<State, Unreadable> {
    let mut state = State::default();
    while !rest.is_empty() {
        let (part, behind): (Part, _) = entry::read(rest)?;
        part.add_to(&mut state, instance)?;
        rest = behind;
    }
    Ok(state)
}

impl Part<'_> {
    fn add_to(self, state: &mut State, ours: Instance) -> Result<(), Unreadable> {
        match self {
            Self::Head {
                instance,
                revision,
                inputs,
                override_inputs,
            } => {
                let found = Instance::from_bytes(instance);
                if found != ours {
                    return Err(Unreadable::Instance(found));
                }
                state.revision = Revision(revision);
                state.inputs = Revision(inputs);
                // Format 1 does not say when a registration changed last: not later than the newest input.
                state.registrations_revision = Revision(inputs);
                state.overrides_revision = Revision(override_inputs);
                state.events = EventHistory::starting_after(state.revision);
            }
            Self::Revisions {
                registrations,
                overrides,
            } => {
                state.registrations_revision = Revision(registrations);
                state.overrides_revision = Revision(overrides);
            }
            Self::Node(node, revision) => {
                let registration = node.registration()?;
                let bytes = bytes_of(&registration.metadata);
                let registration = Arc::new(registration);
                state.insert_registration(registration, bytes, Revision(revision));
            }
            Self::Override(identifier, files, revision) => {
                let overridden = Overridden {
                    files: Arc::new(FileEntry::set(files)?),
                    revision: Revision(revision),
                };
                state.overrides.insert(identifier.parse()?, overridden);
            }
            Self::Delivered(identifier, number) => {
                let number = GenerationNumber(number);
                state.deliveries.insert(identifier.parse()?, number);
            }
            Self::Failure(failure) => state.failure = Some(Arc::new(failure.failure()?)),
            Self::Generation(seal) => {
                let generation = seal.generation(state.generation().map(Arc::as_ref))?;
                Arc::make_mut(&mut state.generations).push_back(Arc::new(generation));
            }
            Self::Key(identifier, key) => {
                let key = Digest::from_bytes(key);
                state.keys.insert(identifier.parse()?, key);
            }
        }
        Ok(())
    }
}
