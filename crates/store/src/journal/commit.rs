//! One batch: judged by the rules of every store, written as one frame, synced, and only then the state.

use std::sync::Arc;

use super::{
    artifacts::Shelf,
    disk::{Disk, STAGED, Trouble},
    entry::{self, Entry, SealEntry},
    error::JournalError,
    frame,
    log::{LOG, Log, LogHead},
    recover::{Recovered, recover},
    snapshot::{self, SNAPSHOT},
};
use crate::{Input, Outcome, Record, Seal, State, Unavailable};
use cfgsync_model::{Generation, Instance, Revision};

/// A log is cut once it has so many bytes, or twice those of the last snapshot: to write snapshots stays cheap
/// beside writing the log, and to read both stays quick.
const SNAPSHOT_AFTER_BYTES: u64 = 4 << 20;

/// Something to be written.
pub(super) enum Change {
    Input(Input),
    Records(Vec<Record>),
    /// Its files are durable already.
    Seal(Arc<Generation>),
}

/// What became of a [`Change`].
#[derive(Debug)]
pub(super) enum Done {
    Input(Outcome),
    Records(Revision),
    Seal(Seal),
}

/// The answer to a [`Change`].
pub(super) type Answer = Result<Done, Unavailable>;

/// A directory at work: its newest state, and the log that holds it.
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    pub(super) instance: Instance,
    pub(super) state: Arc<State>,
    log: Log,
    shelf: Arc<Shelf>,
    history: usize,
    /// The log's length at which it is cut.
    snapshot_at_bytes: u64,
    /// Whether the last batch was refused: said once, and once when it is over.
    is_refusing: bool,
}

/// How a directory is made and kept.
pub(super) struct Settings {
    /// What a new log begins with, and whose state an old one must be.
    pub(super) head: LogHead,
    /// How many generations are kept, from the next seal on.
    pub(super) history: usize,
}

impl Journal {
    /// Reads `disk`, or makes it new, and mends what a crash left.
    pub(super) fn open(disk: Arc<dyn Disk>, settings: &Settings) -> Result<Self, JournalError> {
        let Settings { head, history } = settings;
        let (log, head, state, snapshot_bytes) = match recover(&*disk)? {
            None => {
                let log = Log::create(&*disk, head).map_err(not_written)?;
                (log, head.clone(), State::default(), 0)
            }
            Some(recovered) => {
                if recovered.head.cluster != head.cluster {
                    return Err(JournalError::AnotherCluster {
                        directory: disk.path(""),
                        found: recovered.head.cluster,
                        wanted: head.cluster.clone(),
                    });
                }
                let log = reopen(&*disk, &recovered)?;
                let snapshot_bytes = recovered.snapshot.map_or(0, |(_, bytes)| bytes);
                (log, recovered.head, recovered.state, snapshot_bytes)
            }
        };
        for name in [LOG, SNAPSHOT] {
            // What a crash left half; most often there is none.
            let _ = disk.remove(&format!("{name}{STAGED}"));
        }
        let shelf = Arc::new(Shelf::new(disk.clone()));
        shelf.tidy(&state);
        Ok(Self {
            disk,
            instance: head.instance,
            state: Arc::new(state),
            log,
            shelf,
            history: *history,
            snapshot_at_bytes: snapshot_at(snapshot_bytes),
            is_refusing: false,
        })
    }

    /// Where files of generations are put before they are sealed.
    pub(super) fn shelf(&self) -> Arc<Shelf> {
        self.shelf.clone()
    }

    /// Applies `changes`, in order, as one frame. Answers once it is synced, or says of each change that it is not
    /// taken. After a fatal error nobody knows what was: nothing may be answered, and this must not be used again.
    pub(super) fn commit(&mut self, changes: Vec<Change>) -> Result<Vec<Answer>, Trouble> {
        let mut batch = Batch::new(&self.state, self.log.marker, self.history);
        let done: Vec<Done> = changes
            .into_iter()
            .map(|change| batch.add(change))
            .collect();
        let Some((frame, state)) = batch.finish() else {
            return Ok(done.into_iter().map(Ok).collect());
        };
        match self.log.append(&frame) {
            Ok(()) => {
                if std::mem::take(&mut self.is_refusing) {
                    tracing::info!("the state directory can be written to again");
                }
                self.state = Arc::new(state);
                Ok(done.into_iter().map(Ok).collect())
            }
            Err(refused @ Trouble::Refused { .. }) => Ok(self.refuse(&refused, done)),
            Err(fatal) => Err(fatal),
        }
    }

    /// Does what is due after a batch that was answered: a snapshot, and to take away what `tidy` says nobody needs.
    pub(super) fn keep_house(&mut self, tidy: bool) -> Result<(), Trouble> {
        if tidy {
            self.shelf.tidy(&self.state);
        }
        if self.log.len_bytes() < self.snapshot_at_bytes {
            return Ok(());
        }
        match self.snapshot() {
            Err(refused @ Trouble::Refused { .. }) => {
                tracing::warn!("no snapshot, and the log grows on: {refused}");
                self.snapshot_at_bytes = self.log.len_bytes() + SNAPSHOT_AFTER_BYTES;
                Ok(())
            }
            ended => ended,
        }
    }

    /// Writes a snapshot and empties the log, but for a batch without changes: it says which revision the snapshot
    /// has at least, so that one which is missing, or older, is noticed.
    pub(super) fn snapshot(&mut self) -> Result<(), Trouble> {
        let bytes = snapshot::write(&*self.disk, self.instance, &self.state, self.history)?;
        self.snapshot_at_bytes = snapshot_at(bytes);
        self.log.empty()?;
        let empty = Batch::new(&self.state, self.log.marker, self.history);
        self.log.append(&empty.into_frame())
    }

    /// What is so already is said also now; everything else is not taken.
    fn refuse(&mut self, why: &Trouble, done: Vec<Done>) -> Vec<Answer> {
        if !std::mem::replace(&mut self.is_refusing, true) {
            tracing::error!("changes are refused, what is sealed stays served: {why}");
        }
        let newest = self.state.revision;
        let was_so = |done: &Done| matches!(done, Done::Input(Outcome::Unchanged(since)) if *since <= newest);
        let reason = unavailable(why);
        let answer = |done| match was_so(&done) {
            true => Ok(done),
            false => Err(reason.clone()),
        };
        done.into_iter().map(answer).collect()
    }
}

/// What is told of `trouble` to whoever asked for a change: no paths.
pub(super) fn unavailable(trouble: &Trouble) -> Unavailable {
    let (Trouble::Refused { error, .. } | Trouble::Fatal { error, .. }) = trouble;
    Unavailable(format!(
        "its state directory cannot be written to ({error}); nothing was changed, try again later"
    ))
}

/// A frame that grows.
struct Batch {
    frame: Vec<u8>,
    start: usize,
    state: State,
    before: Revision,
    history: usize,
}

impl Batch {
    fn new(state: &State, marker: frame::Marker, history: usize) -> Self {
        let mut frame = Vec::new();
        let start = frame::begin(&mut frame, marker);
        entry::write(&mut frame, &state.revision.0);
        Self {
            frame,
            start,
            state: state.clone(),
            before: state.revision,
            history,
        }
    }

    fn add(&mut self, change: Change) -> Done {
        let (before, length) = (self.state.revision, self.frame.len());
        let done = match change {
            Change::Input(input) => {
                entry::write(&mut self.frame, &Entry::of_input(&input));
                Done::Input(self.state.apply(input))
            }
            Change::Records(records) => {
                entry::write(&mut self.frame, &Entry::of_records(&records));
                self.state.note(records);
                Done::Records(self.state.revision)
            }
            Change::Seal(generation) => {
                let newest = self.state.generation().map(Arc::as_ref);
                let seal = SealEntry::of(&generation, newest, self.history);
                entry::write(&mut self.frame, &Entry::Seal(seal));
                Done::Seal(self.state.seal(generation, self.history))
            }
        };
        if self.state.revision == before {
            // It changed nothing, so there is nothing to write.
            self.frame.truncate(length);
        }
        done
    }

    /// The frame and the state after it, if anything changed.
    fn finish(mut self) -> Option<(Vec<u8>, State)> {
        if self.state.revision == self.before {
            return None;
        }
        frame::finish(&mut self.frame, self.start);
        Some((self.frame, self.state))
    }

    /// The frame, whether anything changed or not.
    fn into_frame(mut self) -> Vec<u8> {
        frame::finish(&mut self.frame, self.start);
        self.frame
    }
}

fn reopen(disk: &dyn Disk, recovered: &Recovered) -> Result<Log, JournalError> {
    let facts = &recovered.log;
    let marker = recovered.head.marker;
    let mut log =
        Log::open(disk, marker, facts.start, facts.end, facts.length).map_err(not_written)?;
    if facts.is_torn {
        tracing::warn!(
            "{} ends in an unfinished batch at byte {}, which is cut: the last server ended while it wrote, and had \
             not acknowledged what is in it",
            disk.path(LOG).display(),
            facts.end
        );
    }
    log.make_sure(&recovered.last_frame).map_err(not_written)?;
    Ok(log)
}

fn not_written(trouble: Trouble) -> JournalError {
    let (Trouble::Refused { path, error } | Trouble::Fatal { path, error }) = trouble;
    JournalError::Io {
        action: "write",
        path,
        error,
    }
}

fn snapshot_at(snapshot_bytes: u64) -> u64 {
    SNAPSHOT_AFTER_BYTES.max(2 * snapshot_bytes)
}
