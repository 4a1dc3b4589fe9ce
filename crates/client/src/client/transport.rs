//! Sends one request: to one server after the other, until one serves it.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::client::legacy::connect::{CaptureConnection, HttpInfo, capture_connection};
use tokio::time::sleep;

use super::{
    CallError, Client, ResponseMeta,
    body::{BodyError, read_body},
    connection::ServerConnection,
    error::{error_body, is_unavailable},
};
use crate::{UnreachableCause, connect::ConnectionPath};
use cfgsync_model::{Digest, EventId, Revision};
use cfgsync_support::duration;
use cfgsync_wire::{JOINER_HEADER, NODE_KEY_HEADER, RETRY_HEADER, REVISION_HEADER};

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

    /// Sends a request to one server after the other, until one serves it. Returns the last error if none does, or an error
    /// that a server has answered.
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
        let mut tries = self.servers.tries();
        let mut last = None;
        while let Some(server) = tries.next() {
            let mut address = None;
            let sent = self.send_once(
                &server,
                &mut address,
                &method,
                route,
                options,
                body.as_ref(),
            );
            let error = match sent.await {
                Ok(raw) if is_unavailable(raw.status) => refused(raw.status, raw.meta, &raw.body),
                Ok(raw) => {
                    server.succeed(address);
                    return Ok(raw);
                }
                Err(error) => error,
            };
            // Over a connection, a change that depends on a version may have been made. Another one would then be refused.
            let may_repeat = address.is_none() || options.if_version.is_none();
            if !tries.goes_on_after(&server, address, &error) || !may_repeat {
                return Err(error);
            }
            last = match last {
                Some(answered @ CallError::Refused { .. }) => Some(answered),
                _ => Some(error),
            };
        }
        Err(last.expect("a client has a server, and a request at least one try"))
    }

    /// Sends a request to one server. Sets `address` once a connection is made.
    async fn send_once(
        &self,
        server: &Arc<ServerConnection>,
        address: &mut Option<IpAddr>,
        method: &Method,
        route: &str,
        options: &RequestOptions,
        body: Option<&Bytes>,
    ) -> Result<RawResponse, CallError> {
        let begun = self.begin(server, address, method, route, options, body.cloned());
        let (meta, response) = begun.await?;
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

    /// Begins a request to one server. Returns its response, whose body is not read yet. Sets `address` once a connection is
    /// made.
    pub(super) async fn begin(
        &self,
        connection: &Arc<ServerConnection>,
        address: &mut Option<IpAddr>,
        method: &Method,
        route: &str,
        options: &RequestOptions,
        body: Option<Bytes>,
    ) -> Result<(ResponseMeta, hyper::Response<Incoming>), CallError> {
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
        *address = remote_address(&established);
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
        if let Some(named_by) = &connection.named_by
            && named_by.cluster != meta.cluster
        {
            return Err(CallError::Unusable {
                server,
                problem: format!(
                    "{} has named it, and it serves another cluster",
                    named_by.server
                ),
            });
        }
        if is_unavailable(status) {
            // If the name has another address, the next request needs a new connection.
            let connected = established.connection_metadata();
            if let Some(connected) = connected.as_ref() {
                connected.poison();
            }
        }
        self.servers.learn(connection, &meta);
        self.note_seen(meta.seen);
        Ok((meta, response))
    }

    /// Notes the position that a server has shown, so that the next server shows nothing older.
    fn note_seen(&self, shown: Option<EventId>) {
        let Some(shown) = shown else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_newer = seen.is_none_or(|seen| {
            seen.instance != shown.instance || seen.position.revision < shown.position.revision
        });
        if is_newer {
            *seen = Some(shown);
        }
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
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen {
            request = request.header(REVISION_HEADER, seen.to_string());
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

/// Returns the address of the server if a connection was made.
fn remote_address(established: &CaptureConnection) -> Option<IpAddr> {
    let mut extensions = hyper::http::Extensions::new();
    established
        .connection_metadata()
        .as_ref()?
        .get_extras(&mut extensions);
    let info = extensions.get::<HttpInfo>()?;
    Some(ConnectionPath::of(info).remote_address())
}
