//! What operators read under `/v1/`.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Digest, Failure, Generation, GenerationNumber,
    Identifier, Instance, Metadata, Mode, Progress, Revision, Seat,
};
use cfgsync_support::clock::Timestamp;

/// `GET /v1/snapshot`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterBody {
    /// The cluster's name.
    pub cluster: String,
    /// The store's identity.
    pub instance: Instance,
    /// The newest revision.
    pub revision: Revision,
    /// In one word.
    pub state: ClusterState,
    /// How far the set has come.
    pub progress: Progress,
    /// The generation that is served.
    pub generation: Option<GenerationNumber>,
    /// Why the cluster failed, or why the newest render did while an older generation is served.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Who is here, sorted by identifier.
    pub registrations: Vec<NodeEntry>,
    /// Whose files an operator has replaced, who is not here.
    #[serde(default)]
    pub overridden_absent: Vec<Identifier>,
}

/// A cluster's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterState {
    /// There is no generation yet.
    Waiting,
    /// A generation is served.
    Ready,
    /// Every waiter was told why.
    Failed,
}

/// One registered node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its name.
    pub identifier: Identifier,
    /// Its address.
    pub ip: IpAddr,
    /// Its metadata, with the spec's defaults.
    pub metadata: Metadata,
    /// Its number, once sealed.
    pub seat: Option<Seat>,
    /// The revision of its registration.
    pub revision: Revision,
    /// The newest generation handed to it.
    #[serde(default)]
    pub delivered: Option<GenerationNumber>,
    /// Whether a generation is served that it has not received.
    #[serde(default)]
    pub behind: bool,
    /// Whether an operator's files stand in place of its own.
    #[serde(default)]
    pub overridden: bool,
}

/// `GET /v1/nodes/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeBody {
    /// Its registration; absent for a node that is served without one, or not here.
    pub node: Option<NodeEntry>,
    /// In one word.
    pub state: NodeState,
    /// Why it waits or gets nothing, in words.
    #[serde(default)]
    pub reason: Option<String>,
    /// The generation that it would receive now.
    pub generation: Option<GenerationNumber>,
    /// The files of it.
    pub artifacts: Vec<ArtifactEntry>,
    /// Whether an operator's files stand in place of its own, or will once it is here.
    #[serde(default)]
    pub overridden: bool,
}

/// What a node would be answered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Its payload.
    Ready,
    /// Not yet.
    Waiting,
    /// It is not registered, and must be.
    Unregistered,
    /// Nothing, ever.
    Missing,
    /// The failure.
    Failed,
}

/// One file, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactEntry {
    /// Its name.
    pub path: ArtifactPath,
    /// Its mode.
    pub mode: Mode,
    /// Its length.
    pub bytes: usize,
    /// The sum of its content.
    pub sha256: Digest,
    /// Whether all nodes get it.
    #[serde(default)]
    pub shared: bool,
    /// Whether its content is shown only to who asks for it.
    #[serde(default)]
    pub secret: bool,
}

/// One line of `GET /v1/generations`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationEntry {
    /// Its number.
    pub number: GenerationNumber,
    /// Its digest.
    pub digest: Digest,
    /// The input revision that it shows.
    pub revision: Revision,
    /// The digest of the spec that made it.
    pub spec: Digest,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// How many nodes have a payload in it.
    pub nodes: usize,
}

/// `GET /v1/generations/{n}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationBody {
    /// What the list says of it.
    #[serde(flatten)]
    pub entry: GenerationEntry,
    /// Each node's own files.
    pub artifacts: BTreeMap<Identifier, Vec<ArtifactEntry>>,
    /// The files of all.
    pub shared: Vec<ArtifactEntry>,
}

impl ArtifactEntry {
    /// Describes `file`.
    pub fn of(file: &ArtifactFile, shared: bool) -> Self {
        Self {
            path: file.path.clone(),
            mode: file.mode,
            bytes: file.content.len(),
            sha256: file.content.sha256(),
            shared,
            secret: file.secret,
        }
    }

    /// Describes the payload of `identifier` in `generation`: its own files, then those of all.
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
    /// Describes `generation`.
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
    /// Describes `generation`, file by file.
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
        }
    }
}
