//! Answers of a state directory in the types of the wire protocol, so that they print like those of a server.

use cfgsync_cluster::{
    notes,
    projection::{self, ClusterFacts, NodeFacts},
    record::{self, RecordSource},
};
use cfgsync_model::{Generation, GenerationNumber, Identifier, Instance, Progress, Revision};
use cfgsync_store::{DirectoryContents, RegisteredNode, State};
use cfgsync_support::{clock::WallClock, nearest::did_you_mean_suffix};
use cfgsync_wire::{
    ArtifactEntry, ClusterBody, GenerationEntry, NodeBody, NodeEntry, NodeState, RecordBody,
};
use serde::Serialize;

use super::InspectError;
use crate::cmd::progress::counted;

/// Returns the state of the cluster.
pub(super) fn cluster(contents: &DirectoryContents) -> ClusterBody {
    let state = &contents.state;
    let nodes = state.registrations.values();
    let entries = nodes.map(|node| entry(state, node)).collect();
    let facts = ClusterFacts {
        cluster: contents.cluster.clone(),
        instance: contents.instance,
        // The rule is part of the spec, which is not in the directory.
        progress: Progress {
            registered: state.registrations.len(),
            ..Progress::default()
        },
        generation: state.generation().map(|generation| generation.number),
        failure: state.failure.as_deref(),
        render_failure: None,
        // The server keeps refusals in memory only.
        refused: vec![],
    };
    projection::cluster_body(state, facts, entries)
}

/// Returns the state of one node.
pub(super) fn node(
    contents: &DirectoryContents,
    identifier: &Identifier,
) -> Result<NodeBody, InspectError> {
    let state = &contents.state;
    if !state.mentions(identifier.as_str()) && sealed_for(state, identifier).is_none() {
        let near = did_you_mean_suffix(
            identifier.as_str(),
            state.mentioned_identifiers().map(Identifier::as_str),
        );
        return Err(InspectError::NoNode(format!(
            "there is no node {identifier} in the state directory{near}"
        )));
    }
    let registered = state.registrations.get(identifier);
    let sealed = sealed_for(state, identifier);
    let artifacts =
        sealed.map(|generation| ArtifactEntry::payload_of(generation, identifier.as_str()));
    let reason = "the state directory does not record the reason; ask the server";
    Ok(NodeBody {
        node: registered.map(|node| entry(state, node)),
        state: match (&state.failure, sealed, registered) {
            (Some(_), ..) => NodeState::Failed,
            (None, Some(_), _) => NodeState::Ready,
            (None, None, Some(_)) => NodeState::Waiting,
            (None, None, None) => NodeState::Unregistered,
        },
        reason: match (&state.failure, sealed) {
            (Some(failure), _) => Some(failure.reason.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(reason.to_owned()),
        },
        generation: sealed.map(|generation| generation.number),
        artifacts: artifacts.unwrap_or_default(),
        overridden: state.overrides.contains_key(identifier),
        refused: None,
    })
}

/// Returns the newest generation, if it has files for `identifier`.
fn sealed_for<'a>(state: &'a State, identifier: &Identifier) -> Option<&'a Generation> {
    let newest = state.generation()?;
    newest.nodes.contains_key(identifier).then_some(&**newest)
}

/// Returns a generation that is still kept.
pub(super) fn generation(
    contents: &DirectoryContents,
    number: GenerationNumber,
) -> Result<&Generation, InspectError> {
    let mut kept = contents.state.generations.iter();
    kept.find(|kept| kept.number == number)
        .map(AsRef::as_ref)
        .ok_or(InspectError::NoGeneration(number))
}

/// Returns the flight record of a generation, or of the newest one. It ends with the last event or note, because the
/// directory does not tell whether a server still runs.
pub(super) fn record(
    contents: &DirectoryContents,
    number: Option<GenerationNumber>,
) -> Result<RecordBody, InspectError> {
    let state = &contents.state;
    let notes = notes::read(&contents.notes_file(), contents.instance).unwrap_or_default();
    let oldest = state.oldest_event_position();
    let events = state.events_behind(oldest).into_iter().flatten();
    let times = events.filter_map(|event| event.at);
    let newest = times.chain(notes.iter().map(|note| note.at)).max();
    let source = RecordSource {
        cluster: &contents.cluster,
        instance: contents.instance,
        state,
        notes: &notes,
        // The server keeps refusals in memory only.
        refused: &[],
        made_at: newest.unwrap_or_else(|| WallClock::system().now()),
    };
    let record = record::record(source, number);
    record.ok_or(InspectError::NoGeneration(number.unwrap_or_default()))
}

/// The summary of a directory in which every checksum was correct.
#[derive(Debug, Serialize)]
pub(super) struct Verified {
    cluster: String,
    instance: Instance,
    revision: Revision,
    nodes: usize,
    log: VerifiedLog,
    snapshot: Option<VerifiedSnapshot>,
    /// Newest first.
    generations: Vec<GenerationEntry>,
}

#[derive(Debug, Serialize)]
struct VerifiedLog {
    batches: u64,
    bytes: u64,
    /// Whether the last batch is incomplete: a server is writing it, a crash interrupted it, or the file is damaged. The
    /// next server drops it.
    unfinished: bool,
}

#[derive(Debug, Serialize)]
struct VerifiedSnapshot {
    revision: Revision,
    bytes: u64,
}

impl Verified {
    /// Summarizes a directory that was verified.
    pub(super) fn of(contents: &DirectoryContents) -> Self {
        let kept = contents.state.generations.iter().rev();
        Self {
            cluster: contents.cluster.clone(),
            instance: contents.instance,
            revision: contents.state.revision,
            nodes: contents.state.registrations.len(),
            log: VerifiedLog {
                batches: contents.log_frames,
                bytes: contents.log_bytes,
                unfinished: contents.is_torn,
            },
            snapshot: contents
                .snapshot
                .map(|(revision, bytes)| VerifiedSnapshot { revision, bytes }),
            generations: kept.map(|kept| GenerationEntry::of(kept)).collect(),
        }
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!(
            "{}: instance {}, revision {}, {}\n",
            self.cluster,
            self.instance,
            self.revision,
            counted(self.nodes, "node")
        );
        if let Some(snapshot) = &self.snapshot {
            text.push_str(&format!(
                "snapshot: revision {}, {} bytes, intact\n",
                snapshot.revision, snapshot.bytes
            ));
        }
        let unfinished = if self.log.unfinished {
            "; the last batch is incomplete: a server is writing it, a crash interrupted it, or the file is damaged"
        } else {
            ""
        };
        text.push_str(&format!(
            "log: {} batches, {} bytes, intact{unfinished}\n",
            self.log.batches, self.log.bytes
        ));
        for generation in &self.generations {
            text.push_str(&format!(
                "generation {}: {}, digest {}, intact\n",
                generation.number,
                counted(generation.nodes, "node"),
                generation.digest
            ));
        }
        text
    }
}

fn entry(state: &State, registered: &RegisteredNode) -> NodeEntry {
    let newest = state.generation().map(AsRef::as_ref);
    let facts = NodeFacts {
        // As the node sent it: the defaults are part of the spec.
        metadata: registered.registration.metadata.clone(),
        waits: false,
        lease: None,
        is_recipient: newest
            .is_some_and(|newest| projection::is_recorded_recipient(newest, registered)),
        was_delivered: false,
    };
    projection::node_entry(state, newest, registered, facts)
}
