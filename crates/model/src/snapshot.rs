//! All inputs at one revision, as rendering sees them.

use std::{fmt, net::IpAddr, ops::Deref, sync::Arc};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::{Identifier, Metadata, NodeRegistration, Revision, Seat};

/// The metadata of a node in a snapshot: a [`Metadata`] that is shared, mostly with the node's registration. A snapshot
/// of a million nodes copies none of them.
#[derive(Clone)]
pub struct SharedMetadata(Source);

#[derive(Clone)]
enum Source {
    /// As the node sent them.
    Registration(Arc<NodeRegistration>),
    /// With the spec's defaults.
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

/// One node of a snapshot: its facts, with the spec's defaults filled in, and its seat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotNode {
    /// The node's name.
    pub identifier: Identifier,
    /// Its address.
    pub ip: IpAddr,
    /// Its metadata, completed by the spec's defaults.
    pub metadata: SharedMetadata,
    /// Its number, see [`Seat`].
    pub seat: Seat,
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
