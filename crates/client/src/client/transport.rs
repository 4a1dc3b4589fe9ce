//! Sends one request: to the current server, and to the next one if that server cannot be reached.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::client::legacy::{self, connect::capture_connection};
use tokio::time::sleep;

use super::{
    CallError, Client, ResponseMeta, ServerConnection,
    body::{BodyError, read_body},
    cause::{cause, unreachable_cause},
    error::error_body,
};
use crate::{
    HandshakeError, UnreachableCause,
    tls::{self, TlsFailure},
};
use cfgsync_model::{Digest, Revision};
use cfgsync_support::duration;
use cfgsync_wire::{JOINER_HEADER, NODE_KEY_HEADER, RETRY_HEADER};

/// Largest body of a successful response without a bound of its own, in bytes: a snapshot of ten thousand nodes with
/// full metadata.
const BODY_MAX_BYTES: usize = 256 << 20;
/// Largest body of an error response, in bytes.
const ERROR_MAX_BYTES: usize = 1 << 20;
/// Longest time until a response begins, in addition to the requested wait.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A response before its body is parsed.
pub(super) struct RawResponse {
    pub(super) status: StatusCode,
    pub(super) meta: ResponseMeta,
    pub(super) body: Bytes,
}

/// How a request differs from one without a body and with the usual bounds.
#[derive(Default)]
pub(super) struct RequestOptions {
    /// The JSON body.
    pub(super) body: Option<serde_json::Value>,
    /// How long the server is asked to hold the request.
    pub(super) wait: Option<Duration>,
    /// The payload that the client has. The server responds with 304 if there is no other.
    pub(super) held: Option<Digest>,
    /// The newest retry that the node knows, if it has refused that payload.
    pub(super) retry: Option<Revision>,
    /// In place of [`RESPONSE_TIMEOUT`].
    pub(super) response_timeout: Option<Duration>,
    /// In place of [`BODY_MAX_BYTES`].
    pub(super) body_max_bytes: Option<usize>,
    /// The program's flag that sets this limit.
    pub(super) body_max_flag: Option<&'static str>,
    /// Leaves out the node's key: the request only finds out which server this is.
    pub(super) without_node_key: bool,
    /// The id of the event after which an event stream continues.
    pub(super) last_event_id: Option<HeaderValue>,
    /// The version that a value must have now, as `If-Match`.
    pub(super) if_version: Option<u64>,
}

impl RequestOptions {
    pub(super) fn with_body(body: serde_json::Value) -> Self {
        Self {
            body: Some(body),
            ..Self::default()
        }
    }
}

impl Client {
    /// Sends a request and returns its response if the status is a success.
    pub(super) async fn send(
        &self,
        method: Method,
        route: &str,
        options: RequestOptions,
    ) -> Result<RawResponse, CallError> {
        let raw = self.send_with_failover(method, route, &options).await?;
        if raw.status.is_success() {
            return Ok(raw);
        }
        Err(refused(raw.status, raw.meta, &raw.body))
    }

    /// Returns the error of a response that is not a success. Reads its body for the reason.
    pub(super) async fn refusal(
        &self,
        meta: ResponseMeta,
        response: hyper::Response<Incoming>,
    ) -> CallError {
        let status = response.status();
        let body = read_body(response.into_body(), ERROR_MAX_BYTES).await;
        refused(status, meta, &body.unwrap_or_default())
    }

    pub(super) async fn send_with_failover(
        &self,
        method: Method,
        route: &str,
        options: &RequestOptions,
    ) -> Result<RawResponse, CallError> {
        let body = options
            .body
            .as_ref()
            .map(|body| Bytes::from(body.to_string()));
        for _ in 1..self.servers.len() {
            match self.send_once(&method, route, options, body.clone()).await {
                Err(CallError::Unreachable { .. } | CallError::Broken { .. }) => {
                    self.switch_server();
                }
                response => return response,
            }
        }
        let last = self.send_once(&method, route, options, body).await;
        if matches!(
            last,
            Err(CallError::Unreachable { .. } | CallError::Broken { .. })
        ) {
            self.switch_server();
        }
        last
    }

    async fn send_once(
        &self,
        method: &Method,
        route: &str,
        options: &RequestOptions,
        body: Option<Bytes>,
    ) -> Result<RawResponse, CallError> {
        let (meta, response) = self.begin(method, route, options, body).await?;
        let server = meta.server.clone();
        let status = response.status();
        let max_bytes = if status.is_success() {
            options.body_max_bytes.unwrap_or(BODY_MAX_BYTES)
        } else {
            ERROR_MAX_BYTES
        };
        match read_body(response.into_body(), max_bytes).await {
            Ok(body) => Ok(RawResponse { status, meta, body }),
            // The status alone is a response. Only the message is lost.
            Err(_) if !status.is_success() => Ok(RawResponse {
                status,
                meta,
                body: Bytes::new(),
            }),
            Err(BodyError::Broken(problem)) => Err(CallError::Broken { server, problem }),
            Err(BodyError::TooLarge) => Err(CallError::Unusable {
                server: meta.server,
                problem: match options.body_max_flag {
                    Some(flag) => {
                        format!(
                            "it is longer than {max_bytes} bytes, the limit of {flag}; raise the limit, or make the files of the spec smaller"
                        )
                    }
                    None => format!("it is longer than {max_bytes} bytes"),
                },
            }),
        }
    }

    /// Sends a request to the current server. Returns its response, whose body is not read yet.
    pub(super) async fn begin(
        &self,
        method: &Method,
        route: &str,
        options: &RequestOptions,
        body: Option<Bytes>,
    ) -> Result<(ResponseMeta, hyper::Response<Incoming>), CallError> {
        let connection = self.current_server();
        let server = connection.url.clone();
        let mut request = self.request(connection, method, route, options, body);
        let limit =
            options.response_timeout.unwrap_or(RESPONSE_TIMEOUT) + options.wait.unwrap_or_default();
        let mut established = capture_connection(&mut request);
        // Connecting has its own timeouts. A slow name server takes nothing from the time for the response.
        let too_late = async {
            established.wait_for_connection_metadata().await;
            sleep(limit).await;
        };
        let response = tokio::select! {
            response = connection.http.request(request) => Some(response),
            () = too_late => None,
        };
        let response = match response {
            Some(Ok(response)) => response,
            Some(Err(error)) => return Err(connection.call_error(&error)),
            None => {
                let limit = duration::text(limit);
                let problem = format!("no response within {limit}");
                let cause = UnreachableCause::Response;
                return Err(CallError::Unreachable {
                    server,
                    problem,
                    cause,
                });
            }
        };
        let status = response.status();
        let meta = ResponseMeta::read(server.clone(), &response);
        // A proxy in front of the server may answer with a page while the server is down, with a status from 500.
        if meta.is_web_page && !status.is_server_error() {
            return Err(CallError::Unusable {
                server,
                problem: format!(
                    "it answered {status} like a web server, not like cfgsync; check the host and the port"
                ),
            });
        }
        Ok((meta, response))
    }

    fn request(
        &self,
        connection: &ServerConnection,
        method: &Method,
        route: &str,
        options: &RequestOptions,
        body: Option<Bytes>,
    ) -> Request<Full<Bytes>> {
        let url = &connection.url;
        let mut request = Request::builder()
            .method(method.clone())
            .uri(url.route(route));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(wait) = options.wait {
            request = request.header(PREFER, format!("wait={}", wait.as_secs()));
        }
        if let Some(version) = options.if_version {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        if let Some(id) = &options.last_event_id {
            request = request.header(LAST_EVENT_ID, id);
        }
        if let Some(held) = options.held {
            request = request.header(header::IF_NONE_MATCH, format!("\"{held}\""));
        }
        if let Some(retry) = options.retry {
            request = request.header(RETRY_HEADER, retry.0);
        }
        let authorization = self.authorization.as_ref();
        if let Some(authorization) = authorization.or(connection.authorization.as_ref()) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(joiner) = self.joiner {
            request = request.header(JOINER_HEADER, joiner.to_string());
        }
        if let Some(key) = &self.node_key
            && self.sends_node_key_to(url)
            && !options.without_node_key
        {
            request = request.header(NODE_KEY_HEADER, key);
        }
        request
            .body(Full::new(body.unwrap_or_default()))
            .expect("a valid route and valid headers")
    }
}

fn refused(status: StatusCode, meta: ResponseMeta, body: &[u8]) -> CallError {
    CallError::Refused {
        status,
        body: Box::new(error_body(status, body)),
        meta: Box::new(meta),
    }
}

impl ServerConnection {
    /// Returns the error of a request to which no response began.
    fn call_error(&self, error: &legacy::Error) -> CallError {
        let server = self.url.clone();
        match (tls::failure(error), &self.authorities) {
            (Some(TlsFailure::Handshake(HandshakeError::UnknownAuthority)), Some(authorities)) => {
                CallError::Untrusted {
                    server,
                    reason: HandshakeError::OtherAuthority {
                        authorities: authorities.clone(),
                    },
                }
            }
            (Some(TlsFailure::Handshake(reason)), _) => CallError::Untrusted { server, reason },
            (Some(TlsFailure::NotTls), _) => CallError::Unusable {
                server,
                problem: "the server does not speak TLS; for plain HTTP, use http://".to_owned(),
            },
            (None, _) if error.is_connect() => CallError::Unreachable {
                server,
                problem: cause(error),
                cause: unreachable_cause(error),
            },
            (None, _) => CallError::Broken {
                server,
                problem: cause(error),
            },
        }
    }
}
