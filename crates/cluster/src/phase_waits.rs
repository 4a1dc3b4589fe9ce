//! The requests that wait for phases. Requests with the same question share one tally, which one task keeps up to date, so
//! that a report costs the same for any number of waiting requests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    Shared,
    phase_tally::{PhaseQuery, Tally},
};
use cfgsync_model::{Phase, Revision};
use cfgsync_store::{Event, EventKind, State, Store};
use cfgsync_wire::PhaseState;

/// The largest number of different questions that requests wait for. Each costs memory for every node.
const QUERIES_MAX: usize = 256;

/// The tallies of all questions that requests wait for.
#[derive(Default)]
pub(crate) struct PhaseWaits {
    tallies: Mutex<HashMap<PhaseQuery, Tally>>,
}

/// One request that waits for a phase, until this is dropped.
pub(crate) struct PhaseWait<'a> {
    waits: &'a PhaseWaits,
    query: PhaseQuery,
    /// `None` only while it is dropped.
    state: Option<watch::Receiver<PhaseState>>,
}

impl PhaseWaits {
    /// Waits for an answer to `query`. `None` if requests wait for too many different questions.
    pub(crate) fn wait(&self, query: PhaseQuery, store: &dyn Store) -> Option<PhaseWait<'_>> {
        let mut tallies = self.lock();
        if tallies.len() >= QUERIES_MAX && !tallies.contains_key(&query) {
            return None;
        }
        // The task applies events to the tallies while it holds the lock. It applies those that this state includes once
        // more, which changes nothing.
        let new = || Tally::new(query.clone(), &store.state());
        let tally = tallies.entry(query.clone()).or_insert_with(new);
        Some(PhaseWait {
            state: Some(tally.subscribe()),
            waits: self,
            query,
        })
    }

    /// Keeps the tallies up to date, and wakes the requests that wait for runs, until the store is closed.
    pub(crate) async fn follow(shared: Arc<Shared>) {
        let mut changes = shared.store.follow();
        let mut seen = shared.store.state().revision;
        let mut seen_runs = shared.store.state().runs.revision();
        while changes.changed().await.is_ok() {
            seen = shared.phase_waits.update(&*shared.store, seen);
            let runs = shared.store.state().runs.revision();
            if std::mem::replace(&mut seen_runs, runs) != runs {
                shared.runs.changed.send_replace(());
            }
        }
    }

    /// Applies the changes after `seen`. Returns the revision of the newest one.
    fn update(&self, store: &dyn Store, seen: Revision) -> Revision {
        let mut tallies = self.lock();
        let state = store.state();
        if tallies.is_empty() {
            return state.revision;
        }
        if let Some(commits) = state.events_after(seen) {
            for events in commits {
                for event in &*events {
                    apply(&mut tallies, &state, event);
                }
            }
        } else {
            for tally in tallies.values_mut() {
                tally.recount(&state);
            }
        }
        state.revision
    }

    /// Whether no request waits.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PhaseQuery, Tally>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(tallies: &mut HashMap<PhaseQuery, Tally>, state: &State, event: &Event) {
    let (identifier, phase) = match &event.kind {
        EventKind::PhaseReported {
            identifier, phase, ..
        } => (identifier, Some(phase.as_str())),
        EventKind::Delivered { identifier, .. } => (identifier, Some(Phase::DELIVERED)),
        EventKind::NodeRemoved { identifier } => (identifier, None),
        EventKind::NodeRegistered { registration } => (&registration.identifier, None),
        EventKind::GenerationSealed { generation, .. } => {
            for tally in tallies.values_mut() {
                if tally.generation() == *generation {
                    tally.recount(state);
                }
            }
            return;
        }
        _ => return,
    };
    for tally in tallies.values_mut() {
        if phase.is_none_or(|phase| tally.is_about(phase)) {
            tally.update(state, identifier);
        }
    }
}

impl PhaseWait<'_> {
    /// Returns the current answer, encoded.
    pub(crate) fn answer(&mut self) -> (PhaseState, Bytes) {
        if let Some(state) = &mut self.state {
            state.borrow_and_update();
        }
        let mut tallies = self.waits.lock();
        let tally = tallies.get_mut(&self.query).expect("this request uses it");
        tally.answer()
    }

    /// Whether [`PhaseWait::changed`] would return at once.
    #[cfg(test)]
    pub(crate) fn is_changed(&self) -> bool {
        let state = self.state.as_ref();
        state.is_some_and(|state| state.has_changed().unwrap())
    }

    /// Waits until the nodes have reached the phase or cannot reach it any more, or until that is no longer so.
    pub(crate) async fn changed(&mut self) {
        if let Some(state) = &mut self.state {
            // The tally stays while this request uses it.
            let _ = state.changed().await;
        }
    }
}

impl Drop for PhaseWait<'_> {
    fn drop(&mut self) {
        let mut tallies = self.waits.lock();
        self.state = None;
        if tallies.get(&self.query).is_some_and(Tally::is_unused) {
            tallies.remove(&self.query);
        }
    }
}
