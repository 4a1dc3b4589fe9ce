//! Group commit: applies several requests, writes them as one frame, and syncs it. Only then the new state becomes the
//! current one.

use std::{io, sync::Arc};

use super::{
    clean_mark::{self, CLEAN, CleanMark},
    directory::GENERATIONS,
    disk::{Disk, STAGED_SUFFIX, WriteError},
    generation_files::GenerationWriter,
    log::{LOG, Log, LogHead},
    place::{PLACE, Place},
    recover::{Recovered, recover_within},
    state_files::{self, EVENTS, SNAPSHOT},
    transfer_mark::TransferMark,
};
use crate::{
    Change, Commit, CommitError, EventBounds, Relocation, SealCondition, SealOutcome, State,
    directory_error::DirectoryError,
    encoding::{
        commit_entry::CommitEntry,
        entry::{self, ProvenanceEntry, SealEntry},
        frame,
        header::FORMAT,
        snapshot::Instances,
    },
    payload_ages::UnchangedPayloads,
};
use cfgsync_model::{Digest, Generation, Instance, Revision};

/// The length of a log, in bytes, at which a snapshot is taken. If twice the length of the last snapshot is more, that
/// length counts. This keeps the cost of both low: writing snapshots, and reading the log at startup.
const SNAPSHOT_AFTER_BYTES: u64 = 4 << 20;

/// The maximum length of a frame without its commits, in bytes: its head and two revisions.
const FRAME_OVERHEAD_BYTES: usize = frame::HEAD_BYTES + 20;

/// A request to write something.
pub(super) enum Request {
    Apply(Vec<Change>),
    /// The files of the generation are durable already.
    Seal(Arc<Generation>, SealCondition),
}

/// The successful result of a [`Request`].
#[derive(Debug)]
pub(super) enum Response {
    Applied(Commit),
    Sealed(SealOutcome),
}

/// The result of a [`Request`].
pub(super) type Answer = Result<Response, CommitError>;

/// An open directory: its newest state, and the log that holds it.
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    pub(super) instance: Instance,
    /// The instance in the head of the log.
    log_instance: Instance,
    pub(super) state: Arc<State>,
    log: Log,
    generations: Arc<GenerationWriter>,
    history: usize,
    /// The mark of a clean stop that is on the disk.
    clean_mark: Option<CleanMark>,
    /// Whether every sealed file belongs to a generation of `state`.
    is_tidy: bool,
    /// The length of the log, in bytes, at which a snapshot is taken.
    snapshot_at_bytes: u64,
    /// Whether the last frame could not be written. The log reports only the first failure and the first success after it.
    is_refusing: bool,
}

/// How a directory is created and used.
pub(super) struct Settings {
    /// The head of a new log. An existing log must belong to the same cluster.
    pub(super) head: LogHead,
    /// The number of generations that are kept, from the next seal on.
    pub(super) history: usize,
    /// The operator's statement about a directory that was copied or restored.
    pub(super) relocation: Relocation,
    /// The bounds on the history of events.
    pub(super) event_bounds: EventBounds,
}

/// The result of reading or creating a directory.
struct Opened {
    log: Log,
    head: LogHead,
    instance: Instance,
    state: State,
    snapshot_bytes: u64,
    /// The reason why the state must continue as a new instance.
    new_instance_because: Option<String>,
    /// Whether the record of the place is missing or out of date.
    is_place_unrecorded: bool,
}

impl Journal {
    /// Reads `disk`, or creates a new log on it, and repairs the damage of a crash.
    pub(super) fn open(disk: Arc<dyn Disk>, settings: &Settings) -> Result<Self, DirectoryError> {
        let transfer = TransferMark::read(&*disk)?;
        if let Some(mark) = &transfer {
            let is_accepted = settings.relocation == Relocation::Restored
                && matches!(mark, TransferMark::Moved { .. });
            if !is_accepted {
                return Err(mark.clone().refusal(&*disk));
            }
        }
        let Opened {
            log,
            head,
            instance,
            mut state,
            snapshot_bytes,
            new_instance_because,
            is_place_unrecorded,
        } = match recover_within(&*disk, settings.event_bounds)? {
            None => create(&*disk, &settings.head)?,
            Some(recovered) => reopen(&*disk, recovered, settings)?,
        };
        state.set_event_bounds(settings.event_bounds);
        for name in [LOG, SNAPSHOT, CLEAN, PLACE, EVENTS] {
            // A crash may have left a staged file. Usually there is none.
            let _ = disk.remove(&format!("{name}{STAGED_SUFFIX}"));
        }
        let clean_mark = CleanMark::read(&*disk)?;
        let mut journal = Self {
            generations: Arc::new(GenerationWriter::new(disk.clone())),
            disk,
            instance,
            log_instance: head.instance,
            state: Arc::new(state),
            log,
            history: settings.history,
            clean_mark,
            is_tidy: false,
            snapshot_at_bytes: snapshot_at_bytes(snapshot_bytes),
            is_refusing: false,
        };
        if let Some(reason) = new_instance_because {
            journal
                .begin_instance(settings.head.instance, &reason)
                .map_err(start_failed)?;
        }
        if transfer.is_some() {
            // The new instance is durable, so the directory is no longer the one that was copied.
            TransferMark::remove(&*journal.disk).map_err(start_failed)?;
        }
        journal.is_tidy = journal.generations.tidy(&journal.state);
        // From then on, a sealed file that the log does not name shows that the end of the log is lost. Files of older
        // programs must be gone before.
        if is_place_unrecorded && (journal.is_tidy || head.has_place) {
            let synced = journal.generations.sync_names();
            synced
                .and_then(|()| Place::now(&*journal.disk).write(&*journal.disk))
                .map_err(start_failed)?;
        }
        Ok(journal)
    }

    /// Continues the state as the new `instance`. The snapshot that names the instance makes the change durable. Until
    /// then, the next start finds the directory as it was.
    fn begin_instance(&mut self, instance: Instance, reason: &str) -> Result<(), WriteError> {
        let state = self.state.continued(instance);
        let pending = match state.generation() {
            None => None,
            Some(generation) => Some(self.generations().write(generation)?),
        };
        tracing::warn!("{}: {reason}", self.disk.path("").display());
        tracing::warn!(
            "the state of instance {} continues as the new instance {instance}; the nodes register again",
            self.instance
        );
        (self.instance, self.state) = (instance, Arc::new(state));
        // The sealed files of the old instance are no evidence against the new one.
        self.write_snapshot()?;
        drop(pending);
        Ok(())
    }

    /// Marks a clean stop, so that the next start notices if the end of the log is lost. No change may follow.
    pub(super) fn close(self) {
        let mark = CleanMark::of(self.instance, &self.state);
        if self.clean_mark == Some(mark) {
            return;
        }
        if let Err(error) = mark.write(&*self.disk) {
            tracing::warn!("cannot mark the clean stop: {error}");
        }
    }

    /// Returns the writer for files of generations. They must be durable before their seal is requested.
    pub(super) fn generations(&self) -> Arc<GenerationWriter> {
        self.generations.clone()
    }

    /// Handles `requests`, in order, and writes one frame. Returns once it is synced, or refuses each request. After an
    /// error it is unknown which data is durable. Then no request may be answered, and this journal must not be used again.
    pub(super) fn commit(&mut self, requests: Vec<Request>) -> Result<Vec<Answer>, WriteError> {
        let mut builder = FrameBuilder::new(&self.state, self.log.marker, self.history);
        let answers: Vec<Answer> = requests
            .into_iter()
            .map(|request| builder.add(request))
            .collect();
        let Some((frame, state)) = builder.finish() else {
            return Ok(answers);
        };
        match self.append(&frame) {
            Ok(()) => {
                if std::mem::take(&mut self.is_refusing) {
                    tracing::info!(
                        event = "store_works",
                        "the state directory can be written to again"
                    );
                }
                let before = std::mem::replace(&mut self.state, Arc::new(state));
                self.promote_since(&before);
                Ok(answers)
            }
            Err(error @ WriteError::NotWritten { .. }) => Ok(self.refuse(&error, answers)),
            Err(error @ WriteError::NotSynced { .. }) => Err(error),
        }
    }

    fn append(&mut self, frame: &[u8]) -> Result<(), WriteError> {
        if self.clean_mark.is_some() {
            clean_mark::remove(&*self.disk)?;
            self.clean_mark = None;
        }
        self.log.append(frame)
    }

    /// Gives the files of the generations that were sealed since `before` their final names.
    fn promote_since(&self, before: &State) {
        let is_new = |digest: &Digest| !before.generations.iter().any(|old| old.digest == *digest);
        let digests = self.state.generations.iter().map(|kept| kept.digest);
        for digest in digests.filter(is_new) {
            self.generations.promote(digest);
        }
    }

    /// Does the maintenance after a frame was answered. If `is_sealed`, it removes files of old generations. If the log
    /// is long, it takes a snapshot.
    pub(super) fn maintain(&mut self, is_sealed: bool) -> Result<(), WriteError> {
        // A refused seal that is still in the log may refer to a file that is not part of the state.
        if is_sealed && !self.log.is_torn() {
            self.is_tidy = self.generations.tidy(&self.state);
        }
        if self.log.len_bytes() < self.snapshot_at_bytes {
            return Ok(());
        }
        match self.snapshot() {
            Err(error @ WriteError::NotWritten { .. }) => {
                tracing::warn!("cannot take a snapshot, so the log keeps growing: {error}");
                self.snapshot_at_bytes = self.log.len_bytes() + SNAPSHOT_AFTER_BYTES;
                Ok(())
            }
            result => result,
        }
    }

    /// Takes a snapshot and clears the log, except for an [`empty_frame`]. Before that, it removes the sealed files that
    /// only the log names. Otherwise they would look like those of a lost log.
    pub(super) fn snapshot(&mut self) -> Result<(), WriteError> {
        if !self.is_tidy && !self.log.is_torn() {
            self.is_tidy = self.generations.tidy(&self.state);
        }
        if !self.is_tidy {
            return Err(WriteError::NotWritten {
                path: self.disk.path(GENERATIONS),
                error: io::Error::other("a file of an old generation cannot be removed"),
            });
        }
        self.generations.sync_names()?;
        self.write_snapshot()
    }

    fn write_snapshot(&mut self) -> Result<(), WriteError> {
        let instances = Instances {
            log: self.log_instance,
            state: self.instance,
        };
        let events_bytes = state_files::write_events(&*self.disk, self.instance, &self.state)?;
        let bytes = state_files::write_snapshot(&*self.disk, instances, &self.state, self.history)?;
        self.snapshot_at_bytes = snapshot_at_bytes(bytes + events_bytes);
        self.log.clear()?;
        self.log.append(&empty_frame(&self.state, self.log.marker))
    }

    /// Refuses all requests, except those whose changes were already in effect before the frame.
    fn refuse(&mut self, error: &WriteError, answers: Vec<Answer>) -> Vec<Answer> {
        if !std::mem::replace(&mut self.is_refusing, true) {
            tracing::error!(
                event = "store_failed",
                reason = %error,
                "the server refuses all changes, and still serves sealed files: {error}"
            );
        }
        let newest = self.state.revision;
        let was_in_effect = |answer: &Answer| match answer {
            Ok(Response::Applied(commit)) => !commit.is_changed() && commit.revision <= newest,
            Ok(Response::Sealed(_)) | Err(_) => false,
        };
        let refusal = unavailable(error);
        let refuse = |answer| {
            if was_in_effect(&answer) {
                answer
            } else {
                Err(refusal.clone())
            }
        };
        answers.into_iter().map(refuse).collect()
    }
}

/// Returns the answer to a request that was not written. Clients receive it, so it names no path.
pub(super) fn unavailable(error: &WriteError) -> CommitError {
    let (WriteError::NotWritten { error, .. } | WriteError::NotSynced { error, .. }) = error;
    CommitError::Unavailable(format!(
        "its state directory cannot be written to ({error}); nothing was changed; try again later"
    ))
}

/// A frame under construction. Its body is the revision before its first commit, the revision of its last one, and the
/// commits.
struct FrameBuilder {
    /// The commits, encoded in order.
    commits: Vec<u8>,
    marker: frame::Marker,
    state: State,
    before: Revision,
    history: usize,
}

impl FrameBuilder {
    fn new(state: &State, marker: frame::Marker, history: usize) -> Self {
        Self {
            commits: Vec::new(),
            marker,
            state: state.clone(),
            before: state.revision,
            history,
        }
    }

    fn add(&mut self, request: Request) -> Answer {
        let (before, length) = (self.state.revision, self.commits.len());
        let next = before.next();
        let answer = match request {
            Request::Apply(changes) => {
                entry::write(&mut self.commits, &CommitEntry::of_changes(next, &changes));
                self.state.apply(changes, next).map(Response::Applied)
            }
            Request::Seal(generation, only_if) => {
                let newest = self.state.generation().map(Arc::as_ref);
                let seal = SealEntry::of(&generation, newest, self.history);
                let unchanged = UnchangedPayloads::between(newest, &generation);
                let provenance = ProvenanceEntry::of(&generation.provenance);
                let entry = CommitEntry::of_seal(next, seal, &unchanged, provenance);
                entry::write(&mut self.commits, &entry);
                let (state, history) = (&mut self.state, self.history);
                let sealed = state.seal_with(generation, only_if, &unchanged, history, next);
                sealed.map(Response::Sealed)
            }
        };
        if self.state.revision == before {
            // The request changed nothing, so nothing is written.
            self.commits.truncate(length);
        }
        Ok(answer?)
    }

    /// Returns the frame and the state after it. `None` if nothing changed.
    fn finish(self) -> Option<(Vec<u8>, State)> {
        if self.state.revision == self.before {
            return None;
        }
        Some((self.frame(), self.state))
    }

    fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.commits.len() + FRAME_OVERHEAD_BYTES);
        let start = frame::begin(&mut frame, self.marker);
        entry::write(&mut frame, &(self.before.0, self.state.revision.0));
        frame.extend_from_slice(&self.commits);
        frame::finish(&mut frame, start);
        frame
    }
}

/// Returns a frame without commits. It has the revision of the snapshot before it, so that recovery detects a missing
/// or older snapshot.
pub(super) fn empty_frame(state: &State, marker: frame::Marker) -> Vec<u8> {
    FrameBuilder::new(state, marker, 1).frame()
}

/// Creates an empty log.
fn create(disk: &dyn Disk, head: &LogHead) -> Result<Opened, DirectoryError> {
    Ok(Opened {
        log: Log::create(disk, head, &[]).map_err(start_failed)?,
        head: head.clone(),
        instance: head.instance,
        state: State::default(),
        snapshot_bytes: 0,
        new_instance_because: None,
        is_place_unrecorded: true,
    })
}

/// Opens the log that was read, and repairs the damage of a crash. Fails for a directory of another cluster, and for a
/// copied directory of which the operator has not said how to continue it.
fn reopen(
    disk: &dyn Disk,
    recovered: Recovered,
    settings: &Settings,
) -> Result<Opened, DirectoryError> {
    if recovered.head.cluster != settings.head.cluster {
        return Err(DirectoryError::AnotherCluster {
            directory: disk.path(""),
            found: recovered.head.cluster,
            wanted: settings.head.cluster.clone(),
        });
    }
    let (now, recorded) = (Place::now(disk), Place::recorded(disk)?);
    if settings.relocation == Relocation::Unstated {
        let directory = disk.path("");
        match recorded {
            Some(recorded) if now.differs_from(&recorded) => {
                return Err(DirectoryError::Copied { directory });
            }
            // A crash of the first start leaves no record, but then there is no change either.
            None if recovered.head.has_place && !recovered.is_unused() => {
                return Err(DirectoryError::NoPlace { directory });
            }
            _ => {}
        }
    }
    let restored = (settings.relocation == Relocation::Restored)
        .then(|| "the directory was restored".to_owned());
    let lost = recovered.lost_tail.as_ref().map(ToString::to_string);
    let new_instance_because = lost.or(restored);
    let (log, snapshot_bytes) = if recovered.format == FORMAT {
        let snapshot_bytes = recovered.snapshot.map_or(0, |(_, bytes)| bytes);
        (open_log(disk, &recovered)?, snapshot_bytes)
    } else {
        upgrade(disk, &recovered, settings.history).map_err(start_failed)?
    };
    Ok(Opened {
        log,
        head: recovered.head,
        instance: recovered.instance,
        state: recovered.state,
        snapshot_bytes,
        new_instance_because,
        is_place_unrecorded: recorded.is_none_or(|recorded| now != recorded && now.is_known()),
    })
}

/// Upgrades a directory of an older format: writes a snapshot of everything, and then replaces the log by an empty one.
/// After a crash between the two steps, the snapshot has all changes of the old log, and the next start upgrades again.
/// Returns the log and the length of the snapshot in bytes.
fn upgrade(
    disk: &dyn Disk,
    recovered: &Recovered,
    history: usize,
) -> Result<(Log, u64), WriteError> {
    let Recovered { head, state, .. } = recovered;
    let instances = Instances {
        log: head.instance,
        state: recovered.instance,
    };
    let snapshot_bytes = state_files::write_snapshot(disk, instances, state, history)?;
    let log = Log::create(disk, head, &empty_frame(state, head.marker))?;
    tracing::info!(
        "{}: upgraded the state from format {} to format {FORMAT}",
        disk.path("").display(),
        recovered.format
    );
    Ok((log, snapshot_bytes))
}

fn open_log(disk: &dyn Disk, recovered: &Recovered) -> Result<Log, DirectoryError> {
    let extent = &recovered.log;
    let marker = recovered.head.marker;
    let log = Log::open(disk, marker, extent.start, extent.end, extent.file_length);
    let mut log = log.map_err(start_failed)?;
    if extent.is_torn {
        tracing::warn!(
            "{}: removing an incomplete frame at byte {}: if a crash interrupted the write, its changes were not \
             acknowledged; if the file was damaged, acknowledged changes may be lost",
            disk.path(LOG).display(),
            extent.end
        );
    }
    log.make_durable(&recovered.last_frame)
        .map_err(start_failed)?;
    Ok(log)
}

pub(super) fn start_failed(error: WriteError) -> DirectoryError {
    let (WriteError::NotWritten { path, error } | WriteError::NotSynced { path, error }) = error;
    DirectoryError::Io {
        action: "write",
        path,
        error,
    }
}

fn snapshot_at_bytes(snapshot_bytes: u64) -> u64 {
    SNAPSHOT_AFTER_BYTES.max(2 * snapshot_bytes)
}
