//! Events: what a commit changed, with names and a JSON form that stay stable, and a bounded history of them.

use std::{cmp::Ordering, fmt, sync::Arc};

use imbl::Vector;
use serde::Serialize;

use cfgsync_model::{Digest, Failure, GenerationNumber, Identifier, NodeRegistration, Revision};

/// How many events a state keeps for followers that resume.
pub const EVENT_HISTORY_MAX_EVENTS: usize = 8192;

/// One thing that a commit changed. Its JSON form is one flat object: `revision`, `part`, `kind` and the fields of
/// that kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// The revision of the commit.
    pub revision: Revision,
    /// The position among the events of this revision, from 0. Revision and part together identify an event within
    /// an instance.
    pub part: u32,
    /// What changed.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What changed, named as in the JSON form: `node_registered`, `node_removed`, ….
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A node registered, or its facts changed.
    NodeRegistered {
        /// The new facts.
        #[serde(flatten)]
        registration: Arc<NodeRegistration>,
    },
    /// A node is no longer registered.
    NodeRemoved {
        /// The node.
        identifier: Identifier,
    },
    /// An operator's files replace a node's own.
    OverrideSet {
        /// The node.
        identifier: Identifier,
    },
    /// A node has its own files again.
    OverrideRemoved {
        /// The node.
        identifier: Identifier,
    },
    /// A node was handed a generation for the first time.
    Delivered {
        /// The node.
        identifier: Identifier,
        /// The generation.
        generation: GenerationNumber,
    },
    /// A key owns an identifier from now on.
    NameClaimed {
        /// The identifier.
        identifier: Identifier,
    },
    /// No key owns an identifier any more.
    NameReleased {
        /// The identifier.
        identifier: Identifier,
    },
    /// An operator declared the cluster failed.
    ClusterFailed {
        /// The reason, its kind and when it happened.
        failure: Arc<Failure>,
    },
    /// An operator ended the declared failure.
    ClusterReset,
    /// A generation was sealed.
    GenerationSealed {
        /// Its number.
        generation: GenerationNumber,
        /// Its digest.
        digest: Digest,
    },
}

impl EventKind {
    /// The name of this kind, as in the JSON form.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NodeRegistered { .. } => "node_registered",
            Self::NodeRemoved { .. } => "node_removed",
            Self::OverrideSet { .. } => "override_set",
            Self::OverrideRemoved { .. } => "override_removed",
            Self::Delivered { .. } => "delivered",
            Self::NameClaimed { .. } => "name_claimed",
            Self::NameReleased { .. } => "name_released",
            Self::ClusterFailed { .. } => "cluster_failed",
            Self::ClusterReset => "cluster_reset",
            Self::GenerationSealed { .. } => "generation_sealed",
        }
    }
}

/// The newest events of a store, at most [`EVENT_HISTORY_MAX_EVENTS`]. Cloning is cheap.
#[derive(Clone, Default)]
pub(crate) struct EventHistory {
    /// The events of one commit each, oldest first. Never empty slices.
    commits: Vector<Arc<[Event]>>,
    /// How many events `commits` holds together.
    count: usize,
    /// All events after this revision are here.
    complete_after: Revision,
}

impl fmt::Debug for EventHistory {
    /// Leaves out the events, which are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventHistory").finish_non_exhaustive()
    }
}

impl EventHistory {
    /// A history that begins after `revision`.
    pub(crate) fn starting_after(revision: Revision) -> Self {
        Self {
            complete_after: revision,
            ..Self::default()
        }
    }

    /// The part number of the next event at `revision`.
    pub(crate) fn next_part(&self, revision: Revision) -> u32 {
        let newest = self.commits.back().and_then(|events| events.last());
        newest.map_or(0, |newest| match newest.revision == revision {
            true => newest.part + 1,
            false => 0,
        })
    }

    pub(crate) fn push(&mut self, events: Arc<[Event]>) {
        self.count += events.len();
        self.commits.push_back(events);
        while self.count > EVENT_HISTORY_MAX_EVENTS {
            let Some(oldest) = self.commits.pop_front() else {
                break;
            };
            self.count -= oldest.len();
            self.complete_after = oldest[0].revision;
        }
    }

    /// The events of each commit after `revision`, oldest first; `None` if some of them are no longer here.
    pub(crate) fn after(
        &self,
        revision: Revision,
    ) -> Option<impl Iterator<Item = Arc<[Event]>> + use<>> {
        if revision < self.complete_after {
            return None;
        }
        let (Ok(first) | Err(first)) =
            self.commits
                .binary_search_by(|events| match events[0].revision <= revision {
                    true => Ordering::Less,
                    false => Ordering::Greater,
                });
        Some(self.commits.skip(first).into_iter())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Bounds, Change, State};
    use cfgsync_model::{ArtifactSet, FailureKind, Generation};
    use cfgsync_support::clock::Timestamp;

    /// Applies `changes` to a new state; returns its events as JSON.
    fn events_of(changes: Vec<Change>) -> Vec<Value> {
        let commit = State::default().apply(changes, Revision(7)).unwrap();
        let events = commit.events.iter();
        events
            .inspect(|event| {
                let name = &serde_json::to_value(event).unwrap()["kind"];
                assert_eq!(name, event.kind.name());
            })
            .map(|event| serde_json::to_value(event).unwrap())
            .collect()
    }

    #[test]
    fn json_form_of_each_kind_is_stable() {
        let id = || -> Identifier { "a".parse().unwrap() };
        let node = NodeRegistration::without_metadata(id(), "10.0.0.1".parse().unwrap());
        let failure = Failure {
            kind: FailureKind::Operator,
            reason: "maintenance".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        };
        let changes = vec![
            Change::Claim {
                identifier: id(),
                key: Digest::of(b"key"),
                within: Bounds::NONE,
            },
            Change::register(node.with_metadata_value(json!({ "port": 1 }))),
            Change::Override {
                identifier: id(),
                files: ArtifactSet::default(),
            },
            Change::RemoveOverride(id()),
            Change::Deliver {
                identifier: id(),
                generation: GenerationNumber(3),
            },
            Change::Remove {
                identifier: id(),
                only_if: None,
            },
            Change::Release(id()),
            Change::Fail(failure),
            Change::Reset,
        ];
        let at = "1970-01-01T00:00:00Z";
        let expected = [
            json!({"kind": "name_claimed", "identifier": "a"}),
            json!({"kind": "node_registered", "identifier": "a", "ip": "10.0.0.1", "metadata": {"port": 1}}),
            json!({"kind": "override_set", "identifier": "a"}),
            json!({"kind": "override_removed", "identifier": "a"}),
            json!({"kind": "delivered", "identifier": "a", "generation": 3}),
            json!({"kind": "node_removed", "identifier": "a"}),
            json!({"kind": "name_released", "identifier": "a"}),
            json!({"kind": "cluster_failed",
                "failure": {"kind": "operator", "reason": "maintenance", "at": at}}),
            json!({"kind": "cluster_reset"}),
        ];
        let expected = expected.into_iter().zip(0..).map(|(mut event, part)| {
            event["revision"] = json!(7);
            event["part"] = json!(part);
            event
        });
        assert_eq!(events_of(changes), expected.collect::<Vec<_>>());
    }

    #[test]
    fn json_form_of_a_seal_names_number_and_digest() {
        let sealed: Arc<Generation> = crate::conformance::generation(1, "files");
        let digest = sealed.digest.to_string();
        let mut state = State::default();
        state.seal(sealed, 1, Revision(9)).unwrap();
        let events: Vec<_> = state.events_after(Revision(0)).unwrap().collect();
        let expected = json!([{
            "revision": 9, "part": 0, "kind": "generation_sealed", "generation": 1, "digest": digest
        }]);
        assert_eq!(serde_json::to_value(&events[0][..]).unwrap(), expected);
    }

    #[test]
    fn parts_continue_where_batches_share_a_revision() {
        let mut state = State::default();
        let register = |name: &str| {
            let ip = "10.0.0.1".parse().unwrap();
            vec![Change::register(NodeRegistration::without_metadata(
                name.parse().unwrap(),
                ip,
            ))]
        };
        state.apply(register("a"), Revision(4)).unwrap();
        state.apply(register("b"), Revision(4)).unwrap();
        state.apply(register("c"), Revision(6)).unwrap();
        let commits = state.events_after(Revision(0)).unwrap();
        let ids: Vec<_> = commits
            .map(|events| (events[0].revision.0, events[0].part))
            .collect();
        assert_eq!(ids, [(4, 0), (4, 1), (6, 0)]);
        assert_eq!(state.events_after(Revision(4)).unwrap().count(), 1);
    }
}
