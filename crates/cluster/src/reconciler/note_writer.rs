//! Writes the notes for the flight record to their file, on another thread.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    task::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    Shared,
    notes::{NoteKind, NoteWrite},
};

/// The pause after a failed write.
const RETRY: Duration = Duration::from_secs(10);

/// The write that is running, if there is one.
#[derive(Default)]
pub(super) struct NoteWriter {
    running: Option<JoinHandle<io::Result<()>>>,
    retry_at: Option<Instant>,
    /// Whether the last write failed and this was logged.
    is_failing: bool,
}

impl NoteWriter {
    /// Starts a write if one is due. Returns the time of the next call, if one is needed.
    pub(super) fn write_if_due(&mut self, shared: &Arc<Shared>) -> Option<Instant> {
        let now = Instant::now();
        let mut notes = shared.notes();
        let next = notes.keep_if_due(now);
        if self.running.is_some() || self.retry_at.is_some_and(|at| at > now) {
            return next;
        }
        if let Some(write) = notes.take_unwritten() {
            self.running = Some(start(write));
        }
        next
    }

    /// Waits until the running write has ended. Never resolves if none is running.
    pub(super) async fn written(&mut self, shared: &Shared) {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let ended = running.await;
        self.running = None;
        let Err(error) = ended.unwrap_or_else(|panic| Err(io::Error::other(panic))) else {
            self.is_failing = false;
            return;
        };
        shared.notes().on_write_failed();
        self.retry_at = Some(Instant::now() + RETRY);
        if !std::mem::replace(&mut self.is_failing, true) {
            // Nothing depends on the notes, so the server goes on.
            tracing::warn!("cannot write the notes for the flight record: {error}");
        }
    }

    /// Notes that the server stops, and writes all notes.
    pub(super) async fn flush(&mut self, shared: &Arc<Shared>) {
        let revision = shared.store.state().revision;
        shared.note(NoteKind::Stopped, revision);
        if self.running.is_some() {
            self.written(shared).await;
        }
        self.write_if_due(shared);
        if self.running.is_some() {
            self.written(shared).await;
        }
    }
}

/// Starts a write on another thread.
fn start(write: NoteWrite) -> JoinHandle<io::Result<()>> {
    let write = Arc::new(Mutex::new(Some(write)));
    let run = move || {
        let write = write.lock().unwrap_or_else(PoisonError::into_inner).take();
        write.map_or(Ok(()), NoteWrite::write)
    };
    // The runtime panics if it cannot start a thread. Then the write runs on a thread that it has.
    let on_new_thread = AssertUnwindSafe(|| tokio::task::spawn_blocking(run.clone()));
    catch_unwind(on_new_thread).unwrap_or_else(|_| tokio::spawn(async move { run() }))
}
