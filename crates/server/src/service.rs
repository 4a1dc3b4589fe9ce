//! The tower service that serves a connection's requests.
//!
//! The service admits a request, passes it to its native handler or to the router, and completes the response. It adds
//! headers that every response has, metrics, the audit line. A panic in a handler costs its request alone.

use std::{
    convert::Infallible,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Instant,
};

use hyper::{
    Request, StatusCode,
    body::{Body as _, Incoming},
    header::HeaderName,
};
use tokio::sync::Mutex;
use tower::{Service, ServiceExt as _, service_fn};
use tracing::{Span, field::Empty};

use super::{
    catch_up,
    context::{RequestContext, SharedContext},
    handlers::node,
    listed_servers::SERVERS,
    rejection::{Rejected, Rejection},
    reply::Reply,
    reply_body::ReplyBody,
    request_body::discard_body,
    route::{Handler, NativeHandler},
    router::path_of,
    state::Connection,
};
use cfgsync_wire::{CLUSTER_HEADER, INSTANCE_HEADER};

const INSTANCE: HeaderName = HeaderName::from_static(INSTANCE_HEADER);
const CLUSTER: HeaderName = HeaderName::from_static(CLUSTER_HEADER);

/// Returns the service for the requests of one connection. It is always ready.
pub(super) fn request_service(
    connection: Arc<Connection>,
) -> impl Service<Request<Incoming>, Response = Reply, Error = Infallible, Future: Send> + Clone {
    service_fn(move |request| respond(Arc::clone(&connection), request))
}

/// Serves one request.
fn respond(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Reply, Infallible>> + Send {
    let start = Instant::now();
    // Outside of the future, which would reserve memory for the request and for what is made of it. The reference count
    // of the connection is increased, not that of the server, which all cores share.
    let (head, mut body) = request.into_parts();
    let mut context = RequestContext::new(Arc::clone(&connection), head);
    let in_progress = connection.peer.liveness.begin_request();
    async move {
        let route_index = context.route_index;
        let span = tracing::debug_span!(
            "request",
            method = %context.head.method,
            route = context.pattern(),
            node = Empty
        );
        let admitted = catch_unwind(AssertUnwindSafe(|| span.in_scope(|| context.admit())));
        let mut admitted = admitted.unwrap_or(Err(Rejection::Bug));
        if let Some(seen) = catch_up::seen(&connection.server, &context.head.headers)
            && admitted.is_ok()
        {
            // Boxed, because it is rare.
            let caught_up = Box::pin(catch_up::catch_up(&connection.server, seen)).await;
            if let Err(rejection) = caught_up {
                admitted = Err(rejection);
            }
        }
        let is_of_node = matches!(admitted, Ok(Handler::Native(_)));
        let mut reply = match admitted {
            // Boxed, so that held requests do not reserve memory for this.
            Ok(Handler::Routed(_)) => Box::pin(respond_routed(&span, context, body)).await,
            Ok(Handler::Native(handler)) => {
                let result = {
                    // Pinned in place: an argument would take its memory twice, for each of the held requests.
                    let served = pin!(native(handler, &mut context, &mut body));
                    let served = catch_panics(&span, served).await;
                    served.unwrap_or(Err(Rejection::Bug))
                };
                complete(&mut context, &mut body, result).await
            }
            Err(rejection) => complete(&mut context, &mut body, Err(rejection)).await,
        };
        let server = &connection.server;
        let headers = reply.headers_mut();
        headers.insert(INSTANCE, server.instance.clone());
        headers.insert(CLUSTER, server.cluster.clone());
        if let Some(position) = catch_up::position(server) {
            headers.insert(catch_up::REVISION, position);
            // Only a client that is allowed to do something learns of the other servers.
            if is_of_node
                && let Some(listed) = server
                    .listed_servers
                    .header(&server.coordinator, Instant::now())
            {
                headers.insert(SERVERS, listed);
            }
        }
        let status = reply.status();
        server.metrics.count(route_index, status, start.elapsed());
        reply.body_mut().complete(in_progress);
        Ok(reply)
    }
}

/// Serves a request of the hot path.
async fn native(
    handler: NativeHandler,
    context: &mut RequestContext,
    body: &mut Incoming,
) -> Result<Reply, Rejection> {
    match handler {
        NativeHandler::Register => node::register(context, body).await,
        NativeHandler::Fetch => node::fetch(context, body).await,
        NativeHandler::FetchTagged => node::fetch_tagged(context).await,
    }
}

/// Finishes a request that a native handler served, or that was not admitted.
async fn complete(
    context: &mut RequestContext,
    body: &mut Incoming,
    result: Result<Reply, Rejection>,
) -> Reply {
    match result {
        Ok(reply) => {
            context.finish(reply.status(), None);
            reply
        }
        Err(rejection) => {
            let (peer, method) = (context.peer(), &context.head.method);
            let path = context.head.uri.path();
            tracing::debug!(%peer, %method, path, %rejection, "rejected");
            // A client that expects `100 Continue` has not sent the body.
            let has_rest = !body.is_end_stream() && !context.expects_continue();
            if has_rest && rejection.leaves_body_unread() {
                Box::pin(discard_body(body, &context.peer().liveness)).await;
            }
            let reply = rejection.reply_of(context.route());
            context.finish(reply.status(), Some(rejection.reason()));
            reply
        }
    }
}

/// Serves a request through the router.
async fn respond_routed(span: &Span, context: RequestContext, body: Incoming) -> Reply {
    let router = context.server().router.clone();
    let liveness = Arc::clone(&context.peer().liveness);
    let mut request = Request::from_parts(context.head.clone(), axum::body::Body::new(body));
    let (route, path) = (context.route(), path_of(context.route_index));
    *request.uri_mut() = path.parse().expect("a slash and digits are a path");
    let shared: SharedContext = Arc::new(Mutex::new(context));
    request.extensions_mut().insert(Arc::clone(&shared));
    let handled = catch_panics(span, pin!(router.oneshot(request))).await;
    let rejected = match handled {
        Some(Ok(mut response)) => match response.extensions_mut().remove::<Rejected>() {
            Some(rejected) => Err(rejected),
            None => Ok(response.map(ReplyBody::stream)),
        },
        None => Err(Rejected(Arc::new(Rejection::Bug))),
    };
    let (reply, reason) = match rejected {
        Ok(reply) => (reply, None),
        Err(Rejected(rejection)) => (rejection.reply_of(route), Some(rejection.reason())),
    };
    if let Ok(mut context) = shared.try_lock() {
        context.finish(reply.status(), reason);
    } else {
        tracing::error!("a handler kept its request's context; the audit line is lost");
    }
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        liveness.upgrade();
    }
    reply
}

/// Awaits `future` within `span`; `None` if it panics.
async fn catch_panics<F: Future>(span: &Span, mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| {
        let _entered = span.enter();
        // A handler's own state is lost with it. The coordinator's locks are not held while a handler is polled.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_result<A, B, R>(_: impl Fn(A, B) -> R) -> usize {
        size_of::<R>()
    }

    /// Each waiting node has one request in progress. Its memory is most of what cfgsync adds to a connection.
    #[test]
    fn request_in_progress_takes_less_than_2300_bytes() {
        let bytes = size_of_result(respond);
        assert!(bytes < 2300, "{bytes} bytes");
    }
}
