//! The files `snapshot` and `events` of a state directory.
//!
//! Older programs ignore the file `events`. If it cannot be used, the history of events begins with the snapshot.

use super::disk::{Disk, WriteError, replace_file};
use crate::{
    EventBounds, State,
    encoding::{
        event_file,
        snapshot::{self, Instances},
    },
    event_history::EventHistory,
};
use cfgsync_model::{Instance, Revision};

/// The name of the snapshot in the directory.
pub(super) const SNAPSHOT: &str = "snapshot";

/// The name of the history of events in the directory.
pub(super) const EVENTS: &str = "events";

/// Replaces the snapshot by one of `state`. Returns its length in bytes.
pub(super) fn write_snapshot(
    disk: &dyn Disk,
    instances: Instances,
    state: &State,
    history: usize,
) -> Result<u64, WriteError> {
    let file = snapshot::to_file(instances, state, history);
    replace_file(disk, SNAPSHOT, &[&file])?;
    Ok(file.len() as u64)
}

/// Replaces the file by one with the history of `state`. Returns its length in bytes, or 0 if it cannot be written: then
/// watchers get a reset after the next start. The caller writes the snapshot of `state` afterwards: events of a file that
/// is newer than the snapshot can be left out, but not added.
pub(super) fn write_events(
    disk: &dyn Disk,
    instance: Instance,
    state: &State,
) -> Result<u64, WriteError> {
    let file = event_file::to_file(instance, state);
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
pub(super) fn read_events(
    disk: &dyn Disk,
    instance: Instance,
    revision: Revision,
    bounds: EventBounds,
) -> EventHistory {
    let path = || disk.path(EVENTS);
    match disk.read(EVENTS) {
        Ok(Some(file)) => event_file::from_file(&file, instance, revision, bounds, path),
        Ok(None) => EventHistory::starting_after(revision, bounds),
        Err(error) => {
            event_file::warn_unusable(&format_args!("cannot read {}: {error}", path().display()));
            EventHistory::starting_after(revision, bounds)
        }
    }
}
