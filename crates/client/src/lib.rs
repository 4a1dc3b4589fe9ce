//! The node's side: typed calls, `join` (register → await → fetch), routes, and files on disk.
//!
//! A node does not trust the server: what comes is bounded, checked against its promised digests, and
//! written only where the node's own routes allow.

mod words;
mod backoff;
mod server;
mod tls;
mod connect;
mod call;
mod routes;
pub mod disk;
mod receipt;
mod node_key;
mod join;

pub use backoff::Backoff;
pub use call::{Answer, CallError, Client, InvalidSecret, Meta, TrustError};
pub use join::{Event, Join, JoinError, JoinOptions, NodeAddress};
pub use node_key::{KeyError, KeyPlace};
pub use receipt::{Delivered, Mismatch, Noted, Receipt, ReceiptError, Standing};
pub use routes::{InvalidRoute, OutputMap, Placed, Placement, RouteError, Target};
pub use server::{InvalidServer, ServerUrl};
pub use tls::{Distrust, Fault, Trust};
pub use words::written_out;
