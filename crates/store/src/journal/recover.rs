//! From a directory to the state that it holds. Reads only; what is to be mended is said, not done.

use std::{sync::Arc, thread};

use super::{
    artifacts,
    directory::GENERATIONS,
    disk::Disk,
    entry::{self, CommitEntry, EntryV1},
    error::{JournalError, Unreadable},
    frame::{self, Found, Marker},
    log::{LOG, LogHead},
    snapshot::{self, SNAPSHOT},
};
use crate::State;
use cfgsync_model::{Generation, Revision};

/// What a directory holds.
pub(super) struct Recovered {
    pub(super) head: LogHead,
    /// The format version of the log.
    pub(super) version: u32,
    pub(super) state: State,
    pub(super) log: LogFacts,
    /// The last good batch as it stands in the log; empty if there is none.
    pub(super) last_frame: Vec<u8>,
    /// The snapshot's revision and length in bytes.
    pub(super) snapshot: Option<(Revision, u64)>,
}

/// What there is of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogFacts {
    /// Where its batches begin.
    pub(super) start: u64,
    /// Where the last good one ends.
    pub(super) end: u64,
    /// The file's length, with the space that is reserved.
    pub(super) length: u64,
    /// How many batches it holds.
    pub(super) batches: u64,
    /// Whether there is an unfinished batch after `end`.
    pub(super) is_torn: bool,
}

/// Reads all of `disk`; `None` when it is empty.
pub(super) fn recover(disk: &dyn Disk) -> Result<Option<Recovered>, JournalError> {
    // The log first: a server that is at work writes the snapshot first and cuts the log then, so that what is
    // missing in a log that was read is in the snapshot that is read after it.
    let Some(log) = load(disk, LOG)? else {
        return refuse_leftovers(disk).map(|()| None);
    };
    let path = || disk.path(LOG);
    let (head, version, start) = LogHead::read(&log, path)?;
    let (mut state, snapshot) = match load(disk, SNAPSHOT)? {
        None => (State::default(), None),
        Some(file) => {
            let state = snapshot::read(&file, head.instance, || disk.path(SNAPSHOT))?;
            let facts = (state.revision, file.len() as u64);
            (state, Some(facts))
        }
    };
    let replay_frame = match version {
        1 => replay_frame_v1,
        _ => replay_frame,
    };
    let (facts, last_frame) = replay(
        &log,
        start,
        head.marker,
        |body| replay_frame(body, &mut state),
        |offset, what| JournalError::Damaged {
            file: path(),
            offset: offset as u64,
            what,
        },
    )?;
    load_generations(disk, &mut state)?;
    Ok(Some(Recovered {
        head,
        version,
        state,
        last_frame,
        log: facts,
        snapshot,
    }))
}

fn load(disk: &dyn Disk, name: &str) -> Result<Option<Vec<u8>>, JournalError> {
    disk.read(name).map_err(|error| JournalError::Io {
        action: "read",
        path: disk.path(name),
        error,
    })
}

/// A directory without a log must be new: otherwise what the log said is lost.
fn refuse_leftovers(disk: &dyn Disk) -> Result<(), JournalError> {
    let sealed = disk.list(GENERATIONS).unwrap_or_default();
    match load(disk, SNAPSHOT)?.is_some() || !sealed.is_empty() {
        false => Ok(()),
        true => Err(JournalError::Damaged {
            file: disk.path(LOG),
            offset: 0,
            what: "it is missing, and what belongs to it is there".to_owned(),
        }),
    }
}

/// Gives each whole frame to `replay_frame`. Answers with the last one as it stands there.
fn replay(
    log: &[u8],
    start: usize,
    marker: Marker,
    mut replay_frame: impl FnMut(&[u8]) -> Result<(), Unreadable>,
    damaged: impl Fn(usize, String) -> JournalError,
) -> Result<(LogFacts, Vec<u8>), JournalError> {
    let (mut last, mut at) = (start, start);
    let mut batches = 0;
    let is_torn = loop {
        match frame::read(log, at, marker) {
            Found::Frame { body, end } => {
                replay_frame(body).map_err(|error| damaged(at, error.to_string()))?;
                (last, at) = (at, end);
                batches += 1;
            }
            Found::End => break false,
            Found::Bad(what) => match frame::next_whole(log, at, marker) {
                // The next batch is written once this one is synced: no crash leaves it so.
                Some(next) => {
                    let what = format!("{what}, and a whole one follows at byte {next}");
                    return Err(damaged(at, what));
                }
                None => break true,
            },
        }
    };
    let facts = LogFacts {
        start: start as u64,
        end: at as u64,
        length: log.len() as u64,
        batches,
        is_torn,
    };
    Ok((facts, log[last..at].to_vec()))
}

/// Applies the commits of a frame that `state` does not have yet. The frame states the revisions that it begins after
/// and ends with.
pub(super) fn replay_frame(body: &[u8], state: &mut State) -> Result<(), Unreadable> {
    let ((begin, end), mut rest): ((u64, u64), _) = entry::read(body)?;
    refuse_gap(begin, state)?;
    while !rest.is_empty() {
        let (commit, behind): (CommitEntry, _) = entry::read(rest)?;
        // A crash can leave a log that was to be cut after a snapshot.
        if commit.revision > state.revision.0 {
            commit.replay(state)?;
        }
        rest = behind;
    }
    match state.revision.0 < end {
        true => Err(Unreadable::Other(format!(
            "a batch ends with revision {end}, and its last commit has revision {}",
            state.revision
        ))),
        false => Ok(()),
    }
}

/// As [`replay_frame`], for format 1: the frame states the revision that it begins after, and each entry raises it by
/// one.
fn replay_frame_v1(body: &[u8], state: &mut State) -> Result<(), Unreadable> {
    let (begin, mut rest): (u64, _) = entry::read(body)?;
    refuse_gap(begin, state)?;
    let mut revision = Revision(begin);
    while !rest.is_empty() {
        let (entry, behind): (EntryV1, _) = entry::read(rest)?;
        revision = revision.next();
        if revision > state.revision {
            entry.replay(state, revision)?;
        }
        rest = behind;
    }
    Ok(())
}

fn refuse_gap(begin: u64, state: &State) -> Result<(), Unreadable> {
    match begin > state.revision.0 {
        true => Err(Unreadable::Other(format!(
            "a batch follows revision {begin}, and what comes before it ends at {}",
            state.revision
        ))),
        false => Ok(()),
    }
}

fn load_generations(disk: &dyn Disk, state: &mut State) -> Result<(), JournalError> {
    let generations = Arc::make_mut(&mut state.generations);
    let generations = generations.make_contiguous();
    // A start waits for nothing else for so long.
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let each = generations.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let threads: Vec<_> = generations
            .chunks_mut(each)
            .map(|some| scope.spawn(|| load_some(disk, some)))
            .collect();
        let mut ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended.try_for_each(|ended| ended.expect("what is read there does not panic"))
    })
}

fn load_some(disk: &dyn Disk, generations: &mut [Arc<Generation>]) -> Result<(), JournalError> {
    for generation in generations {
        let files = artifacts::read(disk, generation.digest)?;
        *generation = Arc::new(files.complete(generation));
    }
    Ok(())
}
