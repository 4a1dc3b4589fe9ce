//! Recovery: reads the state that a directory holds. It only reads. The caller repairs the damage of a crash.

use std::{collections::HashSet, sync::Arc};

use super::{
    directory::GENERATIONS,
    disk::Disk,
    entry_v1::EntryV1,
    generation_files,
    log::{LOG, LogHead},
    lost_tail::{Evidence, LogContents, LostTail},
    state_files::{self, SNAPSHOT},
};
use crate::{EventBounds, State};
use crate::{
    directory_error::DirectoryError,
    encoding::{
        commit_entry::CommitEntry,
        entry,
        error::DecodeError,
        frame::{self, FrameRead, Marker},
        snapshot,
    },
};
use cfgsync_model::{Digest, Generation, Instance, Revision};
use cfgsync_support::parallel;

/// The content of a state directory.
pub(super) struct Recovered {
    pub(super) head: LogHead,
    /// The instance of the state. It differs from that of the log if a later instance continues the log.
    pub(super) instance: Instance,
    /// The format of the log.
    pub(super) format: u32,
    pub(super) state: State,
    pub(super) log: LogExtent,
    /// The bytes of the last intact frame of the log. Empty if there is none.
    pub(super) last_frame: Vec<u8>,
    /// The revision of the snapshot, and its length in bytes.
    pub(super) snapshot: Option<(Revision, u64)>,
    /// Whether the end of the log is lost, as far as the directory shows.
    pub(super) lost_tail: Option<LostTail>,
}

impl Recovered {
    /// Whether no change was ever made: there is no snapshot, and the log has no frame.
    pub(super) fn is_unused(&self) -> bool {
        self.snapshot.is_none() && self.log.frames == 0
    }
}

/// The positions of the frames of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogExtent {
    /// The position at which the frames begin.
    pub(super) start: u64,
    /// The position at which the last intact frame ends.
    pub(super) end: u64,
    /// The length of the file, including the reserved space.
    pub(super) file_length: u64,
    /// The number of frames.
    pub(super) frames: u64,
    /// Whether an unfinished frame follows `end`.
    pub(super) is_torn: bool,
}

/// Reads all of `disk`. Returns `None` if it is empty.
pub(super) fn recover(disk: &dyn Disk) -> Result<Option<Recovered>, DirectoryError> {
    recover_within(disk, EventBounds::default())
}

/// Like [`recover`], with these bounds on the history of events. It has the events of the file `events` and of
/// all changes in the log.
pub(super) fn recover_within(
    disk: &dyn Disk,
    event_bounds: EventBounds,
) -> Result<Option<Recovered>, DirectoryError> {
    let evidence = Evidence::read(disk)?;
    // Read the log before the snapshot. A running server writes the snapshot first and then clears the log. Changes that
    // are missing in the log are therefore in the snapshot that is read after it.
    let Some(log) = load(disk, LOG)? else {
        return refuse_directory_without_log(disk, &evidence).map(|()| None);
    };
    let path = || disk.path(LOG);
    let log_head = LogHead::read(&log, path)?;
    let log_instance = log_head.head.instance;
    let (mut state, instance, snapshot) = match load(disk, SNAPSHOT)? {
        None => (State::default(), log_instance, None),
        Some(file) => {
            let (state, instance) = snapshot::read(&file, log_instance, || disk.path(SNAPSHOT))?;
            let facts = (state.revision, file.len() as u64);
            (state, instance, Some(facts))
        }
    };
    state.set_event_bounds(event_bounds);
    if snapshot.is_some() {
        state.events = state_files::read_events(disk, instance, state.revision, event_bounds);
    }
    let mut named: HashSet<Digest> = state.generations.iter().map(|kept| kept.digest).collect();
    let replay_frame = match log_head.format {
        1 => replay_frame_v1,
        _ => replay_frame,
    };
    let replayed = replay(&log, log_head.end, log_head.head.marker, |body| {
        replay_frame(body, &mut state, &mut named)
    });
    let (extent, last_frame) = replayed.map_err(|damage| DirectoryError::Damaged {
        file: path(),
        offset: damage.offset as u64,
        what: damage.what,
    })?;
    let contents = LogContents {
        instance,
        has_place: log_head.head.has_place,
        state: &state,
        named: &named,
        is_empty: snapshot.is_none() && extent.frames == 0,
    };
    let lost_tail = evidence.lost_tail(disk, &contents);
    if lost_tail.is_some() {
        drop_removed_generations(disk, &mut state);
    }
    load_generations(disk, &mut state)?;
    Ok(Some(Recovered {
        head: log_head.head,
        instance,
        format: log_head.format,
        state,
        last_frame: last_frame.to_vec(),
        log: extent,
        snapshot,
        lost_tail,
    }))
}

fn load(disk: &dyn Disk, name: &str) -> Result<Option<Vec<u8>>, DirectoryError> {
    disk.read(name).map_err(|error| DirectoryError::Io {
        action: "read",
        path: disk.path(name),
        error,
    })
}

/// Fails if a directory without a log holds other files of the state: then the changes of the log are lost.
fn refuse_directory_without_log(
    disk: &dyn Disk,
    evidence: &Evidence,
) -> Result<(), DirectoryError> {
    let generations = disk.list(GENERATIONS).unwrap_or_default();
    let is_unused = generations.is_empty() && !evidence.is_of_a_used_directory();
    if is_unused && load(disk, SNAPSHOT)?.is_none() {
        return Ok(());
    }
    Err(DirectoryError::Damaged {
        file: disk.path(LOG),
        offset: 0,
        what: "it is missing, and other files of the state are there".to_owned(),
    })
}

/// The position and description of damage in a log.
struct Damage {
    offset: usize,
    what: String,
}

/// Passes the body of each intact frame to `replay_frame`. Returns the extent of the frames and the last frame.
fn replay(
    log: &[u8],
    start: usize,
    marker: Marker,
    mut replay_frame: impl FnMut(&[u8]) -> Result<(), DecodeError>,
) -> Result<(LogExtent, &[u8]), Damage> {
    let (mut last, mut at) = (start, start);
    let mut frames = 0;
    let is_torn = loop {
        match frame::read(log, at, marker) {
            FrameRead::Frame { body, end } => {
                replay_frame(body).map_err(|error| Damage {
                    offset: at,
                    what: error.to_string(),
                })?;
                (last, at) = (at, end);
                frames += 1;
            }
            FrameRead::End => break false,
            FrameRead::Invalid(what) => match frame::find_frame_after(log, at, marker) {
                // A frame is written only after the previous one is synced, so no crash leaves this.
                Some(next) => {
                    return Err(Damage {
                        offset: at,
                        what: format!("{what}, and an intact one follows at byte {next}"),
                    });
                }
                None => break true,
            },
        }
    };
    let extent = LogExtent {
        start: start as u64,
        end: at as u64,
        file_length: log.len() as u64,
        frames,
        is_torn,
    };
    Ok((extent, &log[last..at]))
}

/// Applies the commits of a frame that `state` does not have yet. The frame begins with two revisions: the revision
/// before its first commit, and the revision of its last commit. Adds the digests of its generations to `named`.
pub(super) fn replay_frame(
    body: &[u8],
    state: &mut State,
    named: &mut HashSet<Digest>,
) -> Result<(), DecodeError> {
    let ((begin, end), mut rest): ((u64, u64), _) = entry::read(body)?;
    refuse_gap(begin, state)?;
    while !rest.is_empty() {
        let (commit, behind): (CommitEntry, _) = entry::read(rest)?;
        // After a crash the log may hold commits that are already in the snapshot.
        if commit.revision > state.revision.0 {
            commit.replay(state)?;
            named.extend(state.generation().map(|newest| newest.digest));
        }
        rest = behind;
    }
    if state.revision.0 < end {
        return Err(DecodeError::Other(format!(
            "a frame ends at revision {end}, and its last commit has revision {}",
            state.revision
        )));
    }
    Ok(())
}

/// Applies the entries of a frame of format 1 that `state` does not have yet. The frame begins with the revision before
/// its first entry, and each entry raises it by one.
pub(super) fn replay_frame_v1(
    body: &[u8],
    state: &mut State,
    named: &mut HashSet<Digest>,
) -> Result<(), DecodeError> {
    let (begin, mut rest): (u64, _) = entry::read(body)?;
    refuse_gap(begin, state)?;
    let mut revision = Revision(begin);
    while !rest.is_empty() {
        let (entry, behind): (EntryV1, _) = entry::read(rest)?;
        revision = revision.next();
        if revision > state.revision {
            entry.replay(state, revision)?;
            named.extend(state.generation().map(|newest| newest.digest));
        }
        rest = behind;
    }
    Ok(())
}

fn refuse_gap(begin: u64, state: &State) -> Result<(), DecodeError> {
    if begin > state.revision.0 {
        return Err(DecodeError::Other(format!(
            "a frame follows revision {begin}, and the changes before it end at revision {}",
            state.revision
        )));
    }
    Ok(())
}

/// Removes the older generations whose files are gone from `state`. The lost end of the log ended their keeping. The
/// newest one stays: without its files, the seats and the values of `once` cannot be trusted either.
fn drop_removed_generations(disk: &dyn Disk, state: &mut State) {
    let files = generation_files::sealed(disk);
    let generations = Arc::make_mut(&mut state.generations);
    while generations.len() > 1 && !files.contains(&generations[0].digest) {
        generations.pop_front();
    }
}

fn load_generations(disk: &dyn Disk, state: &mut State) -> Result<(), DirectoryError> {
    // This is the longest part of a start, so use all processors.
    let sealed: Vec<Arc<Generation>> = state.generations.iter().cloned().collect();
    let loaded = parallel::try_map(&sealed, 1, |_, generation| {
        let files = generation_files::read(disk, generation.digest)?;
        Ok::<_, DirectoryError>(Arc::new(files.complete(generation)))
    })?;
    state.generations = Arc::new(loaded.into_iter().collect());
    Ok(())
}
