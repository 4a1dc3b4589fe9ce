//! Selects the nodes that `inspect` shows.

use cfgsync_access::Pattern;
use cfgsync_model::Identifier;
use cfgsync_wire::{ClusterBody, NodeEntry, RefusedEntry};
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Show only the nodes in this state
    #[arg(long, env = "CFGSYNC_ONLY", value_name = "STATE")]
    only: Option<Only>,
    /// Show only the nodes whose name matches; `*` matches any characters, `?` matches one; repeatable
    #[arg(long, env = "CFGSYNC_NAME", value_name = "PATTERN")]
    name: Vec<Pattern>,
}

/// A state of a node that [`FilterArgs`] selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    /// A request of the node waits for its files now
    Waiting,
    /// The node has not received the newest generation
    Behind,
    /// The server refused to register the node
    Refused,
}

/// Selects nodes. The default selects all.
#[derive(Debug, Default)]
pub(super) struct Filter {
    only: Option<Only>,
    /// Selects the names that match one of these; all names if there are none.
    names: Vec<Pattern>,
}

impl From<FilterArgs> for Filter {
    fn from(args: FilterArgs) -> Self {
        Self {
            only: args.only,
            names: args.name,
        }
    }
}

impl Filter {
    /// Returns whether all nodes are selected.
    pub(super) fn is_empty(&self) -> bool {
        self.only.is_none() && self.names.is_empty()
    }

    /// Returns whether `node` is selected.
    pub(super) fn selects(&self, node: &NodeEntry) -> bool {
        let has_state = match self.only {
            None => true,
            Some(Only::Waiting) => node.waits,
            Some(Only::Behind) => node.behind,
            // A refused node is not registered.
            Some(Only::Refused) => false,
        };
        has_state && self.has_name(&node.identifier)
    }

    /// Returns whether a refused node is selected.
    pub(super) fn selects_refused(&self, node: &RefusedEntry) -> bool {
        let has_state = matches!(self.only, None | Some(Only::Refused));
        has_state && self.has_name(&node.identifier)
    }

    fn has_name(&self, identifier: &Identifier) -> bool {
        let mut names = self.names.iter();
        self.names.is_empty() || names.any(|name| name.matches(identifier.as_str()))
    }

    /// Removes the nodes that are not selected.
    pub(super) fn apply(&self, body: &mut ClusterBody) {
        body.registrations.retain(|node| self.selects(node));
        body.refused.retain(|node| self.selects_refused(node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_must_have_the_state_and_one_of_the_names() {
        let node = |name: &str, waits: bool, behind: bool| -> NodeEntry {
            let node = serde_json::json!({
                "identifier": name, "ip": "10.0.0.1", "metadata": {}, "seat": null, "revision": 1,
                "waits": waits, "behind": behind,
            });
            serde_json::from_value(node).unwrap()
        };
        let nodes = [
            node("db-1", true, false),
            node("db-2", false, true),
            node("web-1", true, true),
        ];
        for (only, names, selected) in [
            (None, &[][..], &["db-1", "db-2", "web-1"][..]),
            (Some(Only::Waiting), &[], &["db-1", "web-1"]),
            (Some(Only::Behind), &["db-*"], &["db-2"]),
            (None, &["web-?", "db-2"], &["db-2", "web-1"]),
            (None, &["db"], &[]),
        ] {
            let filter = Filter {
                only,
                names: names.iter().map(|name| name.parse().unwrap()).collect(),
            };
            let found = nodes.iter().filter(|node| filter.selects(node));
            let found: Vec<&str> = found.map(|node| node.identifier.as_str()).collect();
            assert_eq!(found, selected, "{filter:?}");
        }
    }

    #[test]
    fn refused_nodes_are_selected_by_name() {
        let refused: RefusedEntry = serde_json::from_value(serde_json::json!({
            "identifier": "db-1", "ip": "10.0.0.1", "at": "2026-01-31T12:00:00Z", "reason": "too_late",
            "message": "late",
        }))
        .unwrap();
        for (only, name, is_selected) in [
            (None, "*", true),
            (Some(Only::Refused), "db-*", true),
            (Some(Only::Refused), "web-*", false),
            (Some(Only::Waiting), "*", false),
        ] {
            let names = vec![name.parse().unwrap()];
            let filter = Filter { only, names };
            assert_eq!(filter.selects_refused(&refused), is_selected, "{filter:?}");
        }
    }
}
