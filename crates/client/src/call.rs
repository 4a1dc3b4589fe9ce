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
    HeaderMap, Method, Request, StatusCode,
    body::Body,
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
    tls::{self, Distrust, TlsTrouble, Trust},
    words::{defuse, shown},
};
use cfgsync_certificate::CertificateError;
use cfgsync_model::{
    ArtifactFile, ArtifactSet, GenerationNumber, Identifier, Instance, NodeRegistration,
};
use cfgsync_wire::{
    CLUSTER_HEADER, ClusterBody, Code, ErrorBody, GenerationBody, GenerationEntry, INSTANCE_HEADER,
    NODE_KEY_HEADER, NodeBody, NodeEntry, PayloadLimits, ReceivedPayload,
};

/// Largest other answer that is read, in bytes: a snapshot of ten thousand nodes with full metadata.
const ANSWER_MAX_BYTES: usize = 256 << 20;
/// Largest error that is read, in bytes.
const ERROR_MAX_BYTES: usize = 1 << 20;
/// How long a server may take to begin its answer, beyond the wait that was asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest answer that is read where nothing is to be said, in bytes.
const ACKNOWLEDGEMENT_MAX_BYTES: usize = 64 << 10;
/// Longest name of a cluster, in bytes.
const CLUSTER_MAX_BYTES: usize = 253;
/// How long a body may stand still.
const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a body may take altogether, however it comes: half a gigabyte at a megabyte a second.
const BODY_TIMEOUT: Duration = Duration::from_mins(10);
/// How long the farewell may take: somebody waits for the process to end.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a health check may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Calls servers of one cluster. Cloning is cheap; clones share connections and the preferred server.
#[derive(Debug, Clone)]
pub struct Client {
    servers: Arc<[Known]>,
    limits: PayloadLimits,
    /// Index of the server that answered last: calls stay with it while it works.
    current: Arc<AtomicUsize>,
    /// Marked sensitive: its debug output is not its value.
    authorization: Option<HeaderValue>,
    /// Likewise.
    node_key: Option<HeaderValue>,
    /// Those that asked for it: nobody else is shown it.
    shown_the_key: Vec<ServerUrl>,
}

/// A token or key that cannot stand in a header. It is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token or key is one line of visible characters")]
pub struct InvalidSecret;

/// A server, and how it is talked to: each is trusted in its own way.
#[derive(Debug)]
struct Known {
    url: ServerUrl,
    http: legacy::Client<Connector, Full<Bytes>>,
    /// The token of its join URL; marked sensitive.
    authorization: Option<HeaderValue>,
    /// Over TLS, its pins, or else the name in its certificate.
    names: Vec<String>,
}

/// Why a client cannot trust as it is told to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Pins, authorities or an identity for a connection that is not encrypted: they would protect nothing.
    #[error("{0} is plain HTTP, where pins, authorities and client certificates protect nothing")]
    Plain(ServerUrl),
    /// A file that cannot be used.
    #[error(transparent)]
    File(#[from] CertificateError),
    /// A join URL's token that cannot be used.
    #[error("the token of the join URL for {0} cannot be used: {1}")]
    Token(ServerUrl, InvalidSecret),
}

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
    #[error("{} answered {}", meta.server, told(*status, &body.message))]
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
    /// A connection that is not to be trusted, or that the server does not trust.
    #[error("{server} {distrust}")]
    Untrusted {
        /// Which server.
        server: ServerUrl,
        /// Why.
        distrust: Distrust,
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
    /// The server is only asked who it is, and is not shown the node's own key for that.
    is_a_question: bool,
}

impl Client {
    /// A client of `servers`, which are tried in turn, the first one first. Over TLS they are trusted by the pins
    /// of their join URLs, or else by the authorities of the public web.
    ///
    /// # Panics
    /// Without a server.
    pub fn new(servers: impl Into<Vec<ServerUrl>>) -> Self {
        Self::with_trust(servers, &Trust::default()).expect("it names no file")
    }

    /// The same, with `trust` beside the join URLs' pins.
    ///
    /// # Panics
    /// Without a server.
    pub fn with_trust(
        servers: impl Into<Vec<ServerUrl>>,
        trust: &Trust,
    ) -> Result<Self, TrustError> {
        let servers = servers.into();
        assert!(!servers.is_empty(), "a client needs a server");
        let known = |url: ServerUrl| {
            let pins = [url.pins(), &trust.pins].concat();
            let names = match url.is_tls() {
                true if pins.is_empty() => vec![url.host().to_ascii_lowercase()],
                true => pins.iter().map(ToString::to_string).collect(),
                false => vec![],
            };
            let tls = match url.is_tls() {
                true => tls::config(trust, &pins)?,
                false if *trust == Trust::default() => tls::no_config(),
                false => return Err(TrustError::Plain(url)),
            };
            let http = legacy::Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(1)
                .build(connector(tls));
            let authorization = url.token().map(bearer).transpose();
            let authorization =
                authorization.map_err(|error| TrustError::Token(url.clone(), error))?;
            Ok(Known {
                url,
                http,
                authorization,
                names,
            })
        };
        let servers: Result<Arc<[Known]>, TrustError> = servers.into_iter().map(known).collect();
        Ok(Self {
            servers: servers?,
            limits: PayloadLimits::default(),
            current: Arc::default(),
            authorization: None,
            node_key: None,
            shown_the_key: vec![],
        })
    }

    /// The same client, which comes with `token` to all of its servers, whatever their join URLs say.
    pub fn with_token(mut self, token: &SecretString) -> Result<Self, InvalidSecret> {
        self.authorization = Some(bearer(token)?);
        Ok(self)
    }

    /// The same client, which comes with the node's own key to `server`, and to those that it came to with it before.
    pub fn with_node_key(
        mut self,
        key: &SecretString,
        server: &ServerUrl,
    ) -> Result<Self, InvalidSecret> {
        self.node_key = Some(sensitive(key)?);
        self.shown_the_key.push(server.clone());
        Ok(self)
    }

    /// Whether it comes to `server` with the node's own key.
    pub fn shows_node_key_to(&self, server: &ServerUrl) -> bool {
        self.shown_the_key.contains(server)
    }

    /// By what its servers are known over TLS: pins, and names in certificates where there are none. Nothing for
    /// plain HTTP.
    pub fn known_by(&self) -> impl Iterator<Item = &str> {
        let all = self.servers.iter().flat_map(|known| &known.names);
        all.map(String::as_str)
    }

    /// The same, taking payloads within `limits`.
    #[must_use]
    pub fn with_payload_limits(mut self, limits: PayloadLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The server that is asked next.
    pub fn server(&self) -> &ServerUrl {
        &self.known().url
    }

    /// Those of its servers to which a token would go in the clear.
    pub fn in_the_clear(&self) -> impl Iterator<Item = &ServerUrl> {
        let all = self.servers.iter().map(|known| &known.url);
        all.filter(|url| url.is_in_the_clear())
    }

    fn known(&self) -> &Known {
        &self.servers[self.current.load(Ordering::Relaxed) % self.servers.len()]
    }

    /// Whether there is another server to turn to.
    pub fn has_others(&self) -> bool {
        self.servers.len() > 1
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

    /// Overrides the files of a node: it gets `files` instead of its own ones with the next generation, and until
    /// [`Self::remove_override`]. The node need not be registered yet.
    ///
    /// # Errors
    /// [`CallError::Refused`] if the server does not accept the files, among others because they are larger than it
    /// takes.
    pub async fn replace_artifacts(
        &self,
        id: &Identifier,
        files: &ArtifactSet,
    ) -> Result<Answer<()>, CallError> {
        let file = |file: &ArtifactFile| {
            let bytes = file.content.to_bytes();
            let mut entry = json!({
                "path": file.path,
                "mode": file.mode,
                "secret": file.secret,
            });
            match std::str::from_utf8(&bytes) {
                Ok(text) => entry["content"] = text.into(),
                Err(_) => {
                    entry["content"] = data_encoding::BASE64.encode(&bytes).into();
                    entry["encoding"] = "base64".into();
                }
            }
            entry
        };
        let files: Vec<_> = files.files().iter().map(file).collect();
        let call = Call::with(json!({ "identifier": id, "files": files }));
        self.empty(Method::POST, "/node/replace", call).await
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
            is_a_question: true,
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
                problem: shown(&format!(
                    "{route} is not what this cfgsync understands: {error}"
                )),
            }),
        }
    }

    async fn empty(
        &self,
        method: Method,
        route: &str,
        call: Call,
    ) -> Result<Answer<()>, CallError> {
        let call = Call {
            body_max_bytes: Some(ACKNOWLEDGEMENT_MAX_BYTES),
            ..call
        };
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
        let Known {
            url,
            http,
            authorization,
            names: _,
        } = self.known();
        let server = url.clone();
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
        if let Some(authorization) = self.authorization.as_ref().or(authorization.as_ref()) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(key) = &self.node_key
            && self.shows_node_key_to(url)
            && !call.is_a_question
        {
            request = request.header(NODE_KEY_HEADER, key);
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .expect("a valid route and valid headers");
        let patience =
            call.answer_timeout.unwrap_or(ANSWER_TIMEOUT) + call.wait.unwrap_or_default();
        let response = match timeout_at(Instant::now() + patience, http.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return Err(match tls::trouble(&error) {
                    Some(TlsTrouble::Distrust(distrust)) => {
                        CallError::Untrusted { server, distrust }
                    }
                    Some(TlsTrouble::NotTls) => CallError::Unusable {
                        server,
                        problem: "it does not speak TLS; plain HTTP begins with http://".to_owned(),
                    },
                    None => unreachable(root_cause(&error)),
                });
            }
            Err(_) => return Err(unreachable(format!("no answer within {patience:?}"))),
        };
        let status = response.status();
        let meta = meta(server.clone(), response.headers());
        let max_bytes = if status.is_success() {
            call.body_max_bytes.unwrap_or(ANSWER_MAX_BYTES)
        } else {
            ERROR_MAX_BYTES
        };
        match read_body(response.into_body(), max_bytes).await {
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
                problem: shown(&error.to_string()),
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

fn bearer(token: &SecretString) -> Result<HeaderValue, InvalidSecret> {
    let value = SecretString::from(format!("Bearer {}", token.expose_secret()));
    sensitive(&value)
}

fn sensitive(secret: &SecretString) -> Result<HeaderValue, InvalidSecret> {
    let value = HeaderValue::from_str(secret.expose_secret());
    let mut value = value.map_err(|_| InvalidSecret)?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Debug, PartialEq)]
enum BodyError {
    Broken(String),
    TooLarge,
}

/// Reads a body that may be slow but must not stand still.
async fn read_body<B>(mut body: B, max_bytes: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(BodyError::TooLarge);
    }
    let until = Instant::now() + BODY_TIMEOUT;
    let mut first: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    loop {
        let patience = until.min(Instant::now() + BODY_IDLE_TIMEOUT);
        let frame = match timeout_at(patience, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(BodyError::Broken(root_cause(&error))),
            Ok(None) => break,
            Err(_) if Instant::now() >= until => {
                let problem = format!("the answer was not complete after {BODY_TIMEOUT:?}");
                return Err(BodyError::Broken(problem));
            }
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
        cluster: text(CLUSTER_HEADER)
            .filter(|name| name.len() <= CLUSTER_MAX_BYTES)
            .map(str::to_owned),
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

/// A message that begins with the status is not told it again.
fn told(status: StatusCode, message: &str) -> String {
    let status = status.to_string();
    match message.starts_with(&status) {
        true => message.to_owned(),
        false => format!("{status}: {message}"),
    }
}

fn error_body(status: StatusCode, body: &[u8]) -> ErrorBody {
    let mut words = serde_json::from_slice(body).unwrap_or(serde_json::Value::Null);
    defuse(&mut words);
    let message = words["message"].as_str().map(str::to_owned);
    let read = serde_json::from_value(words);
    read.unwrap_or_else(|_| {
        let code = match status {
            StatusCode::TOO_EARLY => Code::NotReady,
            StatusCode::NOT_FOUND => Code::MissingConfig,
            _ => Code::Internal,
        };
        // A newer server may say more than is known here, which must not hide why.
        let message = message.unwrap_or_else(|| {
            format!("{status}, without a reason that cfgsync understands: is it a server of it?")
        });
        ErrorBody {
            reason: None,
            ..ErrorBody::new(code, "", message)
        }
    })
}

/// The innermost error: "connection refused" says more than "client error (Connect)".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::Future,
        pin::Pin,
        task::{Context, Poll, ready},
    };

    use hyper::body::Frame;
    use tokio::time::{Sleep, sleep};

    use super::*;

    #[test]
    fn of_a_refusal_that_says_more_than_is_known_the_message_stays() {
        let status = StatusCode::GONE;
        let body = br#"{"code":"internal","message":"the cluster failed: quota",
            "failure":{"kind":"quota","reason":"quota","at":"2026-01-01T00:00:00Z"}}"#;
        let message = error_body(status, body).message;
        assert_eq!(message, "the cluster failed: quota");
        assert_eq!(
            told(status, &message),
            "410 Gone: the cluster failed: quota"
        );
        for body in [&b"<html>"[..], b"", b"{}", b"[]", br#"{"message":7}"#] {
            let message = error_body(status, body).message;
            let expected =
                "410 Gone, without a reason that cfgsync understands: is it a server of it?";
            assert_eq!(message, expected);
            assert_eq!(told(status, &message), expected);
        }
    }

    /// One byte every so often, for ever.
    struct Drip {
        every: Duration,
        pause: Pin<Box<Sleep>>,
    }

    impl Drip {
        fn every(every: Duration) -> Self {
            Self {
                every,
                pause: Box::pin(sleep(every)),
            }
        }
    }

    impl Body for Drip {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            ready!(self.pause.as_mut().poll(context));
            self.pause = Box::pin(sleep(self.every));
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_not_waited_for_without_end() {
        let started = Instant::now();
        let broken = read_body(Drip::every(Duration::from_secs(20)), 1000).await;
        let said = "the answer was not complete after 600s".to_owned();
        assert_eq!(broken, Err(BodyError::Broken(said)));
        assert_eq!(started.elapsed(), BODY_TIMEOUT);
        let broken = read_body(Drip::every(Duration::from_secs(40)), 1000).await;
        let said = "the answer stood still for 30s".to_owned();
        assert_eq!(broken, Err(BodyError::Broken(said)));
        let broken = read_body(Drip::every(Duration::from_millis(1)), 1000).await;
        assert_eq!(broken, Err(BodyError::TooLarge));
    }
}
