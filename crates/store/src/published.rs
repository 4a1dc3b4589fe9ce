//! The newest state of a store, as readers and followers see it.

use std::{ops::Deref, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::State;
use cfgsync_model::Revision;

/// The newest state, which one writer replaces and many readers borrow without a lock. Every store has one.
#[derive(Debug)]
pub struct PublishedState {
    state: ArcSwap<State>,
    changed: watch::Sender<Revision>,
}

impl PublishedState {
    /// Publishes a first state.
    pub fn new(state: Arc<State>) -> Self {
        Self {
            changed: watch::Sender::new(state.revision),
            state: ArcSwap::new(state),
        }
    }

    /// Borrows the newest state.
    pub fn state(&self) -> StateGuard {
        StateGuard(self.state.load())
    }

    /// Returns a receiver that is marked changed after each publication.
    pub fn follow(&self) -> watch::Receiver<Revision> {
        self.changed.subscribe()
    }

    /// Makes `state` the newest one and then wakes the followers, if its revision is another than before. Calls must not
    /// overlap.
    pub fn publish(&self, state: Arc<State>) {
        let revision = state.revision;
        if self.state.load().revision != revision {
            self.state.store(state);
            self.changed.send_replace(revision);
        }
    }
}

/// A borrowed [`State`]. It stays as it is for as long as the guard is held. Hold it briefly, and call
/// [`StateGuard::into_arc`] to keep it: the borrow is cheap because it counts no shared reference.
pub struct StateGuard(Guard<Arc<State>>);

impl StateGuard {
    /// Makes an owned reference of the guard.
    pub fn into_arc(self) -> Arc<State> {
        Guard::into_inner(self.0)
    }
}

impl Deref for StateGuard {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}
