//! The encoding of the history of events at the time of a snapshot, from which watchers resume after a restart.
//!
//! It is no part of the state. If it cannot be used, the history only becomes shorter: it then begins with the snapshot.

use std::{fmt::Display, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    entry,
    error::DecodeError,
    event_entry::EventEntry,
    header::{self, FileKind},
};
use crate::{Event, EventBounds, State, event_history::EventHistory};
use cfgsync_model::{Instance, Revision};

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

/// Returns the history of `state` as a file.
pub(crate) fn to_file(instance: Instance, state: &State) -> Vec<u8> {
    header::new_file(FileKind::Events, |body| {
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
    })
}

/// Returns the history up to `revision` in a file. It is empty if the file cannot be used.
pub(crate) fn from_file(
    file: &[u8],
    instance: Instance,
    revision: Revision,
    bounds: EventBounds,
    path: impl Fn() -> PathBuf,
) -> EventHistory {
    let read = header::read_file(file, FileKind::Events, path, |frame| {
        decode(frame.body, instance, revision, bounds)
    });
    let history = read.unwrap_or_else(|error| {
        warn_unusable(&error);
        None
    });
    history.unwrap_or_else(|| EventHistory::starting_after(revision, bounds))
}

/// Logs the reason why the file cannot be used.
pub(crate) fn warn_unusable(error: &dyn Display) {
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
