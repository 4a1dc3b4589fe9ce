//! A handle of a memory store, as a server has it that is not alone, or that starts after a crash.

use tokio::sync::{broadcast, watch};

use super::*;
use cfgsync_model::{Generation, Revision};
use cfgsync_store::{Presence, RenderMark};

/// A handle of a shared memory store.
pub(super) struct StoreHandle {
    pub(super) inner: Arc<MemoryStore>,
    /// The marks that servers before this one have left.
    pub(super) left_marks: Mutex<Vec<RenderMark>>,
    /// The mark of this server.
    pub(super) mark: Mutex<Option<RenderMark>>,
    /// Whether this server has the turn to render. `None` if it has no others.
    pub(super) turn: Option<watch::Sender<bool>>,
    /// The ways to the other handles, and from them.
    pub(super) presences: Option<[broadcast::Sender<Arc<Presence>>; 2]>,
}

impl StoreHandle {
    /// Returns a handle of a server that is alone.
    pub(super) fn of(inner: Arc<MemoryStore>) -> Self {
        Self {
            inner,
            left_marks: Mutex::default(),
            mark: Mutex::default(),
            turn: None,
            presences: None,
        }
    }
}

impl Store for StoreHandle {
    fn instance(&self) -> Instance {
        self.inner.instance()
    }

    fn state(&self) -> StateGuard {
        self.inner.state()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.inner.follow()
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>> {
        self.inner.apply(changes)
    }

    fn seal_if(
        &self,
        generation: Arc<Generation>,
        only_if: SealCondition,
    ) -> BoxFuture<'_, Result<SealOutcome, CommitError>> {
        self.inner.seal_if(generation, only_if)
    }

    fn crashed_renders(&self) -> Vec<RenderMark> {
        self.left_marks.lock().unwrap().clone()
    }

    fn set_render_mark(&self, mark: RenderMark) -> BoxFuture<'_, Result<(), String>> {
        self.left_marks.lock().unwrap().clear();
        *self.mark.lock().unwrap() = Some(mark);
        Box::pin(std::future::ready(Ok(())))
    }

    fn clear_render_mark(&self) {
        *self.mark.lock().unwrap() = None;
    }

    fn render_turn(&self) -> Option<watch::Receiver<bool>> {
        self.turn.as_ref().map(watch::Sender::subscribe)
    }

    fn share_presence(&self, presence: Presence) -> BoxFuture<'_, ()> {
        if let Some([to_others, _]) = &self.presences {
            // Without a receiver there is no other server.
            let _ = to_others.send(Arc::new(presence));
        }
        Box::pin(std::future::ready(()))
    }

    fn presences(&self) -> Option<broadcast::Receiver<Arc<Presence>>> {
        let [_, from_others] = self.presences.as_ref()?;
        Some(from_others.subscribe())
    }
}
