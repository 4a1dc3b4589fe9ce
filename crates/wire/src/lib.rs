//! The versioned JSON on the wire.
//!
//! It reads requests, encodes and decodes payloads and error responses, and signs payloads. It knows no HTTP except the
//! names of headers.
//!
//! **Neighbours.** It builds on `model`. `cluster` encodes payloads and errors with it, `server` reads requests, and
//! `client` decodes responses.
//!
//! **Invariants.**
//! - The bodies of `/register`, `/node`, `/node/replace` and their errors are an existing protocol. The fields that
//!   existing clients read never change. New fields are ones that these clients ignore.
//! - A [`ReceivedPayload`] has passed all its checks. Nothing else may be written on a node.
//! - Decoding has limits: sizes, counts and depth.

mod cluster;
mod record;
mod error;
mod signature;
mod payload;
mod request;
mod decimal;
mod values;
mod values_import;
mod token;
mod lease;
mod rollout;
mod servers;
mod reload;
mod sse;
mod event;
mod phases;
mod runs;

pub use cluster::{
    ArtifactEntry, ClusterBody, ClusterState, GenerationBody, GenerationEntry, LeaseState,
    NodeBody, NodeEntry, NodeState, PhaseEntry, RefusedEntry,
};
pub use error::{Code, DRAINING, ErrorBody, ProgressBody, TLS_REQUIRED};
pub use event::{
    NOTICE_EVENT, NoticeBody, READINESS_EVENT, RESET_EVENT, ReadinessBody, ResetBody,
    ValueEventBody, ValueEventType,
};
pub use lease::LeaseBody;
pub use payload::{
    EncodedPayload, PayloadEncoder, PayloadLimits, ReceivedPayload, UnusablePayload,
};
pub use phases::{PHASE_FAILED, PhaseBody, PhaseState, ReportBody, read_report};
pub use record::{
    RecordBody, RecordMoment, RecordNode, RecordNodeState, RecordOutcome, RecordPhase,
    RecordRender, RecordWait,
};
pub use reload::{ReloadBody, ReloadOutcome, ReloadPart, ReloadResult, ReloadedPart, read_reload};
pub use request::{
    FailBody, InvalidBody, LeaveBody, RedrawBody, read_fail, read_identifier, read_leave,
    read_redraw, read_registration, read_replacement,
};
pub use rollout::{RolloutBody, RolloutState};
pub use runs::{
    ClaimBody, FENCED, RunAnswerState, RunBody, RunEntry, RunnerBody, encode_claim, encode_output,
    read_claim, read_runner,
};
pub use servers::{DatabaseEntry, DatabaseMemberEntry, ServerEntry, ServersBody};
pub use signature::{
    InvalidKey, InvalidSignature, PayloadSigner, Signature, SignedFacts, SigningKey, VerifyError,
    VerifyKey,
};
pub use sse::{EVENT_STREAM, EventStreamReader, InvalidStream, StreamedEvent, event_frame};
pub use token::{TokenEntry, TokenUseEntry};
pub use values::{
    AccessBody, AliasAnswer, AliasBody, AliasesBody, Base64Text, CodecsBody, DiffBody, EntriesBody,
    EntryAnswer, EntryBody, ErrorInfo, NamespacesBody, SetBody, StatusBody, ValuesSnapshotBody,
    cursor_after, decode_base64, read_alias, read_cursor, read_set,
};

pub use values_import::{
    ImportAnswer, ImportBody, ImportChange, ImportChangeKind, ImportEntry, read_import,
};

/// The header of every response with the instance of the store.
pub const INSTANCE_HEADER: &str = "cfgsync-instance";

/// The header with a position in the history of the store, as the id of an event: in a response what the server had
/// applied, and in a request the newest position that the client has seen. A server that is behind catches up before it
/// answers. Only servers that share a store send it.
pub const REVISION_HEADER: &str = "cfgsync-revision";

/// The header of an answer to a node with the URLs of the running servers that share a store, separated by commas. Servers
/// that share no store do not send it.
pub const SERVERS_HEADER: &str = "cfgsync-servers";

/// The most URLs in [`SERVERS_HEADER`].
pub const SERVERS_LISTED_MAX: usize = 16;

/// The longest URL in [`SERVERS_HEADER`], in bytes.
pub const LISTED_URL_MAX_BYTES: usize = 256;

/// The request header with the node's own key, under `identity: first-use`.
pub const NODE_KEY_HEADER: &str = "cfgsync-node-key";

/// The request header with the identity of the process that registers a node. It is no secret.
pub const JOINER_HEADER: &str = "cfgsync-joiner";

/// The header with the revision of the newest retry: in a request, the one that the node knows, and in a response, the one
/// that it must follow.
pub const RETRY_HEADER: &str = "cfgsync-retry";

/// The reason in the response to a node that sent no key although the spec requires one.
pub const NO_KEY: &str = "no_key";

/// The reason in the response to a token that has expired.
pub const EXPIRED_TOKEN: &str = "expired_token";

/// The reason in the response to a request for a node that the server does not know.
pub const NO_SUCH_NODE: &str = "no_such_node";

/// The reason in the response to a request for a generation that the server does not have.
pub const NO_SUCH_GENERATION: &str = "no_such_generation";

/// The reason in the response to a request for the files of a node that gets none.
pub const NO_FILES: &str = "no_files";

/// The header of a payload that is not the newest, with the reason: the newest render failed.
pub const OUTDATED_HEADER: &str = "cfgsync-outdated";

/// The header of every response with the cluster's name, which `join --cluster` compares.
pub const CLUSTER_HEADER: &str = "cfgsync-cluster";
