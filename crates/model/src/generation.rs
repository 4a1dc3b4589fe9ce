//! One consistent, immutable set of everybody's files.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use super::{
    ArtifactFile, ArtifactSet, Digest, GenerationNumber, Identifier, Instance, Revision, Seat,
};
use cfgsync_support::{clock::Timestamp, parallel};

/// For fewer nodes than this, a second thread costs more than it saves.
const NODES_PER_THREAD_MIN: usize = 256;

/// One node's own files in a generation, and the digest of its whole payload.
#[derive(Debug, Clone)]
pub struct NodeFiles {
    /// Its own files; the shared ones follow them in the payload.
    pub local: ArtifactSet,
    /// The payload digest: over the instance and each file's path, mode and content, local then shared.
    pub digest: Digest,
}

/// All files of one cut, sealed under a number.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Its number, from 1 within the instance.
    pub number: GenerationNumber,
    /// Over the sorted (identifier, payload digest).
    pub digest: Digest,
    /// The input revision of the snapshot that it was rendered from.
    pub revision: Revision,
    /// The digest of the spec that it was rendered with.
    pub spec: Digest,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// Each node's files.
    pub nodes: BTreeMap<Identifier, NodeFiles>,
    /// The files of all.
    pub shared: Arc<ArtifactSet>,
    /// All seats given up to now, those of nodes that have left included.
    pub seats: Arc<BTreeMap<Identifier, Seat>>,
    /// All that was drawn once up to now.
    pub once: Arc<Map<String, Value>>,
}

/// The digest of one payload: over the instance and each file's path, mode and content id, in order. The
/// client works out the same from what it received.
pub fn payload_digest<'a>(
    instance: Instance,
    files: impl IntoIterator<Item = &'a ArtifactFile>,
) -> Digest {
    digest_of(
        &instance,
        files.into_iter().map(canonical).collect::<Vec<_>>().iter(),
    )
}

/// Computes each node's payload digest and, over the sorted (identifier, payload digest), the generation's.
pub fn generation_digest(
    instance: Instance,
    artifacts: BTreeMap<Identifier, ArtifactSet>,
    shared: &ArtifactSet,
) -> (BTreeMap<Identifier, NodeFiles>, Digest) {
    let shared: Vec<[String; 3]> = shared.files().iter().map(canonical).collect();
    let nodes: Vec<_> = artifacts.into_iter().collect();
    let digests = parallel::map(&nodes, NODES_PER_THREAD_MIN, |(_, local)| {
        let own: Vec<[String; 3]> = local.files().iter().map(canonical).collect();
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
    /// The payload of `identifier`: its own files followed by the shared ones; `None` when it has none.
    pub fn payload(&self, identifier: &str) -> Option<impl Iterator<Item = &ArtifactFile>> {
        let own = self.nodes.get(identifier)?;
        Some(own.local.files().iter().chain(self.shared.files()))
    }

    /// Whether there is a secret file in the payload of `identifier`.
    pub fn has_secrets(&self, identifier: &str) -> bool {
        let files = self.payload(identifier);
        files.is_some_and(|mut files| files.any(|file| file.secret))
    }
}

fn digest_of<'a>(instance: &'a Instance, files: impl Iterator<Item = &'a [String; 3]>) -> Digest {
    let facts = files.flatten().map(String::as_bytes);
    Digest::of_parts(std::iter::once(instance.as_bytes().as_slice()).chain(facts))
}

/// What of a file enters a digest.
fn canonical(file: &ArtifactFile) -> [String; 3] {
    [
        file.path.as_str().to_owned(),
        if file.secret {
            format!("{} secret", file.mode)
        } else {
            file.mode.to_string()
        },
        file.content.id(),
    ]
}
