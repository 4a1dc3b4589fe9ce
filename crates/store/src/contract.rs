//! The contract of every store: its requests, its answers, and the guarantees for its callers.
//!
//! Callers know only this contract. They never ask which store they have, so a new store changes nothing above it.

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc};

use tokio::sync::{broadcast, watch};

use crate::{
    Change, Commit, CommitError, Database, Freshness, Presence, RenderMark, SealCondition,
    SealOutcome, ServerDescription, ServerStatus, StateGuard,
};
use cfgsync_model::{Generation, Instance, Revision};

/// A boxed future that borrows the store.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps registrations, overrides, records and sealed generations.
///
/// # Read after write
/// After [`Store::apply`] or [`Store::seal`] has answered `Ok`, [`Store::state`] of the same store shows the change,
/// also to other tasks. A store that replicates a remote database waits for its local view before it answers.
///
/// # Revisions
/// Every batch that changes something gets one revision, which is higher than all earlier ones. Revisions may have
/// gaps. A store may give several batches the same revision if it makes them visible together.
pub trait Store: Send + Sync + 'static {
    /// The identity of this store. Revisions and generation numbers are comparable only within one instance.
    fn instance(&self) -> Instance;

    /// Returns the newest state. Takes no lock and does no I/O: a remote store answers from its local view.
    fn state(&self) -> StateGuard;

    /// Returns a receiver that is marked changed whenever [`Store::state`] is newer than before. Several changes may
    /// arrive as one; [`State::events_after`](crate::State::events_after) tells them apart.
    fn follow(&self) -> watch::Receiver<Revision>;

    /// Applies all of `changes`, in order, or none of them. Answers when they are visible and as durable as this store
    /// makes them. Changes that are already in effect are not an error: the commit then has no events.
    ///
    /// # Errors
    /// Fails with a [`CommitError`].
    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>>;

    /// Seals `generation` as the newest one if its number directly follows the newest number (compare-and-set), and if
    /// `only_if` holds.
    ///
    /// # Errors
    /// Fails with a [`CommitError`]. After [`CommitError::Unknown`] the caller may seal the same generation again. If the
    /// first request took effect, the second one answers [`SealOutcome::Won`].
    fn seal_if(
        &self,
        generation: Arc<Generation>,
        only_if: SealCondition,
    ) -> BoxFuture<'_, Result<SealOutcome, CommitError>>;

    /// Seals `generation` as [`Store::seal_if`] does, without a condition.
    ///
    /// # Errors
    /// Fails as [`Store::seal_if`] does.
    fn seal(&self, generation: Arc<Generation>) -> BoxFuture<'_, Result<SealOutcome, CommitError>> {
        self.seal_if(generation, SealCondition::default())
    }

    /// Returns the marks of renders during which servers have ended. Each is there until a server sets its own mark. A
    /// store whose state does not survive a restart has none.
    fn crashed_renders(&self) -> Vec<RenderMark> {
        vec![]
    }

    /// Marks the render that this server begins, in place of all [`Store::crashed_renders`]. The mark is set when this
    /// returns. The future resolves when the next server would find it, within a few seconds.
    ///
    /// # Errors
    /// Fails with the reason if the next server may not find it.
    fn set_render_mark(&self, mark: RenderMark) -> BoxFuture<'_, Result<(), String>> {
        let _ = mark;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Removes the mark of this server. It waits for nothing.
    fn clear_render_mark(&self) {}

    /// Returns how old [`Store::state`] may be. A store that no other server writes to is always fresh.
    fn freshness(&self) -> Freshness {
        Freshness::default()
    }

    /// Returns whether it is the turn of this server to render. Of the servers that share a store, one has the turn. The
    /// turn only saves work: the seals of several servers that render come to one generation as well. `None` for a store
    /// that no other server writes to.
    fn render_turn(&self) -> Option<watch::Receiver<bool>> {
        None
    }

    /// Says something about this server to the others. A store for one server ignores it.
    fn describe(&self, description: ServerDescription) {
        let _ = description;
    }

    /// Returns the running servers that share this store. Empty for a store for one server.
    fn servers(&self) -> Vec<ServerStatus> {
        vec![]
    }

    /// Tells the other servers about the nodes that reach this one. It is not durable: if it fails, the next one counts.
    fn share_presence(&self, presence: Presence) -> BoxFuture<'_, ()> {
        let _ = presence;
        Box::pin(std::future::ready(()))
    }

    /// Returns a receiver of what the other servers share. `None` for a store that no other server writes to.
    fn presences(&self) -> Option<broadcast::Receiver<Arc<Presence>>> {
        None
    }

    /// Asks the database of the store about itself. `None` for a store without one.
    ///
    /// # Errors
    /// Fails with the reason if the database does not answer.
    fn database(&self) -> BoxFuture<'_, Result<Option<Database>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Returns a file in which the caller may keep notes beside the state. A store whose state does not survive a restart
    /// has none.
    fn notes_file(&self) -> Option<PathBuf> {
        None
    }

    /// Tells the other servers that this one ends. No other method is called afterwards. It takes at most a few seconds.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Resolves with the reason when the store can never accept another change. Acknowledged changes are kept, but the
    /// server must end. For a store that cannot fail in this way it never resolves.
    fn failed(&self) -> BoxFuture<'_, String> {
        Box::pin(std::future::pending())
    }
}
