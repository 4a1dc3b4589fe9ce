//! The answers and refusals of the coordinator, independent of HTTP.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;

use cfgsync_model::{Failure, GenerationNumber, Identifier, Revision};
use cfgsync_spec::MetadataError;
use cfgsync_store::{CapacityExceeded, CommitError, RunRejection};
use cfgsync_wire::EncodedPayload;

/// The answer to a node that fetches its files.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The payload of the node.
    Payload(Delivery),
    /// There are no files yet. The value is the encoded [`cfgsync_wire::ErrorBody`], which all waiting nodes share.
    NotReady(Bytes),
    /// There are no files for this node, now or later.
    Missing(Refusal),
    /// The cluster has failed, with this reason.
    Failed(Arc<Failure>),
    /// This server is stopping. The node should retry at once, here or at another server. The value is the same body as
    /// in [`Answer::NotReady`].
    Draining(Bytes),
    /// The sender gets no files, because another machine is registered under its identifier.
    Refused(Refusal),
}

/// A payload on its way to a client.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The bytes for the socket.
    pub payload: Arc<EncodedPayload>,
    /// The generation that it belongs to.
    pub generation: GenerationNumber,
    /// Whether this server has delivered it to this node before, or does not deliver it: an operator looks at it.
    pub is_known: bool,
    /// Whether it contains secret files with their content.
    pub shows_secrets: bool,
    /// The failure of the newest render. The payload is then that of an older generation.
    pub render_failure: Option<Arc<Failure>>,
}

/// The purpose for which a client reads a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessKind {
    /// The node receives its files.
    Delivery,
    /// An operator reads them. Nothing counts as delivered.
    Look {
        /// Whether the content of secret files is shown. Otherwise they are only listed.
        reveal: bool,
    },
}

/// The metadata of nodes that a client may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataAccess {
    /// All fields.
    All,
    /// All fields but those that the spec declares `secret: true`.
    WithoutSecrets,
}

/// A registration that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The revision at which these facts were accepted.
    pub revision: Revision,
    /// Whether the registration changed anything. Equal facts change nothing.
    pub changed: bool,
}

/// The reason why a request was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The spec lists its nodes, and this one is not on the list.
    #[error("{0} is not on this cluster's list of nodes")]
    NotListed(Identifier),
    /// All files are static, and none of them is for this node.
    #[error("the spec has no files for {0}")]
    NoFiles(Identifier),
    /// The first generation is sealed, and the spec says `late: refuse`.
    #[error(
        "{0} is too late: the files were sealed without it, and the spec admits no new nodes (`late: refuse`)"
    )]
    TooLate(Identifier),
    /// An operator may not remove the node, for the same reason.
    #[error("cannot remove {0}: the cluster is sealed and keeps its nodes (`late: refuse`)")]
    Sealed(Identifier),
    /// A node withdraws its registration after the first seal.
    #[error("{0} belongs to a sealed generation; only an operator can remove it (cfgsync rm {0})")]
    LeftTooLate(Identifier),
    /// The metadata does not match the rules of the spec.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    /// The node is not registered.
    #[error("{0} is not registered")]
    Unregistered(Identifier),
    /// The node is not registered, and the identifier does not occur elsewhere in the spec or the state.
    #[error("there is no node {identifier}: {why}{near}")]
    Unknown {
        /// The identifier in the request.
        identifier: Identifier,
        /// The reason why there is no such node.
        why: String,
        /// The nearest identifier that exists, as `; did you mean …?`. Empty if none is near.
        near: String,
    },
    /// The node has no override.
    #[error("{0} has no override")]
    NoOverride(Identifier),
    /// No key owns the identifier.
    #[error("{0} has no key; the next node to register as {0} with a key will own the name")]
    NoKey(Identifier),
    /// Another key owns the identifier.
    #[error(
        "{0} is already registered with a different key; if that machine is gone, an operator can release the name: \
         cfgsync release {0}"
    )]
    OtherKey(Identifier),
    /// An operator has removed the node and keeps it out.
    #[error(
        "{0} is banned: an operator has removed it with `cfgsync rm --ban`; to let it register again, an operator runs \
         `cfgsync unban {0}`"
    )]
    Banned(Identifier),
    /// No roll-out is running.
    #[error("no roll-out is running: all nodes get the newest generation")]
    NoRollout,
    /// An operator asks for a retry of a node that does not follow changes.
    #[error(
        "{0} does not follow changes, so it cannot be told to try again; start `join` there, with --watch if it shall \
         follow"
    )]
    NotFollowing(Identifier),
    /// An operator asks for a retry of a node that has not failed with its newest files.
    #[error("{0} has not refused its newest files, so there is nothing to try again")]
    NothingRefused(Identifier),
    /// The node is not banned.
    #[error("{0} is not banned")]
    NotBanned(Identifier),
    /// Another machine has registered with the identifier of a node that waits.
    #[error("another machine registered as {identifier} from {ip}, and takes its place")]
    Replaced {
        /// The identifier that both machines use.
        identifier: Identifier,
        /// The address of the machine that is registered now.
        ip: IpAddr,
    },
    /// Another machine is registered with the identifier and still waits, and the spec says `on_conflict: refuse`.
    #[error(
        "another machine is registered as {identifier} from {ip} and still waits (`on_conflict: refuse`)"
    )]
    NameInUse {
        /// The identifier that both machines use.
        identifier: Identifier,
        /// The address of the machine that is registered.
        ip: IpAddr,
    },
    /// The node is now registered with different facts.
    #[error("{0} is registered with another address or other metadata, and stays registered")]
    OtherFacts(Identifier),
    /// The spec has no such value of `once`.
    #[error("the spec has no once.{key}{near}")]
    NoOnce {
        /// The name in the request.
        key: String,
        /// The nearest name that exists, as `; did you mean …?`. Empty if none is near.
        near: String,
    },
    /// No generation has a value of `once` yet.
    #[error("once.{0} has no value yet; the next generation evaluates it")]
    NotDrawn(String),
    /// A report is about a generation that is not sealed.
    #[error("generation {0} is not sealed; name a generation that the node has received")]
    NotSealed(GenerationNumber),
    /// A report names no generation, and the node has received none.
    #[error("{0} has not received a generation yet, so it cannot report a phase")]
    NothingDelivered(Identifier),
    /// A node reports more phases than the limit.
    #[error("the node has reported {max} phases, which is the limit; report one of these")]
    TooManyPhases {
        /// The limit.
        max: usize,
    },
    /// A node reports `delivered`.
    #[error("the server records the phase `delivered` by itself; report another phase")]
    DeliveredByServer,
    /// A node reports `retry`.
    #[error(
        "the server records the phase `retry` if an operator asks for it; report another phase"
    )]
    RetryByOperator,
    /// A change of a run is not allowed.
    #[error(transparent)]
    Run(RunRejection),
    /// An override contains the path of a shared file.
    #[error(
        "{path} is a shared file, but an override replaces only a node's own files; remove it from the override"
    )]
    SharedPath {
        /// The path of the shared file.
        path: cfgsync_model::ArtifactPath,
    },
    /// A path of an override is a directory in the path of a shared file, or the reverse.
    #[error("an override replaces only a node's own files, not the shared ones: {0}")]
    NestedPath(cfgsync_model::NestedPaths),
    /// A capacity limit is reached. An operator can raise it or remove nodes, so a retry may succeed.
    #[error(transparent)]
    Full(CapacityExceeded),
    /// The store did not acknowledge the change. This is not the client's fault.
    #[error(transparent)]
    Store(CommitError),
}

/// A reloaded spec belongs to another cluster than the served one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the spec names the cluster {found}, but this server serves {served}; correct `cluster` in the spec, or start another server for {found}"
)]
pub struct AnotherCluster {
    /// The cluster that this server serves.
    pub served: String,
    /// The cluster of the refused spec.
    pub found: String,
}
