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
//! # Routes
//!
//! | route | methods | action | what it does |
//! | --- | --- | --- | --- |
//! | `/register` | POST | Register | registers a node, or replaces its registration |
//! | `/node` | POST | Fetch | returns a node's payload, or holds the request until there is one |
//! | `/init-with-node` | POST | Fetch | the legacy name of `/node` |
//! | `/node/replace` | POST | Operate | replaces a node's own files by an operator's |
//! | `/v1/snapshot` | GET, HEAD | Inspect | describes the cluster: state, progress, generation, registrations |
//! | `/v1/nodes` | GET, HEAD | Inspect | lists the registrations |
//! | `/v1/nodes/{id}` | GET, HEAD | Inspect | describes one node: its files, or why it waits |
//! | `/v1/nodes/{id}` | DELETE | Operate | removes a node |
//! | `/v1/nodes/{id}/payload` | GET, HEAD | Fetch | returns a node's payload with an entity tag, and follows changes |
//! | `/v1/nodes/{id}/lease` | PUT | Fetch | renews a node's lease |
//! | `/v1/nodes/{id}/override` | DELETE | Operate | ends an override |
//! | `/v1/nodes/{id}/key` | DELETE | Operate | releases a node's name from the key that owns it |
//! | `/v1/nodes/{id}/ban` | POST | Operate | removes a node and refuses its registrations |
//! | `/v1/nodes/{id}/ban` | DELETE | Operate | ends a ban |
//! | `/v1/nodes/{id}/retry` | POST | Operate | lets a node try the generation again that it has refused |
//! | `/v1/nodes/{id}/phases/{phase}` | PUT | Report | records that a node has reached a phase |
//! | `/v1/phases/{phase}` | GET, HEAD | WaitForPhase | says whether the nodes have reached a phase, or holds the request until they have |
//! | `/v1/run-once` | GET, HEAD | Inspect | lists the programs that one node runs for all |
//! | `/v1/run-once/{run}` | DELETE | Operate | forgets a run, so that it is done once more |
//! | `/v1/run-once/{run}/claim` | POST | ClaimRun | makes a process the runner, or holds the request until the run has a result |
//! | `/v1/run-once/{run}/renew` | POST | ClaimRun | renews the lease of a runner |
//! | `/v1/run-once/{run}/done` | POST | EndRun | records the success of a runner |
//! | `/v1/run-once/{run}/failed` | POST | EndRun | records the failure of a runner |
//! | `/v1/generations` | GET, HEAD | Inspect | lists the sealed generations, newest first |
//! | `/v1/generations/{n}` | GET, HEAD | Inspect | describes one generation, file by file |
//! | `/v1/generations/{n}/nodes/{id}/payload` | GET, HEAD | Read | returns a node's payload of a generation; this is no delivery |
//! | `/v1/record` | GET, HEAD | Inspect | returns the flight record of a generation |
//! | `/v1/leave` | POST | Leave | withdraws a node's own registration |
//! | `/v1/fail` | POST | Operate | declares the cluster failed, with a reason for all waiting nodes |
//! | `/v1/servers` | GET, HEAD | Inspect | describes the servers of the cluster and their database |
//! | `/v1/rollout` | GET, HEAD | Inspect | describes the roll-out of the newest generation |
//! | `/v1/rollout/stop` | POST | Operate | hands the newest generation to no further node |
//! | `/v1/rollout/resume` | POST | Operate | continues a roll-out that is stopped |
//! | `/v1/reset` | POST | Operate | ends the failure that an operator declared |
//! | `/v1/namespaces` | GET, HEAD | ListNames | lists the namespaces that have a value and that the client may read |
//! | `/v1/namespaces/{namespace}/keys` | GET, HEAD | ReadValues | lists the values of a namespace |
//! | `/v1/namespaces/{namespace}/keys/{key}` | GET, HEAD | ReadValues | returns a value |
//! | `/v1/namespaces/{namespace}/keys/{key}` | POST | WriteValues | sets a value |
//! | `/v1/namespaces/{namespace}/keys/{key}` | DELETE | WriteValues | deletes a value; its history stays |
//! | `/v1/namespaces/{namespace}/keys/{key}/versions` | GET, HEAD | ReadValues | lists the kept versions of a value, newest first |
//! | `/v1/namespaces/{namespace}/keys/{key}/diff` | GET, HEAD | ReadValues | compares two versions of a value |
//! | `/v1/namespaces/{namespace}/snapshot` | GET, HEAD | ReadValues | returns all values of a namespace at one revision |
//! | `/v1/namespaces/{namespace}/import` | POST | WriteValues | sets and deletes values of a namespace, all or none |
//! | `/v1/namespaces/{namespace}/access` | GET, HEAD | CheckAccess | says whether the client may read and change values |
//! | `/v1/codecs` | GET, HEAD | ListNames | lists the codecs that the server checks |
//! | `/v1/aliases` | GET, HEAD | ListNames | lists the aliases |
//! | `/v1/aliases/{key}` | GET, HEAD | ListNames | returns an alias |
//! | `/v1/aliases/{key}` | PUT | WriteAliases | sets an alias, a second name for a key |
//! | `/v1/aliases/{key}` | DELETE | WriteAliases | deletes an alias |
//! | `/v1/watch` | GET, HEAD | Watch | streams the events of the cluster and of values |
//! | `/v1/redraw` | POST | Operate | evaluates a value of `once` again, for the next generation |
//! | `/v1/tokens` | GET, HEAD | Read | lists the tokens and when each was last used |
//! | `/v1/reload` | POST | Operate | reads the files of the server again: spec, tokens, certificates |
//! | `/livez` | GET, HEAD | Probe | answers if the server runs |
//! | `/readyz` | GET, HEAD | Probe | answers 200 if new requests should come here, 503 while the server drains |
//! | `/metrics` | GET, HEAD | Inspect | returns the metrics in the OpenMetrics format |
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
mod routes;
mod path;
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
mod handlers;
mod router;
mod catch_up;
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
