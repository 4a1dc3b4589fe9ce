//! The variables of one evaluation: `node`, `nodes`, `values`, `once`, `cluster`, and functions that depend on them or on
//! operators' values.

use std::{fmt, sync::Arc};

use minijinja::{
    Value as Jinja,
    value::{Object, ValueKind},
};

use super::{
    fragment::{Fragments, PendingFragment},
    functions::{
        once::OnceSource,
        values::{SecretValues, ValueFunctions},
    },
    nearest::nearest_key,
    node_value::NodeValue,
};

/// Maximum number of nodes whose fields are searched for a name that is similar to a misspelt one.
const NODES_SEARCHED_MAX: usize = 64;

/// The name of the variable that is the [`Variables`] themselves. The formatter looks them up by it. No template can
/// use the name, because of its NUL byte.
pub(super) const SELF_KEY: &str = "\0variables";

/// The variables that all evaluations in one context share.
#[derive(Clone)]
pub(super) struct SharedVariables {
    pub(super) cluster: Jinja,
    pub(super) values: Jinja,
    /// Undefined where `once` has no results yet.
    pub(super) once: Option<Jinja>,
    pub(super) nodes: Arc<[NodeValue]>,
    /// The same nodes as a list of the template language. Undefined in a `where` that is evaluated node by node.
    pub(super) nodes_list: Option<Jinja>,
    pub(super) fragments: Option<Arc<Fragments>>,
    /// The variable of a file's `for`.
    pub(super) item: Option<Item>,
    /// The functions that read operators' values. `None` where they do not exist.
    pub(super) operator_values: Option<Arc<ValueFunctions>>,
    /// Whether these functions give secret values.
    pub(super) secret_values: SecretValues,
}

/// One item of the list of a file's `for`.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) variable: Arc<str>,
    pub(super) value: Jinja,
    /// Its position in the list, counted from 0.
    pub(super) at: usize,
}

/// The variables of one evaluation. The engine looks up all global names here.
pub(super) struct Variables {
    shared: Arc<SharedVariables>,
    node: Option<Jinja>,
    once_source: Option<OnceSource>,
    pending_fragment: PendingFragment,
}

impl Variables {
    pub(super) fn new(
        shared: Arc<SharedVariables>,
        node: Option<&NodeValue>,
        once_source: Option<&OnceSource>,
    ) -> Self {
        Self {
            shared,
            node: node.map(|node| node.as_jinja().clone()),
            once_source: once_source.cloned(),
            pending_fragment: PendingFragment::default(),
        }
    }

    pub(super) fn fragments(&self) -> Option<&Fragments> {
        self.shared.fragments.as_deref()
    }

    pub(super) fn pending_fragment(&self) -> &PendingFragment {
        &self.pending_fragment
    }

    /// Returns ``did you mean `port`?`` for an undefined expression such as `node.metadata.prot`.
    ///
    /// If the expression starts with a name that is not a global variable, it is most likely the variable of a loop
    /// over nodes. Then the fields of the nodes are searched.
    pub(super) fn suggestion(self: &Arc<Self>, expression: &str) -> Option<String> {
        let (container, misspelt) = expression.rsplit_once('.')?;
        let (first, rest) = container.split_once('.').unwrap_or((container, ""));
        let nearest_in = |start: Jinja| {
            let mut parts = rest.split('.').filter(|part| !part.is_empty());
            let container = parts.try_fold(start, |value, part| {
                value
                    .get_attr(part)
                    .ok()
                    .filter(|value| value.kind() == ValueKind::Map)
            })?;
            nearest_key(&container, misspelt)
        };
        if let Some(variable) = self.get_value_by_str(first) {
            return nearest_in(variable);
        }
        let nodes = self.shared.nodes.iter().take(NODES_SEARCHED_MAX);
        nodes
            .map(|node| node.as_jinja().clone())
            .find_map(nearest_in)
    }
}

/// Prints no values, because they may be secret.
impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables")
    }
}

impl Object for Variables {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Jinja> {
        match key {
            "node" => self.node.clone(),
            "nodes" => self.shared.nodes_list.clone(),
            "values" => Some(self.shared.values.clone()),
            "once" => self.shared.once.clone(),
            "cluster" => Some(self.shared.cluster.clone()),
            "fragment" => {
                let fragments = Arc::clone(self.shared.fragments.as_ref()?);
                Some(Jinja::from_function(move |name: &str| fragments.get(name)))
            }
            SELF_KEY => Some(Jinja::from_dyn_object(Arc::clone(self))),
            _ => match &self.shared.item {
                Some(item) if *item.variable == *key => Some(item.value.clone()),
                _ => match (&self.once_source, &self.shared.operator_values) {
                    (Some(once), _) => once.function(key),
                    (None, Some(values)) => values.function(key, self.shared.secret_values),
                    (None, None) => None,
                },
            },
        }
    }
}
