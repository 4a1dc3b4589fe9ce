//! The settings of the HTTP server.

use std::time::Duration;

use cfgsync_access::AccessControl;
use cfgsync_cluster::PAGE_DEFAULT_ENTRIES;

use super::{Tls, reload_queue::ReloadQueue, watchers::WatchLimits};

/// The bounds of a server. All listeners share them. Start from [`Default`], and change what differs.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// The host names for which a server without credentials answers, beside IP addresses, `localhost` and names without
    /// a dot. None by default.
    pub hosts: Vec<String>,
    /// How long `POST /node` without `Prefer: wait` is held when there is no payload yet. Zero by default.
    pub hold: Duration,
    /// How long `POST /node` without `Prefer: wait` is held while the files of a complete set are rendered and sealed.
    /// Zero means not at all. 5 s by default.
    pub hold_render: Duration,
    /// The longest wait that a client may ask for; longer ones are cut to it. 1 h by default.
    pub wait_max: Duration,
    /// The largest body of every route but `/node/replace`, in bytes. 64 KiB by default.
    pub register_body_max_bytes: usize,
    /// The largest body of `/node/replace`, in bytes. 32 MiB by default.
    pub replace_body_max_bytes: usize,
    /// How many bodies of `/node/replace`, and of imports of values, are read at a time; more wait. 4 by default.
    pub replace_bodies_at_once_max: usize,
    /// How many connections may be open; more wait in the listen backlog. 16,384 by default.
    pub connections_max: usize,
    /// How many connections one address may have open (an IPv6 /64 counts as one address); more are closed. `None`, the
    /// default, means three quarters of `connections_max`.
    pub connections_per_address_max: Option<usize>,
    /// The settings of TLS, which all listeners speak then. `None`, the default, means plain HTTP.
    pub tls: Option<Tls>,
    /// How long a TLS handshake may take. 10 s by default.
    pub handshake_timeout: Duration,
    /// How long a request's head may take to arrive, and how long a connection may be idle. 30 s by default.
    pub header_timeout: Duration,
    /// How long a request's body may take to arrive, from its head to its last byte. 1 min by default.
    pub body_timeout: Duration,
    /// A connection whose client reads nothing of a response for this long is closed. 30 s by default.
    pub write_stall_timeout: Duration,
    /// Payloads longer than this count as large, in bytes. 64 KiB by default.
    pub large_payload_min_bytes: usize,
    /// How many large payloads are written at a time; more wait. 32 by default.
    pub large_payloads_at_once_max: usize,
    /// If a client takes longer than this to read a large payload and others wait, the next one starts beside it.
    /// 250 ms by default.
    pub large_payload_slot_max: Duration,
    /// How long requests in progress may take to end once the server stops. 10 s by default.
    pub drain_timeout: Duration,
    /// How long the store may be silent until `/readyz` says that the server is not ready. 30 s by default.
    pub stale_max: Duration,
    /// How many requests are held for one node at a time; more are answered at once. 8 by default.
    pub waiters_per_node_max: usize,
    /// The time between two heartbeats of an event stream. 30 s by default.
    pub watch_heartbeat: Duration,
    /// How many clients may watch the events; more are refused.
    pub watch_limits: WatchLimits,
    /// The number of values or versions in a page for which a client gives no limit. Default: 100.
    pub page_default_entries: usize,
    /// The queue of `POST /v1/reload`. `None`, the default, means that the server has no files to read again.
    pub reload: Option<ReloadQueue>,
    /// The access rules. By default every client may do everything.
    pub access: AccessControl,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            hold: Duration::ZERO,
            hold_render: Duration::from_secs(5),
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
            large_payload_slot_max: Duration::from_millis(250),
            drain_timeout: Duration::from_secs(10),
            stale_max: Duration::from_secs(30),
            waiters_per_node_max: 8,
            watch_heartbeat: Duration::from_secs(30),
            watch_limits: WatchLimits::default(),
            page_default_entries: PAGE_DEFAULT_ENTRIES,
            reload: None,
            access: AccessControl::default(),
        }
    }
}
