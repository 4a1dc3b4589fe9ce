//! What all requests have in common: the instance on every answer, panics that cost one request, figures.

use std::{
    convert::Infallible,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Instant,
};

use hyper::{
    Request,
    body::{Body as _, Incoming},
    header::{EXPECT, HeaderName},
};

use super::{
    ask::Ask,
    handlers::handle,
    peer::Peer,
    read::discard_body,
    reply::{Rejection, Reply},
    route::Target,
    state::Server,
};
use cfgsync_wire::{CLUSTER_HEADER, INSTANCE_HEADER};

const INSTANCE: HeaderName = HeaderName::from_static(INSTANCE_HEADER);
const CLUSTER: HeaderName = HeaderName::from_static(CLUSTER_HEADER);

/// Serves one request of `peer`, whatever comes.
pub(super) fn respond(
    server: &Server,
    peer: &Peer,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Reply, Infallible>> {
    let start = Instant::now();
    // Taken apart out here: in there, what came and what it was made into would both be kept while a request is held.
    let (head, mut body) = request.into_parts();
    let answering = peer.line.takes_in_hand();
    async move {
        let target = Target::of(head.uri.path());
        let mut ask = Ask::new(server, peer, &head, target);
        let handled = {
            let mut handling = pin!(handle(&mut ask, target, &mut body));
            poll_fn(|cx| {
                // What a handler leaves behind when it panics is its own: the coordinator's locks are not held
                // across its answers.
                let polled = catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx)));
                polled.unwrap_or(Poll::Ready(Err(Rejection::Panicked)))
            })
            .await
        };
        let mut reply = match handled {
            Ok(reply) => {
                ask.ends(reply.status(), None);
                reply
            }
            Err(rejection) => {
                tracing::debug!(%peer, method = %head.method, path = head.uri.path(), %rejection, "rejected");
                // Who waits to be asked for the body has not sent it.
                let expects = head.headers.contains_key(EXPECT);
                if rejection.leaves_the_body() && !body.is_end_stream() && !expects {
                    Box::pin(discard_body(&mut body, &peer.line)).await;
                }
                let reply = rejection.reply();
                ask.ends(reply.status(), Some(rejection.reason()));
                reply
            }
        };
        reply
            .headers_mut()
            .insert(INSTANCE, server.instance.clone());
        reply.headers_mut().insert(CLUSTER, server.cluster.clone());
        server
            .figures
            .count(target.route, reply.status(), start.elapsed());
        reply.body_mut().ends(answering);
        Ok(reply)
    }
}
