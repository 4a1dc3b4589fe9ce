//! The state that requests share: that of the server, and of their connection.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use hyper::header::HeaderValue;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, futures::Notified};

use super::{
    HttpConfig, connection_quota::QuotaSlot, listed_servers::ListedServers, path::RouteTable,
    peer::Peer, request_metrics::GaugeGuard, request_metrics::RequestMetrics, router::router,
    watchers::Watchers, write_slots::WriteSlots,
};
use cfgsync_cluster::Coordinator;

/// The state of a server.
pub(super) struct ServerState {
    pub(super) coordinator: Coordinator,
    pub(super) config: HttpConfig,
    /// Bounds how many large payloads are written at a time.
    pub(super) write_slots: WriteSlots,
    /// Bounds how many bodies of overrides and of imports of values are read at a time.
    pub(super) replace_bodies: Semaphore,
    pub(super) metrics: RequestMetrics,
    pub(super) watchers: Arc<Watchers>,
    pub(super) routes: &'static RouteTable,
    /// Serves the routes that are not native.
    pub(super) router: axum::Router,
    /// The values of the headers that every response has.
    pub(super) instance: HeaderValue,
    pub(super) cluster: HeaderValue,
    /// Whether other servers write to the same store, so that clients tell what they have seen.
    pub(super) shares_store: bool,
    pub(super) listed_servers: ListedServers,
    stopping: AtomicBool,
    stop: Notify,
}

/// The state of one connection. It lives until the connection ends, also after an upgrade, and with it the
/// connection's slot in the server's limits.
pub(super) struct Connection {
    pub(super) server: Arc<ServerState>,
    pub(super) peer: Peer,
    _slot: ConnectionSlot,
}

/// One connection's share of the limits, and of the gauge of open connections.
pub(super) struct ConnectionSlot {
    pub(super) _quota: QuotaSlot,
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) _open: GaugeGuard,
}

impl Connection {
    pub(super) fn new(server: Arc<ServerState>, peer: Peer, slot: ConnectionSlot) -> Arc<Self> {
        Arc::new(Self {
            server,
            peer,
            _slot: slot,
        })
    }
}

impl ServerState {
    pub(super) fn new(
        coordinator: Coordinator,
        config: HttpConfig,
        routes: &'static RouteTable,
    ) -> Self {
        let instance = HeaderValue::try_from(coordinator.instance().to_string());
        let cluster = HeaderValue::try_from(coordinator.cluster_name());
        Self {
            write_slots: WriteSlots::new(
                config.large_payloads_at_once_max,
                config.large_payload_slot_max,
            ),
            replace_bodies: Semaphore::new(config.replace_bodies_at_once_max),
            metrics: RequestMetrics::new(Arc::clone(coordinator.metrics()), routes),
            watchers: Watchers::new(config.watch_limits),
            routes,
            router: router(routes),
            instance: instance.expect("an instance is hexadecimal digits"),
            cluster: cluster.expect("a cluster's name is an identifier"),
            shares_store: coordinator.shares_store(),
            listed_servers: ListedServers::default(),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
            coordinator,
            config,
        }
    }

    /// Stops the server: held requests are answered, and connections end after the request that they serve.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.coordinator.drain();
        self.stop.notify_waiters();
    }

    /// Returns whether the server stops.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Wakes when the server stops. It does not tell of a stop before its first poll: check [`Self::is_stopping`] after
    /// that.
    pub(super) fn stopped(&self) -> Notified<'_> {
        self.stop.notified()
    }
}
