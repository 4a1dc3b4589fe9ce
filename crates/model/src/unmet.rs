//! The conditions for which nodes wait, and their wording.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize, Serializer};

use super::{GenerationNumber, Identifier, ValueName};
use cfgsync_support::duration;

/// The beginning of the sentences about the number of nodes.
const NODES_PREFIX: &str = "nodes: ";

/// A condition that does not hold, or work that is not done. `Display` gives a sentence with the reason, which is also
/// its JSON.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Unmet {
    /// Fewer nodes are registered than the rule requires.
    TooFewNodes {
        /// The number of registered nodes.
        registered: usize,
        /// The number of nodes that the rule requires.
        needed: usize,
    },
    /// Nodes of the closed list are not registered.
    MissingNodes {
        /// Their number.
        missing: usize,
        /// The length of the list.
        listed: usize,
    },
    /// Too few nodes match the expression of a group.
    Group {
        /// The expression.
        expression: String,
        /// The number of nodes that match.
        matching: usize,
        /// The number of nodes that the group requires.
        needed: usize,
        /// Why the group may never match.
        problem: Option<GroupProblem>,
    },
    /// `when` is false.
    WhenFalse {
        /// The expression.
        expression: String,
    },
    /// `when` is false, and the spec has a message for that.
    WhenMessage(String),
    /// `when` or its message cannot be evaluated.
    WhenError {
        /// The expression.
        expression: String,
        /// The error.
        error: String,
    },
    /// Operators' values that the spec requires are not set.
    MissingValues {
        /// The first of them.
        missing: Vec<ValueName>,
        /// The number of the others.
        more: usize,
    },
    /// The spec does not accept the metadata of a node. The node registered under another spec.
    Metadata {
        /// The node.
        node: Identifier,
        /// The mistake in the metadata.
        problem: String,
    },
    /// The spec does not accept the metadata of so many other nodes.
    MoreMetadata(usize),
    /// Several nodes have the same value of a field that must be unique.
    Repeated {
        /// The field of the metadata.
        field: String,
        /// The first of these nodes.
        nodes: Vec<Identifier>,
        /// The number of the others.
        more: usize,
        /// The value as JSON, unless it is secret.
        value: Option<String>,
    },
    /// The server refused to register a node. It may be one of those that the rule waits for.
    Refused {
        /// The node.
        node: Identifier,
        /// The message that the node received.
        message: String,
    },
    /// The server refused to register so many other nodes.
    MoreRefused(usize),
    /// This generation stays served, although the set is no longer complete. The spec has changed since.
    Kept(GenerationNumber),
    /// No change must happen for this time.
    Settling(Duration),
    /// A materializer is not ready, with this message.
    Materializer(String),
    /// The server before ended during this render, which is repeated after this time.
    RenderCrashed(Duration),
    /// The operating system refused a thread for the render, for this reason.
    NoThread(String),
    /// The newest render failed, for this reason.
    RenderFailed(String),
    /// The files are being rendered.
    Rendering,
    /// The newest generation comes from another spec than this server has.
    OtherSpec,
    /// Another server renders the files.
    RenderingElsewhere,
    /// The server waits for further changes: it renders at most once in this time.
    CollectingChanges(Duration),
    /// The files are being stored.
    Storing,
    /// The files that another server sealed are being loaded.
    Loading,
    /// The store has not answered for some time.
    StoreSlow,
    /// The store is unavailable.
    StoreUnavailable,
    /// The store did not confirm the seal.
    SealUnconfirmed,
    /// The audit log refuses the seal, for this reason.
    SealRefused(String),
    /// A sentence from another server.
    Received(String),
}

/// The reason why a group may never match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupProblem {
    /// The expression fails for this node.
    Error {
        /// The node.
        node: Identifier,
        /// The error.
        error: String,
    },
    /// The expression uses what exists only after the first seal.
    NeedsSeal,
}

impl Unmet {
    /// Returns whether the sentence is about the number of nodes, which [`Progress`](super::Progress) shows as a figure.
    pub(super) fn is_about_number(&self) -> bool {
        match self {
            Self::TooFewNodes { .. } | Self::MissingNodes { .. } => true,
            Self::Received(text) => text.starts_with(NODES_PREFIX),
            _ => false,
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewNodes { registered, needed } => {
                write!(f, "{NODES_PREFIX}{registered} of {needed} are registered")
            }
            Self::MissingNodes { missing, listed } => {
                write!(f, "{NODES_PREFIX}{missing} of {listed} are missing")
            }
            Self::Group {
                expression,
                matching,
                needed,
                problem,
            } => {
                write!(f, "group {expression}: {matching} of {needed} match")?;
                match problem {
                    None => Ok(()),
                    Some(GroupProblem::Error { node, error }) => write!(f, " ({node}: {error})"),
                    Some(GroupProblem::NeedsSeal) => f.write_str(
                        "; seats and `once` exist only after the first seal, which this group prevents: use metadata \
                         instead",
                    ),
                }
            }
            Self::WhenFalse { expression } => write!(f, "when: {expression} is false"),
            Self::WhenMessage(message) => write!(f, "when: {message}"),
            Self::WhenError { expression, error } => write!(f, "when: {expression}: {error}"),
            Self::MissingValues { missing, more } => {
                f.write_str("values that are not set: ")?;
                list(f, missing, *more)
            }
            Self::Metadata { node, problem } => write!(f, "{node}: {problem}"),
            Self::MoreMetadata(nodes) => {
                write!(
                    f,
                    "{nodes} more nodes have metadata that the spec does not accept"
                )
            }
            Self::Repeated {
                field,
                nodes,
                more,
                value,
            } => {
                write!(f, "metadata.{field}: ")?;
                list(f, nodes, *more)?;
                f.write_str(" have the same value")?;
                match value {
                    Some(value) => write!(f, " ({value})"),
                    None => Ok(()),
                }
            }
            Self::Refused { node, message } => write!(f, "{node} was refused: {message}"),
            Self::MoreRefused(1) => f.write_str("1 more node was refused"),
            Self::MoreRefused(nodes) => write!(f, "{nodes} more nodes were refused"),
            Self::Kept(number) => write!(
                f,
                "sealed: generation {number} stays served, but the set is no longer complete by the spec in force"
            ),
            Self::Settling(time) => {
                let time = duration::text(*time);
                write!(f, "settle: waiting for {time} without a change")
            }
            Self::Materializer(message) | Self::Received(message) => f.write_str(message),
            Self::RenderCrashed(pause) => {
                let pause = duration::text(*pause);
                write!(
                    f,
                    "render: the server before ended while it rendered these files; trying again after {pause}"
                )
            }
            Self::NoThread(error) => write!(
                f,
                "render: the operating system refused a thread ({error}); trying again"
            ),
            Self::RenderFailed(reason) => write!(f, "render: the newest render failed: {reason}"),
            Self::Rendering => f.write_str("render: the server is rendering the files"),
            Self::OtherSpec => f.write_str(
                "spec: the newest generation comes from another spec than this server has; a server with that spec renders",
            ),
            Self::RenderingElsewhere => {
                f.write_str("render: another server is rendering the files")
            }
            Self::CollectingChanges(interval) => {
                let interval = duration::text(*interval);
                write!(
                    f,
                    "render: the server is collecting changes; it renders at most once in {interval}"
                )
            }
            Self::Storing => f.write_str("seal: the server is storing the files"),
            Self::Loading => {
                f.write_str("seal: the server is loading the files that another server sealed")
            }
            Self::StoreSlow => f.write_str("seal: the store has not answered yet"),
            Self::StoreUnavailable => f.write_str("seal: the store is unavailable; trying again"),
            Self::SealUnconfirmed => {
                f.write_str("seal: the store did not confirm it; trying again")
            }
            Self::SealRefused(reason) => write!(f, "seal: {reason}; trying again"),
        }
    }
}

/// Writes `a, b and c`, or `a, b and 7 more`.
fn list(f: &mut fmt::Formatter<'_>, names: &[impl fmt::Display], more: usize) -> fmt::Result {
    for (at, name) in names.iter().enumerate() {
        let separator = match at {
            0 => "",
            _ if at + 1 == names.len() && more == 0 => " and ",
            _ => ", ",
        };
        write!(f, "{separator}{name}")?;
    }
    match more {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

impl Serialize for Unmet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<String> for Unmet {
    fn from(text: String) -> Self {
        Self::Received(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_sentence() {
        let unmet = Unmet::TooFewNodes {
            registered: 1,
            needed: 3,
        };
        let json = serde_json::to_string(&unmet).unwrap();
        assert_eq!(json, r#""nodes: 1 of 3 are registered""#);
        let received: Unmet = serde_json::from_str(&json).unwrap();
        assert_eq!(received.to_string(), unmet.to_string());
        assert!(received.is_about_number());
    }
}
