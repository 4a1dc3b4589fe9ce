//! The state of a server that all its requests share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use hyper::header::HeaderValue;
use tokio::sync::{Notify, Semaphore, futures::Notified};

use super::{HttpConfig, body::Turns, figures::Figures, waiters::Waiters};
use cfgsync_cluster::Coordinator;

/// What every request needs.
pub(super) struct Server {
    pub(super) coordinator: Coordinator,
    pub(super) config: HttpConfig,
    /// Bounds how many large payloads are written at a time.
    pub(super) turns: Turns,
    /// Bounds how many large bodies are read at a time.
    pub(super) replace_bodies: Semaphore,
    /// Bounds how many requests are held for one node.
    pub(super) waiters: Waiters,
    pub(super) figures: Figures,
    pub(super) instance: HeaderValue,
    pub(super) cluster: HeaderValue,
    stopping: AtomicBool,
    stop: Notify,
}

impl Server {
    pub(super) fn new(coordinator: Coordinator, config: HttpConfig) -> Self {
        let instance = HeaderValue::try_from(coordinator.instance().to_string());
        let cluster = HeaderValue::try_from(coordinator.cluster_name());
        Self {
            turns: Turns::new(
                config.large_payloads_at_once_max,
                config.large_payload_turn_max,
            ),
            replace_bodies: Semaphore::new(config.replace_bodies_at_once_max),
            waiters: Waiters::default(),
            figures: Figures::new(Arc::clone(coordinator.metrics())),
            instance: instance.expect("hexadecimal digits"),
            cluster: cluster.expect("a cluster's name is an identifier"),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
            coordinator,
            config,
        }
    }

    /// From now on connections end with the request that they are at, and waiters are answered.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.coordinator.drain();
        self.stop.notify_waiters();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Wakes when the server stops; ask [`Self::is_stopping`] after it was first polled.
    pub(super) fn stopped(&self) -> Notified<'_> {
        self.stop.notified()
    }
}
