//! A store that keeps what was acknowledged in a directory, whatever ends the server.
//!
//! An append-only log of batches, cut after snapshots, and a file for each sealed generation. What changes mean is
//! [`State`]'s: the log holds the changes that it accepted, and is read back through it.

mod error;
mod disk;
mod directory;
mod frame;
mod entry;
mod log;
mod snapshot;
mod artifacts;
mod recover;
mod look;
mod commit;
mod writer;
#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod simulated_tests;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, thread::JoinHandle};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

pub use error::JournalError;
pub use look::JournalContents;

use crate::{BoxFuture, Change, Commit, CommitError, SealOutcome, State, StateGuard, Store};
use artifacts::{Shelf, Ticket};
use cfgsync_model::{Generation, Instance, Revision};
use commit::{Answer, Journal, Request, Response, Settings, unavailable};
use directory::Directory;
use disk::{Disk, Trouble};
use log::LogHead;
use writer::{Job, Published};

/// Where a journal is, and what it is for.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// The state directory; made if need be.
    pub directory: PathBuf,
    /// The cluster's name: a directory holds the state of one cluster.
    pub cluster: String,
    /// How many generations are kept (at least one), from the next seal on.
    pub history: usize,
}

/// Keeps everything in a directory. Dropping it waits until all that was taken is written.
pub struct JournalStore {
    instance: Instance,
    published: Arc<Published>,
    shelf: Arc<Shelf>,
    /// Taken out when it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl JournalStore {
    /// Opens a state directory, or makes a new one, and holds it.
    ///
    /// # Errors
    /// See [`JournalError`]. Nothing is changed in a directory that is refused, but its permissions.
    pub fn open(config: &JournalConfig) -> Result<Self, JournalError> {
        let disk = Arc::new(Directory::hold(&config.directory)?);
        Self::on(disk, config)
    }

    fn on(disk: Arc<dyn Disk>, config: &JournalConfig) -> Result<Self, JournalError> {
        let failed = |action, error| JournalError::Io {
            action,
            path: config.directory.clone(),
            error,
        };
        let settings = Settings {
            head: new_head(&config.cluster)
                .map_err(|error| failed("draw random numbers for", error))?,
            history: config.history,
        };
        let journal = Journal::open(disk, &settings)?;
        let (instance, shelf) = (journal.instance, journal.shelf());
        let published = Arc::new(Published {
            changed: watch::Sender::new(journal.state.revision),
            state: ArcSwap::new(journal.state.clone()),
            broken: watch::Sender::new(None),
        });
        let (jobs, thread) = writer::start(journal, published.clone())
            .map_err(|error| failed("start a thread for", error))?;
        Ok(Self {
            instance,
            published,
            shelf,
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Gives `request` to the writer; answers once it is durable.
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

    /// Makes the files of `generation` durable on a blocking thread, so that no other request waits for it.
    async fn store_files(&self, generation: Arc<Generation>) -> Result<Ticket, CommitError> {
        let files = self.shelf.clone();
        let put = tokio::task::spawn_blocking(move || files.put(&generation));
        match put.await {
            Ok(Ok(ticket)) => Ok(ticket),
            Ok(Err(refused @ Trouble::Refused { .. })) => Err(unavailable(&refused)),
            Ok(Err(fatal @ Trouble::Fatal { .. })) => {
                let reason = fatal.to_string();
                self.published.broken.send_replace(Some(reason));
                Err(unavailable(&fatal))
            }
            Err(panic) => Err(CommitError::Unavailable(format!(
                "it cannot store a generation: {panic}"
            ))),
        }
    }
}

impl Store for JournalStore {
    fn instance(&self) -> Instance {
        self.instance
    }

    fn state(&self) -> StateGuard {
        self.published.state.load().into()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.published.changed.subscribe()
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>> {
        Box::pin(async move {
            match self.submit(Request::Apply(changes)).await? {
                Response::Applied(commit) => Ok(commit),
                Response::Sealed(_) => unreachable!("a batch is not answered as a seal"),
            }
        })
    }

    fn seal(&self, generation: Arc<Generation>) -> BoxFuture<'_, Result<SealOutcome, CommitError>> {
        Box::pin(async move {
            let state = self.state();
            let newest = state.generation().map(|newest| newest.number);
            if generation.number != newest.unwrap_or_default().next() {
                // Its files are not stored, so it must not win, even if a seal in between makes its number the next.
                let mut state = State::clone(&state);
                let next = state.revision.next();
                return Ok(state.seal(generation, 1, next)?);
            }
            drop(state);
            let ticket = self.store_files(generation.clone()).await?;
            let sealed = self.submit(Request::Seal(generation)).await;
            drop(ticket);
            match sealed? {
                Response::Sealed(outcome) => Ok(outcome),
                Response::Applied(_) => unreachable!("a seal is not answered as a batch"),
            }
        })
    }

    /// Resolves when the journal could not be synced, or its thread has ended.
    fn failed(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            let mut broken = self.published.broken.subscribe();
            let reason = broken.wait_for(Option::is_some).await;
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
            // What it died of was said.
            let _ = thread.join();
        }
    }
}

fn new_head(cluster: &str) -> std::io::Result<LogHead> {
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    let (instance, marker) = random.split_at(16);
    Ok(LogHead {
        instance: Instance::from_bytes(instance.try_into().expect("sixteen bytes")),
        marker: marker.try_into().expect("eight bytes"),
        cluster: cluster.to_owned(),
    })
}
