//! Nodes as values of templates and expressions.

use std::{fmt, sync::Arc};

use minijinja::{
    Value as Jinja,
    value::{Enumerator, Object},
};

use super::json_value::from_json;
use cfgsync_model::{Metadata, NodeRegistration, RegistrationSnapshot, SnapshotNode};
use cfgsync_support::parallel;

/// The fields of a node. `seat` is last because a node without a seat has all fields but this one.
pub(super) const NODE_FIELDS: &[&str] = &["identifier", "ip", "metadata", "seat"];

/// Number of nodes from which a second thread saves more time than it costs.
const NODES_PER_THREAD_MIN: usize = 1024;

/// A node as a value of the template language. Cloning copies a pointer.
#[derive(Clone)]
pub struct NodeValue(Jinja);

impl NodeValue {
    /// Returns the value for a node of a snapshot, which has a seat.
    pub(super) fn new(node: &SnapshotNode) -> Self {
        Self::from_parts(
            node.identifier.as_str(),
            node.ip.to_string(),
            &node.metadata,
            Some(node.seat.0),
        )
    }

    /// Returns the values for all nodes of a snapshot, in its order. The conversion uses all cores.
    pub fn all_of(snapshot: &RegistrationSnapshot) -> Vec<Self> {
        parallel::map(&snapshot.nodes, NODES_PER_THREAD_MIN, Self::new)
    }

    /// Returns the value for a node before the first seal. Its field `seat` is undefined. `metadata` is the node's
    /// metadata with the spec's defaults and replaces that of the registration.
    pub fn without_seat(registration: &NodeRegistration, metadata: &Metadata) -> Self {
        Self::from_parts(
            registration.identifier.as_str(),
            registration.ip.to_string(),
            metadata,
            None,
        )
    }

    fn from_parts(identifier: &str, ip: String, metadata: &Metadata, seat: Option<u32>) -> Self {
        Self(Jinja::from_object(NodeObject {
            identifier: Jinja::from(identifier),
            ip: Jinja::from(ip),
            metadata: from_json(metadata),
            seat: seat.map(Jinja::from),
        }))
    }

    pub(super) fn as_jinja(&self) -> &Jinja {
        &self.0
    }
}

/// Prints the identifier only: the metadata may contain secrets.
impl fmt::Debug for NodeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeValue({:?})", identifier_of(&self.0))
    }
}

/// Returns the identifier of `value` if it is a node.
pub(super) fn identifier_of(value: &Jinja) -> Option<&str> {
    value
        .downcast_object_ref::<NodeObject>()
        .and_then(|node| node.identifier.as_str())
}

#[derive(Debug)]
struct NodeObject {
    identifier: Jinja,
    ip: Jinja,
    metadata: Jinja,
    seat: Option<Jinja>,
}

impl Object for NodeObject {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Jinja> {
        match key {
            "identifier" => Some(self.identifier.clone()),
            "ip" => Some(self.ip.clone()),
            "metadata" => Some(self.metadata.clone()),
            "seat" => self.seat.clone(),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let count = NODE_FIELDS.len() - usize::from(self.seat.is_none());
        Enumerator::Str(&NODE_FIELDS[..count])
    }
}
