//! One batch: judged by the rules of every store, written as one frame, synced, and only then the state.

use std::sync::Arc;

use super::{
    artifacts::Shelf,
    disk::{Disk, STAGED, Trouble},
    entry::{self, CommitEntry, SealEntry},
    error::JournalError,
    frame,
    log::{LOG, Log, LogHead},
    recover::{Recovered, recover},
    snapshot::{self, SNAPSHOT},
};
use crate::{Change, Commit, CommitError, SealOutcome, State};
use cfgsync_model::{Generation, Instance, Revision};

/// A log is cut once it has so many bytes, or twice those of the last snapshot: to write snapshots stays cheap
/// beside writing the log, and to read both stays quick.
const SNAPSHOT_AFTER_BYTES: u64 = 4 << 20;

/// What a frame has beside its commits, in bytes at most: its head and two revisions.
const FRAME_EXTRA_BYTES: usize = frame::HEAD_BYTES + 20;

/// A request to write something.
pub(super) enum Request {
    Apply(Vec<Change>),
    /// The files of the generation are durable already.
    Seal(Arc<Generation>),
}

/// The successful result of a [`Request`].
#[derive(Debug)]
pub(super) enum Response {
    Applied(Commit),
    Sealed(SealOutcome),
}

/// The result of a [`Request`].
pub(super) type Answer = Result<Response, CommitError>;

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
                let log = Log::create(&*disk, head, &[]).map_err(not_written)?;
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
                let (log, snapshot_bytes) = match recovered.version {
                    frame::VERSION => {
                        let snapshot_bytes = recovered.snapshot.map_or(0, |(_, bytes)| bytes);
                        (reopen(&*disk, &recovered)?, snapshot_bytes)
                    }
                    _ => upgrade(&*disk, &recovered, *history).map_err(not_written)?,
                };
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

    /// Handles `requests`, in order, and writes one frame. Answers once it is synced, or refuses each request. After a
    /// fatal error nobody knows what was written: no request may be answered, and this must not be used again.
    pub(super) fn commit(&mut self, requests: Vec<Request>) -> Result<Vec<Answer>, Trouble> {
        let mut batch = Batch::new(&self.state, self.log.marker, self.history);
        let answers: Vec<Answer> = requests
            .into_iter()
            .map(|request| batch.add(request))
            .collect();
        let Some((frame, state)) = batch.finish() else {
            return Ok(answers);
        };
        match self.log.append(&frame) {
            Ok(()) => {
                if std::mem::take(&mut self.is_refusing) {
                    tracing::info!("the state directory can be written to again");
                }
                self.state = Arc::new(state);
                Ok(answers)
            }
            Err(refused @ Trouble::Refused { .. }) => Ok(self.refuse(&refused, answers)),
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

    /// Writes a snapshot and empties the log, except for an [`empty_frame`].
    pub(super) fn snapshot(&mut self) -> Result<(), Trouble> {
        let bytes = snapshot::write(&*self.disk, self.instance, &self.state, self.history)?;
        self.snapshot_at_bytes = snapshot_at(bytes);
        self.log.empty()?;
        self.log.append(&empty_frame(&self.state, self.log.marker))
    }

    /// Refuses all requests, except those whose changes were in effect before the frame.
    fn refuse(&mut self, why: &Trouble, answers: Vec<Answer>) -> Vec<Answer> {
        if !std::mem::replace(&mut self.is_refusing, true) {
            tracing::error!("changes are refused, what is sealed stays served: {why}");
        }
        let newest = self.state.revision;
        let was_in_effect = |answer: &Answer| match answer {
            Ok(Response::Applied(commit)) => !commit.is_changed() && commit.revision <= newest,
            Ok(Response::Sealed(_)) | Err(_) => false,
        };
        let refusal = unavailable(why);
        let refuse = |answer| match was_in_effect(&answer) {
            true => answer,
            false => Err(refusal.clone()),
        };
        answers.into_iter().map(refuse).collect()
    }
}

/// The error for clients: it names no paths.
pub(super) fn unavailable(trouble: &Trouble) -> CommitError {
    let (Trouble::Refused { error, .. } | Trouble::Fatal { error, .. }) = trouble;
    CommitError::Unavailable(format!(
        "its state directory cannot be written to ({error}); nothing was changed, try again later"
    ))
}

/// A frame under construction: the revisions that it begins after and ends with, then its commits.
struct Batch {
    /// The commits.
    entries: Vec<u8>,
    marker: frame::Marker,
    state: State,
    before: Revision,
    history: usize,
}

impl Batch {
    fn new(state: &State, marker: frame::Marker, history: usize) -> Self {
        Self {
            entries: Vec::new(),
            marker,
            state: state.clone(),
            before: state.revision,
            history,
        }
    }

    fn add(&mut self, request: Request) -> Answer {
        let (before, length) = (self.state.revision, self.entries.len());
        let next = before.next();
        let answer = match request {
            Request::Apply(changes) => {
                entry::write(&mut self.entries, &CommitEntry::of_changes(next, &changes));
                self.state.apply(changes, next).map(Response::Applied)
            }
            Request::Seal(generation) => {
                let newest = self.state.generation().map(Arc::as_ref);
                let seal = SealEntry::of(&generation, newest, self.history);
                entry::write(&mut self.entries, &CommitEntry::of_seal(next, seal));
                let sealed = self.state.seal(generation, self.history, next);
                sealed.map(Response::Sealed)
            }
        };
        if self.state.revision == before {
            // It changed nothing, so there is nothing to write.
            self.entries.truncate(length);
        }
        Ok(answer?)
    }

    /// The frame and the state after it, if anything changed.
    fn finish(self) -> Option<(Vec<u8>, State)> {
        match self.state.revision == self.before {
            true => None,
            false => Some((self.frame(), self.state)),
        }
    }

    fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.entries.len() + FRAME_EXTRA_BYTES);
        let start = frame::begin(&mut frame, self.marker);
        entry::write(&mut frame, &(self.before.0, self.state.revision.0));
        frame.extend_from_slice(&self.entries);
        frame::finish(&mut frame, start);
        frame
    }
}

/// A frame without changes: it states which revision the snapshot before it has at least, so that a snapshot that is
/// missing or older is noticed.
fn empty_frame(state: &State, marker: frame::Marker) -> Vec<u8> {
    Batch::new(state, marker, 1).frame()
}

/// Continues a directory of an older format in the current one: a snapshot of everything first, then a log without
/// changes in place of the old log. A crash between the two leaves the old log beside the new snapshot, which holds all
/// that the log says; the next start then upgrades again. Answers with the length of the snapshot in bytes, too.
fn upgrade(disk: &dyn Disk, recovered: &Recovered, history: usize) -> Result<(Log, u64), Trouble> {
    let Recovered { head, state, .. } = recovered;
    let bytes = snapshot::write(disk, head.instance, state, history)?;
    let log = Log::create(disk, head, &empty_frame(state, head.marker))?;
    tracing::info!(
        "the state directory had format {} and has format {} now",
        recovered.version,
        frame::VERSION
    );
    Ok((log, bytes))
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
