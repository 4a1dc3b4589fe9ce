//! A store in memory. Its content is lost when the process ends.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{
    BoxFuture, Change, Commit, CommitError, SealOutcome, State, StateGuard, Store, StoreError,
};
use cfgsync_model::{Generation, Instance, Revision};

/// Keeps everything in memory. Each new store has the instance that it is given, which should be random.
#[derive(Debug)]
pub struct MemoryStore {
    instance: Instance,
    /// How many generations are kept.
    history: usize,
    /// The distance between two revisions.
    revision_step: u64,
    state: ArcSwap<State>,
    /// Held by one writer at a time. Readers do not need it.
    writing: Mutex<()>,
    changed: watch::Sender<Revision>,
}

impl MemoryStore {
    /// An empty store with a random instance that keeps the newest `history` generations, at least one.
    ///
    /// # Errors
    /// The operating system supplies no random numbers.
    pub fn open(history: usize) -> Result<Self, StoreError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| StoreError::random(io::Error::other(error.to_string())))?;
        Ok(Self::new(Instance::from_bytes(bytes), history))
    }

    /// The same with this instance.
    pub fn new(instance: Instance, history: usize) -> Self {
        Self {
            instance,
            history,
            revision_step: 1,
            state: ArcSwap::default(),
            writing: Mutex::new(()),
            changed: watch::Sender::new(Revision::default()),
        }
    }

    /// The same with revisions that are `step` apart, as a database that others write to as well assigns them.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_revision_step(self, step: u64) -> Self {
        assert!(step > 0, "revisions rise");
        Self {
            revision_step: step,
            ..self
        }
    }

    /// Calls `change` with the state to change and the revision for it, and publishes the result.
    fn write<T>(&self, change: impl FnOnce(&mut State, Revision) -> T) -> T {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.state.load();
        let mut state = State::clone(&old);
        let result = change(&mut state, Revision(old.revision.0 + self.revision_step));
        let revision = state.revision;
        if revision != old.revision {
            self.state.store(Arc::new(state));
            self.changed.send_replace(revision);
        }
        result
    }
}

impl Store for MemoryStore {
    fn instance(&self) -> Instance {
        self.instance
    }

    fn state(&self) -> StateGuard {
        self.state.load().into()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.changed.subscribe()
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>> {
        let applied = self.write(|state, revision| state.apply(changes, revision));
        Box::pin(std::future::ready(applied.map_err(CommitError::from)))
    }

    fn seal(&self, generation: Arc<Generation>) -> BoxFuture<'_, Result<SealOutcome, CommitError>> {
        let sealed = self.write(|state, revision| state.seal(generation, self.history, revision));
        Box::pin(std::future::ready(sealed.map_err(CommitError::from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    fn new_store() -> MemoryStore {
        let instance = Instance::from_bytes([1; 16]);
        MemoryStore::new(instance, conformance::HISTORY_GENERATIONS)
    }

    #[tokio::test]
    async fn conforms() {
        conformance::check(async || {
            let store = Arc::new(new_store());
            [store.clone(), store]
        })
        .await;
    }

    #[tokio::test]
    async fn conforms_with_gaps_between_revisions() {
        conformance::check(async || {
            let store = Arc::new(new_store().with_revision_step(7));
            [store.clone(), store]
        })
        .await;
    }
}
