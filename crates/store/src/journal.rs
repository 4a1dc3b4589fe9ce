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

use super::{BoxFuture, Input, Outcome, Record, Seal, State, StateGuard, Store, Unavailable};
use artifacts::{Shelf, Ticket};
use cfgsync_model::{Generation, Instance, Revision};
use commit::{Change, Done, Journal, Settings, unavailable};
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

    /// Waits until the journal cannot go on, which is never if all is well; answers why. Whatever was acknowledged
    /// is kept; the server must end, because nobody knows what became of the rest.
    pub async fn broken(&self) -> String {
        let mut broken = self.published.broken.subscribe();
        let reason = broken.wait_for(Option::is_some).await;
        let reason = reason.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Gives `change` to the writer; answers once it is durable.
    async fn submit(&self, change: Change) -> Result<Done, Unavailable> {
        let ended =
            || Unavailable("the server is ending: its state could not be written".to_owned());
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().expect("taken out when it is dropped");
        let job = Job { change, answer };
        jobs.send(job).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    /// Makes the files of `generation` durable, off the async threads: nobody else waits for it.
    async fn store_files(&self, generation: Arc<Generation>) -> Result<Ticket, Unavailable> {
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
            Err(panic) => Err(Unavailable(format!(
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
        self.published.state.load()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.published.changed.subscribe()
    }

    fn put(&self, input: Input) -> BoxFuture<'_, Result<Outcome, Unavailable>> {
        Box::pin(async move {
            match self.submit(Change::Input(input)).await? {
                Done::Input(outcome) => Ok(outcome),
                _ => unreachable!("an input is answered as one"),
            }
        })
    }

    fn record(&self, records: Vec<Record>) -> BoxFuture<'_, Result<Revision, Unavailable>> {
        Box::pin(async move {
            match self.submit(Change::Records(records)).await? {
                Done::Records(revision) => Ok(revision),
                _ => unreachable!("records are answered as such"),
            }
        })
    }

    fn seal(&self, generation: Arc<Generation>) -> BoxFuture<'_, Seal> {
        Box::pin(async move {
            let state = self.state();
            let newest = state.generation().map(|newest| newest.number);
            if generation.number != newest.unwrap_or_default().next() {
                // Its files are nowhere, so it must not win, whatever is sealed meanwhile.
                return State::clone(&state).seal(generation, 1);
            }
            let ticket = match self.store_files(generation.clone()).await {
                Ok(ticket) => ticket,
                Err(unavailable) => return Seal::Unavailable(unavailable),
            };
            let sealed = self.submit(Change::Seal(generation)).await;
            drop(ticket);
            match sealed {
                Ok(Done::Seal(seal)) => seal,
                Ok(_) => unreachable!("a seal is answered as one"),
                Err(unavailable) => Seal::Unavailable(unavailable),
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
