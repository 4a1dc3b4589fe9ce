//! What all requests have in common: the instance on every answer, panics that cost one request, figures.

use std::{
    convert::Infallible,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Instant,
};

use hyper::{
    Request,
    body::{Body as _, Incoming},
    header::{EXPECT, HeaderName, HeaderValue},
};
use tokio::sync::{Notify, Semaphore, futures::Notified};

use super::{
    HttpConfig,
    body::Turns,
    figures::Figures,
    handlers::handle,
    read::discard_body,
    reply::{Rejection, Reply},
    route::Target,
};
use crate::{
    coordinator::Coordinator,
    wire::{CLUSTER_HEADER, INSTANCE_HEADER},
};

const INSTANCE: HeaderName = HeaderName::from_static(INSTANCE_HEADER);
const CLUSTER: HeaderName = HeaderName::from_static(CLUSTER_HEADER);

/// What every request needs.
pub(super) struct Server {
    pub(super) coordinator: Coordinator,
    pub(super) config: HttpConfig,
    /// Bounds how many large payloads are written at a time.
    pub(super) turns: Turns,
    /// Bounds how many large bodies are read at a time.
    pub(super) replace_bodies: Semaphore,
    figures: Figures,
    instance: HeaderValue,
    cluster: HeaderValue,
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

/// Serves one request, whatever comes.
pub(super) async fn respond(
    server: &Server,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    let start = Instant::now();
    let (head, mut body) = request.into_parts();
    let target = Target::of(head.uri.path());
    let handled = {
        let mut handling = pin!(handle(server, &head, target, &mut body));
        poll_fn(|cx| {
            // What a handler leaves behind when it panics is its own: the coordinator's locks are not held
            // across its answers.
            let polled = catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx)));
            polled.unwrap_or(Poll::Ready(Err(Rejection::Panicked)))
        })
        .await
    };
    let mut reply = match handled {
        Ok(reply) => reply,
        Err(rejection) => {
            tracing::debug!(method = %head.method, path = head.uri.path(), %rejection, "rejected");
            // Who waits to be asked for the body has not sent it.
            let expects = head.headers.contains_key(EXPECT);
            if rejection.leaves_the_body() && !body.is_end_stream() && !expects {
                Box::pin(discard_body(&mut body)).await;
            }
            rejection.reply()
        }
    };
    reply
        .headers_mut()
        .insert(INSTANCE, server.instance.clone());
    reply.headers_mut().insert(CLUSTER, server.cluster.clone());
    server
        .figures
        .count(target.route, reply.status(), start.elapsed());
    Ok(reply)
}
