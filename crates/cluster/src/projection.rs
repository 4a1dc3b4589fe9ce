//! The answers to operators, as far as the state of the store determines them. A server and a reader of a state directory
//! share them.

use cfgsync_model::{
    Failure, FailureKind, Generation, GenerationNumber, Identifier, Instance, Metadata, Progress,
};
use cfgsync_store::{RegisteredNode, State};
use cfgsync_wire::{ClusterBody, ClusterState, LeaseState, NodeEntry, PhaseEntry, RefusedEntry};

/// The facts about a cluster that the state of the store does not contain.
pub struct ClusterFacts<'a> {
    /// The name of the cluster.
    pub cluster: String,
    /// The identity of the store.
    pub instance: Instance,
    /// The progress of the set of nodes towards the rule.
    pub progress: Progress,
    /// The number of the generation that is served.
    pub generation: Option<GenerationNumber>,
    /// The failure of the cluster.
    pub failure: Option<&'a Failure>,
    /// The failure of the newest render, or the missed deadline, while an older generation stays served.
    pub render_failure: Option<&'a Failure>,
    /// The nodes that the server refused to register.
    pub refused: Vec<RefusedEntry>,
}

/// The facts about a registered node that the state of the store does not contain.
pub struct NodeFacts {
    /// The metadata to show.
    pub metadata: Metadata,
    /// Whether a request of the node is held now.
    pub waits: bool,
    /// The state of the node's lease, if one binds the node.
    pub lease: Option<LeaseState>,
    /// Whether the node should receive the served generation.
    pub is_recipient: bool,
    /// Whether the node has received the served generation, even if the store has not recorded it yet.
    pub was_delivered: bool,
}

/// Returns the body that describes the cluster.
pub fn cluster_body(
    state: &State,
    facts: ClusterFacts<'_>,
    registrations: Vec<NodeEntry>,
) -> ClusterBody {
    ClusterBody {
        cluster: facts.cluster,
        instance: facts.instance,
        revision: state.revision,
        state: match (facts.failure, facts.generation) {
            (Some(_), _) => ClusterState::Failed,
            (None, Some(_)) => ClusterState::Ready,
            (None, None) => ClusterState::Waiting,
        },
        progress: facts.progress,
        generation: facts.generation,
        failure: facts.failure.or(facts.render_failure).cloned(),
        registrations,
        overridden_absent: state.overridden_absent().cloned().collect(),
        refused: facts.refused,
        redraws: state.redraws.keys().cloned().collect(),
        banned: state.bans.iter().cloned().collect(),
    }
}

/// Returns the entry of one registered node. `served` is the generation that is served.
pub fn node_entry(
    state: &State,
    served: Option<&Generation>,
    registered: &RegisteredNode,
    facts: NodeFacts,
) -> NodeEntry {
    let node = &registered.registration;
    let newest = served.map(|served| served.number);
    let carried = |number: &GenerationNumber| state.carried(node.identifier.as_str(), *number);
    let recorded = state.deliveries.get(&node.identifier).map(carried);
    let phases = state.phases.of(node.identifier.as_str());
    let phases = phases.map(|(phase, report)| PhaseEntry {
        phase: phase.clone(),
        generation: carried(&report.generation),
        reason: report.reason.clone(),
        at: report.at,
    });
    NodeEntry {
        identifier: node.identifier.clone(),
        ip: node.ip,
        behind: is_behind(
            state,
            served,
            &node.identifier,
            facts.is_recipient,
            facts.was_delivered,
        ),
        metadata: facts.metadata,
        seat: served.and_then(|served| served.seats.get(&node.identifier).copied()),
        revision: registered.revision,
        since: registered.origin.at,
        waits: facts.waits,
        lease: facts.lease,
        delivered: newest.filter(|_| facts.was_delivered).or(recorded),
        overridden: state.overrides.contains_key(&node.identifier),
        phases: phases.collect(),
    }
}

/// Returns a sentence about a failure of the cluster.
pub fn failure_message(failure: &Failure) -> String {
    let reason = &failure.reason;
    match failure.kind {
        FailureKind::Operator => format!("an operator declared the cluster failed: {reason}"),
        FailureKind::Node => format!("a node failed, and the spec says `fail_fast`: {reason}"),
        FailureKind::Deadline | FailureKind::Render => reason.clone(),
    }
}

/// Returns the number of registered nodes whose newest report says that they failed with `generation`, for example because
/// their check refused it.
pub(crate) fn failed_nodes(state: &State, generation: GenerationNumber) -> usize {
    let nodes = state.registrations.keys().map(Identifier::as_str);
    let has_failed = |identifier: &&str| {
        let newest = state.phases.of(identifier);
        let newest = newest.max_by_key(|(_, report)| report.revision);
        newest.is_some_and(|(phase, report)| {
            phase.is_failed() && state.carried(identifier, report.generation) >= generation
        })
    };
    nodes.filter(has_failed).count()
}

/// Returns whether a registered node should receive the served generation and has not received it yet.
pub(crate) fn is_behind(
    state: &State,
    served: Option<&Generation>,
    identifier: &Identifier,
    is_recipient: bool,
    was_delivered: bool,
) -> bool {
    let carried = |number: &GenerationNumber| state.carried(identifier.as_str(), *number);
    let delivered = state.deliveries.get(identifier).map(carried);
    served.is_some_and(|served| {
        is_recipient && !was_delivered && delivered.is_none_or(|number| number < served.number)
    })
}

/// Returns whether a registered node should receive `served`, as far as a state directory shows it. A node without files
/// in it should, if it registered after the seal and the files depend on the registered nodes.
pub fn is_recorded_recipient(served: &Generation, registered: &RegisteredNode) -> bool {
    let identifier = &registered.registration.identifier;
    // Static files give seats to no node.
    let is_static = served.seats.is_empty();
    served.nodes.contains_key(identifier) || (!is_static && registered.revision > served.revision)
}
