//! The newest state of a store, shared with readers and followers.

use std::{ops::Deref, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::State;
use cfgsync_model::Revision;

/// The newest state of a store. One writer replaces it, and many readers borrow it without a lock.
#[derive(Debug)]
pub struct PublishedState {
    state: ArcSwap<State>,
    changed: watch::Sender<Revision>,
}

impl PublishedState {
    /// Creates a publisher whose first state is `state`.
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

    /// Makes `state` the newest one. Then it wakes the followers, if the revision has changed. Calls must not overlap.
    pub fn publish(&self, state: Arc<State>) {
        let revision = state.revision;
        if self.state.load().revision != revision {
            self.state.store(state);
            self.changed.send_replace(revision);
        }
    }
}

/// A borrowed [`State`], which does not change while the guard exists. Hold the guard briefly. To keep the state, call
/// [`StateGuard::into_arc`]. The borrow is cheap because it does not count references.
pub struct StateGuard(Guard<Arc<State>>);

impl StateGuard {
    /// Converts the guard into an owned reference.
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
