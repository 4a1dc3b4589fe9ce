//! The reason why a principal may not do something.

use cfgsync_model::{Identifier, Namespace};
use cfgsync_support::clock::Timestamp;

use super::Role;

/// The reason for which a request is denied, with the way out in its message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The request brought no credentials, and the action requires this role.
    #[error(
        "the request has no credentials: pass {} token with --token-file or CFGSYNC_TOKEN", role_with_article(*.0)
    )]
    NoCredentials(Role),
    /// The server has no such token.
    #[error(
        "this server does not know the token: it was revoked, belongs to another server, or is incomplete; ask an \
         operator for a new one"
    )]
    UnknownToken,
    /// The token was valid once.
    #[error("the token {name:?} expired at {at}; ask an operator for a new one")]
    Expired {
        /// The token's name.
        name: String,
        /// When it expired.
        at: Timestamp,
    },
    /// The action requires another role than the principal has.
    #[error(
        "only {} may do this, and {principal} has the role `{role}`; use {} token or certificate",
        holders_of(*.required), role_with_article(*.required)
    )]
    WrongRole {
        /// The role that the action requires.
        required: Role,
        /// The sender of the request.
        principal: String,
        /// The role of the sender.
        role: Role,
    },
    /// The token's pattern does not match the node.
    #[error(
        "the token {name:?} is for nodes that match {pattern}, not for {identifier}; use an identifier that matches, or \
         another token"
    )]
    OtherNodes {
        /// The token's name.
        name: String,
        /// The token's pattern.
        pattern: String,
        /// The node that the request is about.
        identifier: Identifier,
    },
    /// The token is limited to reading.
    #[error(
        "the token {name} is for reading only; use a token without `read-only` to change anything"
    )]
    ReadOnly {
        /// The token's name.
        name: String,
    },
    /// The token's patterns do not match the namespace.
    #[error(
        "the token {name} is for namespaces that match {patterns}, not for {namespace}; use another token"
    )]
    OtherNamespaces {
        /// The token's name.
        name: String,
        /// The token's patterns.
        patterns: String,
        /// The namespace that the request is about.
        namespace: Namespace,
    },
    /// The token is limited to namespaces, and the request is about something else.
    #[error(
        "the token {name} is only for values in namespaces that match {patterns}; use a token without `namespace=`"
    )]
    OnlyNamespaces {
        /// The token's name.
        name: String,
        /// The token's patterns.
        patterns: String,
    },
    /// With `identity: token`, the token must name the nodes that it is for.
    #[error(
        "the spec says `identity: token`, but {principal} does not prove that the node is {identifier}; use a token \
         whose `identifier=` matches it"
    )]
    NamesNoNode {
        /// The sender of the request.
        principal: String,
        /// The node that the request is about.
        identifier: Identifier,
    },
    /// With `identity: certificate`, the certificate must contain the node's name.
    #[error(
        "the spec says `identity: certificate`, but the client certificate does not contain the name {0}; use a \
         certificate for {0}"
    )]
    OtherCertificate(Identifier),
    /// With `identity: first-use`, a node must present its own key.
    #[error(
        "{0} must present a key of its own (the spec says `identity: first-use`); `cfgsync join` creates and sends one"
    )]
    NoKey(Identifier),
    /// No key owns the identifier yet. Only a registration may go ahead.
    #[error("{0} has no key; the next node to register as {0} with a key will own the name")]
    Unclaimed(Identifier),
    /// Another key owns the identifier.
    #[error(
        "{0} is already registered with a different key; if that machine is gone, an operator can release the name: \
         cfgsync release {0}"
    )]
    OtherKey(Identifier),
}

impl Denial {
    /// Whether the sender may register nodes, but not this one.
    pub fn is_about_identity(&self) -> bool {
        match self {
            Self::OtherNodes { .. }
            | Self::NamesNoNode { .. }
            | Self::OtherCertificate(_)
            | Self::OtherKey(_) => true,
            // A request for the key, or for a registration, is a normal step. The others may register no node.
            Self::NoKey(_)
            | Self::Unclaimed(_)
            | Self::NoCredentials(_)
            | Self::UnknownToken
            | Self::Expired { .. }
            | Self::ReadOnly { .. }
            | Self::OtherNamespaces { .. }
            | Self::OnlyNamespaces { .. }
            | Self::WrongRole { .. } => false,
        }
    }

    /// Whether the sender may be guessing secrets, so that its further attempts must be slowed down.
    pub fn is_wrong_guess(&self) -> bool {
        matches!(self, Self::UnknownToken | Self::OtherKey(_))
    }
}

fn holders_of(role: Role) -> &'static str {
    match role {
        Role::Node => "a node",
        Role::Viewer => "a viewer or an operator",
        Role::Operator => "an operator",
    }
}

fn role_with_article(role: Role) -> &'static str {
    match role {
        Role::Node => "a node's",
        Role::Viewer => "a viewer's",
        Role::Operator => "an operator's",
    }
}
