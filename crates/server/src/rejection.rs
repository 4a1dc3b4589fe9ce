//! The reason why a request was not served, and the one place that gives each reason its status, code and message.

use std::{sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use hyper::{
    Method, StatusCode,
    header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};

use super::{
    path::WrongPath,
    query::WrongParameter,
    reply::{self, Reply},
    reply_body::FRAME_MAX_BYTES,
    request_headers::WrongIfMatch,
    route::Route,
    watchers::TooManyWatchers,
};
use cfgsync_access::{AuditUnavailable, Denial, Role};
use cfgsync_cluster::{InvalidFilter, Refusal, RunRejection, ValueError, ValueRejection};
use cfgsync_model::{GenerationNumber, Identifier, Revision, VALUE_MAX_BYTES};

use cfgsync_support::duration;
use cfgsync_wire::{
    Code, DRAINING, EXPIRED_TOKEN, ErrorBody, FENCED, InvalidBody, NO_FILES, NO_KEY,
    NO_SUCH_GENERATION, NO_SUCH_NODE, StatusBody,
};

/// A request that was not served, named by what was wrong with it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    #[error("the request's body is longer than the {max_bytes} bytes that this server accepts")]
    TooLarge { max_bytes: usize },
    #[error("the value has more than {VALUE_MAX_BYTES} bytes, the limit")]
    LongValue,
    #[error("the body did not arrive within {}", duration::text(*limit))]
    TooSlow { limit: Duration },
    #[error("the body is incomplete, or its chunks are malformed")]
    Cut,
    #[error(transparent)]
    Body(#[from] InvalidBody),
    #[error(transparent)]
    Path(#[from] WrongPath),
    #[error(
        "there is no route {0}; the documentation lists all routes on its page about the HTTP API"
    )]
    NoRoute(String),
    #[error("{} does not accept {method}, only {}", route.pattern, route.allow())]
    Method {
        route: &'static Route,
        method: Method,
    },
    #[error(transparent)]
    Parameter(#[from] WrongParameter),
    #[error("the cursor is not one that this server returned; begin again without a cursor")]
    WrongCursor,
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    #[error(transparent)]
    Watchers(#[from] TooManyWatchers),
    #[error(transparent)]
    IfMatch(#[from] WrongIfMatch),
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(
        "generation {0} does not exist or is no longer kept; GET /v1/generations lists the others"
    )]
    NoGeneration(GenerationNumber),
    #[error(
        "generation {0} has no files for {1}; GET /v1/generations/{0} lists the nodes that have files"
    )]
    NoPayload(GenerationNumber, Identifier),
    #[error("{}", denial_message(.0))]
    Denied(#[from] Denial),
    #[error(
        "a web page of another origin sent this request through a browser; this server accepts requests of its own \
         origin only"
    )]
    OtherOrigin,
    #[error(
        "too many requests from this address; try again in {} s, or raise --rate-max on the server", whole_seconds(*wait)
    )]
    TooManyRequests { wait: Duration },
    #[error(
        "too many denied requests from this address; try again in {} s, with valid credentials", whole_seconds(*wait)
    )]
    TooManyDenied { wait: Duration },
    #[error(
        "this address has reached its limit of open connections ({max}); try again when one is closed, or raise \
         --connections-per-address-max on the server"
    )]
    TooManyConnections { max: usize },
    #[error(transparent)]
    Audit(#[from] AuditUnavailable),
    #[error(
        "this is not a valid HTTP/1.1 request: its first line must look like `GET /livez HTTP/1.1`, its headers like \
         `name: value`, and at most one header may give its length"
    )]
    NotHttp,
    #[error("the request's path is too long")]
    LongPath,
    #[error(
        "the request's headers are too long or too many (at most {} KiB, and at most 100), or its content-length is \
         not a valid number",
        FRAME_MAX_BYTES >> 10
    )]
    LongHead,
    #[error("the request's head did not arrive within {}", duration::text(*limit))]
    SlowHead { limit: Duration },
    #[error("the request has more than one `host` header, so its destination is ambiguous")]
    TwoHosts,
    #[error("the request has no `host` header, which HTTP/1.1 requires")]
    NoHost,
    #[error("the request has more than one `authorization` header")]
    TwoAuthorizations,
    #[error(
        "this server does not answer for the host name {0:?}: without credentials it would be open to web pages; use \
         its IP address, or start it with `--host {0}`"
    )]
    OtherHost(String),
    #[error("the only transfer-encoding that this server accepts is `chunked`, given once")]
    Encoding,
    #[error(
        "the client certificate of this connection has expired, or the server now trusts other authorities; connect \
         again"
    )]
    CertificateOutdated,
    #[error("this server is part of another program, which has no files to read again")]
    NoReload,
    #[error(
        "this server has not heard from its store for {}{}; it still serves what it has",
        duration::text(Duration::from_secs(silent_for.as_secs())),
        problem.as_ref().map_or(String::new(), |problem| format!(" ({problem})"))
    )]
    Stale {
        silent_for: Duration,
        problem: Option<String>,
    },
    #[error(
        "this server has not yet applied revision {0}, which another server has shown; try again"
    )]
    Behind(Revision),
    #[error("this server is stopping")]
    Stopping,
    #[error("the server failed on this request, which is a bug; its log says more")]
    Bug,
}

/// The status, the code that old clients act on, and the finer reason of an error.
type Outline = (StatusCode, Code, &'static str);

impl Rejection {
    /// The reason as a short identifier, for clients and the audit log.
    pub(super) fn reason(&self) -> &'static str {
        self.outline().2
    }

    fn outline(&self) -> Outline {
        let (status, reason) = match self {
            Self::Refused(refusal) => return outline_of_refusal(refusal),
            Self::Denied(denial) => outline_of_denial(denial),
            Self::NoPayload(..) => return (StatusCode::NOT_FOUND, Code::MissingConfig, NO_FILES),
            Self::CertificateOutdated => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return (status, Code::NotReady, "handshake_again");
            }
            Self::Stale { .. } => (StatusCode::SERVICE_UNAVAILABLE, "stale"),
            Self::Behind(_) => return (StatusCode::SERVICE_UNAVAILABLE, Code::NotReady, "behind"),
            Self::Stopping => return (StatusCode::SERVICE_UNAVAILABLE, Code::NotReady, DRAINING),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::TooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, "too_slow"),
            Self::Cut => (StatusCode::BAD_REQUEST, "cut_short"),
            Self::Body(InvalidBody::NotJson(_)) => (StatusCode::BAD_REQUEST, "not_json"),
            Self::Body(InvalidBody::NestedTooDeeply) => (StatusCode::BAD_REQUEST, "too_deep"),
            Self::Body(InvalidBody::Field { .. }) => (StatusCode::BAD_REQUEST, "wrong_field"),
            Self::Path(WrongPath::Namespace(_)) => (StatusCode::BAD_REQUEST, "invalid_namespace"),
            Self::Path(WrongPath::Key(_)) => (StatusCode::BAD_REQUEST, "invalid_key"),
            Self::Path(_) => (StatusCode::BAD_REQUEST, "wrong_path"),
            Self::Filter(_) | Self::Parameter(_) => (StatusCode::BAD_REQUEST, "wrong_parameter"),
            Self::WrongCursor => (StatusCode::BAD_REQUEST, "invalid_cursor"),
            Self::IfMatch(_) => (StatusCode::BAD_REQUEST, "wrong_if_match"),
            Self::LongValue => (StatusCode::BAD_REQUEST, "invalid_value"),
            Self::Value(error) => outline_of_value_error(error),
            Self::NoRoute(_) => (StatusCode::NOT_FOUND, "no_such_route"),
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "wrong_method"),
            Self::NoGeneration(_) => (StatusCode::NOT_FOUND, NO_SUCH_GENERATION),
            Self::OtherOrigin => (StatusCode::FORBIDDEN, "other_site"),
            Self::TooManyRequests { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_often"),
            Self::TooManyDenied { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_denied"),
            Self::Watchers(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_watchers"),
            Self::TooManyConnections { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "too_many_connections")
            }
            Self::Audit(_) => (StatusCode::SERVICE_UNAVAILABLE, "audit"),
            Self::NotHttp => (StatusCode::BAD_REQUEST, "not_http"),
            Self::LongPath => (StatusCode::URI_TOO_LONG, "long_path"),
            Self::LongHead => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "long_head"),
            Self::SlowHead { .. } => (StatusCode::REQUEST_TIMEOUT, "slow_head"),
            Self::TwoHosts => (StatusCode::BAD_REQUEST, "two_hosts"),
            Self::NoHost => (StatusCode::BAD_REQUEST, "no_host"),
            Self::TwoAuthorizations => (StatusCode::BAD_REQUEST, "two_authorizations"),
            Self::OtherHost(_) => (StatusCode::MISDIRECTED_REQUEST, "other_host"),
            Self::Encoding => (StatusCode::BAD_REQUEST, "wrong_encoding"),
            Self::NoReload => (StatusCode::NOT_IMPLEMENTED, "no_reload"),
            Self::Bug => (StatusCode::INTERNAL_SERVER_ERROR, "bug"),
        };
        (status, Code::Internal, reason)
    }

    /// Whether the rest of the body may still arrive, and should be read and dropped before the response.
    pub(super) fn leaves_body_unread(&self) -> bool {
        !matches!(self, Self::TooSlow { .. } | Self::Cut | Self::Encoding)
    }

    /// Whether no further request can follow on the connection.
    fn closes_connection(&self) -> bool {
        let has_no_next = matches!(
            self,
            Self::NotHttp
                | Self::LongPath
                | Self::LongHead
                | Self::SlowHead { .. }
                | Self::TooManyConnections { .. }
                | Self::CertificateOutdated
        );
        has_no_next || !self.leaves_body_unread()
    }

    /// The body of the response: the error as JSON.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let (_, code, reason) = self.outline();
        ErrorBody::new(code, reason, self.to_string()).to_json()
    }

    /// The response of a route. Those of values have errors of another form.
    pub(super) fn reply_of(&self, route: Option<&Route>) -> Reply {
        if !route.is_some_and(Route::is_of_values) {
            return self.reply();
        }
        let (status, _, reason) = self.outline();
        let body = StatusBody::new(canonical_code(status), self.to_string(), reason);
        self.complete(reply::json_bytes(status, body.to_json().into()))
    }

    /// The response.
    pub(super) fn reply(&self) -> Reply {
        let (status, ..) = self.outline();
        self.complete(reply::json_bytes(status, self.to_json().into()))
    }

    /// Adds the headers of the response.
    fn complete(&self, mut reply: Reply) -> Reply {
        let status = reply.status();
        let headers = reply.headers_mut();
        match self {
            Self::Method { route, .. } => {
                let allow = HeaderValue::try_from(route.allow());
                headers.insert(ALLOW, allow.expect("methods are letters"));
            }
            Self::TooManyRequests { wait } | Self::TooManyDenied { wait } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(*wait)));
            }
            // The store may be back at any time, or another server may answer.
            Self::TooManyConnections { .. }
            | Self::Watchers(_)
            | Self::Behind(_)
            | Self::Refused(Refusal::Store(_))
            | Self::Value(ValueError::Store(_)) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"cfgsync\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if self.closes_connection() {
            reply::close_after(&mut reply);
        }
        reply
    }
}

/// The rejection by a handler behind the router, which the service turns into the response.
#[derive(Debug, Clone)]
pub(super) struct Rejected(pub(super) Arc<Rejection>);

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        tracing::debug!(rejection = %self, "rejected");
        let mut response = Response::default();
        response.extensions_mut().insert(Rejected(Arc::new(self)));
        response
    }
}

fn outline_of_value_error(error: &ValueError) -> (StatusCode, &'static str) {
    match error {
        ValueError::OfKey { error, .. } => outline_of_value_error(error),
        ValueError::TooLong { .. }
        | ValueError::Content(_)
        | ValueError::Ttl
        | ValueError::NoContent
        | ValueError::Expired(_) => (StatusCode::BAD_REQUEST, "invalid_value"),
        ValueError::Twice | ValueError::IsAlias(_) => (StatusCode::BAD_REQUEST, "invalid_key"),
        ValueError::ChangedMeanwhile => (StatusCode::PRECONDITION_FAILED, "other_version"),
        ValueError::NoValue { .. } => (StatusCode::NOT_FOUND, "not_found"),
        ValueError::NoVersion { .. } => (StatusCode::NOT_FOUND, "version_not_found"),
        ValueError::TooManyEntries { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_entries"),
        ValueError::TooManyChanges => (StatusCode::BAD_REQUEST, "too_many_changes"),
        ValueError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store"),
        ValueError::Rejected(rejection) => match rejection {
            ValueRejection::NoValue(_) | ValueRejection::NoAlias(_) => {
                (StatusCode::NOT_FOUND, "not_found")
            }
            ValueRejection::Exists(_) => (StatusCode::CONFLICT, "key_exists"),
            ValueRejection::OtherVersion { .. } => {
                (StatusCode::PRECONDITION_FAILED, "other_version")
            }
            ValueRejection::AliasExists(_) => (StatusCode::CONFLICT, "alias_exists"),
            ValueRejection::AliasOfItself(_) => (StatusCode::BAD_REQUEST, "alias_self"),
            ValueRejection::AliasChain(_) => (StatusCode::BAD_REQUEST, "alias_chain"),
            ValueRejection::CapacityExceeded(_) => (StatusCode::SERVICE_UNAVAILABLE, "full"),
        },
    }
}

/// Returns the canonical code of an error, as in `google.rpc.Code`.
fn canonical_code(status: StatusCode) -> u8 {
    match status.as_u16() {
        401 => 16,
        403 => 7,
        404 => 5,
        409 => 6,
        412 => 9,
        429 => 8,
        400..=499 => 3,
        501 => 12,
        503 => 14,
        504 => 4,
        _ => 13,
    }
}

/// Returns the message of a denial, with the header that an HTTP client needs to send.
fn denial_message(denial: &Denial) -> String {
    match denial {
        Denial::NoCredentials(_) => {
            format!("{denial}; the HTTP header is `Authorization: Bearer TOKEN`")
        }
        Denial::NoKey(_) => format!("{denial}; the HTTP header is `Cfgsync-Node-Key`"),
        _ => denial.to_string(),
    }
}

fn outline_of_denial(denial: &Denial) -> (StatusCode, &'static str) {
    match denial {
        Denial::NoCredentials(_) => (StatusCode::UNAUTHORIZED, "no_credentials"),
        Denial::UnknownToken => (StatusCode::UNAUTHORIZED, "unknown_token"),
        Denial::Expired { .. } => (StatusCode::UNAUTHORIZED, EXPIRED_TOKEN),
        Denial::WrongRole {
            required: Role::Node,
            ..
        } => (StatusCode::FORBIDDEN, "not_node"),
        Denial::WrongRole { .. } => (StatusCode::FORBIDDEN, "not_operator"),
        Denial::ReadOnly { .. } => (StatusCode::FORBIDDEN, "read_only"),
        Denial::OtherNamespaces { .. } | Denial::OnlyNamespaces { .. } => {
            (StatusCode::FORBIDDEN, "other_namespaces")
        }
        Denial::OtherNodes { .. } => (StatusCode::FORBIDDEN, "other_nodes"),
        Denial::NamesNoNode { .. } => (StatusCode::FORBIDDEN, "names_nobody"),
        Denial::OtherCertificate(_) => (StatusCode::FORBIDDEN, "other_certificate"),
        Denial::NoKey(_) => (StatusCode::FORBIDDEN, NO_KEY),
        Denial::Unclaimed(_) => (StatusCode::CONFLICT, "no_owner"),
        Denial::OtherKey(_) => (StatusCode::FORBIDDEN, "other_key"),
    }
}

/// The reason of a refusal as a short identifier.
pub(super) fn reason_of_refusal(refusal: &Refusal) -> &'static str {
    outline_of_refusal(refusal).2
}

/// 404: the cluster has nothing for this node, now or later. A banned node gets 403.
pub(super) fn missing(refusal: &Refusal) -> Reply {
    if matches!(refusal, Refusal::Banned(_)) {
        return Rejection::Refused(refusal.clone()).reply();
    }
    let reason = reason_of_refusal(refusal);
    let body = ErrorBody::new(Code::MissingConfig, reason, refusal.to_string());
    reply::json_bytes(StatusCode::NOT_FOUND, body.to_json().into())
}

fn outline_of_refusal(refusal: &Refusal) -> Outline {
    let (status, reason) = match refusal {
        Refusal::NotListed(_) => {
            return (StatusCode::NOT_FOUND, Code::MissingConfig, "not_listed");
        }
        Refusal::NoFiles(_) => return (StatusCode::NOT_FOUND, Code::MissingConfig, NO_FILES),
        Refusal::TooLate(_) => (StatusCode::CONFLICT, "too_late"),
        Refusal::Sealed(_) => (StatusCode::CONFLICT, "sealed"),
        Refusal::LeftTooLate(_) => (StatusCode::CONFLICT, "left_too_late"),
        Refusal::Replaced { .. } => (StatusCode::CONFLICT, "replaced"),
        Refusal::NameInUse { .. } => (StatusCode::CONFLICT, "name_in_use"),
        Refusal::OtherFacts(_) => (StatusCode::CONFLICT, "other_facts"),
        Refusal::SharedPath { .. } | Refusal::NestedPath(_) => {
            (StatusCode::CONFLICT, "shared_path")
        }
        Refusal::Metadata(_) => (StatusCode::BAD_REQUEST, "wrong_metadata"),
        Refusal::Unregistered(_) => (StatusCode::NOT_FOUND, "unregistered"),
        Refusal::Unknown { .. } => (StatusCode::NOT_FOUND, NO_SUCH_NODE),
        Refusal::Banned(_) => (StatusCode::FORBIDDEN, "banned"),
        Refusal::NoRollout => (StatusCode::CONFLICT, "no_rollout"),
        Refusal::NotFollowing(_) => (StatusCode::CONFLICT, "not_following"),
        Refusal::NothingRefused(_) => (StatusCode::CONFLICT, "nothing_refused"),
        Refusal::NotBanned(_) => (StatusCode::NOT_FOUND, "not_banned"),
        Refusal::NoOnce { .. } => (StatusCode::NOT_FOUND, "no_once"),
        Refusal::NotDrawn(_) => (StatusCode::CONFLICT, "not_drawn"),
        Refusal::Run(RunRejection::Fenced(_)) => (StatusCode::CONFLICT, FENCED),
        Refusal::Run(RunRejection::NoRun(_)) => (StatusCode::NOT_FOUND, "no_run"),
        Refusal::Run(_) => (StatusCode::CONFLICT, "run_changed"),
        Refusal::NotSealed(_) => (StatusCode::NOT_FOUND, NO_SUCH_GENERATION),
        Refusal::NothingDelivered(_) => (StatusCode::CONFLICT, "nothing_delivered"),
        Refusal::TooManyPhases { .. } => (StatusCode::CONFLICT, "too_many_phases"),
        Refusal::DeliveredByServer => (StatusCode::BAD_REQUEST, "delivered_by_server"),
        Refusal::RetryByOperator => (StatusCode::BAD_REQUEST, "retry_by_operator"),
        Refusal::NoOverride(_) => (StatusCode::NOT_FOUND, "no_override"),
        Refusal::NoKey(_) => (StatusCode::CONFLICT, "no_owner"),
        Refusal::OtherKey(_) => (StatusCode::FORBIDDEN, "other_key"),
        Refusal::Full(_) => (StatusCode::SERVICE_UNAVAILABLE, "full"),
        Refusal::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store"),
    };
    (status, Code::Internal, reason)
}

/// Rounds `wait` up to whole seconds, at least one.
fn whole_seconds(wait: Duration) -> u64 {
    let more = u64::from(wait.subsec_nanos() > 0);
    (wait.as_secs() + more).max(1)
}
