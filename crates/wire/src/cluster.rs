//! The bodies that operators read under `/v1/`.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use cfgsync_model::{
    Account, ArtifactFile, ArtifactPath, ArtifactSet, Digest, Failure, Generation,
    GenerationChanges, GenerationNumber, Identifier, Instance, Metadata, Mode, Phase, Progress,
    Revision, Seat,
};
use cfgsync_support::clock::Timestamp;

/// The body of `GET /v1/snapshot`: the cluster and its nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterBody {
    /// The name of the cluster.
    pub cluster: String,
    /// The identity of the store.
    pub instance: Instance,
    /// The newest revision of the store.
    pub revision: Revision,
    /// The state of the cluster.
    pub state: ClusterState,
    /// The progress of the set of nodes towards the rule.
    pub progress: Progress,
    /// The number of the generation that is served, if there is one.
    pub generation: Option<GenerationNumber>,
    /// The failure of the cluster, or of the newest render while an older generation is served.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// The registered nodes, sorted by identifier.
    pub registrations: Vec<NodeEntry>,
    /// The nodes whose files an operator has replaced and that are not registered.
    #[serde(default)]
    pub overridden_absent: Vec<Identifier>,
    /// The values of `once` that the next generation evaluates again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redraws: Vec<String>,
    /// The nodes that an operator has banned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub banned: Vec<Identifier>,
    /// The nodes that the server refused to register, newest first. Each one has its last refusal. The list is bounded.
    #[serde(default)]
    pub refused: Vec<RefusedEntry>,
}

/// The last refusal of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedEntry {
    /// The identifier with which the node tried to register.
    pub identifier: Identifier,
    /// The address with which it tried.
    pub ip: IpAddr,
    /// When the server refused it.
    pub at: Timestamp,
    /// The reason, such as `wrong_metadata`.
    pub reason: String,
    /// The message that the node received.
    pub message: String,
}

/// The state of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterState {
    /// There is no generation yet.
    Waiting,
    /// A generation is served.
    Ready,
    /// The cluster has failed. Nodes that waited received the reason.
    Failed,
}

/// The entry of one registered node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// The identifier of the node.
    pub identifier: Identifier,
    /// The address of the node.
    pub ip: IpAddr,
    /// The node's metadata, with the defaults of the spec.
    pub metadata: Metadata,
    /// The node's seat, after its first seal.
    pub seat: Option<Seat>,
    /// The revision of the node's registration.
    pub revision: Revision,
    /// When the node registered. `None` if an earlier version accepted the registration.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Whether a request of the node waits for its files now.
    #[serde(default)]
    pub waits: bool,
    /// The newest generation that the node has received.
    #[serde(default)]
    pub delivered: Option<GenerationNumber>,
    /// Whether the served generation is newer than the one that the node has received.
    #[serde(default)]
    pub behind: bool,
    /// Whether an operator has replaced the node's files.
    #[serde(default)]
    pub overridden: bool,
    /// The phases that the node has reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseEntry>,
    /// The state of the node's lease. `None` if no lease binds the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseState>,
}

/// The state of a lease that binds its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// The node has sent a request in time.
    Valid,
    /// The node has not. It stays registered until it is removed, and in a sealed cluster that refuses removals.
    Expired,
}

/// The newest report of a node about a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseEntry {
    /// The phase.
    pub phase: Phase,
    /// The newest generation that the report is about.
    pub generation: GenerationNumber,
    /// The reason that the node gave.
    #[serde(default)]
    pub reason: Option<Arc<str>>,
    /// When the node reported it.
    pub at: Timestamp,
}

/// The body of `GET /v1/nodes/{id}`: one node and its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeBody {
    /// The node's registration, if there is one.
    pub node: Option<NodeEntry>,
    /// The kind of response that the node would receive now.
    pub state: NodeState,
    /// The reason why the node waits or gets nothing.
    #[serde(default)]
    pub reason: Option<String>,
    /// The number of the generation that the node would receive now.
    pub generation: Option<GenerationNumber>,
    /// The files that the node would receive now.
    pub artifacts: Vec<ArtifactEntry>,
    /// Whether an operator has replaced the node's files, or will have once it registers.
    #[serde(default)]
    pub overridden: bool,
    /// The last refusal, if the server refused to register the node and it has not registered since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedEntry>,
}

/// The kind of response that a node would receive if it fetched its files now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// The node would receive a payload.
    Ready,
    /// The node would wait, because no generation includes it yet.
    Waiting,
    /// The node would wait, because it must register first.
    Unregistered,
    /// The node would receive nothing, because the spec has no files for it.
    Missing,
    /// The node would receive the failure of the cluster.
    Failed,
}

/// A file without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactEntry {
    /// The path of the artifact.
    pub path: ArtifactPath,
    /// The permission bits of the file.
    pub mode: Mode,
    /// The length of the content, in bytes.
    pub bytes: usize,
    /// The SHA-256 digest of the content.
    pub sha256: Digest,
    /// Whether every node gets the file.
    #[serde(default)]
    pub shared: bool,
    /// Whether the content is secret, so that operators must ask for it explicitly.
    #[serde(default)]
    pub secret: bool,
    /// The owner on the node, if the spec gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Account>,
    /// The group on the node, if the spec gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Account>,
}

/// An entry of `GET /v1/generations`, which lists the newest generation first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationEntry {
    /// The number of the generation.
    pub number: GenerationNumber,
    /// The digest of the generation.
    pub digest: Digest,
    /// The input revision of the snapshot that it was rendered from.
    pub revision: Revision,
    /// The digest of the spec that it was rendered with.
    pub spec: Digest,
    /// The time at which it was sealed.
    pub sealed_at: Timestamp,
    /// The number of nodes that have a payload in it.
    pub nodes: usize,
}

/// The body of `GET /v1/generations/{n}`: one generation and its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationBody {
    /// The entry of the generation in the list.
    #[serde(flatten)]
    pub entry: GenerationEntry,
    /// The files of each node.
    pub artifacts: BTreeMap<Identifier, Vec<ArtifactEntry>>,
    /// The files that every node receives.
    pub shared: Vec<ArtifactEntry>,
    /// The changes since the generation before. Absent for the first generation, and if it was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<GenerationChanges>,
}

impl ArtifactEntry {
    /// Returns the entry of `file`.
    pub fn of(file: &ArtifactFile, shared: bool) -> Self {
        Self {
            path: file.path.clone(),
            mode: file.mode,
            bytes: file.content.len(),
            sha256: file.content.sha256(),
            shared,
            secret: file.secret,
            owner: file.ownership.as_ref().and_then(|of| of.owner.clone()),
            group: file.ownership.as_ref().and_then(|of| of.group.clone()),
        }
    }

    /// Returns the entries of the payload of `identifier` in `generation`: its own files, then the shared ones.
    pub fn payload_of(generation: &Generation, identifier: &str) -> Vec<Self> {
        let own = generation.nodes.get(identifier);
        let mut all = own.map_or_else(Vec::new, |files| Self::all_of(&files.local, false));
        all.extend(Self::all_of(&generation.shared, true));
        all
    }

    fn all_of(files: &ArtifactSet, shared: bool) -> Vec<Self> {
        let files = files.files().iter();
        files.map(|file| Self::of(file, shared)).collect()
    }
}

impl GenerationEntry {
    /// Returns the entry of `generation`.
    pub fn of(generation: &Generation) -> Self {
        Self {
            number: generation.number,
            digest: generation.digest,
            revision: generation.revision,
            spec: generation.spec,
            sealed_at: generation.sealed_at,
            nodes: generation.nodes.len(),
        }
    }
}

impl GenerationBody {
    /// Returns the body for `generation`.
    pub fn of(generation: &Generation) -> Self {
        let nodes = generation.nodes.iter();
        let own = nodes.map(|(identifier, files)| {
            let files = ArtifactEntry::all_of(&files.local, false);
            (identifier.clone(), files)
        });
        Self {
            entry: GenerationEntry::of(generation),
            artifacts: own.collect(),
            shared: ArtifactEntry::all_of(&generation.shared, true),
            changes: generation.provenance.changes.clone(),
        }
    }
}
