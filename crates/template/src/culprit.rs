//! Finds the node whose facts make an evaluation fail.

use std::ops::Range;

use super::{context::RenderContext, error::JinjaError, node_value::NodeValue};

/// An evaluation that failed.
pub(super) struct Failure<'a> {
    context: &'a RenderContext,
    /// The identifier of the node that was read last, unless the text was evaluated for that node.
    last_read: Option<&'a str>,
}

impl<'a> Failure<'a> {
    /// Notes which node was read last by the evaluation, which was for `node`. This must be the first action after the evaluation.
    pub(super) fn of(context: &'a RenderContext, node: Option<&'a NodeValue>) -> Self {
        Self {
            context,
            last_read: context.other_node_read_last(node),
        }
    }

    /// Adds the node that causes `error` to its message: the only one without which the evaluation does not fail in this
    /// way. If there is no such node, or several, adds the node that was read last. `message_of` evaluates the text
    /// again, and returns the message of its error.
    pub(super) fn name_node(
        &self,
        error: JinjaError,
        message_of: impl Fn(&RenderContext) -> Option<String>,
    ) -> JinjaError {
        let Some(last_read) = self.last_read.filter(|_| !error.names_node()) else {
            return error;
        };
        let fails = |nodes: Range<usize>| {
            let message = message_of(&self.context.with_only(nodes));
            message.is_some_and(|message| message == error.message)
        };
        match self.only_failing(fails) {
            Some(identifier) => error.with_note(&format!("caused by node {identifier}")),
            None => error.with_note(&format!("last node read: {last_read}")),
        }
    }

    /// Halves the nodes as long as exactly one half fails. The halves get shorter, so all of them together cost about as
    /// much as two evaluations.
    fn only_failing(&self, fails: impl Fn(Range<usize>) -> bool) -> Option<&'a str> {
        let nodes = self.context.nodes();
        let mut range = 0..nodes.len();
        while range.len() > 1 {
            let middle = range.start + range.len() / 2;
            let (first, second) = (range.start..middle, middle..range.end);
            range = match (fails(first.clone()), fails(second.clone())) {
                (true, false) => first,
                (false, true) => second,
                _ => return None,
            };
        }
        let is_halved = nodes.len() > 1;
        nodes.get(range.start)?.identifier().filter(|_| is_halved)
    }
}
