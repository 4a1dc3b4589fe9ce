//! All inputs at one revision, as rendering sees them.

use std::net::IpAddr;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{Identifier, Metadata, Revision, Seat};

/// One node of a snapshot: its facts, with the spec's defaults filled in, and its seat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotNode {
    /// The node's name.
    pub identifier: Identifier,
    /// Its address.
    pub ip: IpAddr,
    /// Its metadata, completed by the spec's defaults.
    pub metadata: Metadata,
    /// Its number, see [`Seat`].
    pub seat: Seat,
}

impl SnapshotNode {
    /// Reads the node's metadata as a `T`.
    ///
    /// # Errors
    /// Fails if the metadata lacks a field of `T` or has a value of another type. A spec whose `metadata:` section
    /// declares these fields refuses such a node at registration.
    pub fn metadata_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.metadata)
    }
}

/// What a materializer works from, and all it may depend on: equal snapshots give equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegistrationSnapshot {
    /// The cluster's name, from the spec.
    pub cluster: String,
    /// The input revision of this cut.
    pub revision: Revision,
    /// The nodes, sorted by identifier.
    pub nodes: Vec<SnapshotNode>,
    /// The spec's constants.
    pub values: Map<String, Value>,
    /// What was drawn at the first seal.
    pub once: Map<String, Value>,
}

impl RegistrationSnapshot {
    /// The node called `identifier`.
    pub fn node(&self, identifier: &str) -> Option<&SnapshotNode> {
        self.nodes
            .binary_search_by(|node| node.identifier.as_str().cmp(identifier))
            .ok()
            .map(|at| &self.nodes[at])
    }
}
