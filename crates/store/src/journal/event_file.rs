//! The file `events`: the history of events at the time of the newest snapshot, from which watchers resume after a restart.
//!
//! It is no part of the state. Older programs ignore it, and a file that cannot be used only makes the history shorter: it
//! then begins with the snapshot.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    disk::{Disk, WriteError, replace_file},
    entry,
    error::{DecodeError, DirectoryError},
    event_entry::EventEntry,
    header::{self, FileKind},
};
use crate::{Event, EventBounds, State, event_history::EventHistory};
use cfgsync_model::{Instance, Revision};

/// The name of the file in the directory.
pub(super) const EVENTS: &str = "events";

/// The first entry of the file.
#[derive(Serialize, Deserialize)]
struct Head {
    instance: [u8; 16],
    /// The file has all events after this revision.
    after: u64,
    /// The file has all events up to this revision.
    up_to: u64,
}

/// The events of one commit, or of one of several that share a revision.
#[derive(Serialize, Deserialize)]
struct CommitEntry<'a> {
    revision: u64,
    #[serde(borrow)]
    events: Vec<EventEntry<'a>>,
}

/// Replaces the file by one with the history of `state`. Returns its length in bytes, or 0 if it cannot be written: then
/// watchers get a reset after the next start. The caller writes the snapshot of
/// `state` afterwards: events of a file that is newer than the snapshot can be left out, but not added.
pub(super) fn write(disk: &dyn Disk, instance: Instance, state: &State) -> Result<u64, WriteError> {
    let file = header::new_file(FileKind::Events, |body| {
        let after = state.events.complete_after();
        let head = Head {
            instance: *instance.as_bytes(),
            after: after.0,
            up_to: state.revision.0,
        };
        entry::write(body, &head);
        for events in state.events.after(after).into_iter().flatten() {
            let commit = CommitEntry {
                revision: events[0].revision.0,
                events: (events.iter()).map(EventEntry::of).collect(),
            };
            entry::write(body, &commit);
        }
    });
    match replace_file(disk, EVENTS, &[&file]) {
        Ok(()) => Ok(file.len() as u64),
        Err(error @ WriteError::NotWritten { .. }) => {
            tracing::warn!("the next start will not have the older events: {error}");
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// Returns the history up to the snapshot at `revision`. It is empty if there is no usable file for this snapshot.
pub(super) fn read(
    disk: &dyn Disk,
    instance: Instance,
    revision: Revision,
    bounds: EventBounds,
) -> EventHistory {
    let empty = || EventHistory::starting_after(revision, bounds);
    let read = header::read_small_file(disk, EVENTS, FileKind::Events, |body| {
        decode(body, instance, revision, bounds)
    });
    match read {
        Ok(history) => history.flatten().unwrap_or_else(empty),
        Err(error) => {
            warn_unusable(&error);
            empty()
        }
    }
}

fn warn_unusable(error: &DirectoryError) {
    tracing::warn!("the history of events begins anew, and watchers get a reset: {error}");
}

/// Returns the history up to `revision`. `None` if the file is one of another instance, or older.
fn decode(
    body: &[u8],
    instance: Instance,
    revision: Revision,
    bounds: EventBounds,
) -> Result<Option<EventHistory>, DecodeError> {
    let (head, mut rest): (Head, _) = entry::read(body)?;
    let is_of_snapshot = head.instance == *instance.as_bytes()
        && head.after <= revision.0
        && head.up_to >= revision.0;
    if !is_of_snapshot {
        return Ok(None);
    }
    let mut history = EventHistory::starting_after(Revision(head.after), bounds);
    let mut newest = Revision(head.after);
    while !rest.is_empty() {
        let (commit, behind): (CommitEntry, _) = entry::read(rest)?;
        let at = Revision(commit.revision);
        if at < newest || commit.events.is_empty() {
            let what = format!("the events of revision {at} follow those of {newest}");
            return Err(DecodeError::Other(what));
        }
        if at > revision {
            break;
        }
        newest = at;
        let parts = history.next_part(at)..;
        let events: Result<Vec<Event>, DecodeError> = (commit.events.into_iter().zip(parts))
            .map(|(event, part)| {
                let (changed_at, kind) = event.timed_kind()?;
                Ok(Event {
                    revision: at,
                    part,
                    at: changed_at,
                    kind,
                })
            })
            .collect();
        history.push(Arc::from(events?));
        rest = behind;
    }
    Ok(Some(history))
}
