//! A store that forgets when the server ends.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{BoxFuture, Input, Outcome, Record, Seal, State, StateGuard, Store, Unavailable};
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

    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.state.load();
        let mut state = State::clone(&old);
        let result = change(&mut state);
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
        self.state.load()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.changed.subscribe()
    }

    fn put(&self, input: Input) -> BoxFuture<'_, Result<Outcome, Unavailable>> {
        let outcome = self.write(|state| state.apply(input));
        Box::pin(std::future::ready(Ok(outcome)))
    }

    fn record(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Revision, Unavailable>> {
        let revision = self.write(|state| {
            state.note(records);
            state.revision
        });
        Box::pin(std::future::ready(Ok(revision)))
    }

    fn seal(&self, generation: Arc<Generation>) -> BoxFuture<'_, Seal> {
        let seal = self.write(|state| state.seal(generation, self.history));
        Box::pin(std::future::ready(seal))
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
