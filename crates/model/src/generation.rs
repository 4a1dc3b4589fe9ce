//! Generations: all files of one render, sealed under a number, and their digests.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use super::{
    ArtifactFile, ArtifactSet, Digest, GenerationNumber, Identifier, Instance, Ownership,
    Provenance, Revision, Seat,
};
use cfgsync_support::{clock::Timestamp, parallel};

/// Number of nodes from which a second thread saves more time than it costs.
const NODES_PER_THREAD_MIN: usize = 256;

/// One node's part of a generation.
#[derive(Debug, Clone)]
pub struct NodeFiles {
    /// The node's own files. In the payload, the shared files follow them.
    pub local: ArtifactSet,
    /// The digest of the whole payload, as [`payload_digest`] computes it.
    pub digest: Digest,
}

/// All files that were rendered from one snapshot. A sealed generation never changes.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The generation's number, counted from 1 within the instance.
    pub number: GenerationNumber,
    /// The checksum of all pairs of identifier and payload digest, sorted by identifier.
    pub digest: Digest,
    /// The revision of the snapshot that the files were rendered from.
    pub revision: Revision,
    /// The digest of the spec that the files were rendered with.
    pub spec: Digest,
    /// The time of the seal.
    pub sealed_at: Timestamp,
    /// Each node's own files and payload digest.
    pub nodes: BTreeMap<Identifier, NodeFiles>,
    /// The files that every node receives after its own.
    pub shared: Arc<ArtifactSet>,
    /// All seats given so far, including those of nodes that have left.
    pub seats: Arc<BTreeMap<Identifier, Seat>>,
    /// The results of all `once:` expressions evaluated so far.
    pub once: Arc<Map<String, Value>>,
    /// How it came about.
    pub provenance: Arc<Provenance>,
}

/// Computes the digest of one payload from the instance and each file's path, mode, owner and content id, in order.
///
/// Server and client compute it in the same way, so that the client can check what it received.
pub fn payload_digest<'a>(
    instance: Instance,
    files: impl IntoIterator<Item = &'a ArtifactFile>,
) -> Digest {
    digest_of(
        &instance,
        files
            .into_iter()
            .map(digest_parts)
            .collect::<Vec<_>>()
            .iter(),
    )
}

/// Computes each node's payload digest, and from these the digest of the generation.
pub fn generation_digest(
    instance: Instance,
    artifacts: BTreeMap<Identifier, ArtifactSet>,
    shared: &ArtifactSet,
) -> (BTreeMap<Identifier, NodeFiles>, Digest) {
    let shared: Vec<[String; 3]> = shared.files().iter().map(digest_parts).collect();
    let nodes: Vec<_> = artifacts.into_iter().collect();
    let digests = parallel::map(&nodes, NODES_PER_THREAD_MIN, |(_, local)| {
        let own: Vec<[String; 3]> = local.files().iter().map(digest_parts).collect();
        digest_of(&instance, own.iter().chain(&shared))
    });
    let nodes: BTreeMap<_, _> = nodes
        .into_iter()
        .zip(digests)
        .map(|((identifier, local), digest)| (identifier, NodeFiles { local, digest }))
        .collect();
    let digest = Digest::of_parts(nodes.iter().flat_map(|(identifier, files)| {
        [
            identifier.as_str().as_bytes(),
            files.digest.as_bytes().as_slice(),
        ]
    }));
    (nodes, digest)
}

impl Generation {
    /// Returns the payload of a node: its own files, then the shared files. `None` if the node is not part of the
    /// generation.
    pub fn payload(&self, identifier: &str) -> Option<impl Iterator<Item = &ArtifactFile>> {
        let own = self.nodes.get(identifier)?;
        Some(own.local.files().iter().chain(self.shared.files()))
    }

    /// Returns whether a node's payload has a secret file.
    pub fn has_secrets(&self, identifier: &str) -> bool {
        let files = self.payload(identifier);
        files.is_some_and(|mut files| files.any(|file| file.secret))
    }
}

fn digest_of<'a>(instance: &'a Instance, files: impl Iterator<Item = &'a [String; 3]>) -> Digest {
    let parts = files.flatten().map(String::as_bytes);
    Digest::of_parts(std::iter::once(instance.as_bytes().as_slice()).chain(parts))
}

/// Returns the parts of a file that enter a payload digest: path, mode with secrecy and owner, and content id.
fn digest_parts(file: &ArtifactFile) -> [String; 3] {
    let secret = if file.secret { " secret" } else { "" };
    let owner = file.ownership.as_deref().map(Ownership::digest_text);
    let owner = owner.unwrap_or_default();
    [
        file.path.as_str().to_owned(),
        format!("{}{secret}{owner}", file.mode),
        file.content.id(),
    ]
}
