//! What the coordinator answers, in words that know nothing of HTTP.

use std::sync::Arc;

use bytes::Bytes;

use cfgsync_model::{Failure, GenerationNumber, Identifier, Revision};
use cfgsync_spec::MetadataError;
use cfgsync_store::{CapacityExceeded, CommitError};
use cfgsync_wire::EncodedPayload;

/// What a node that asks for its files is told.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Its files.
    Payload(Delivery),
    /// Not yet: the encoded [`cfgsync_wire::ErrorBody`], made once per evaluation.
    NotReady(Bytes),
    /// There is nothing for it, now or later, and why.
    Missing(Refusal),
    /// The cluster failed.
    Failed(Arc<Failure>),
    /// This server stops: ask again at once, here or elsewhere.
    Draining(Bytes),
}

/// A payload that goes out.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// As it goes to the socket.
    pub payload: Arc<EncodedPayload>,
    /// Of which generation it is.
    pub generation: GenerationNumber,
    /// Whether this server delivers it for the first time.
    pub is_first: bool,
    /// Whether secret files are shown in it.
    pub shows_secrets: bool,
}

/// What a payload is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessKind {
    /// A node is to have it.
    Delivery,
    /// An operator looks at it, which delivers nothing. Secret files are named and not shown unless the operator wants
    /// to `reveal` them.
    Look {
        /// Whether they are shown.
        reveal: bool,
    },
}

/// A registration that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// At which revision.
    pub revision: Revision,
    /// Whether it said anything new.
    pub changed: bool,
}

/// Why a change was not accepted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The spec lists its nodes, and this is none of them.
    #[error("{0} is not on this cluster's list of nodes")]
    NotListed(Identifier),
    /// All files are known beforehand, and none is for this node.
    #[error("there are no files for {0}")]
    NoFiles(Identifier),
    /// The first generation is sealed and the spec says `late: refuse`.
    #[error("the cluster is sealed and takes no new nodes (`late: refuse`): {0} comes too late")]
    TooLate(Identifier),
    /// Likewise, for a removal.
    #[error("the cluster is sealed and lets no node go (`late: refuse`): {0} stays")]
    Sealed(Identifier),
    /// A node that leaves by itself, after the first seal.
    #[error("{0} is sealed; only an operator can remove it (DELETE /v1/nodes/{0})")]
    LeftTooLate(Identifier),
    /// The facts are not what the spec asks for.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    /// No such node.
    #[error("{0} is not registered")]
    Unregistered(Identifier),
    /// No such node, and none is expected by that name.
    #[error("there is no node {identifier}: {why}{near}")]
    Unknown {
        /// Who was asked for.
        identifier: Identifier,
        /// What is known.
        why: String,
        /// The nearest name that there is.
        near: String,
    },
    /// The node has no override.
    #[error("{0} has no override")]
    NoOverride(Identifier),
    /// Nobody's key has the identifier.
    #[error("no key has the name {0}; the first to come with it has it")]
    NoKey(Identifier),
    /// Another key was first.
    #[error(
        "another key than this node's was the first to come as {0}, and has the name; if that machine is gone, an \
         operator gives it free: cfgsync release {0}"
    )]
    OtherKey(Identifier),
    /// Registered again with other facts since.
    #[error("{0} is registered with other facts; they stay")]
    OtherFacts(Identifier),
    /// An override would put a file under the name of a shared one.
    #[error(
        "{path} is a shared file, and an override replaces a node's own files only: leave it out"
    )]
    SharedPath {
        /// The name that is taken.
        path: cfgsync_model::ArtifactPath,
    },
    /// There is no room for it. An operator can make some, so asking again may help.
    #[error(transparent)]
    Full(CapacityExceeded),
    /// The store's trouble, not the sender's.
    #[error(transparent)]
    Store(CommitError),
}

/// A spec that is of another cluster than the one served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the spec is now of cluster {found}, but this server serves {served}; two clusters are two servers"
)]
pub struct AnotherCluster {
    /// The cluster of this server.
    pub served: String,
    /// The cluster of the spec.
    pub found: String,
}
