//! A store that forgets when the server ends.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{BoxFuture, Change, Commit, CommitError, SealOutcome, State, StateGuard, Store};
use cfgsync_model::{Generation, Instance, Revision};

/// Keeps everything in memory; a new one has a new instance.
#[derive(Debug)]
pub struct MemoryStore {
    instance: Instance,
    /// How many generations are kept.
    history: usize,
    state: ArcSwap<State>,
    /// Held by one writer at a time; readers need it never.
    writing: Mutex<()>,
    changed: watch::Sender<Revision>,
}

impl MemoryStore {
    /// An empty store that keeps the newest `history` generations (at least one).
    pub fn new(instance: Instance, history: usize) -> Self {
        Self {
            instance,
            history,
            state: ArcSwap::default(),
            writing: Mutex::new(()),
            changed: watch::Sender::new(Revision::default()),
        }
    }

    /// Calls `change` with the state to change and the revision for it, and publishes the result.
    fn write<T>(&self, change: impl FnOnce(&mut State, Revision) -> T) -> T {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.state.load();
        let mut state = State::clone(&old);
        let result = change(&mut state, old.revision.next());
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

    #[tokio::test]
    async fn conforms() {
        super::super::conformance::check(|| {
            Arc::new(MemoryStore::new(Instance::from_bytes([1; 16]), 3))
        })
        .await;
    }
}
