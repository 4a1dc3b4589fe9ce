//! Nodes as values of templates and expressions.

use std::{cell::Cell, fmt, ptr, sync::Arc};

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

thread_local! {
    /// The address of the node of which a field was read last on this thread. An error is most likely about this node.
    static LAST_READ: Cell<usize> = const { Cell::new(0) };
}

/// Forgets which node was read last on this thread.
pub(super) fn forget_last_read() {
    LAST_READ.set(0);
}

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

    /// Returns the identifier if a field of this node was read last on this thread.
    pub(super) fn identifier_if_read_last(&self) -> Option<&str> {
        let node = self.0.downcast_object_ref::<NodeObject>()?;
        (ptr::from_ref(node).addr() == LAST_READ.get()).then_some(node.identifier.as_str())?
    }

    /// Returns the identifier.
    pub(super) fn identifier(&self) -> Option<&str> {
        identifier_of(&self.0)
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
        LAST_READ.set(Arc::as_ptr(self).addr());
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
