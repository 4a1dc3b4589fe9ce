//! The reason why a join failed.

use std::time::Duration;

use crate::{
    FailureKind, HandshakeError, InvalidServer, KeyError, RouteError, ServerUrl, TrustError,
    UnreachableCause, disk::DiskError, sanitize::ClusterName,
};
use cfgsync_model::{FailureKind as ClusterFailureKind, Identifier};
use cfgsync_support::duration;
use cfgsync_wire::EXPIRED_TOKEN;

/// The server's reason if another machine has taken the place of a node.
const REPLACED: &str = "replaced";

/// The reason why a join failed. [`JoinError::kind`] groups the variants.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A server's response violates the protocol, or the payload cannot be verified.
    #[error("{0}")]
    Unusable(String),
    /// The payload does not match the node's routes.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// No server could be reached within the timeout.
    #[error("gave up after {}: {last}", duration::text(*.waited))]
    Unreachable {
        /// The time that was spent, which is the timeout.
        waited: Duration,
        /// The error of the last attempt, which begins with the server.
        last: String,
        /// The step that failed in the last attempt.
        cause: UnreachableCause,
    },
    /// The cluster failed.
    #[error("{reason}")]
    Failed {
        /// The reason, in words.
        reason: String,
        /// The kind of the failure. `None` from servers of the older protocol.
        kind: Option<ClusterFailureKind>,
    },
    /// The TLS handshake failed: the node does not trust the server, or the server does not trust the node.
    #[error("{server} {reason}")]
    Untrusted {
        /// The server with which the handshake failed.
        server: ServerUrl,
        /// The reason why the handshake failed.
        reason: HandshakeError,
    },
    /// Files could not be written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The server rejected the node or its metadata.
    #[error("{server} refused {identifier}: {message}")]
    Refused {
        /// The server that rejected the node.
        server: ServerUrl,
        /// The identifier that the node registered with.
        identifier: Identifier,
        /// The server's reason, in words.
        message: String,
        /// The server's reason as a stable identifier, such as `not_listed`.
        reason: Option<String>,
    },
    /// The node's own key cannot be stored, or belongs to another server.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The server serves another cluster.
    #[error("{server} serves {}, not the cluster {wanted:?}", ClusterName(.found))]
    WrongCluster {
        /// The server that serves another cluster.
        server: ServerUrl,
        /// The name that [`JoinOptions::with_cluster`](crate::JoinOptions::with_cluster) requires.
        wanted: String,
        /// The server's cluster. `None` if the server does not name it.
        found: Option<String>,
    },
    /// The cluster was not ready within the timeout.
    #[error("not ready within {}: {message}", duration::text(*.waited))]
    NotReady {
        /// The time that was spent, which is the timeout.
        waited: Duration,
        /// The missing nodes and the unmet conditions.
        message: String,
    },
    /// The text of a server's URL is invalid.
    #[error(transparent)]
    Server(#[from] InvalidServer),
    /// The client cannot be configured as requested.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl JoinError {
    /// Returns the kind of this failure.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Unusable(_) | Self::Route(_) => FailureKind::UnusableResponse,
            Self::Unreachable { .. } => FailureKind::Unreachable,
            Self::Failed { .. } => FailureKind::ClusterFailed,
            Self::Disk(_) | Self::Key(KeyError::File { .. }) => FailureKind::NotWritten,
            Self::Untrusted { .. }
            | Self::Refused { .. }
            | Self::WrongCluster { .. }
            | Self::Key(KeyError::OtherServer { .. })
            | Self::Server(_)
            | Self::Trust(_) => FailureKind::NotAllowed,
            Self::NotReady { .. } => FailureKind::NotReady,
        }
    }

    /// Returns whether another machine has taken the place of this node.
    pub fn is_replaced(&self) -> bool {
        matches!(self, Self::Refused { reason, .. } if reason.as_deref() == Some(REPLACED))
    }

    /// Returns whether the only cause is an expired token, or a certificate outside its validity period. In this case,
    /// no operator has rejected the node.
    pub fn is_expiry(&self) -> bool {
        match self {
            Self::Refused { reason, .. } => reason.as_deref() == Some(EXPIRED_TOKEN),
            Self::Untrusted { reason, .. } => reason.is_expiry(),
            _ => false,
        }
    }
}

impl From<std::convert::Infallible> for JoinError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
