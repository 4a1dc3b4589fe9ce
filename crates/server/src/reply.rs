//! Builds responses.

use std::{sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response as RoutedResponse};
use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RETRY_AFTER},
};
use serde::Serialize;

use super::{
    reply_body::{BytesBody, ReplyBody},
    request_headers::PREFERENCE_APPLIED,
    state::ServerState,
};
use cfgsync_model::{Digest, Failure, Revision};
use cfgsync_wire::{Code, DRAINING, EncodedPayload, ErrorBody, OUTDATED_HEADER, RETRY_HEADER};

const OUTDATED: HeaderName = HeaderName::from_static(OUTDATED_HEADER);

/// A response as hyper sends it.
pub(super) type Reply = Response<ReplyBody>;

/// A response of a handler behind the router.
pub(super) struct RoutedReply(Reply);

impl From<Reply> for RoutedReply {
    fn from(reply: Reply) -> Self {
        Self(reply)
    }
}

impl IntoResponse for RoutedReply {
    fn into_response(self) -> RoutedResponse {
        self.0.map(|body| axum::body::Body::new(BytesBody(body)))
    }
}

/// Adds the reason why the payload of `reply` is not the newest. A header has ASCII characters only.
pub(super) fn outdated(reply: &mut Reply, failure: &Failure) {
    const REASON_MAX_CHARS: usize = 500;
    let reason = failure.reason.chars().take(REASON_MAX_CHARS);
    let printable = |c: char| match c {
        ' '..='~' => c,
        _ if c.is_whitespace() => ' ',
        _ => '?',
    };
    let reason = HeaderValue::try_from(reason.map(printable).collect::<String>());
    let reason = reason.expect("printable ASCII is a header value");
    reply.headers_mut().insert(OUTDATED, reason);
}

/// 202 without a body: the change was accepted.
pub(super) fn accepted() -> Reply {
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = StatusCode::ACCEPTED;
    reply
}

/// 200 with a value as JSON.
pub(super) fn json(value: &impl Serialize) -> Reply {
    let bytes = serde_json::to_vec(value).expect("the bodies of `wire` have string keys only");
    json_bytes(StatusCode::OK, bytes.into())
}

/// 200 with text of another type.
pub(super) fn text(content_type: &'static str, text: String) -> Reply {
    let mut reply = Response::new(ReplyBody::from_bytes(text));
    let content_type = HeaderValue::from_static(content_type);
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// 200 with a payload. A large one waits for a slot in which it is written.
pub(super) async fn payload(server: &ServerState, payload: Arc<EncodedPayload>) -> Reply {
    let slot = if payload.len_bytes > server.config.large_payload_min_bytes {
        Some(server.write_slots.take().await)
    } else {
        None
    };
    let mut reply = Response::new(ReplyBody::payload(payload, slot));
    set_json(&mut reply);
    reply
}

/// Adds the newest retry, so that the node does not follow it twice.
pub(super) fn set_retry(reply: &mut Reply, retry: Revision) {
    let value = HeaderValue::from(retry.0);
    reply.headers_mut().insert(RETRY_HEADER, value);
}

/// 304: the client has the payload with this digest already.
pub(super) fn unchanged(digest: Digest) -> Reply {
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = StatusCode::NOT_MODIFIED;
    set_etag(&mut reply, digest);
    reply
}

/// 304: the client has the contents with this entity tag already.
pub(super) fn not_modified(etag: &str) -> Reply {
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = StatusCode::NOT_MODIFIED;
    let tag = HeaderValue::try_from(format!("\"{etag}\"")).expect("the server made the tag");
    reply.headers_mut().insert(ETAG, tag);
    reply
}

/// 425 with the encoded reason.
pub(super) fn not_ready(body: Bytes) -> Reply {
    json_bytes(StatusCode::TOO_EARLY, body)
}

/// 425 from a server that stops: the client should ask another server, or this one again when it is back. The progress
/// is taken from `not_ready_body`.
pub(super) fn draining(not_ready_body: &[u8]) -> Reply {
    let not_ready_body = serde_json::from_slice::<ErrorBody>(not_ready_body);
    let body = ErrorBody {
        progress: not_ready_body.ok().and_then(|body| body.progress),
        ..ErrorBody::new(
            Code::NotReady,
            DRAINING,
            "this server is stopping; try again in 1 s, or try another server now",
        )
    };
    let mut reply = not_ready(body.to_json().into());
    retry_after(&mut reply, "1");
    close_after(&mut reply);
    reply
}

/// 410: the cluster has failed.
pub(super) fn failed(failure: &Failure) -> Reply {
    let body = ErrorBody::failed(failure);
    json_bytes(StatusCode::GONE, body.to_json().into())
}

/// JSON that is encoded already.
pub(super) fn json_bytes(status: StatusCode, bytes: Bytes) -> Reply {
    let mut reply = Response::new(ReplyBody::from_bytes(bytes));
    *reply.status_mut() = status;
    set_json(&mut reply);
    reply
}

fn set_json(reply: &mut Reply) {
    let content_type = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
}

/// Adds the payload's digest as the entity tag.
pub(super) fn set_etag(reply: &mut Reply, digest: Digest) {
    let tag = HeaderValue::try_from(format!("\"{digest}\"")).expect("hexadecimal digits");
    reply.headers_mut().insert(ETAG, tag);
}

/// Adds that `Prefer: wait` was understood.
pub(super) fn preference_applied(reply: &mut Reply) {
    let wait = HeaderValue::from_static("wait");
    reply.headers_mut().insert(PREFERENCE_APPLIED, wait);
}

/// Adds when a client that asked to wait so long should ask again. A client that has just waited may ask again at
/// once; one that has not must not ask in a loop.
pub(super) fn retry_after_wait(reply: &mut Reply, waited: Duration) {
    let has_waited = waited >= Duration::from_secs(1);
    retry_after(reply, if has_waited { "0" } else { "1" });
}

fn retry_after(reply: &mut Reply, seconds: &'static str) {
    let seconds = HeaderValue::from_static(seconds);
    reply.headers_mut().insert(RETRY_AFTER, seconds);
}

/// Ends the connection after this response.
pub(super) fn close_after(reply: &mut Reply) {
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(CONNECTION, close);
}
