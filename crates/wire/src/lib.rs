//! The versioned JSON on the wire, to and from the model.
//!
//! The bodies of `/register`, `/node`, `/node/replace` and their errors are an existing protocol with clients
//! in the field: what they read must stay exactly so, everything more is in fields that they ignore.

mod cluster;
mod error;
mod signature;
mod payload;
mod request;

pub use cluster::{
    ArtifactEntry, ClusterBody, ClusterState, GenerationBody, GenerationEntry, NodeBody, NodeEntry,
    NodeState,
};
pub use error::{Code, DRAINING, ErrorBody, ProgressBody, TLS_REQUIRED};
pub use payload::{
    EncodedPayload, PayloadEncoder, PayloadLimits, ReceivedPayload, UnusablePayload,
};
pub use request::{
    FailBody, LeaveBody, WrongBody, read_fail, read_identifier, read_leave, read_registration,
    read_replacement,
};
pub use signature::{
    InvalidKey, InvalidSignature, NotVerified, Signature, SignedFacts, SigningKey, VerifyKey,
};

/// The header with the instance of the store that answered, on every answer.
pub const INSTANCE_HEADER: &str = "cfgsync-instance";

/// The header with a node's own key, where the spec says `identity: first-use`.
pub const NODE_KEY_HEADER: &str = "cfgsync-node-key";

/// The reason that tells a node to come with a key of its own.
pub const NO_KEY: &str = "no_key";

/// The slug that tells a client that its token was good until a moment that is past.
pub const EXPIRED_TOKEN: &str = "expired_token";

/// The reason of an answer to who asks for a node of which nothing is known.
pub const NO_SUCH_NODE: &str = "no_such_node";

/// The same of a generation.
pub const NO_SUCH_GENERATION: &str = "no_such_generation";

/// The reason of an answer to who asks for the files of a node that gets none.
pub const NO_FILES: &str = "no_files";

/// The header with the cluster's name, on every answer: `join --cluster` insists on it.
pub const CLUSTER_HEADER: &str = "cfgsync-cluster";
