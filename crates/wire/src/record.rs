//! The JSON of a flight record: the timeline of one generation, or of an attempt that has not reached one.

use serde::{Deserialize, Serialize};

use cfgsync_model::{
    Failure, GenerationChanges, GenerationNumber, Identifier, Instance, Phase, Progress,
};
use cfgsync_support::clock::Timestamp;

/// The timeline of a generation: who came when, what was waited for, when it was sealed and delivered. It shows no
/// contents of files and values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordBody {
    /// The name of the cluster.
    pub cluster: String,
    /// The instance of the store.
    pub instance: Instance,
    /// The number of the generation. `None` if none was sealed.
    pub generation: Option<GenerationNumber>,
    /// How it ended.
    pub outcome: RecordOutcome,
    /// The same in one line.
    pub message: String,
    /// Whether the history of events and notes reaches back to the beginning. If not, times and waits may be missing.
    pub complete: bool,
    /// When a server made this record. In one of a state directory, the time of the last event or note.
    pub made_at: Timestamp,
    /// The first change that led to the generation.
    pub began_at: Option<Timestamp>,
    /// When the generation was sealed.
    pub sealed_at: Option<Timestamp>,
    /// The last delivery, phase or failure. Without one, the time at which the record was made.
    pub ended_at: Timestamp,
    /// The render that made the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub render: Option<RecordRender>,
    /// The failure of the cluster, or of the newest render.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The changes since the generation before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<GenerationChanges>,
    /// The number of nodes that are missing and that `nodes` does not list.
    #[serde(default)]
    pub missing_more: usize,
    /// The reasons to wait, in order.
    pub waits: Vec<RecordWait>,
    /// The other events, which are no registrations, deliveries or phases, in order.
    pub moments: Vec<RecordMoment>,
    /// The nodes: the failed ones first, then the slowest.
    pub nodes: Vec<RecordNode>,
}

/// How a generation came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordOutcome {
    /// It was sealed.
    Sealed,
    /// The cluster failed before the seal.
    Failed,
    /// The set of nodes was not complete, or its files were not sealed.
    Waiting,
}

/// The render of a generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordRender {
    /// When it started. `None` if the generation is one of an older program.
    pub started_at: Option<Timestamp>,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// The number of files in all payloads. A shared file counts once.
    pub files: usize,
    /// Their size, in bytes.
    pub bytes: usize,
}

/// A condition that was waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordWait {
    /// Since when it was waited for.
    pub at: Timestamp,
    /// How long, in seconds. `None` if the end is not known.
    pub seconds: Option<f64>,
    /// The condition in one line.
    pub message: String,
    /// The condition in figures, names and clauses.
    pub progress: Progress,
}

/// Something that happened to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordMoment {
    /// When it happened, if that is known.
    pub at: Option<Timestamp>,
    /// Its name, such as `generation_sealed`.
    pub kind: String,
    /// The same in one line.
    pub message: String,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordNode {
    /// The identifier.
    pub identifier: Identifier,
    /// The state in which the record shows it.
    pub state: RecordNodeState,
    /// When it registered with the facts that the generation includes.
    pub registered_at: Option<Timestamp>,
    /// When it received the generation.
    pub delivered_at: Option<Timestamp>,
    /// The time from the registration, or from the first change that led to the generation, to the delivery, in seconds.
    /// Without a delivery, the time to the end of the record.
    pub seconds: Option<f64>,
    /// Why it has failed or is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The phases that it has reported about the generation, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<RecordPhase>,
}

/// The state of a node in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordNodeState {
    /// It has reported the phase `failed`.
    Failed,
    /// The server refused to register it.
    Refused,
    /// It has not registered.
    Missing,
    /// The generation has files for it, and it has not received them.
    Undelivered,
    /// It has registered, and no generation includes it.
    Waiting,
    /// It has left.
    Left,
    /// It has an older generation, and does not follow changes.
    Behind,
    /// It has received the generation.
    Delivered,
    /// The generation before has the same files for it.
    Unchanged,
}

/// A phase of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordPhase {
    /// The phase.
    pub phase: Phase,
    /// When the node reported it.
    pub at: Option<Timestamp>,
    /// The reason that the node gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl RecordNodeState {
    /// Returns whether the node was not served, or has failed.
    pub fn is_bad(self) -> bool {
        !matches!(
            self,
            Self::Left | Self::Behind | Self::Delivered | Self::Unchanged
        )
    }

    /// Returns the name, as in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Missing => "missing",
            Self::Undelivered => "undelivered",
            Self::Waiting => "waiting",
            Self::Left => "left",
            Self::Behind => "behind",
            Self::Delivered => "delivered",
            Self::Unchanged => "unchanged",
        }
    }
}
