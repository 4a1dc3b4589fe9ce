//! A whole state as parts in etcd, and the record of the snapshot that names them.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{parts, records::SnapshotRecord};
use cfgsync_model::{Digest, Instance};
use cfgsync_store::{State, shared_log};

/// The parts of a state.
pub(crate) struct StateParts {
    pub(crate) state: Vec<(Digest, Bytes)>,
    pub(crate) events: Vec<(Digest, Bytes)>,
    generations: BTreeMap<u64, Vec<(Digest, Bytes)>>,
}

impl StateParts {
    /// Divides `state`, which has the files of its generations.
    pub(crate) fn of(instance: Instance, state: &State, history: usize) -> Self {
        let generations = state.generations.iter().map(|generation| {
            let parts = parts::divide(shared_log::encode_files(generation));
            (generation.number.0, parts)
        });
        Self {
            state: parts::divide(shared_log::encode_state(instance, state, history)),
            events: parts::divide(shared_log::encode_events(instance, state)),
            generations: generations.collect(),
        }
    }

    /// Returns the parts of the state, of the events and of each generation.
    pub(crate) fn all(&self) -> impl Iterator<Item = &[(Digest, Bytes)]> {
        let own = [&self.state, &self.events].into_iter();
        own.chain(self.generations.values()).map(Vec::as_slice)
    }

    /// Returns the record of a snapshot that includes all entries up to this revision of etcd.
    pub(crate) fn record(&self, etcd_revision: i64) -> SnapshotRecord {
        let digests = |parts: &[(Digest, Bytes)]| parts.iter().map(|(digest, _)| *digest).collect();
        let generations = self.generations.iter();
        SnapshotRecord {
            etcd_revision,
            parts: digests(&self.state),
            events: digests(&self.events),
            generations: generations
                .map(|(number, parts)| (*number, digests(parts)))
                .collect(),
        }
    }
}
