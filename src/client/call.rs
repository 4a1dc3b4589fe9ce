//! Typed calls of every route, to the first server that can be reached.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::{client::legacy, rt::TokioExecutor};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    ServerUrl,
    connect::{Connector, connector},
};
use crate::{
    model::{GenerationNumber, Identifier, Instance, NodeRegistration},
    wire::{
        CLUSTER_HEADER, ClusterBody, Code, ErrorBody, GenerationBody, GenerationEntry,
        INSTANCE_HEADER, NODE_KEY_HEADER, NodeBody, NodeEntry, PayloadLimits, ReceivedPayload,
    },
};

/// Largest other answer that is read, in bytes: a snapshot of ten thousand nodes with full metadata.
const ANSWER_MAX_BYTES: usize = 256 << 20;
/// Largest error that is read, in bytes.
const ERROR_MAX_BYTES: usize = 1 << 20;
/// How long a server may take to begin its answer, beyond the wait that was asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a body may stand still.
const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the farewell may take: somebody waits for the process to end.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a health check may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Calls servers of one cluster. Cloning is cheap; clones share connections and the preferred server.
#[derive(Debug, Clone)]
pub struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
    servers: Arc<[ServerUrl]>,
    limits: PayloadLimits,
    /// Index of the server that answered last: calls stay with it while it works.
    current: Arc<AtomicUsize>,
    /// Marked sensitive: its debug output is not its value.
    authorization: Option<HeaderValue>,
    /// Likewise.
    node_key: Option<HeaderValue>,
}

/// A token or key that cannot stand in a header. It is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token or key is one line of visible characters")]
pub struct InvalidSecret;

/// What a server said, and about itself.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// About itself.
    pub meta: Meta,
    /// What it said.
    pub value: T,
}

/// What the headers of an answer say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Who answered.
    pub server: ServerUrl,
    /// The store behind it; absent from servers of the older protocol.
    pub instance: Option<Instance>,
    /// The cluster's name; absent likewise.
    pub cluster: Option<String>,
    /// Whether the server understood that it should hold the request.
    pub waited: bool,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// Why a call brought nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// No server could be reached, or the connection broke, or none answered in time.
    #[error("{server} is not reachable: {problem}")]
    Unreachable {
        /// The one that was tried last.
        server: ServerUrl,
        /// What happened.
        problem: String,
    },
    /// A status that is not a success.
    #[error("{} answered {status}: {}", meta.server, body.message)]
    Refused {
        /// The status.
        status: StatusCode,
        /// Why; made up from the status when the server did not say it in this protocol's words.
        body: Box<ErrorBody>,
        /// About the server.
        meta: Box<Meta>,
    },
    /// A success that is not of this protocol, or breaks its promises.
    #[error("the answer of {server} cannot be used: {problem}")]
    Unusable {
        /// Who answered.
        server: ServerUrl,
        /// What is wrong with it.
        problem: String,
    },
}

struct Raw {
    status: StatusCode,
    meta: Meta,
    body: Bytes,
}

/// How a call differs from a plain one.
#[derive(Default)]
struct Call {
    body: Option<serde_json::Value>,
    wait: Option<Duration>,
    answer_timeout: Option<Duration>,
    body_max_bytes: Option<usize>,
}

impl Client {
    /// A client of `servers`, which are tried in turn, the first one first.
    ///
    /// # Panics
    /// Without a server.
    pub fn new(servers: impl Into<Arc<[ServerUrl]>>) -> Self {
        let servers = servers.into();
        assert!(!servers.is_empty(), "a client needs a server");
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1)
            .build(connector());
        Self {
            http,
            servers,
            limits: PayloadLimits::default(),
            current: Arc::default(),
            authorization: None,
            node_key: None,
        }
    }

    /// The same client, which comes with `token`.
    pub fn with_token(mut self, token: &SecretString) -> Result<Self, InvalidSecret> {
        let value = SecretString::from(format!("Bearer {}", token.expose_secret()));
        self.authorization = Some(sensitive(&value)?);
        Ok(self)
    }

    /// The same client, which comes with the node's own key.
    pub fn with_node_key(mut self, key: &SecretString) -> Result<Self, InvalidSecret> {
        self.node_key = Some(sensitive(key)?);
        Ok(self)
    }

    /// Whether it comes with the node's own key.
    pub fn has_node_key(&self) -> bool {
        self.node_key.is_some()
    }

    /// The same, taking payloads within `limits`.
    #[must_use]
    pub fn with_payload_limits(mut self, limits: PayloadLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The server that is asked next.
    pub fn server(&self) -> &ServerUrl {
        &self.servers[self.current.load(Ordering::Relaxed) % self.servers.len()]
    }

    /// Turns to the next server: this one answers, but not well.
    pub fn turn(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    /// Registers a node; repeated, it changes nothing.
    pub async fn register(&self, node: &NodeRegistration) -> Result<Answer<()>, CallError> {
        self.empty(Method::POST, "/register", Call::with(json!(node)))
            .await
    }

    /// Fetches a node's payload, checked. With `wait`, asks the server to hold the request for so long (whole
    /// seconds) if the payload is not there yet.
    pub async fn fetch(
        &self,
        node: &NodeRegistration,
        wait: Option<Duration>,
    ) -> Result<Answer<ReceivedPayload>, CallError> {
        let call = Call {
            wait,
            body_max_bytes: Some(self.limits.payload_max_bytes),
            ..Call::with(json!(node))
        };
        let raw = self.success(Method::POST, "/node", call).await?;
        self.read_payload(raw)
    }

    /// Fetches the payload of any node, without registering it.
    pub async fn payload(&self, id: &Identifier) -> Result<Answer<ReceivedPayload>, CallError> {
        let route = format!("/v1/nodes/{id}/payload");
        let raw = self.success(Method::GET, &route, self.large()).await?;
        self.read_payload(raw)
    }

    /// Takes a registration back before the seal. Bounded to two seconds.
    pub async fn leave(&self, node: &NodeRegistration) -> Result<Answer<()>, CallError> {
        let call = Call {
            answer_timeout: Some(LEAVE_TIMEOUT),
            ..Call::with(json!(node))
        };
        let leave = self.empty(Method::POST, "/v1/leave", call);
        match timeout(LEAVE_TIMEOUT, leave).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable("no answer within two seconds".into())),
        }
    }

    /// The whole cluster.
    pub async fn snapshot(&self) -> Result<Answer<ClusterBody>, CallError> {
        self.read("/v1/snapshot").await
    }

    /// All registered nodes.
    pub async fn nodes(&self) -> Result<Answer<Vec<NodeEntry>>, CallError> {
        self.read("/v1/nodes").await
    }

    /// One node.
    pub async fn node(&self, id: &Identifier) -> Result<Answer<NodeBody>, CallError> {
        self.read(&format!("/v1/nodes/{id}")).await
    }

    /// The generations that the server keeps, newest first.
    pub async fn generations(&self) -> Result<Answer<Vec<GenerationEntry>>, CallError> {
        self.read("/v1/generations").await
    }

    /// One generation.
    pub async fn generation(
        &self,
        number: GenerationNumber,
    ) -> Result<Answer<GenerationBody>, CallError> {
        self.read(&format!("/v1/generations/{number}")).await
    }

    /// One node's payload of one generation; does not count as a delivery. Secret files are in it only when the
    /// operator wants to `reveal` them.
    pub async fn payload_of(
        &self,
        number: GenerationNumber,
        id: &Identifier,
        reveal: bool,
    ) -> Result<Answer<ReceivedPayload>, CallError> {
        let query = if reveal { "?reveal=true" } else { "" };
        let route = format!("/v1/generations/{number}/nodes/{id}/payload{query}");
        let raw = self.success(Method::GET, &route, self.large()).await?;
        self.read_payload(raw)
    }

    /// Removes a node.
    pub async fn remove(&self, id: &Identifier) -> Result<Answer<()>, CallError> {
        let route = format!("/v1/nodes/{id}");
        self.empty(Method::DELETE, &route, Call::default()).await
    }

    /// Ends a node's override.
    pub async fn remove_override(&self, id: &Identifier) -> Result<Answer<()>, CallError> {
        let route = format!("/v1/nodes/{id}/override");
        self.empty(Method::DELETE, &route, Call::default()).await
    }

    /// Gives a node's name free, where keys own names.
    pub async fn release(&self, id: &Identifier) -> Result<Answer<()>, CallError> {
        let route = format!("/v1/nodes/{id}/key");
        self.empty(Method::DELETE, &route, Call::default()).await
    }

    /// Declares the cluster failed.
    pub async fn fail(&self, reason: &str) -> Result<Answer<()>, CallError> {
        let call = Call::with(json!({ "reason": reason }));
        self.empty(Method::POST, "/v1/fail", call).await
    }

    /// Ends a failure.
    pub async fn reset(&self) -> Result<Answer<()>, CallError> {
        self.empty(Method::POST, "/v1/reset", Call::default()).await
    }

    /// Whether a server answers at all, and which one.
    pub async fn livez(&self) -> Result<Answer<()>, CallError> {
        let call = Call {
            answer_timeout: Some(HEALTH_TIMEOUT),
            ..Call::default()
        };
        self.empty(Method::GET, "/livez", call).await
    }

    async fn read<T: DeserializeOwned>(&self, route: &str) -> Result<Answer<T>, CallError> {
        let Raw { meta, body, .. } = self.success(Method::GET, route, Call::default()).await?;
        match serde_json::from_slice(&body) {
            Ok(value) => Ok(Answer { meta, value }),
            Err(error) => Err(CallError::Unusable {
                server: meta.server,
                problem: format!("{route} is not what this cfgsync understands: {error}"),
            }),
        }
    }

    async fn empty(
        &self,
        method: Method,
        route: &str,
        call: Call,
    ) -> Result<Answer<()>, CallError> {
        let Raw { meta, .. } = self.success(method, route, call).await?;
        Ok(Answer { meta, value: () })
    }

    async fn success(&self, method: Method, route: &str, call: Call) -> Result<Raw, CallError> {
        let raw = self.call(method, route, &call).await?;
        if raw.status.is_success() {
            return Ok(raw);
        }
        Err(CallError::Refused {
            status: raw.status,
            body: Box::new(error_body(raw.status, &raw.body)),
            meta: Box::new(raw.meta),
        })
    }

    /// Asks the current server, and the others in turn while one cannot be reached.
    async fn call(&self, method: Method, route: &str, call: &Call) -> Result<Raw, CallError> {
        let body = call.body.as_ref().map(|body| Bytes::from(body.to_string()));
        for _ in 1..self.servers.len() {
            match self.call_one(&method, route, call, body.clone()).await {
                Err(CallError::Unreachable { .. }) => self.turn(),
                answer => return answer,
            }
        }
        let last = self.call_one(&method, route, call, body).await;
        if matches!(last, Err(CallError::Unreachable { .. })) {
            self.turn();
        }
        last
    }

    async fn call_one(
        &self,
        method: &Method,
        route: &str,
        call: &Call,
        body: Option<Bytes>,
    ) -> Result<Raw, CallError> {
        let server = self.server().clone();
        let unreachable = |problem: String| CallError::Unreachable {
            server: server.clone(),
            problem,
        };
        let mut request = Request::builder()
            .method(method.clone())
            .uri(server.route(route));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(wait) = call.wait {
            request = request.header(PREFER, format!("wait={}", wait.as_secs()));
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(key) = &self.node_key {
            request = request.header(NODE_KEY_HEADER, key);
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .expect("a valid route and valid headers");
        let patience =
            call.answer_timeout.unwrap_or(ANSWER_TIMEOUT) + call.wait.unwrap_or_default();
        let response = match timeout_at(Instant::now() + patience, self.http.request(request)).await
        {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(unreachable(root_cause(&error))),
            Err(_) => return Err(unreachable(format!("no answer within {patience:?}"))),
        };
        let status = response.status();
        let meta = meta(server.clone(), response.headers());
        let max_bytes = if status.is_success() {
            call.body_max_bytes.unwrap_or(ANSWER_MAX_BYTES)
        } else {
            ERROR_MAX_BYTES
        };
        match read_body(response, max_bytes).await {
            Ok(body) => Ok(Raw { status, meta, body }),
            // Whatever the status of half an error, it is an answer: only its words are lost.
            Err(_) if !status.is_success() => Ok(Raw {
                status,
                meta,
                body: Bytes::new(),
            }),
            Err(BodyError::Broken(problem)) => {
                let problem = format!("it broke off in the middle of its answer: {problem}");
                Err(unreachable(problem))
            }
            Err(BodyError::TooLarge) => Err(CallError::Unusable {
                server: meta.server,
                problem: format!("it is longer than {max_bytes} bytes"),
            }),
        }
    }

    /// A call whose answer may be as long as a payload.
    fn large(&self) -> Call {
        Call {
            body_max_bytes: Some(self.limits.payload_max_bytes),
            ..Call::default()
        }
    }

    fn read_payload(&self, raw: Raw) -> Result<Answer<ReceivedPayload>, CallError> {
        match ReceivedPayload::decode_within(&raw.body, self.limits) {
            Ok(value) => Ok(Answer {
                meta: raw.meta,
                value,
            }),
            Err(error) => Err(CallError::Unusable {
                server: raw.meta.server,
                problem: error.to_string(),
            }),
        }
    }

    fn unreachable(&self, problem: String) -> CallError {
        let server = self.server().clone();
        CallError::Unreachable { server, problem }
    }
}

impl Call {
    fn with(body: serde_json::Value) -> Self {
        Self {
            body: Some(body),
            ..Self::default()
        }
    }
}

fn sensitive(secret: &SecretString) -> Result<HeaderValue, InvalidSecret> {
    let value = HeaderValue::from_str(secret.expose_secret());
    let mut value = value.map_err(|_| InvalidSecret)?;
    value.set_sensitive(true);
    Ok(value)
}

enum BodyError {
    Broken(String),
    TooLarge,
}

/// Reads a body that may be slow but must not stand still.
async fn read_body(response: Response<Incoming>, max_bytes: usize) -> Result<Bytes, BodyError> {
    let mut body = response.into_body();
    let mut first: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    loop {
        let frame = match timeout(BODY_IDLE_TIMEOUT, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(BodyError::Broken(root_cause(&error))),
            Ok(None) => break,
            Err(_) => {
                let problem = format!("the answer stood still for {BODY_IDLE_TIMEOUT:?}");
                return Err(BodyError::Broken(problem));
            }
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = first.as_ref().map_or(0, Bytes::len) + joined.len() + data.len();
        if length > max_bytes {
            return Err(BodyError::TooLarge);
        }
        // Most bodies come in one piece, which is then never copied.
        if first.is_none() && joined.is_empty() {
            first = Some(data);
            continue;
        }
        if let Some(first) = first.take() {
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&data);
    }
    Ok(first.unwrap_or_else(|| joined.freeze()))
}

fn meta(server: ServerUrl, headers: &HeaderMap) -> Meta {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Meta {
        server,
        instance: text(INSTANCE_HEADER).and_then(Instance::parse),
        cluster: text(CLUSTER_HEADER).map(str::to_owned),
        waited: headers
            .get_all(PREFERENCE_APPLIED)
            .iter()
            .filter_map(|value: &HeaderValue| value.to_str().ok())
            .flat_map(|value| value.split([',', ';']))
            .any(|applied| applied.split('=').next().map(str::trim) == Some("wait")),
        retry_after: text(header::RETRY_AFTER.as_str())
            .and_then(|seconds| seconds.trim().parse().ok())
            .map(Duration::from_secs),
    }
}

fn error_body(status: StatusCode, body: &[u8]) -> ErrorBody {
    let read = || {
        let mut words = serde_json::from_slice(body).ok()?;
        defuse(&mut words);
        serde_json::from_value(words).ok()
    };
    read().unwrap_or_else(|| {
        let code = match status {
            StatusCode::TOO_EARLY => Code::NotReady,
            StatusCode::NOT_FOUND => Code::MissingConfig,
            _ => Code::Internal,
        };
        let message = format!("{status}, without a reason that cfgsync understands");
        ErrorBody {
            reason: None,
            ..ErrorBody::new(code, "", message)
        }
    })
}

/// A server's words are shown to people: what would steer their terminal is written out.
fn defuse(words: &mut serde_json::Value) {
    let steers = |c: char| c.is_control() && c != '\n';
    match words {
        serde_json::Value::String(text) if text.contains(steers) => {
            let shown = text.chars().map(|c| match steers(c) {
                true => c.escape_default().to_string(),
                false => c.to_string(),
            });
            *text = shown.collect();
        }
        serde_json::Value::Array(all) => all.iter_mut().for_each(defuse),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(defuse),
        _ => {}
    }
}

/// The innermost error: "connection refused" says more than "client error (Connect)".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
