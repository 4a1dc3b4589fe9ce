//! A store in memory. Its content is lost when the process ends.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{
    BoxFuture, Change, Commit, CommitError, EventBounds, PublishedState, SealCondition,
    SealOutcome, State, StateGuard, Store, StoreError,
};
use cfgsync_model::{Generation, Instance, Revision};

/// Keeps everything in memory. The caller chooses the instance of a new store, which should be random.
#[derive(Debug)]
pub struct MemoryStore {
    instance: Instance,
    /// The number of generations that are kept.
    history: usize,
    /// The distance between two revisions.
    revision_step: u64,
    published: PublishedState,
    /// Held by one writer at a time. Readers do not need it.
    writing: Mutex<()>,
}

impl MemoryStore {
    /// Returns an empty store with a random instance that keeps the newest `history` generations, at least one.
    ///
    /// # Errors
    /// Fails if the operating system provides no random numbers.
    pub fn open(history: usize) -> Result<Self, StoreError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| StoreError::random(io::Error::other(error.to_string())))?;
        Ok(Self::new(Instance::from_bytes(bytes), history))
    }

    /// Returns an empty store with this instance that keeps the newest `history` generations, at least one.
    pub fn new(instance: Instance, history: usize) -> Self {
        Self {
            instance,
            history,
            revision_step: 1,
            published: PublishedState::new(Arc::default()),
            writing: Mutex::new(()),
        }
    }

    /// Returns the same store, which is still empty, with these bounds on its history of events.
    #[must_use]
    pub fn with_event_bounds(self, bounds: EventBounds) -> Self {
        let mut state = State::default();
        state.set_event_bounds(bounds);
        Self {
            published: PublishedState::new(Arc::new(state)),
            ..self
        }
    }

    /// Returns the same store with a distance of `step` between revisions. A shared database assigns such revisions.
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
        let mut state = State::clone(&self.published.state());
        let revision = Revision(state.revision.0 + self.revision_step);
        let result = change(&mut state, revision);
        self.published.publish(Arc::new(state));
        result
    }
}

impl Store for MemoryStore {
    fn instance(&self) -> Instance {
        self.instance
    }

    fn state(&self) -> StateGuard {
        self.published.state()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.published.follow()
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>> {
        let applied = self.write(|state, revision| state.apply(changes, revision));
        Box::pin(std::future::ready(applied.map_err(CommitError::from)))
    }

    fn seal_if(
        &self,
        generation: Arc<Generation>,
        only_if: SealCondition,
    ) -> BoxFuture<'_, Result<SealOutcome, CommitError>> {
        let sealed = self
            .write(|state, revision| state.seal_if(generation, only_if, self.history, revision));
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
