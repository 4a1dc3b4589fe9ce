//! The HTTP server: connections, routes and handlers.
//!
//! **Job.** This crate carries the coordinator's operations over HTTP/1.1. It bounds connections, bodies and waits,
//! admits requests, and decides the status, headers and body of every response.
//!
//! **Neighbours.** Above stand `wire`, which encodes bodies, `cluster`, whose coordinator does the work, and `access`,
//! which decides who may do what. The program below binds the listeners and calls [`serve`].
//!
//! **Invariants.**
//! - Everything that is known about a route stands in one row of the table in `routes`.
//! - Every response names the instance and the cluster. Every error is JSON with a code, a reason and a message.
//! - Registering and fetching pay nothing for other routes: they run natively on hyper, and all other handlers stand
//!   behind an axum router.
//! - A held request costs its connection and a few hundred bytes, and no CPU.
//! - A connection keeps its slot in the limits until it ends, also after an upgrade.
//!
//! # The path of a request
//!
//! `server` accepts the connection, `connection` speaks TLS and HTTP, and `service` serves each request. `context`
//! admits it: rate, framing, route, origin, authentication and authorization. A handler in `handlers` calls the
//! coordinator and builds the response with `reply`, or returns a `rejection`.

mod loopback;
mod socket;
mod peer_liveness;
mod peer;
mod tls;
mod reload_queue;
mod watchers;
mod config;
mod connection_quota;
mod linger;
mod handshake;
mod request_headers;
mod write_slots;
mod reply_body;
mod route;
mod path;
mod router;
mod query;
mod request_metrics;
mod listed_servers;
mod state;
mod reply;
mod rejection;
mod transport_checks;
mod presented_token;
mod audit_draft;
mod sender;
mod context;
mod request_body;
mod event_body;
mod catch_up;
mod handlers;
mod routes;
mod service;
mod error_pages;
mod connection_io;
mod connection_timer;
mod connection;
mod server;

pub use config::HttpConfig;
pub use loopback::is_loopback_only;
pub use reload_queue::{ReloadQueue, ReloadRequest, reload_queue};
pub use server::{DrainReport, serve};
pub use socket::{adopt, listen};
pub use tls::{Tls, TlsError, TlsFiles};
pub use watchers::WatchLimits;
