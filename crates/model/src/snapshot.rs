//! Snapshots: all inputs of a render at one revision.

use std::{fmt, net::IpAddr, ops::Deref, sync::Arc};

use serde::{Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{Identifier, Metadata, NodeRegistration, Revision, Seat, ValueReader};

/// The metadata of a node in a snapshot: a [`Metadata`] that is shared, mostly with the node's registration. A snapshot
/// of a million nodes copies none of them.
#[derive(Clone)]
pub struct SharedMetadata(Source);

#[derive(Clone)]
enum Source {
    /// The metadata that the node sent.
    Registration(Arc<NodeRegistration>),
    /// The metadata that the node sent, completed by the spec's defaults.
    Completed(Arc<Metadata>),
}

impl Deref for SharedMetadata {
    type Target = Metadata;

    fn deref(&self) -> &Metadata {
        match &self.0 {
            Source::Registration(registration) => &registration.metadata,
            Source::Completed(metadata) => metadata,
        }
    }
}

impl From<Metadata> for SharedMetadata {
    fn from(metadata: Metadata) -> Self {
        Self(Source::Completed(Arc::new(metadata)))
    }
}

impl From<Arc<NodeRegistration>> for SharedMetadata {
    fn from(registration: Arc<NodeRegistration>) -> Self {
        Self(Source::Registration(registration))
    }
}

impl PartialEq for SharedMetadata {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl Eq for SharedMetadata {}

impl fmt::Debug for SharedMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Serialize for SharedMetadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Metadata::serialize(self, serializer)
    }
}

/// One node of a snapshot: its registration, completed by the spec's defaults, and its seat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotNode {
    /// The node's unique name.
    pub identifier: Identifier,
    /// The address at which other nodes reach it.
    pub ip: IpAddr,
    /// The node's metadata, with the spec's defaults for fields that the node did not send.
    pub metadata: SharedMetadata,
    /// The node's number, see [`Seat`].
    pub seat: Seat,
}

impl SnapshotNode {
    /// Reads the node's metadata as a `T`.
    ///
    /// # Errors
    /// Fails if the metadata lacks a field of `T` or has a value of another type. A spec whose `metadata:` section
    /// declares these fields refuses such a node at registration.
    pub fn metadata_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&*self.metadata)
    }
}

/// The complete input of a materializer. Pure materializers give equal files for equal snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegistrationSnapshot {
    /// The cluster's name, as the spec has it.
    pub cluster: String,
    /// The revision of the newest input that the snapshot includes.
    pub revision: Revision,
    /// All nodes, sorted by identifier.
    pub nodes: Vec<SnapshotNode>,
    /// The constants under `values:` in the spec.
    pub values: Map<String, Value>,
    /// The results of the expressions under `once:`, evaluated at the first seal.
    pub once: Map<String, Value>,
    /// The operators' values that the materializer may read. They are no part of the serialized form.
    #[serde(skip)]
    pub operator_values: ValueReader,
}

impl RegistrationSnapshot {
    /// Returns the node with this identifier, by binary search.
    pub fn node(&self, identifier: &str) -> Option<&SnapshotNode> {
        self.nodes
            .binary_search_by(|node| node.identifier.as_str().cmp(identifier))
            .ok()
            .map(|at| &self.nodes[at])
    }
}
