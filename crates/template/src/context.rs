//! The context of a render: the nodes and values of one snapshot, shared by all its templates.

use std::{collections::BTreeMap, fmt, ops::Range, sync::Arc};

use minijinja::Value as Jinja;
use serde_json::{Map, Value};

use super::{
    error::JinjaError,
    fragment::Fragments,
    functions::{
        once::OnceSource,
        values::{SecretValues, ValueFunctions},
    },
    json_value::from_object,
    node_value::{NodeValue, identifier_of},
    variables::{Item, SharedVariables, Variables},
};
use cfgsync_model::{Chunk, RegistrationSnapshot, ValueReader};

/// The nodes and values that templates and expressions can use.
///
/// It is created once for each snapshot and shared by all templates and threads. Cloning copies a pointer.
#[derive(Clone)]
pub struct RenderContext(Arc<SharedVariables>);

impl RenderContext {
    /// Creates the context for a render of `snapshot`.
    pub fn new(snapshot: &RegistrationSnapshot) -> Self {
        Self::with_nodes(
            &snapshot.cluster,
            &snapshot.values,
            &snapshot.once,
            NodeValue::all_of(snapshot),
        )
        .with_operator_values(snapshot.operator_values.clone())
    }

    /// Creates a context that has only `values` and `cluster`. It suffices for a `where` that does not use `nodes`,
    /// which is evaluated node by node.
    pub fn without_nodes(cluster: &str, values: &Map<String, Value>) -> Self {
        Self(Arc::new(SharedVariables {
            cluster: Jinja::from(cluster),
            values: from_object(values),
            once: None,
            nodes: Arc::new([]),
            nodes_list: None,
            fragments: None,
            item: None,
            operator_values: None,
            secret_values: SecretValues::default(),
        }))
    }

    /// Creates a context from nodes that may have no seats yet, to evaluate the readiness rule before the first seal.
    pub fn with_nodes(
        cluster: &str,
        values: &Map<String, Value>,
        once: &Map<String, Value>,
        nodes: Vec<NodeValue>,
    ) -> Self {
        let list: Vec<Jinja> = nodes.iter().map(|node| node.as_jinja().clone()).collect();
        Self(Arc::new(SharedVariables {
            cluster: Jinja::from(cluster),
            values: from_object(values),
            once: Some(from_object(once)),
            nodes: nodes.into(),
            nodes_list: Some(Jinja::from(list)),
            fragments: None,
            item: None,
            operator_values: None,
            secret_values: SecretValues::default(),
        }))
    }

    /// Returns the same context with the operators' values that `value()` and `values_under()` read.
    #[must_use]
    pub fn with_operator_values(self, values: ValueReader) -> Self {
        let mut shared = Arc::unwrap_or_clone(self.0);
        shared.operator_values = Some(Arc::new(ValueFunctions::new(values)));
        Self(Arc::new(shared))
    }

    /// Returns the same context for the content of a secret file, which may read secret values.
    #[must_use]
    pub fn with_secret_values(&self) -> Self {
        Self(Arc::new(SharedVariables {
            secret_values: SecretValues::Allowed,
            ..SharedVariables::clone(&self.0)
        }))
    }

    /// Returns `error` without the contents of secret values.
    pub(super) fn hide_secrets(&self, mut error: JinjaError) -> JinjaError {
        if let (Some(values), SecretValues::Allowed) =
            (&self.0.operator_values, self.0.secret_values)
        {
            error.message = values.hide_secrets(&error.message);
            error.help = error.help.map(|help| values.hide_secrets(&help));
        }
        error
    }

    /// Returns the same context with the rendered texts that `fragment(NAME)` returns.
    #[must_use]
    pub fn with_fragments(self, fragments: BTreeMap<String, Arc<Chunk>>) -> Self {
        let mut shared = Arc::unwrap_or_clone(self.0);
        shared.fragments = Some(Arc::new(Fragments::new(fragments)));
        Self(Arc::new(shared))
    }

    /// Returns the same context with the variable of a file's `for`.
    pub(super) fn with_item(&self, variable: Arc<str>, at: usize, value: Jinja) -> Self {
        Self(Arc::new(SharedVariables {
            item: Some(Item {
                variable,
                value,
                at,
            }),
            ..SharedVariables::clone(&self.0)
        }))
    }

    /// Returns the same context with only some of the nodes.
    pub(super) fn with_only(&self, nodes: Range<usize>) -> Self {
        let nodes: Arc<[NodeValue]> = self.0.nodes[nodes].into();
        let list: Vec<Jinja> = nodes.iter().map(|node| node.as_jinja().clone()).collect();
        Self(Arc::new(SharedVariables {
            nodes,
            nodes_list: Some(Jinja::from(list)),
            ..SharedVariables::clone(&self.0)
        }))
    }

    /// Returns which item of a file's `for` this context has, such as `peer n-2`. The value itself may be secret, so an
    /// item that is not a node is named by its position.
    pub fn item(&self) -> Option<String> {
        let Item {
            variable,
            value,
            at,
        } = self.0.item.as_ref()?;
        Some(match identifier_of(value) {
            Some(identifier) => format!("{variable} {identifier}"),
            None => format!("{variable} number {}", at + 1),
        })
    }

    /// Returns the nodes in the order of the snapshot, which is by identifier.
    pub fn nodes(&self) -> &[NodeValue] {
        &self.0.nodes
    }

    /// Returns the identifier of the node that was read last on this thread, unless it is `node`.
    pub(super) fn other_node_read_last(&self, node: Option<&NodeValue>) -> Option<&str> {
        let identifier = self
            .nodes()
            .iter()
            .find_map(NodeValue::identifier_if_read_last)?;
        let is_other = node.is_none_or(|node| node.identifier_if_read_last().is_none());
        is_other.then_some(identifier)
    }

    /// Returns the variables of one evaluation. The functions of `once` exist if there is a `once_source`.
    pub(super) fn variables(
        &self,
        node: Option<&NodeValue>,
        once_source: Option<&OnceSource>,
    ) -> Arc<Variables> {
        Arc::new(Variables::new(Arc::clone(&self.0), node, once_source))
    }
}

/// Prints the number of nodes only: values may be secret.
impl fmt::Debug for RenderContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RenderContext({} nodes)", self.0.nodes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cfgsync_model::NodeRegistration;

    #[test]
    fn contexts_are_shared_between_threads_and_print_no_values() {
        fn shared<T: Send + Sync>() {}
        shared::<(RenderContext, NodeValue)>();
        let node = NodeRegistration::without_metadata("n-1".parse().unwrap(), [10, 0, 0, 1].into())
            .with_metadata_value(serde_json::json!({"token": "secret"}));
        let node = NodeValue::without_seat(&node, &node.metadata);
        let values = serde_json::json!({"key": "secret"});
        let context = RenderContext::with_nodes(
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
