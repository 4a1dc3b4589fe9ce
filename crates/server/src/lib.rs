//! The wire of DESIGN section 5 over HTTP/1.1: who may ask what, and how every answer looks.
//!
//! | route | methods | what it does |
//! | --- | --- | --- |
//! | `/register` | POST | puts a registration |
//! | `/node`, `/init-with-node` | POST | answers with a node's payload, or holds until there is one |
//! | `/node/replace` | POST | puts an override |
//! | `/v1/snapshot`, `/v1/nodes`, `/v1/nodes/{id}` | GET | who is here, and how far the set has come |
//! | `/v1/nodes/{id}/payload` | GET | the payload with an entity tag; follows changes |
//! | `/v1/nodes/{id}`, `/v1/nodes/{id}/override` | DELETE | removes a node, ends an override |
//! | `/v1/nodes/{id}/key` | DELETE | gives a node's name free, where keys own names |
//! | `/v1/generations`, `/v1/generations/{n}` | GET | what was sealed |
//! | `/v1/generations/{n}/nodes/{id}/payload` | GET | an operator's look at one payload; delivers nothing |
//! | `/v1/leave`, `/v1/fail`, `/v1/reset` | POST | a node withdraws; an operator fails or resets the cluster |
//! | `/livez`, `/readyz`, `/metrics` | GET | for whoever watches the server |
//!
//! A request passes `server` (connections and their limits), `service` (what all requests have in common),
//! `route` (the path), `ask` (who sends it, and what it may do), `handlers` and `reply`, the one place that knows which refusal has which status.
//! There is no framework between hyper and the handlers: the hot routes answer from what is encoded already, a
//! waiting request costs little more than its connection, and every rejection has our own body anyway.

mod headers;
mod line;
mod peer;
mod route;
mod body;
mod waiters;
mod shares;
mod figures;
mod state;
mod reply;
mod read;
mod ask;
mod handlers;
mod service;
mod timer;
mod socket;
mod refused;
mod farewell;
mod loopback;
mod tls;
mod server;

use std::time::Duration;

pub use loopback::is_loopback_only;
pub use server::{DrainReport, serve};
pub use socket::{adopt, listen};
pub use tls::{Tls, TlsError, TlsFiles};

use cfgsync_access::Guard;

/// The bounds of a server. All apply to every listener together.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// How long `POST /node` without `Prefer` is held when there is no payload yet (`serve --hold`).
    pub hold: Duration,
    /// Longest wait that a client may ask for; longer ones are cut to it.
    pub wait_max: Duration,
    /// Largest body of every route but `/node/replace`, in bytes.
    pub register_body_max_bytes: usize,
    /// Largest body of `/node/replace`, in bytes.
    pub replace_body_max_bytes: usize,
    /// How many bodies of `/node/replace` are read at a time; more wait.
    pub replace_bodies_at_once_max: usize,
    /// Open connections; more wait in the listen backlog.
    pub connections_max: usize,
    /// Open connections of one address (an IPv6 /64 is one); more are closed. `None` is three quarters of all.
    pub connections_per_address_max: Option<usize>,
    /// TLS, if it is spoken: then on every listener.
    pub tls: Option<Tls>,
    /// How long a connection may take until TLS is agreed upon.
    pub handshake_timeout: Duration,
    /// How long a connection may take to send a request's head; how long it may be idle as well.
    pub header_timeout: Duration,
    /// How long a request's body may take, from its head to its last byte.
    pub body_timeout: Duration,
    /// A connection whose peer takes no byte of an answer for this long is closed.
    pub write_stall_timeout: Duration,
    /// Payloads longer than this are large, in bytes.
    pub large_payload_min_bytes: usize,
    /// How many large payloads are written at a time; more wait.
    pub large_payloads_at_once_max: usize,
    /// A reader that takes longer than this for a large payload gives its turn to the next and goes on.
    pub large_payload_turn_max: Duration,
    /// How long requests in flight may take to end once the server stops.
    pub drain_timeout: Duration,
    /// How many requests are held for one node; more are answered at once.
    pub waiters_per_node_max: usize,
    /// Who may do what.
    pub guard: Guard,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            hold: Duration::ZERO,
            wait_max: Duration::from_hours(1),
            register_body_max_bytes: 64 << 10,
            replace_body_max_bytes: 32 << 20,
            replace_bodies_at_once_max: 4,
            connections_max: 16_384,
            connections_per_address_max: None,
            tls: None,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_mins(1),
            write_stall_timeout: Duration::from_secs(30),
            large_payload_min_bytes: 64 << 10,
            large_payloads_at_once_max: 32,
            large_payload_turn_max: Duration::from_millis(250),
            drain_timeout: Duration::from_secs(10),
            waiters_per_node_max: 8,
            guard: Guard::default(),
        }
    }
}
