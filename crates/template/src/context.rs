//! What expressions and templates see: nodes, values, `once`, the cluster's name.

use std::{collections::BTreeMap, fmt, sync::Arc};

use minijinja::{
    Value as Jinja,
    value::{Enumerator, Object, ValueKind},
};
use serde_json::{Map, Value};

use super::{
    draw::Draw,
    fragment::{Announcement, Fragments},
    nearest::nearest_key,
};
use cfgsync_model::{Chunk, Metadata, NodeRegistration, RegistrationSnapshot, SnapshotNode};
use cfgsync_support::parallel;

/// The fields of a node.
pub(super) const NODE_FIELDS: &[&str] = &["identifier", "ip", "metadata", "seat"];

/// For fewer nodes than this, a second thread costs more than it saves.
const NODES_PER_THREAD_MIN: usize = 1024;

/// Most nodes whose fields are searched for a name that is nearly right.
const NODES_SEARCHED_MAX: usize = 64;

/// The name, which no text can spell, under which the printer finds the [`Root`].
pub(super) const ROOT: &str = "\0root";

/// A node as expressions see it. Cloning is cheap.
#[derive(Clone)]
pub struct NodeValue(Jinja);

impl NodeValue {
    /// A node of a sealed set.
    pub fn new(node: &SnapshotNode) -> Self {
        Self::from_parts(
            node.identifier.as_str(),
            node.ip.to_string(),
            &node.metadata,
            Some(node.seat.0),
        )
    }

    /// All nodes of a sealed set, converted on all cores, in the snapshot's order.
    pub fn all_of(snapshot: &RegistrationSnapshot) -> Vec<Self> {
        parallel::map(&snapshot.nodes, NODES_PER_THREAD_MIN, Self::new)
    }

    /// A node before any seal: `seat` is not defined.
    pub fn unseated(registration: &NodeRegistration, metadata: &Metadata) -> Self {
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
}

/// Never the metadata: it may hold secrets.
impl fmt::Debug for NodeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeValue({:?})", identifier_of(&self.0))
    }
}

/// The identifier of `value`, if it is a node.
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
        Enumerator::Str(match self.seat {
            Some(_) => NODE_FIELDS,
            None => &NODE_FIELDS[..3],
        })
    }
}

/// The variables of one evaluation, made once per snapshot and shared by all templates and threads. Cloning
/// is cheap.
#[derive(Clone)]
pub struct RenderContext(Arc<Variables>);

#[derive(Clone)]
struct Variables {
    cluster: Jinja,
    values: Jinja,
    /// Not defined before there is a set.
    once: Option<Jinja>,
    /// The same nodes twice: for Rust, and as one list for the texts.
    nodes: Arc<[NodeValue]>,
    nodes_list: Option<Jinja>,
    fragments: Option<Arc<Fragments>>,
}

impl RenderContext {
    /// All of a snapshot.
    pub fn new(snapshot: &RegistrationSnapshot) -> Self {
        Self::unseated(
            &snapshot.cluster,
            &snapshot.values,
            &snapshot.once,
            NodeValue::all_of(snapshot),
        )
    }

    /// Before there is a set: only `values` and `cluster` (for a `where` that is counted node by node).
    pub fn without_nodes(cluster: &str, values: &Map<String, Value>) -> Self {
        Self(Arc::new(Variables {
            cluster: Jinja::from(cluster),
            values: from_object(values),
            once: None,
            nodes: Arc::new([]),
            nodes_list: None,
            fragments: None,
        }))
    }

    /// From nodes that may have no seats yet (readiness is asked before the first seal).
    pub fn unseated(
        cluster: &str,
        values: &Map<String, Value>,
        once: &Map<String, Value>,
        nodes: Vec<NodeValue>,
    ) -> Self {
        let list: Vec<Jinja> = nodes.iter().map(|node| node.0.clone()).collect();
        Self(Arc::new(Variables {
            cluster: Jinja::from(cluster),
            values: from_object(values),
            once: Some(from_object(once)),
            nodes: nodes.into(),
            nodes_list: Some(Jinja::from(list)),
            fragments: None,
        }))
    }

    /// The same context with the fragments that files may include.
    #[must_use]
    pub fn with_fragments(self, fragments: BTreeMap<String, Arc<Chunk>>) -> Self {
        let mut variables = Arc::unwrap_or_clone(self.0);
        variables.fragments = Some(Arc::new(Fragments::new(fragments)));
        Self(Arc::new(variables))
    }

    /// The nodes, in the snapshot's order.
    pub fn nodes(&self) -> &[NodeValue] {
        &self.0.nodes
    }

    /// The variables of one evaluation in this context.
    pub(super) fn root(&self, node: Option<&NodeValue>, draw: Option<&Draw>) -> Arc<Root> {
        Arc::new(Root {
            variables: Arc::clone(&self.0),
            node: node.map(|node| node.0.clone()),
            draw: draw.cloned(),
            announcement: Announcement::default(),
        })
    }
}

/// Never the values: they may be secrets.
impl fmt::Debug for RenderContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RenderContext({} nodes)", self.0.nodes.len())
    }
}

/// JSON as the texts see it: numbers stay numbers, keys are sorted.
pub(super) fn from_json(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(truth) => Jinja::from(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(integer), ..) => Jinja::from(integer),
            (_, Some(integer), _) => Jinja::from(integer),
            (.., float) => Jinja::from(float.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Jinja::from(text.as_str()),
        Value::Array(items) => items.iter().map(from_json).collect(),
        Value::Object(entries) => from_object(entries),
    }
}

fn from_object(entries: &Map<String, Value>) -> Jinja {
    let entries: BTreeMap<Arc<str>, Jinja> = entries
        .iter()
        .map(|(key, value)| (key.as_str().into(), from_json(value)))
        .collect();
    Jinja::from_object(entries)
}

/// The outermost variables of one evaluation.
pub(super) struct Root {
    variables: Arc<Variables>,
    node: Option<Jinja>,
    draw: Option<Draw>,
    announcement: Announcement,
}

impl Root {
    pub(super) fn fragments(&self) -> Option<&Fragments> {
        self.variables.fragments.as_deref()
    }

    pub(super) fn announcement(&self) -> &Announcement {
        &self.announcement
    }

    /// "did you mean" for the undefined expression `path`, such as `node.metadata.prot`. A name that is not
    /// known out here is taken for one of the nodes: that is what loops run over.
    pub(super) fn nearest(self: &Arc<Self>, path: &str) -> Option<String> {
        let (container, wanted) = path.rsplit_once('.')?;
        let (first, rest) = container.split_once('.').unwrap_or((container, ""));
        let nearest = |start: Jinja| {
            let mut parts = rest.split('.').filter(|part| !part.is_empty());
            let container = parts.try_fold(start, |value, part| {
                value
                    .get_attr(part)
                    .ok()
                    .filter(|value| value.kind() == ValueKind::Map)
            })?;
            nearest_key(&container, wanted)
        };
        if let Some(known) = self.get_value_by_str(first) {
            return nearest(known);
        }
        let nodes = self.variables.nodes.iter().take(NODES_SEARCHED_MAX);
        nodes.map(|node| node.0.clone()).find_map(nearest)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Root")
    }
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Jinja> {
        match key {
            "node" => self.node.clone(),
            "nodes" => self.variables.nodes_list.clone(),
            "values" => Some(self.variables.values.clone()),
            "once" => self.variables.once.clone(),
            "cluster" => Some(self.variables.cluster.clone()),
            "fragment" => {
                let fragments = Arc::clone(self.variables.fragments.as_ref()?);
                Some(Jinja::from_function(move |name: &str| fragments.get(name)))
            }
            ROOT => Some(Jinja::from_dyn_object(Arc::clone(self))),
            _ => self.draw.as_ref()?.function(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenes_and_nodes_are_shared_between_threads_and_print_no_values() {
        fn shared<T: Send + Sync>() {}
        shared::<(RenderContext, NodeValue)>();
        let node = NodeRegistration::without_metadata("n-1".parse().unwrap(), [10, 0, 0, 1].into())
            .with_metadata_value(serde_json::json!({"token": "secret"}));
        let node = NodeValue::unseated(&node, &node.metadata);
        let values = serde_json::json!({"key": "secret"});
        let context = RenderContext::unseated(
            "c",
            values.as_object().unwrap(),
            &Map::new(),
            vec![node.clone()],
        );
        assert_eq!(
            format!("{node:?} {context:?}"),
            "NodeValue(Some(\"n-1\")) RenderContext(1 nodes)"
        );
    }
}
