//! Placeholder of the interface, replaced by the real parts.
#![allow(missing_docs, unused_variables, clippy::todo)]
use std::{collections::BTreeMap, ops::Range, sync::Arc};

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::model::{
    Chunk, Content, Metadata, NodeRegistration, RegistrationSnapshot, SnapshotNode,
};

/// Where a text stands, and so which names it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A file of one node, a `where`, a `source` path: node, nodes, values, once, cluster; fragment() in files.
    Node,
    /// A file of all: the same without `node`.
    Shared,
    /// A fragment: nodes, values, once, cluster; no `node`, no fragment().
    Fragment,
    /// The rule's `when`: nodes, values, once, cluster.
    When,
    /// A value of `once:`: nodes, values, cluster, the values of `once` drawn before it, random_*, now.
    Once,
}

/// A mistake in an expression or template, or a failure while it ran. Never holds a variable's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JinjaError {
    pub message: String,
    /// 1-based line within the text itself.
    pub line: usize,
    /// Bytes within the text that the message is about.
    pub range: Option<Range<usize>>,
    /// The way out: the nearest name, what was expected.
    pub help: Option<String>,
}

/// Where `once` gets its chance and its time from.
#[derive(Debug, Clone)]
pub enum Draw {
    /// Real randomness, and this time.
    Real(Timestamp),
    /// Values of the right shape that are visibly not drawn: what `plan` uses.
    Placeholder,
}

/// A node as expressions see it. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct NodeValue(());
impl NodeValue {
    pub fn new(node: &SnapshotNode) -> Self {
        todo!()
    }
    /// A node before any seal: `seat` is not defined.
    pub fn unseated(registration: &NodeRegistration, metadata: &Metadata) -> Self {
        todo!()
    }
}

/// The variables of one evaluation, made once per snapshot and shared by all templates and threads.
#[derive(Debug, Clone)]
pub struct Scene(());
impl Scene {
    pub fn new(snapshot: &RegistrationSnapshot) -> Self {
        todo!()
    }
    /// Before there is a set: only `values` and `cluster` (for a `where` that is counted node by node).
    pub fn without_nodes(cluster: &str, values: &Map<String, Value>) -> Self {
        todo!()
    }
    /// From nodes that have no seats yet (readiness is asked before the first seal).
    pub fn unseated(
        cluster: &str,
        values: &Map<String, Value>,
        once: &Map<String, Value>,
        nodes: Vec<NodeValue>,
    ) -> Self {
        todo!()
    }
    #[must_use]
    pub fn with_fragments(self, fragments: BTreeMap<String, Arc<Chunk>>) -> Self {
        todo!()
    }
    /// The nodes, in the snapshot's order.
    pub fn nodes(&self) -> &[NodeValue] {
        todo!()
    }
}

#[derive(Debug, Clone)]
pub struct Template(());
impl Template {
    /// `name` is for messages; `fragments`: the names that fragment() may ask for.
    pub fn compile(
        name: &str,
        source: &str,
        scope: Scope,
        fragments: &[String],
    ) -> Result<Self, JinjaError> {
        todo!()
    }
    pub fn render(&self, scene: &Scene, node: Option<&NodeValue>) -> Result<Content, JinjaError> {
        todo!()
    }
}

#[derive(Debug, Clone)]
pub struct Expression(());
impl Expression {
    pub fn compile(source: &str, scope: Scope) -> Result<Self, JinjaError> {
        todo!()
    }
    pub fn source(&self) -> &str {
        todo!()
    }
    /// Whether it uses the variable `name` at its top level (`nodes`: then it cannot be counted node by node).
    pub fn mentions(&self, name: &str) -> bool {
        todo!()
    }
    /// A `where`: an undefined name does not match; anything but a boolean is an error.
    pub fn matches(&self, scene: &Scene, node: &NodeValue) -> Result<bool, JinjaError> {
        todo!()
    }
    /// A `when`: strict, must give a boolean.
    pub fn holds(&self, scene: &Scene) -> Result<bool, JinjaError> {
        todo!()
    }
    /// A value of `once`.
    pub fn draw(&self, scene: &Scene, draw: &Draw) -> Result<Value, JinjaError> {
        todo!()
    }
}
