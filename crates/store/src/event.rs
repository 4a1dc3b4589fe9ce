//! Events: what a commit changed, with names and a JSON form that stay stable, and a bounded history of them.

use std::{cmp::Ordering, sync::Arc};

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
#[derive(Debug, Clone, Default)]
pub(crate) struct EventHistory {
    /// The events of one commit each, oldest first. Never empty slices.
    commits: Vector<Arc<[Event]>>,
    /// How many events `commits` holds together.
    count: usize,
    /// All events after this revision are here.
    complete_after: Revision,
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
