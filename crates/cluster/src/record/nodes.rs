//! The nodes of a record.

use std::collections::{BTreeMap, BTreeSet};

use super::{Window, seconds};
use crate::notes::NoteKind;
use cfgsync_model::{Identifier, Phase, Progress, Revision};
use cfgsync_store::EventKind;
use cfgsync_support::{clock::Timestamp, natural_order};
use cfgsync_wire::{RecordNode, RecordNodeState, RecordPhase};

/// The phases that a record lists of one node. Further ones are left out.
const PHASES_MAX: usize = 64;

/// The events of one node.
#[derive(Default)]
struct NodeEvents {
    registered_at: Option<Timestamp>,
    /// Whether the generation was handed to it.
    is_delivered: bool,
    delivered_at: Option<Timestamp>,
    /// It has received an earlier generation.
    has_older: bool,
    phases: Vec<RecordPhase>,
}

impl Window<'_> {
    /// Returns the nodes, the failed ones first, then the slowest; and the number of missing nodes without a name.
    /// `reason` is why nodes without files wait.
    pub(super) fn nodes(
        &self,
        began_at: Option<Timestamp>,
        ended_at: Timestamp,
        reason: &str,
    ) -> (Vec<RecordNode>, usize) {
        let events = self.node_events();
        let mut states = self.states(&events);
        let mut missing_more = 0;
        if self.generation.is_none()
            && let Some(progress) = self.last_progress()
        {
            for identifier in &progress.missing {
                states
                    .entry(identifier.clone())
                    .or_insert((RecordNodeState::Missing, None));
            }
            let needed = progress.needed.saturating_sub(progress.registered);
            let missing = progress.missing_count.max(needed);
            missing_more = missing.saturating_sub(progress.missing.len());
        }
        for refused in self.refused() {
            let failure = Some(refused.message.clone());
            let state = states
                .entry(refused.identifier.clone())
                .or_insert((RecordNodeState::Refused, None));
            if state.0 == RecordNodeState::Missing {
                state.0 = RecordNodeState::Refused;
            }
            if state.0 == RecordNodeState::Refused {
                state.1 = failure;
            }
        }
        let unknown = NodeEvents::default();
        let nodes = states.into_iter().map(|(identifier, (state, failure))| {
            let events = events.get(&identifier).unwrap_or(&unknown);
            self.node(
                identifier,
                state,
                failure,
                events,
                (began_at, ended_at),
                reason,
            )
        });
        let mut nodes: Vec<RecordNode> = nodes.collect();
        nodes.sort_by(|one, other| {
            let by_state = one.state.cmp(&other.state);
            let by_time = other
                .seconds
                .unwrap_or(0.0)
                .total_cmp(&one.seconds.unwrap_or(0.0));
            let by_name =
                || natural_order::compare(one.identifier.as_str(), other.identifier.as_str());
            by_state.then(by_time).then_with(by_name)
        });
        (nodes, missing_more)
    }

    fn node(
        &self,
        identifier: Identifier,
        state: RecordNodeState,
        failure: Option<String>,
        events: &NodeEvents,
        (began_at, ended_at): (Option<Timestamp>, Timestamp),
        reason: &str,
    ) -> RecordNode {
        let registered_at = events.registered_at;
        let delivered_at = events.delivered_at;
        let waited_from = registered_at.max(began_at);
        let end = match state {
            RecordNodeState::Left
            | RecordNodeState::Refused
            | RecordNodeState::Behind
            | RecordNodeState::Unchanged => None,
            _ if events.is_delivered => delivered_at,
            _ => Some(ended_at),
        };
        let failure = failure.or_else(|| match state {
            RecordNodeState::Failed => {
                let failed = events.phases.iter().rev();
                let mut failed = failed.filter(|report| report.phase.is_failed());
                let reason = failed.next().and_then(|report| report.reason.clone());
                Some(reason.unwrap_or_else(|| "the node reported that it failed".to_owned()))
            }
            RecordNodeState::Missing => Some(match self.generation {
                None => format!("the node has not registered; {reason}"),
                Some(_) => "the node is not registered, and has not fetched its files".to_owned(),
            }),
            RecordNodeState::Undelivered => {
                Some("the files are sealed, and the node has not received them".to_owned())
            }
            RecordNodeState::Waiting => Some(format!("the node waits for its files: {reason}")),
            RecordNodeState::Refused
            | RecordNodeState::Left
            | RecordNodeState::Behind
            | RecordNodeState::Delivered
            | RecordNodeState::Unchanged => None,
        });
        RecordNode {
            identifier,
            state,
            registered_at,
            delivered_at,
            seconds: match (waited_from, end) {
                (Some(from), Some(end)) => Some(seconds(from, end)),
                _ => None,
            },
            failure,
            phases: events.phases.clone(),
        }
    }

    /// Returns what the events, and the state where events are lost, say about each node.
    fn node_events(&self) -> BTreeMap<Identifier, NodeEvents> {
        let number = self.generation.map(|generation| generation.number);
        let mut nodes = BTreeMap::<Identifier, NodeEvents>::new();
        for event in &self.events {
            match &event.kind {
                EventKind::NodeRegistered { registration } if event.revision <= self.to => {
                    let node = nodes.entry(registration.identifier.clone()).or_default();
                    if event.revision <= self.inputs() || node.registered_at.is_none() {
                        node.registered_at = event.at;
                    }
                }
                EventKind::Delivered {
                    identifier,
                    generation,
                } if Some(*generation) == number => {
                    let node = nodes.entry(identifier.clone()).or_default();
                    if !node.is_delivered {
                        node.is_delivered = true;
                        node.delivered_at = event.at;
                    }
                }
                EventKind::Delivered {
                    identifier,
                    generation,
                } if Some(*generation) < number => {
                    nodes.entry(identifier.clone()).or_default().has_older = true;
                }
                EventKind::NodeRemoved { identifier } if event.revision <= self.inputs() => {
                    if let Some(node) = nodes.get_mut(identifier) {
                        node.has_older = false;
                    }
                }
                EventKind::PhaseReported {
                    identifier,
                    phase,
                    generation,
                    reason,
                } if Some(*generation) == number => {
                    let node = nodes.entry(identifier.clone()).or_default();
                    node.report(phase, event.at, reason.as_deref());
                }
                _ => {}
            }
        }
        let state = self.source.state;
        for (identifier, registered) in &state.registrations {
            let node = nodes.entry(identifier.clone()).or_default();
            if node.registered_at.is_none() && registered.revision <= self.inputs() {
                node.registered_at = registered.origin.at;
            }
            let Some(number) = number else {
                continue;
            };
            let delivered = state.deliveries.get(identifier);
            node.is_delivered |= delivered == Some(&number);
            match state.delivery_times.get(identifier) {
                Some((of, at)) if *of == number && node.delivered_at.is_none() => {
                    node.is_delivered = true;
                    node.delivered_at = Some(*at);
                }
                _ => {}
            }
            node.has_older |= delivered.is_some_and(|delivered| *delivered < number);
            for (phase, report) in state.phases.of(identifier.as_str()) {
                let is_known = node.phases.iter().any(|known| known.phase == *phase);
                if !is_known && report.generation == number {
                    node.report(phase, Some(report.at), report.reason.as_deref());
                }
            }
        }
        nodes
    }

    /// Returns the state of each node that is a member, or that waits for the next generation.
    fn states(
        &self,
        events: &BTreeMap<Identifier, NodeEvents>,
    ) -> BTreeMap<Identifier, (RecordNodeState, Option<String>)> {
        let mut states = BTreeMap::new();
        let left: BTreeSet<&Identifier> = self.left().collect();
        let registered = &self.source.state.registrations;
        if self.to == Revision(u64::MAX) {
            let waiting = registered.keys().cloned();
            states.extend(waiting.map(|node| (node, (RecordNodeState::Waiting, None))));
        }
        if self.generation.is_none() {
            let left = left.iter().map(|node| (*node).clone());
            states.extend(left.map(|node| (node, (RecordNodeState::Left, None))));
        }
        let Some(generation) = self.generation else {
            return states;
        };
        for (identifier, files) in &generation.nodes {
            let events = events.get(identifier);
            let is_failed = events.is_some_and(|events| {
                let last = events.phases.last();
                last.is_some_and(|last| last.phase.is_failed())
            });
            let is_unchanged = self.before.is_some_and(|before| {
                let before = before.nodes.get(identifier);
                before.is_some_and(|before| before.digest == files.digest)
            });
            let state = if is_failed {
                RecordNodeState::Failed
            } else if events.is_some_and(|events| events.is_delivered) {
                RecordNodeState::Delivered
            } else if left.contains(identifier) {
                RecordNodeState::Left
            } else if is_unchanged {
                RecordNodeState::Unchanged
            } else if events.is_some_and(|events| events.has_older) {
                RecordNodeState::Behind
            } else if events.is_some_and(|events| events.registered_at.is_some())
                || registered.contains_key(identifier)
            {
                RecordNodeState::Undelivered
            } else {
                RecordNodeState::Missing
            };
            states.insert(identifier.clone(), (state, None));
        }
        states
    }

    /// Returns the newest progress that was waited for.
    fn last_progress(&self) -> Option<&Progress> {
        let mut notes = self.notes().rev();
        notes.find_map(|note| match &note.kind {
            NoteKind::Waiting { progress } => Some(progress),
            _ => None,
        })
    }

    /// Returns the nodes that the server refused, for a record of the newest generation.
    fn refused(&self) -> impl Iterator<Item = &cfgsync_wire::RefusedEntry> {
        let is_newest = self.to == Revision(u64::MAX);
        let refused = self.source.refused.iter();
        refused.filter(move |_| is_newest)
    }
}

impl NodeEvents {
    fn report(&mut self, phase: &Phase, at: Option<Timestamp>, reason: Option<&str>) {
        if self.phases.len() < PHASES_MAX {
            self.phases.push(RecordPhase {
                phase: phase.clone(),
                at,
                reason: reason.map(str::to_owned),
            });
        }
    }
}
