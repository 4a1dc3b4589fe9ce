//! The nodes that a wait for a phase is about, and how many of them have reached it. A report changes a tally in
//! logarithmic time.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::watch;

use cfgsync_model::{
    FailedNode, GenerationNumber, Identifier, MISSING_NAMES_MAX, Phase, PhaseProgress, PhaseReport,
};
use cfgsync_store::State;
use cfgsync_wire::{PhaseBody, PhaseState};

/// A question about a phase: whether enough nodes have reached it with the files of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PhaseQuery {
    /// The phase.
    pub phase: Phase,
    /// The generation. Reports about later generations count too.
    pub generation: GenerationNumber,
    /// The nodes that must have reached it.
    pub nodes: PhaseNodes,
}

/// The nodes that must reach a phase.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PhaseNodes {
    /// All registered nodes of the generation.
    All,
    /// At least so many registered nodes of the generation.
    Count(usize),
    /// These nodes.
    Named(BTreeSet<Identifier>),
}

/// The nodes of a query, by what they have reached.
pub(crate) struct Tally {
    query: PhaseQuery,
    is_sealed: bool,
    reached: HashSet<Identifier>,
    missing: BTreeSet<Identifier>,
    /// The nodes that have failed, with their reasons.
    failed: BTreeMap<Identifier, Option<Arc<str>>>,
    /// The encoded answer, once it was needed.
    body: Option<Bytes>,
    /// Marked changed when `PhaseState` changes, not for each report.
    state: watch::Sender<PhaseState>,
}

/// The progress of one node.
enum NodeState {
    Reached,
    Missing,
    Failed(Option<Arc<str>>),
}

impl Tally {
    /// Counts the nodes of `state`.
    pub(crate) fn new(query: PhaseQuery, state: &State) -> Self {
        let mut tally = Self {
            query,
            is_sealed: false,
            reached: HashSet::new(),
            missing: BTreeSet::new(),
            failed: BTreeMap::new(),
            body: None,
            state: watch::Sender::new(PhaseState::Waiting),
        };
        tally.recount(state);
        tally
    }

    /// Counts all nodes anew.
    pub(crate) fn recount(&mut self, state: &State) {
        self.reached.clear();
        self.missing.clear();
        self.failed.clear();
        let number = self.query.generation;
        let newest = state.generation().map(|newest| newest.number);
        self.is_sealed = newest >= Some(number);
        let members: Vec<Identifier> = match &self.query.nodes {
            PhaseNodes::Named(nodes) => nodes.iter().cloned().collect(),
            PhaseNodes::All | PhaseNodes::Count(_) => {
                let mut kept = state.generations.iter();
                let generation = kept.find(|kept| kept.number == number);
                let nodes = generation.into_iter().flat_map(|kept| kept.nodes.keys());
                nodes.cloned().collect()
            }
        };
        for identifier in members {
            self.insert(state, identifier);
        }
        self.changed();
    }

    /// Counts one node anew, after one of its records or its registration has changed.
    pub(crate) fn update(&mut self, state: &State, identifier: &Identifier) {
        let was_member = self.reached.remove(identifier)
            || self.missing.remove(identifier)
            || self.failed.remove(identifier).is_some();
        let is_member = was_member || self.may_be_member(state, identifier);
        if is_member {
            self.insert(state, identifier.clone());
            self.changed();
        }
    }

    /// Whether the query is about this phase of a node, or about one that this phase may prevent.
    pub(crate) fn is_about(&self, phase: &str) -> bool {
        [self.query.phase.as_str(), Phase::FAILED, Phase::RETRY].contains(&phase)
    }

    /// The generation of the query.
    pub(crate) fn generation(&self) -> GenerationNumber {
        self.query.generation
    }

    /// Whether the nodes have reached the phase. It is marked changed when that changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<PhaseState> {
        self.state.subscribe()
    }

    /// Whether no request waits for this tally.
    pub(crate) fn is_unused(&self) -> bool {
        self.state.receiver_count() == 0
    }

    /// Returns the answer, encoded. All waiting requests share it.
    pub(crate) fn answer(&mut self) -> (PhaseState, Bytes) {
        let state = *self.state.borrow();
        if let Some(body) = &self.body {
            return (state, body.clone());
        }
        let body: Bytes = PhaseBody::new(state, self.progress()).to_json().into();
        self.body = Some(body.clone());
        (state, body)
    }

    fn progress(&self) -> PhaseProgress {
        let failed = self.failed.iter().take(MISSING_NAMES_MAX);
        let failed = failed.map(|(identifier, reason)| FailedNode {
            identifier: identifier.clone(),
            reason: reason.clone(),
        });
        PhaseProgress {
            phase: self.query.phase.clone(),
            generation: self.query.generation,
            is_sealed: self.is_sealed,
            reached: self.reached.len(),
            needed: match self.query.nodes {
                PhaseNodes::Count(count) => count,
                PhaseNodes::All | PhaseNodes::Named(_) => {
                    self.reached.len() + self.missing.len() + self.failed.len()
                }
            },
            missing: PhaseProgress::first_names(&self.missing),
            missing_count: self.missing.len(),
            failed: failed.collect(),
            failed_count: self.failed.len(),
        }
    }

    fn insert(&mut self, state: &State, identifier: Identifier) {
        let is_registered = state.registrations.contains_key(&identifier);
        let is_named = matches!(self.query.nodes, PhaseNodes::Named(_));
        if !is_registered && !is_named {
            return;
        }
        match node_state(state, &self.query, identifier.as_str()) {
            NodeState::Reached => {
                self.reached.insert(identifier);
            }
            NodeState::Missing => {
                self.missing.insert(identifier);
            }
            NodeState::Failed(reason) => {
                self.failed.insert(identifier, reason);
            }
        }
    }

    /// Whether a node that is not counted may have to be: it is part of the generation, and registered again.
    fn may_be_member(&self, state: &State, identifier: &Identifier) -> bool {
        let number = self.query.generation;
        let mut kept = state.generations.iter();
        !matches!(self.query.nodes, PhaseNodes::Named(_))
            && kept.any(|kept| kept.number == number && kept.nodes.contains_key(identifier))
    }

    fn changed(&mut self) {
        self.body = None;
        let state = self.phase_state();
        self.state.send_if_modified(|current| {
            let is_news = *current != state;
            *current = state;
            is_news
        });
    }

    fn phase_state(&self) -> PhaseState {
        let (reached, missing) = (self.reached.len(), self.missing.len());
        let can_reach = match self.query.nodes {
            PhaseNodes::All | PhaseNodes::Named(_) => self.failed.is_empty(),
            PhaseNodes::Count(count) => self.failed.is_empty() || reached + missing >= count,
        };
        let is_reached = match self.query.nodes {
            PhaseNodes::All | PhaseNodes::Named(_) => missing == 0 && self.failed.is_empty(),
            PhaseNodes::Count(count) => reached >= count,
        };
        match (self.is_sealed, is_reached, can_reach) {
            (true, true, _) => PhaseState::Reached,
            (true, false, false) => PhaseState::Failed,
            _ => PhaseState::Waiting,
        }
    }
}

/// Returns what a node has reached. Of its reports about the phase and about `failed`, the one for the newer generation
/// counts, and of two for the same generation the newer one: a report may arrive late. A failure before a retry does not
/// count.
fn node_state(state: &State, query: &PhaseQuery, identifier: &str) -> NodeState {
    let carried = |number| state.carried(identifier, number);
    let counts = |number| carried(number) >= query.generation;
    let order = |report: &PhaseReport| (carried(report.generation), report.revision);
    let report = |phase: &str| {
        let report = state.phases.get(identifier, phase);
        report.filter(|report| counts(report.generation))
    };
    if query.phase.is_delivered() {
        let delivered = state.deliveries.get(identifier);
        if delivered.is_some_and(|number| counts(*number)) {
            return NodeState::Reached;
        }
    }
    let reached = report(query.phase.as_str());
    let retried = state.phases.get(identifier, Phase::RETRY);
    let is_newer = |failed: &&PhaseReport| retried.is_none_or(|it| it.revision < failed.revision);
    let failed = report(Phase::FAILED).filter(|_| !query.phase.is_failed());
    let failed = failed.filter(is_newer);
    match (reached, failed) {
        (Some(reached), Some(failed)) if order(failed) > order(reached) => {
            NodeState::Failed(failed.reason.clone())
        }
        (Some(_), _) => NodeState::Reached,
        (None, Some(failed)) => NodeState::Failed(failed.reason.clone()),
        (None, None) => NodeState::Missing,
    }
}
