//! Whether a peer that says no more still listens.
//!
//! A client may end its side of a connection once its request is sent, and read the answer then. hyper takes that for
//! the end of the client, and drops what is under way: a change that is made already, the rest of a payload. So the end
//! is kept from it while a request is in hand, up to the last piece of its answer; who reads a body asks here whether the
//! rest of it can still come. The end is not kept while a request is held: most who end there were killed, and a node that
//! starts again must not find its places taken by its own past.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Waker},
};

/// Nothing is asked, or who asked is held.
const LISTENS: u8 = 0;
/// A request has come, and its answer is not made yet.
const IN_HAND: u8 = 1;
/// The answer is made, and may not be written yet.
const ANSWERED: u8 = 2;

/// One connection's, shared by who reads it and who answers.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// One of the following.
    stage: AtomicU8,
    /// Who has seen the end and was kept from it.
    kept: Mutex<Option<Waker>>,
}

/// A request from its head to the last piece of its answer.
pub(super) struct Answering(Arc<Line>);

/// A request that is held, until this is dropped.
pub(super) struct Listening<'a>(&'a Line);

impl Line {
    /// A request has come.
    pub(super) fn takes_in_hand(self: &Arc<Self>) -> Answering {
        self.stage.store(IN_HAND, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    /// Whether the end was read, so that nothing more comes.
    pub(super) fn has_ended(&self) -> bool {
        self.kept().is_some()
    }

    /// The request is held.
    pub(super) fn listens(&self) -> Listening<'_> {
        self.let_go();
        Listening(self)
    }

    /// Whether the end that was just read is not to be told yet. Then whoever asked is woken when it is.
    pub(super) fn keeps_the_end(&self, cx: &Context<'_>) -> bool {
        let is_kept = self.stage.load(Ordering::Relaxed) != LISTENS;
        if is_kept {
            *self.kept() = Some(cx.waker().clone());
        }
        is_kept
    }

    /// All that is answered is written.
    pub(super) fn is_flushed(&self) {
        if self.stage.load(Ordering::Relaxed) == ANSWERED {
            self.let_go();
        }
    }

    fn let_go(&self) {
        self.stage.store(LISTENS, Ordering::Relaxed);
        if let Some(kept) = self.kept().take() {
            kept.wake();
        }
    }

    fn kept(&self) -> MutexGuard<'_, Option<Waker>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.stage.store(ANSWERED, Ordering::Relaxed);
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.stage.store(IN_HAND, Ordering::Relaxed);
    }
}
