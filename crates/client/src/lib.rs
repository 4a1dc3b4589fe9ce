//! The node's side of cfgsync: calls the server, joins a cluster, and writes the node's files.
//!
//! Above this crate are the nouns (`cfgsync-model`), the JSON of the protocol (`cfgsync-wire`) and certificates
//! (`cfgsync-certificate`). Below it are the command line and embedding programs. It knows nothing of the server's
//! crates.
//!
//! A delivery goes through the modules in this order:
//!
//! 1. A [`Client`] calls the routes of a server. It bounds the time and size of each response, and sanitizes the text.
//! 2. A [`Session`] registers the node, waits, and fetches its payload. It reports what happens as [`Event`]s.
//! 3. An [`OutputMap`] gives each artifact its place, or refuses the whole payload.
//! 4. [`DeliveryOptions::commit`] writes all files and the [`Receipt`] in one [`disk::Transaction`].
//!
//! [`fetch_and_write`] does all of this in one call.
//!
//! # Invariants
//!
//! - The node does not trust the server: files are written only where the node's own routes allow. Names from the
//!   server never lead out of a directory, and symbolic links below it are not followed.
//! - Each file is old or new, never partial, and an error restores all of them.
//! - The node's own key is sent only to a server that requires it, and only to the servers that it was created for.
//! - Secrets (tokens, keys, file contents) appear in no message and no `Debug` output.

mod failure;
mod sanitize;
mod server;
mod tls;
mod avoidance;
mod addresses;
mod early_response;
mod connect;
mod node_key;
mod client;
mod endpoint;
mod outputs;
pub mod disk;
mod receipt;
mod session;
mod stale;
mod lock_wait;
mod deliver;
mod action;
mod previous;
mod fetch_and_write;
pub mod supervisor;

pub use action::FinishActionError;
pub use client::{
    CallError, Client, EventStream, InvalidSecret, PhaseNodes, PhaseQuestion, Response,
    ResponseMeta, TrustError, WatchOptions, Watched,
};
pub use deliver::{
    CommittedDelivery, Delivery, DeliveryOptions, InvalidReceiptPath, StagedDelivery,
};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use failure::{FailureKind, UnreachableCause};
pub use fetch_and_write::fetch_and_write;
pub use node_key::{KeyError, KeyLocation};
pub use outputs::{InvalidRoute, OutputMap, PlacedArtifact, Placement, RouteError, Target};
pub use previous::{PreviousDelivery, PreviousDeliveryError};
pub use receipt::{
    DeliveredGeneration, Receipt, ReceiptEntry, ReceiptError, ReceiptMismatch, RemainingFile,
    VerifiedFile,
};
pub use sanitize::escape_for_terminal;
pub use server::{InvalidServer, ServerUrl};
pub use session::{Event, Events, JoinError, JoinOptions, NodeAddress, Session};
pub use stale::{StaleFile, StaleOutcome};
pub use tls::{CertificateRejection, HandshakeError, Trust};
