//! A state in one file: what the log said up to a revision. The generations' files stand beside it.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    disk::{Disk, Trouble, put},
    entry::{self, FailureEntry, FileEntry, NodeEntry, SealEntry},
    error::{JournalError, Unreadable},
    frame::{self, FIXED_MARKER, Found, Kind},
    log::read_first_line,
};
use crate::{
    model::{Digest, Generation, GenerationNumber, Instance, Revision},
    store::{Overridden, Registered, State},
};

/// Its name in the directory.
pub(super) const SNAPSHOT: &str = "snapshot";

#[derive(Serialize, Deserialize)]
struct StateEntry<'a> {
    instance: [u8; 16],
    revision: u64,
    inputs: u64,
    override_inputs: u64,
    #[serde(borrow)]
    registrations: Vec<(NodeEntry<'a>, u64)>,
    #[serde(borrow)]
    overrides: Vec<(&'a str, Vec<FileEntry<'a>>, u64)>,
    deliveries: Vec<(&'a str, u64)>,
    #[serde(borrow)]
    failure: Option<FailureEntry<'a>>,
    #[serde(borrow)]
    generations: Vec<SealEntry<'a>>,
}

/// Behind it, where there are any: whose key has which identifier.
type KeyEntries<'a> = Vec<(&'a str, [u8; 32])>;

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
    let start = read_first_line(file, Kind::Snapshot, &path)?;
    let damaged = |what: String| JournalError::Damaged {
        file: path(),
        offset: start as u64,
        what,
    };
    match frame::read(file, start, FIXED_MARKER) {
        Found::Frame { body, .. } => {
            from_body(body, instance).map_err(|error| damaged(error.to_string()))
        }
        Found::End => Err(damaged("there is nothing".to_owned())),
        Found::Bad(what) => Err(damaged(what.to_owned())),
    }
}

pub(super) fn to_file(instance: Instance, state: &State, history: usize) -> Vec<u8> {
    let mut before: Option<&Generation> = None;
    let generations = state.generations.iter().map(|generation| {
        let entry = SealEntry::of(generation, before, history);
        before = Some(generation);
        entry
    });
    let registrations = state.registrations.values();
    let overrides = state.overrides.iter();
    let deliveries = state.deliveries.iter();
    let entry = StateEntry {
        instance: *instance.as_bytes(),
        revision: state.revision.0,
        inputs: state.inputs.0,
        override_inputs: state.override_inputs.0,
        registrations: registrations
            .map(|known| (NodeEntry::of(&known.registration), known.revision.0))
            .collect(),
        overrides: overrides
            .map(|(id, known)| {
                (
                    id.as_str(),
                    FileEntry::all_of(&known.files),
                    known.revision.0,
                )
            })
            .collect(),
        deliveries: deliveries
            .map(|(id, number)| (id.as_str(), number.0))
            .collect(),
        failure: state.failure.as_deref().map(FailureEntry::of),
        generations: generations.collect(),
    };
    let keys = state.keys.iter();
    let keys: KeyEntries = keys
        .map(|(id, key)| (id.as_str(), *key.as_bytes()))
        .collect();
    frame::whole_file(Kind::Snapshot, |body| {
        entry::write(body, &entry);
        if !keys.is_empty() {
            entry::write(body, &keys);
        }
    })
}

fn from_body(body: &[u8], instance: Instance) -> Result<State, Unreadable> {
    let (entry, rest): (StateEntry, _) = entry::read(body)?;
    let found = Instance::from_bytes(entry.instance);
    if found != instance {
        return Err(Unreadable::Instance(found));
    }
    let mut state = State {
        revision: Revision(entry.revision),
        inputs: Revision(entry.inputs),
        override_inputs: Revision(entry.override_inputs),
        ..State::default()
    };
    for (node, revision) in entry.registrations {
        let registration = Arc::new(node.registration()?);
        let identifier = registration.identifier.clone();
        let revision = Revision(revision);
        let registered = Registered {
            registration,
            revision,
        };
        state.registrations.insert(identifier, registered);
    }
    for (identifier, files, revision) in entry.overrides {
        let overridden = Overridden {
            files: Arc::new(FileEntry::set(files)?),
            revision: Revision(revision),
        };
        state.overrides.insert(identifier.parse()?, overridden);
    }
    for (identifier, number) in entry.deliveries {
        let number = GenerationNumber(number);
        state.deliveries.insert(identifier.parse()?, number);
    }
    if let Some(failure) = entry.failure {
        state.failure = Some(Arc::new(failure.failure()?));
    }
    if !rest.is_empty() {
        let (keys, _): (KeyEntries, _) = entry::read(rest)?;
        for (identifier, key) in keys {
            let key = Digest::from_bytes(key);
            state.keys.insert(identifier.parse()?, key);
        }
    }
    let generations = Arc::make_mut(&mut state.generations);
    for seal in entry.generations {
        let before = generations.back().map(Arc::as_ref);
        let generation = seal.generation(before)?;
        generations.push_back(Arc::new(generation));
    }
    Ok(state)
}
