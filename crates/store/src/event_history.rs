//! The newest events of a store, from which followers and watchers resume.

use std::{cmp::Ordering, fmt, ops::Deref, sync::Arc};

use imbl::Vector;

use crate::{
    bounds::bytes_of,
    event::{Event, EventKind},
};
use cfgsync_model::{EventPosition, Revision};

/// Bounds on the events that a store keeps. The oldest ones are dropped first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventBounds {
    /// The number of events.
    pub events_max: usize,
    /// The contents of values and the metadata of nodes in these events, in bytes of memory.
    pub contents_max_bytes: usize,
}

impl Default for EventBounds {
    fn default() -> Self {
        Self {
            events_max: 16_384,
            contents_max_bytes: 16 << 20,
        }
    }
}

/// The newest events of a store, within [`EventBounds`]. Cloning is cheap.
#[derive(Clone, Default)]
pub(crate) struct EventHistory {
    bounds: EventBounds,
    /// The events of each commit, oldest first.
    commits: Vector<CommitEvents>,
    /// The number of events in all of `commits`.
    count: usize,
    /// The size of the contents in all of `commits`, in bytes.
    bytes: usize,
    /// The history has all events after this revision.
    complete_after: Revision,
}

#[derive(Clone)]
struct CommitEvents {
    /// Never empty.
    events: Arc<[Event]>,
    bytes: usize,
}

/// One event of a history, and its position for watchers.
#[derive(Debug, Clone)]
pub struct PositionedEvent {
    commit: Arc<[Event]>,
    index: usize,
    /// The position of the event. The last event of a revision has the position of the whole revision.
    pub position: EventPosition,
}

impl Deref for PositionedEvent {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.commit[self.index]
    }
}

impl fmt::Debug for EventHistory {
    /// Prints the counters only, because there may be thousands of events.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventHistory").finish_non_exhaustive()
    }
}

impl EventHistory {
    /// Returns an empty history that begins after `revision`.
    pub(crate) fn starting_after(revision: Revision, bounds: EventBounds) -> Self {
        Self {
            bounds,
            complete_after: revision,
            ..Self::default()
        }
    }

    pub(crate) fn bounds(&self) -> EventBounds {
        self.bounds
    }

    pub(crate) fn set_bounds(&mut self, bounds: EventBounds) {
        self.bounds = bounds;
        self.drop_oldest();
    }

    /// Returns the revision after which the history has all events.
    pub(crate) fn complete_after(&self) -> Revision {
        self.complete_after
    }

    /// Returns the part number of the next event at `revision`.
    pub(crate) fn next_part(&self, revision: Revision) -> u32 {
        let newest = self.commits.back().and_then(|commit| commit.events.last());
        let newest = newest.filter(|newest| newest.revision == revision);
        newest.map_or(0, |newest| newest.part + 1)
    }

    pub(crate) fn push(&mut self, events: Arc<[Event]>) {
        let bytes = events.iter().map(contents_bytes).sum();
        self.count += events.len();
        self.bytes += bytes;
        self.commits.push_back(CommitEvents { events, bytes });
        self.drop_oldest();
    }

    fn drop_oldest(&mut self) {
        let bounds = self.bounds;
        while self.count > bounds.events_max || self.bytes > bounds.contents_max_bytes {
            let Some(oldest) = self.commits.pop_front() else {
                break;
            };
            self.count -= oldest.events.len();
            self.bytes -= oldest.bytes;
            self.complete_after = oldest.events[0].revision;
        }
    }

    /// Returns the events of each commit after `revision`, oldest first. `None` if the history has lost some of them.
    pub(crate) fn after(
        &self,
        revision: Revision,
    ) -> Option<impl Iterator<Item = Arc<[Event]>> + use<>> {
        if revision < self.complete_after {
            return None;
        }
        // No commit compares equal, so the position of the first newer one is in the error.
        let (Ok(first) | Err(first)) = self.commits.binary_search_by(|commit| {
            let is_older = commit.events[0].revision <= revision;
            if is_older {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        });
        let commits = self.commits.skip(first).into_iter();
        Some(commits.map(|commit| commit.events))
    }

    /// Returns the events behind `position`, oldest first. `None` if the history has lost some of them.
    pub(crate) fn behind(
        &self,
        position: EventPosition,
    ) -> Option<impl Iterator<Item = PositionedEvent> + use<>> {
        let before = match position.part {
            None => position.revision,
            Some(_) => Revision(position.revision.0.saturating_sub(1)),
        };
        let mut commits = self.after(before)?.peekable();
        let commits = std::iter::from_fn(move || {
            let commit = commits.next()?;
            let revision = commit[0].revision;
            let next = commits.peek().map(|next| next[0].revision);
            Some((commit, next == Some(revision)))
        });
        let events = commits.flat_map(|(commit, goes_on)| {
            (0..commit.len()).map(move |index| {
                let event = &commit[index];
                let is_last = index + 1 == commit.len() && !goes_on;
                let position = EventPosition {
                    revision: event.revision,
                    part: (!is_last).then_some(event.part),
                };
                PositionedEvent {
                    commit: commit.clone(),
                    index,
                    position,
                }
            })
        });
        Some(events.filter(move |event| position.precedes(event.revision, event.part)))
    }
}

/// Returns the size of what an event keeps in memory beside names, in bytes.
fn contents_bytes(event: &Event) -> usize {
    match &event.kind {
        EventKind::ValueSet { content, .. } => content.bytes.len(),
        EventKind::NodeRegistered { registration } => bytes_of(&registration.metadata),
        EventKind::ClusterFailed { failure } => failure.reason.len(),
        EventKind::PhaseReported { reason, .. } => reason.as_ref().map_or(0, |reason| reason.len()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        Change, SetValue, State, ValueBounds,
        conformance::values::{new_value, set},
    };
    use cfgsync_model::NodeRegistration;

    fn register(name: &str) -> Change {
        let ip = "10.0.0.1".parse().unwrap();
        Change::register(NodeRegistration::without_metadata(
            name.parse().unwrap(),
            ip,
        ))
    }

    #[test]
    fn parts_continue_where_batches_share_a_revision() {
        let mut state = State::default();
        for (name, revision) in [("a", 4), ("b", 4), ("c", 6)] {
            state
                .apply(vec![register(name)], Revision(revision))
                .unwrap();
        }
        let commits = state.events_after(Revision(0)).unwrap();
        let ids: Vec<_> = commits
            .map(|events| (events[0].revision.0, events[0].part))
            .collect();
        assert_eq!(ids, [(4, 0), (4, 1), (6, 0)]);
        assert_eq!(state.events_after(Revision(4)).unwrap().count(), 1);
    }

    /// From each position, the rest follows: nothing is missing, and nothing comes twice.
    #[test]
    fn events_behind_each_position_are_the_rest() {
        let mut state = State::default();
        for (names, revision) in [("abc", 2), ("de", 5), ("f", 5), ("g", 9)] {
            let changes = names.chars().map(|name| register(&name.to_string()));
            state.apply(changes.collect(), Revision(revision)).unwrap();
        }
        let start = EventPosition::after(Revision(0));
        let all: Vec<_> = state.events_behind(start).unwrap().collect();
        let positions: Vec<_> = (all.iter())
            .map(|event| (event.position.revision.0, event.position.part))
            .collect();
        let expected = [
            (2, Some(0)),
            (2, Some(1)),
            (2, None),
            (5, Some(0)),
            (5, Some(1)),
            (5, None),
            (9, None),
        ];
        assert_eq!(positions, expected);
        for (index, event) in all.iter().enumerate() {
            let rest = state.events_behind(event.position).unwrap();
            let rest: Vec<_> = rest.map(|event| event.position).collect();
            let expected: Vec<_> = all[index + 1..]
                .iter()
                .map(|event| event.position)
                .collect();
            assert_eq!(rest, expected, "after {:?}", event.position);
        }
        let future = EventPosition::after(Revision(10));
        assert!(state.events_behind(future).is_none());
    }

    #[test]
    fn position_within_a_lost_revision_is_lost() {
        let mut state = State::default();
        state.set_event_bounds(EventBounds {
            events_max: 2,
            ..EventBounds::default()
        });
        state
            .apply(vec![register("a"), register("b")], Revision(1))
            .unwrap();
        let at = |revision, part| EventPosition {
            revision: Revision(revision),
            part,
        };
        assert_eq!(state.events_behind(at(1, Some(0))).unwrap().count(), 1);
        state.apply(vec![register("c")], Revision(2)).unwrap();
        assert!(state.events_behind(at(0, None)).is_none());
        assert!(state.events_behind(at(1, Some(0))).is_none());
        assert_eq!(state.events_behind(at(1, None)).unwrap().count(), 1);
        assert_eq!(state.events_behind(at(2, Some(0))).unwrap().count(), 0);
    }

    #[test]
    fn contents_in_the_history_are_bounded() {
        let mut state = State::default();
        let large = SetValue {
            within: ValueBounds::default(),
            ..new_value("a", &"x".repeat(1 << 20), 0)
        };
        for revision in 1..=40 {
            let changes = set(large.clone());
            state.apply(changes, Revision(revision)).unwrap();
        }
        assert!(state.events_after(Revision(20)).is_none());
        assert_eq!(state.events_after(Revision(24)).unwrap().count(), 16);
        state.set_event_bounds(EventBounds {
            contents_max_bytes: 3 << 20,
            ..EventBounds::default()
        });
        assert_eq!(state.events_after(Revision(37)).unwrap().count(), 3);
        assert!(state.events_after(Revision(36)).is_none());

        let node = NodeRegistration::new("a", [10, 0, 0, 1]).unwrap();
        let text = "x".repeat(4 << 20);
        let node = node.with_metadata_value(json!({ "text": text }));
        state
            .apply(vec![Change::register(node)], Revision(41))
            .unwrap();
        assert!(state.events_after(Revision(40)).is_none());
    }
}
