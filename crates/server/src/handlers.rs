//! The handlers: each parses its request, calls the coordinator, and builds the response.
//!
//! The native handlers of [`node`] borrow the request's context and body. All others are axum handlers, which get the
//! context through an extractor.

pub(super) mod node;
pub(super) mod operator;
pub(super) mod phases;
pub(super) mod probe;
pub(super) mod record;
pub(super) mod runs;
pub(super) mod values;
pub(super) mod values_import;
pub(super) mod watch;

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;

use super::{
    context::RequestContext,
    rejection::Rejection,
    request_body::{discard_body, read_body},
};

/// Reads the body of a route that accepts no files.
async fn small_body<B>(context: &RequestContext, body: &mut B) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    let config = &context.server().config;
    let (max_bytes, limit) = (config.register_body_max_bytes, config.body_timeout);
    bounded_body(context, body, max_bytes, limit).await
}

/// Reads a body of at most `max_bytes`. The rest of a larger one is dropped, so that the client can read the response.
async fn bounded_body<B>(
    context: &RequestContext,
    body: &mut B,
    max_bytes: usize,
    limit: Duration,
) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    let liveness = &context.peer().liveness;
    let read = read_body(body, liveness, max_bytes, limit).await;
    if matches!(read, Err(Rejection::TooLarge { .. })) && !context.expects_continue() {
        Box::pin(discard_body(body, liveness)).await;
    }
    read
}
