//! A store in a directory: acknowledged changes survive a crash of the server or of the machine.
//!
//! The directory has an append-only log of changes, a snapshot that replaces the older part of the log, and one file for
//! each sealed generation. A request takes this path: [`JournalStore`] → [`writer`] (queue, thread) → [`commit`] (apply,
//! encode, sync) → [`log`]. At startup, [`recover`] reads the snapshot and the log, and replays the changes through
//! [`State`], which defines their effects.
//!
//! Invariants:
//! - A change is synced before it is visible and before it is acknowledged.
//! - The files of a generation are synced before its seal is written.
//! - A torn last frame comes from a crash and is removed. With any other damage, the store does not open.
//! - If the end of the log is lost, as far as the directory shows, the state continues as a new instance.
//! - Files are replaced atomically.
//! - Older formats are read. With a newer format, the store does not open.

mod error;
mod disk;
mod directory;
mod frame;
mod scalar_entry;
mod value_entry;
mod entry;
mod phase_entry;
mod run_entry;
mod condition_entry;
mod commit_entry;
mod header;
mod entry_v1;
mod log;
mod snapshot;
mod event_entry;
mod event_file;
mod generation_files;
pub mod shared_log;
mod clean_mark;
mod mark_file;
mod place;
mod lost_tail;
mod recover;
mod contents;
mod new_instance;
mod commit;
mod writer;
#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod simulated_disk;
#[cfg(test)]
mod simulated_tests;
#[cfg(test)]
mod lost_tail_tests;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, thread::JoinHandle};

use tokio::sync::{mpsc, oneshot, watch};

pub use contents::DirectoryContents;

use crate::{
    BoxFuture, Change, Commit, CommitError, EventBounds, PublishedState, RenderMark, SealCondition,
    SealOutcome, State, StateGuard, Store, StoreError,
};
use cfgsync_model::{Generation, Instance, Revision};
use commit::{Answer, Journal, Request, Response, Settings, unavailable};
use directory::Directory;
use disk::{Disk, WriteError};
use error::DirectoryError;
use generation_files::{GenerationWriter, PendingSeal};
use log::LogHead;
use mark_file::MarkFile;
use writer::{Job, Published};

/// The file that exists while the server renders.
const CRASH_MARK: &str = "rendering";

/// The file with the notes of servers.
const NOTES: &str = "notes";

/// The directory of a store, and how the store uses it.
#[derive(Debug, Clone)]
pub struct DirectoryConfig {
    /// The state directory. It is created if it does not exist.
    pub directory: PathBuf,
    /// The name of the cluster. A directory holds the state of one cluster.
    pub cluster: String,
    /// The number of generations that are kept, at least one. A new value takes effect at the next seal.
    pub history: usize,
    /// The operator's statement about a directory that was copied or restored.
    pub relocation: Relocation,
    /// The bounds on the history of events. After a restart it has the events of the log.
    pub event_bounds: EventBounds,
}

/// The operator's statement about a directory that was copied or restored from a backup. A store cannot know whether
/// another server has continued the original, and has given nodes what the copy does not know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Relocation {
    /// Nothing. A directory that is noticed to be a copy does not open.
    #[default]
    Unstated,
    /// The directory was moved: no server has used the original since.
    Moved,
    /// The directory is a backup, or a server may have used the original since. The state continues as a new instance.
    Restored,
}

impl DirectoryConfig {
    /// Opens the state directory, or creates it, and locks it against other servers. Dropping the store waits until all
    /// requests are written.
    ///
    /// # Errors
    /// [`StoreErrorKind`](crate::StoreErrorKind) lists the reasons. After an error the directory is unchanged, except for
    /// its mode.
    pub fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(JournalStore::open(self)?))
    }
}

/// A store in a directory. Dropping it waits until all requests are written.
pub(crate) struct JournalStore {
    instance: Instance,
    mark_file: MarkFile,
    notes_file: PathBuf,
    published: Arc<Published>,
    generations: Arc<GenerationWriter>,
    /// `None` only while the store is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl JournalStore {
    fn open(config: &DirectoryConfig) -> Result<Self, DirectoryError> {
        let disk = Arc::new(Directory::open_locked(&config.directory)?);
        Self::open_on(disk, config)
    }

    fn open_on(disk: Arc<dyn Disk>, config: &DirectoryConfig) -> Result<Self, DirectoryError> {
        let failed = |action, error| DirectoryError::Io {
            action,
            path: config.directory.clone(),
            error,
        };
        let settings = Settings {
            head: new_head(&config.cluster)
                .map_err(|error| failed("draw random numbers for", error))?,
            history: config.history,
            relocation: config.relocation,
            event_bounds: config.event_bounds,
        };
        let mark_file = MarkFile::open(disk.path(CRASH_MARK));
        let notes_file = disk.path(NOTES);
        let journal = Journal::open(disk, &settings)?;
        let (instance, generations) = (journal.instance, journal.generations());
        let published = Arc::new(Published {
            state: PublishedState::new(journal.state.clone()),
            failure: watch::Sender::new(None),
        });
        let (jobs, thread) = writer::start(journal, published.clone())
            .map_err(|error| failed("start a thread for", error))?;
        Ok(Self {
            instance,
            mark_file,
            notes_file,
            published,
            generations,
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Sends `request` to the writer. Returns once the request is durable.
    async fn submit(&self, request: Request) -> Answer {
        const ENDED: &str = "the server is ending because its state could not be written";
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().expect("taken out when it is dropped");
        let job = Job { request, answer };
        let sent = jobs.send(job).await;
        sent.map_err(|_| CommitError::Unavailable(ENDED.to_owned()))?;
        let answered = answered.await;
        answered.map_err(|_| CommitError::Unknown(ENDED.to_owned()))?
    }

    /// Makes the files of `generation` durable. It runs on a blocking thread, so that no other request waits.
    async fn write_files(&self, generation: Arc<Generation>) -> Result<PendingSeal, CommitError> {
        let generations = self.generations.clone();
        let written = tokio::task::spawn_blocking(move || generations.write(&generation));
        match written.await {
            Ok(Ok(pending)) => Ok(pending),
            Ok(Err(error @ WriteError::NotWritten { .. })) => Err(unavailable(&error)),
            Ok(Err(error @ WriteError::NotSynced { .. })) => {
                let reason = error.to_string();
                self.published.failure.send_replace(Some(reason));
                Err(unavailable(&error))
            }
            Err(panic) => Err(CommitError::Unavailable(format!(
                "writing the files of a generation failed: {panic}"
            ))),
        }
    }
}

impl Store for JournalStore {
    fn instance(&self) -> Instance {
        self.instance
    }

    fn state(&self) -> StateGuard {
        self.published.state.state()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.published.state.follow()
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>> {
        Box::pin(async move {
            match self.submit(Request::Apply(changes)).await? {
                Response::Applied(commit) => Ok(commit),
                Response::Sealed(_) => unreachable!("a batch is not answered as a seal"),
            }
        })
    }

    fn seal_if(
        &self,
        generation: Arc<Generation>,
        only_if: SealCondition,
    ) -> BoxFuture<'_, Result<SealOutcome, CommitError>> {
        Box::pin(async move {
            let state = self.state();
            let newest = state.generation().map(|newest| newest.number);
            if generation.number != newest.unwrap_or_default().next() {
                // The files of this generation are not stored, so it must not win, even if its number follows a concurrent seal.
                let mut state = State::clone(&state);
                let next = state.revision.next();
                return Ok(state.seal_if(generation, only_if, 1, next)?);
            }
            drop(state);
            let pending = self.write_files(generation.clone()).await?;
            let sealed = self.submit(Request::Seal(generation, only_if)).await;
            drop(pending);
            match sealed? {
                Response::Sealed(outcome) => Ok(outcome),
                Response::Applied(_) => unreachable!("a seal is not answered as a batch"),
            }
        })
    }

    fn crashed_renders(&self) -> Vec<RenderMark> {
        self.mark_file.left().into_iter().collect()
    }

    fn set_render_mark(&self, mark: RenderMark) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(self.mark_file.set(&mark)))
    }

    fn clear_render_mark(&self) {
        self.mark_file.clear();
    }

    fn notes_file(&self) -> Option<PathBuf> {
        Some(self.notes_file.clone())
    }

    /// Resolves when the journal could not be synced, or its thread has ended.
    fn failed(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            let mut failure = self.published.failure.subscribe();
            let reason = failure.wait_for(Option::is_some).await;
            match reason.ok().and_then(|reason| reason.clone()) {
                Some(reason) => reason,
                None => std::future::pending().await,
            }
        })
    }
}

impl Drop for JournalStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // If the thread panicked, `failed` has already reported it.
            let _ = thread.join();
        }
    }
}

/// Returns the head of a new log, with a random instance and marker.
fn new_head(cluster: &str) -> std::io::Result<LogHead> {
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    let (instance, marker) = random.split_at(16);
    Ok(LogHead {
        instance: Instance::from_bytes(instance.try_into().expect("sixteen bytes")),
        marker: marker.try_into().expect("eight bytes"),
        cluster: cluster.to_owned(),
        has_place: true,
    })
}
