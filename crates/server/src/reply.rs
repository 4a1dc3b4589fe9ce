//! How answers look: the one place that maps what happened to a status and a body.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{
    Method, Response, StatusCode,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;

use super::{
    body::{FRAME_MAX_BYTES, ReplyBody},
    headers::PREFERENCE_APPLIED,
    route::{Route, WrongPath},
    state::Server,
};
use cfgsync_access::{AuditUnavailable, Denial};
use cfgsync_cluster::Refusal;
use cfgsync_model::{Digest, Failure, GenerationNumber, Identifier};
use cfgsync_wire::{
    Code, DRAINING, EXPIRED_TOKEN, EncodedPayload, ErrorBody, InvalidBody, NO_FILES, NO_KEY,
    NO_SUCH_GENERATION, NO_SUCH_NODE,
};

/// An answer.
pub(super) type Reply = Response<ReplyBody>;

/// A request that was not served, named by what was wrong with it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    #[error("the body has more than the {max_bytes} bytes that this route takes")]
    TooLarge { max_bytes: usize },
    #[error("the body did not arrive within {} seconds", limit.as_secs_f64())]
    TooSlow { limit: Duration },
    #[error("the body was cut short, or its chunks are not chunks")]
    Cut,
    #[error(transparent)]
    Body(#[from] InvalidBody),
    #[error(transparent)]
    Path(#[from] WrongPath),
    #[error("there is no route {0}; the README lists all of them")]
    NoRoute(String),
    #[error("{} does not take {method}, only {}", route.pattern(), route.allow())]
    Method { route: Route, method: Method },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(
        "there is no generation {0}, or it is no longer kept; GET /v1/generations lists those that are"
    )]
    NoGeneration(GenerationNumber),
    #[error("generation {0} has no files for {1}; GET /v1/generations/{0} lists those it has")]
    NoPayload(GenerationNumber, Identifier),
    #[error("{0}")]
    Denied(#[from] Denial),
    #[error("too many requests from this address; ask again in {} s", seconds(*wait))]
    TooOften { wait: Duration },
    #[error("too often refused at this address; ask again in {} s, with the right credentials", seconds(*wait))]
    TooManyDenied { wait: Duration },
    #[error(
        "this address has as many connections open as it may ({max}); ask again when one is closed, or raise \
         --connections-per-address-max on the server"
    )]
    TooManyOpen { max: usize },
    #[error(transparent)]
    Audit(#[from] AuditUnavailable),
    #[error(
        "this is not a request of HTTP/1.1: its first line must read like `GET /livez HTTP/1.1`, its headers like \
         `name: value`, and at most one of them tells its length"
    )]
    NotHttp,
    #[error("the request's path is too long")]
    LongPath,
    #[error(
        "the request's headers are too long or too many (at most {} KiB, and at most 100), or its content-length is \
         no length",
        FRAME_MAX_BYTES >> 10
    )]
    LongHead,
    #[error("the request's head did not arrive within {} seconds", limit.as_secs_f64())]
    SlowHead { limit: Duration },
    #[error("the request has more than one `host` header, so it is not clear who is asked")]
    TwoHosts,
    #[error("the only transfer-encoding that this server takes is `chunked`, told once")]
    Encoding,
    #[error(
        "the client certificate of this connection has expired, or the server takes those of other authorities \
         since: connect anew"
    )]
    HandshakeAgain,
    #[error("this server is stopping")]
    Stopping,
    #[error("the server failed on this request, which is a bug; its log says more")]
    Panicked,
}

impl Rejection {
    /// The finer slug.
    pub(super) fn reason(&self) -> &'static str {
        self.outline().2
    }

    /// The status, the code that old clients act on, and the finer slug.
    fn outline(&self) -> (StatusCode, Code, &'static str) {
        match self {
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Code::Internal, "too_large"),
            Self::TooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, Code::Internal, "too_slow"),
            Self::Cut => (StatusCode::BAD_REQUEST, Code::Internal, "cut_short"),
            Self::Body(InvalidBody::NotJson(_)) => {
                (StatusCode::BAD_REQUEST, Code::Internal, "not_json")
            }
            Self::Body(InvalidBody::NestedTooDeeply) => {
                (StatusCode::BAD_REQUEST, Code::Internal, "too_deep")
            }
            Self::Body(InvalidBody::Field { .. }) => {
                (StatusCode::BAD_REQUEST, Code::Internal, "wrong_field")
            }
            Self::Path(_) => (StatusCode::BAD_REQUEST, Code::Internal, "wrong_path"),
            Self::NoRoute(_) => (StatusCode::NOT_FOUND, Code::Internal, "no_such_route"),
            Self::Method { .. } => (
                StatusCode::METHOD_NOT_ALLOWED,
                Code::Internal,
                "wrong_method",
            ),
            Self::Refused(refusal) => outline_of(refusal),
            Self::NoGeneration(_) => (StatusCode::NOT_FOUND, Code::Internal, NO_SUCH_GENERATION),
            Self::NoPayload(..) => (StatusCode::NOT_FOUND, Code::MissingConfig, NO_FILES),
            Self::Denied(denial) => outline_of_denial(denial),
            Self::TooOften { .. } => (StatusCode::TOO_MANY_REQUESTS, Code::Internal, "too_often"),
            Self::TooManyDenied { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                Code::Internal,
                "too_many_denied",
            ),
            Self::TooManyOpen { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                Code::Internal,
                "too_many_connections",
            ),
            Self::Audit(_) => (StatusCode::SERVICE_UNAVAILABLE, Code::Internal, "audit"),
            Self::NotHttp => (StatusCode::BAD_REQUEST, Code::Internal, "not_http"),
            Self::LongPath => (StatusCode::URI_TOO_LONG, Code::Internal, "long_path"),
            Self::LongHead => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                Code::Internal,
                "long_head",
            ),
            Self::SlowHead { .. } => (StatusCode::REQUEST_TIMEOUT, Code::Internal, "slow_head"),
            Self::TwoHosts => (StatusCode::BAD_REQUEST, Code::Internal, "two_hosts"),
            Self::Encoding => (StatusCode::BAD_REQUEST, Code::Internal, "wrong_encoding"),
            Self::HandshakeAgain => (
                StatusCode::SERVICE_UNAVAILABLE,
                Code::NotReady,
                "handshake_again",
            ),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, Code::NotReady, DRAINING),
            Self::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "bug"),
        }
    }

    /// Whether the rest of the body may still come, and should be read before the answer.
    pub(super) fn leaves_the_body(&self) -> bool {
        !matches!(self, Self::TooSlow { .. } | Self::Cut | Self::Encoding)
    }

    /// Whether nothing can follow on the connection.
    fn ends_the_connection(&self) -> bool {
        let has_no_next = matches!(
            self,
            Self::NotHttp | Self::SlowHead { .. } | Self::TooManyOpen { .. } | Self::HandshakeAgain
        );
        has_no_next || !self.leaves_the_body()
    }

    /// Why hyper itself answered with `status`, before there was a route.
    pub(super) fn before_the_route(status: u16) -> Option<Self> {
        [Self::NotHttp, Self::LongPath, Self::LongHead]
            .into_iter()
            .find(|rejection| rejection.outline().0 == status)
    }

    /// The error JSON.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let (_, code, reason) = self.outline();
        ErrorBody::new(code, reason, self.to_string()).to_json()
    }

    /// As an answer.
    pub(super) fn reply(&self) -> Reply {
        let (status, ..) = self.outline();
        let mut reply = json_bytes(status, self.to_json().into());
        if let Self::Method { route, .. } = self {
            let allow = HeaderValue::from_static(route.allow());
            reply.headers_mut().insert(ALLOW, allow);
        }
        if let Self::TooOften { wait } | Self::TooManyDenied { wait } = self {
            let seconds = HeaderValue::from(seconds(*wait));
            reply.headers_mut().insert(RETRY_AFTER, seconds);
        }
        if let Self::TooManyOpen { .. } = self {
            retry_after(&mut reply, "1");
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"cfgsync\"");
            reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        if self.ends_the_connection() {
            close_after(&mut reply);
        }
        reply
    }
}

fn outline_of_denial(denial: &Denial) -> (StatusCode, Code, &'static str) {
    let (status, reason) = match denial {
        Denial::OtherSite => (StatusCode::FORBIDDEN, "other_site"),
        Denial::NoCredentials(_) => (StatusCode::UNAUTHORIZED, "no_credentials"),
        Denial::UnknownToken => (StatusCode::UNAUTHORIZED, "unknown_token"),
        Denial::Expired { .. } => (StatusCode::UNAUTHORIZED, EXPIRED_TOKEN),
        Denial::NotOperator(_) => (StatusCode::FORBIDDEN, "not_operator"),
        Denial::OtherNodes { .. } => (StatusCode::FORBIDDEN, "other_nodes"),
        Denial::NamesNobody { .. } => (StatusCode::FORBIDDEN, "names_nobody"),
        Denial::OtherCertificate(_) => (StatusCode::FORBIDDEN, "other_certificate"),
        Denial::NoKey(_) => (StatusCode::FORBIDDEN, NO_KEY),
        Denial::OtherKey(_) => (StatusCode::FORBIDDEN, "other_key"),
    };
    (status, Code::Internal, reason)
}

/// In whole seconds, at least one.
fn seconds(wait: Duration) -> u64 {
    let more = u64::from(wait.subsec_nanos() > 0);
    (wait.as_secs() + more).max(1)
}

/// The slug of a refusal, for the audit log.
pub(super) fn reason_of(refusal: &Refusal) -> &'static str {
    outline_of(refusal).2
}

fn outline_of(refusal: &Refusal) -> (StatusCode, Code, &'static str) {
    match refusal {
        Refusal::NotListed(_) => (StatusCode::NOT_FOUND, Code::MissingConfig, "not_listed"),
        Refusal::NoFiles(_) => (StatusCode::NOT_FOUND, Code::MissingConfig, NO_FILES),
        Refusal::TooLate(_) => (StatusCode::CONFLICT, Code::Internal, "too_late"),
        Refusal::Sealed(_) => (StatusCode::CONFLICT, Code::Internal, "sealed"),
        Refusal::LeftTooLate(_) => (StatusCode::CONFLICT, Code::Internal, "left_too_late"),
        Refusal::OtherFacts(_) => (StatusCode::CONFLICT, Code::Internal, "other_facts"),
        Refusal::SharedPath { .. } => (StatusCode::CONFLICT, Code::Internal, "shared_path"),
        Refusal::Metadata(_) => (StatusCode::BAD_REQUEST, Code::Internal, "wrong_metadata"),
        Refusal::Unregistered(_) => (StatusCode::NOT_FOUND, Code::Internal, "unregistered"),
        Refusal::Unknown { .. } => (StatusCode::NOT_FOUND, Code::Internal, NO_SUCH_NODE),
        Refusal::NoOverride(_) => (StatusCode::NOT_FOUND, Code::Internal, "no_override"),
        Refusal::NoKey(_) => (StatusCode::CONFLICT, Code::Internal, "no_owner"),
        Refusal::OtherKey(_) => (StatusCode::FORBIDDEN, Code::Internal, "other_key"),
        Refusal::Full(_) => (StatusCode::SERVICE_UNAVAILABLE, Code::Internal, "full"),
        Refusal::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, Code::Internal, "store"),
    }
}

/// Accepted; there is nothing to say.
pub(super) fn accepted() -> Reply {
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = StatusCode::ACCEPTED;
    reply
}

/// A value as JSON, with status 200.
pub(super) fn json(value: &impl Serialize) -> Reply {
    let bytes = serde_json::to_vec(value).expect("the bodies of `wire` have string keys only");
    json_bytes(StatusCode::OK, bytes.into())
}

/// Text of another type.
pub(super) fn text(content_type: &'static str, text: String) -> Reply {
    let mut reply = Response::new(ReplyBody::of(text));
    let content_type = HeaderValue::from_static(content_type);
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// A payload; a large one waits for its turn to be written.
pub(super) async fn payload(server: &Server, payload: Arc<EncodedPayload>) -> Reply {
    let turn = if payload.len_bytes > server.config.large_payload_min_bytes {
        Some(server.turns.take().await)
    } else {
        None
    };
    let mut reply = Response::new(ReplyBody::payload(payload, turn));
    set_json(&mut reply);
    reply
}

/// The client holds what it would be sent.
pub(super) fn unchanged(digest: Digest) -> Reply {
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = StatusCode::NOT_MODIFIED;
    tag(&mut reply, digest);
    reply
}

/// Not yet.
pub(super) fn not_ready(body: Bytes) -> Reply {
    json_bytes(StatusCode::TOO_EARLY, body)
}

/// Not from this server, which stops: another one, or this one when it is back. What it would have said of the set
/// stands in `not_ready_body`.
pub(super) fn draining(not_ready_body: &[u8]) -> Reply {
    let told = serde_json::from_slice::<ErrorBody>(not_ready_body);
    let body = ErrorBody {
        progress: told.ok().and_then(|told| told.progress),
        ..ErrorBody::new(
            Code::NotReady,
            DRAINING,
            "this server is stopping: ask again in a second, or another server at once",
        )
    };
    let mut reply = not_ready(body.to_json().into());
    retry_after(&mut reply, "1");
    close_after(&mut reply);
    reply
}

/// Nothing for this node, now or later.
pub(super) fn missing(refusal: &Refusal) -> Reply {
    let (_, _, reason) = outline_of(refusal);
    let body = ErrorBody::new(Code::MissingConfig, reason, refusal.to_string());
    error(StatusCode::NOT_FOUND, &body)
}

/// The cluster failed.
pub(super) fn failed(failure: &Failure) -> Reply {
    error(StatusCode::GONE, &ErrorBody::failed(failure))
}

/// Names the payload's digest as the entity tag.
pub(super) fn tag(reply: &mut Reply, digest: Digest) {
    let tag = HeaderValue::try_from(format!("\"{digest}\"")).expect("hexadecimal digits");
    reply.headers_mut().insert(ETAG, tag);
}

/// Says that `Prefer: wait` was understood.
pub(super) fn preference_applied(reply: &mut Reply) {
    let wait = HeaderValue::from_static("wait");
    reply.headers_mut().insert(PREFERENCE_APPLIED, wait);
}

/// Says when to ask again.
pub(super) fn retry_after(reply: &mut Reply, seconds: &'static str) {
    let seconds = HeaderValue::from_static(seconds);
    reply.headers_mut().insert(RETRY_AFTER, seconds);
}

/// Ends the connection after this answer.
pub(super) fn close_after(reply: &mut Reply) {
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(CONNECTION, close);
}

fn error(status: StatusCode, body: &ErrorBody) -> Reply {
    json_bytes(status, body.to_json().into())
}

fn json_bytes(status: StatusCode, bytes: Bytes) -> Reply {
    let mut reply = Response::new(ReplyBody::of(bytes));
    *reply.status_mut() = status;
    set_json(&mut reply);
    reply
}

fn set_json(reply: &mut Reply) {
    let content_type = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
}
