//! Typed calls of the server's routes. A client with several servers uses the first one that it can reach and that can
//! serve the request.

pub(crate) mod cause;
mod body;
mod response;
mod error;
mod connection;
mod servers;
mod transport;
mod tokens;
mod json;
mod operator;
mod phases;
mod runs;
mod values;
mod events;

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::{Method, header::HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    KeyError, ServerUrl, UnreachableCause, connect::ConnectionPath, node_key, sanitize::sanitize,
    tls::Trust,
};
use cfgsync_model::{
    Digest, EventId, GenerationNumber, Identifier, JoinerId, NodeRegistration, Revision,
};
use cfgsync_wire::{
    ClusterBody, GenerationBody, GenerationEntry, LeaseBody, NodeBody, NodeEntry, PayloadLimits,
    ReceivedPayload, RecordBody, ServersBody,
};
pub use error::{CallError, InvalidSecret, TrustError};
pub use events::{EventStream, WatchOptions, Watched};
pub use phases::{PhaseNodes, PhaseQuestion};
pub use response::{Response, ResponseMeta};
use servers::Servers;
use transport::{RawResponse, RequestOptions};

/// Largest body of a response that carries no data, in bytes.
const ACKNOWLEDGEMENT_MAX_BYTES: usize = 64 << 10;
/// Longest time for [`Client::leave`], which delays the end of the process.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for [`Client::livez`].
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of one cluster's servers.
///
/// With several servers, a request tries one after the other until one serves it: it goes on after a server that cannot be
/// reached, or that says that it can serve nothing at the moment. Such a server is tried after the others for a few seconds,
/// and for up to a minute if it fails again and again. A name with several addresses counts as several servers.
///
/// A server that has proven a pin or a certificate of given authorities may name further servers, which must prove the same.
/// They are tried after the given ones.
///
/// Cloning is cheap. Clones share connections, and what is known about the servers.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use cfgsync_client::Client;
///
/// let client = Client::new(["http://boot.example:4400".parse()?]);
/// let cluster = client.snapshot().await?.value;
/// println!("{} nodes", cluster.registrations.len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    servers: Arc<Servers>,
    limits: PayloadLimits,
    /// The newest position that a server has shown.
    seen: Arc<Mutex<Option<EventId>>>,
    /// Overrides the tokens of join URLs. Marked sensitive, so that `Debug` does not show it.
    authorization: Option<HeaderValue>,
    /// Marked sensitive as well.
    node_key: Option<HeaderValue>,
    /// The identity of the process that registers a node.
    joiner: Option<JoinerId>,
    /// The servers that receive the node's key. No other server does.
    node_key_servers: Vec<ServerUrl>,
}

impl Client {
    /// Creates a client of `servers`, which are tried in this order. Over TLS, a server is verified by the pins of
    /// its join URL, or else by the certificate authorities of the public web.
    ///
    /// # Panics
    /// If `servers` is empty, or if the token of a join URL contains control characters.
    pub fn new(servers: impl Into<Vec<ServerUrl>>) -> Self {
        Self::with_trust(servers, &Trust::default()).expect("sendable tokens, and no file to read")
    }

    /// Creates a client as [`Client::new`] does, with `trust` in addition to the pins of join URLs.
    ///
    /// # Errors
    /// `trust` names a file that cannot be used, a server uses plain HTTP although `trust` is not the default, or
    /// the token of a join URL contains control characters.
    ///
    /// # Panics
    /// If `servers` is empty.
    pub fn with_trust(
        servers: impl Into<Vec<ServerUrl>>,
        trust: &Trust,
    ) -> Result<Self, TrustError> {
        let servers = servers.into();
        assert!(!servers.is_empty(), "a client needs a server");
        Ok(Self {
            servers: Arc::new(Servers::new(servers, trust)?),
            limits: PayloadLimits::default(),
            seen: Arc::default(),
            authorization: None,
            node_key: None,
            joiner: None,
            node_key_servers: vec![],
        })
    }

    /// Tries the servers in an order that depends on `identity`, and not in the order in which they were given. The nodes of
    /// a cluster are then spread over its servers, although all of them have the same list.
    #[must_use]
    pub fn spread_by(mut self, identity: &str) -> Self {
        self.servers = Arc::new(self.servers.spread_by(identity));
        self
    }

    /// Sends `token` to every server, in place of the tokens of join URLs.
    pub fn with_token(mut self, token: &SecretString) -> Result<Self, InvalidSecret> {
        self.authorization = Some(bearer(token)?);
        Ok(self)
    }

    /// Sends the node's own key to `server`, and to the servers of earlier calls of this method.
    pub fn with_node_key(
        mut self,
        key: &SecretString,
        server: &ServerUrl,
    ) -> Result<Self, InvalidSecret> {
        self.node_key = Some(sensitive(key)?);
        self.node_key_servers.push(server.clone());
        Ok(self)
    }

    /// Sends `joiner` with each request, so that servers tell this process from another machine with the same name.
    pub(crate) fn with_joiner(mut self, joiner: JoinerId) -> Self {
        self.joiner = Some(joiner);
        self
    }

    /// Sends the node's own key in the file `path` to all servers. They must share a pin or a name with those that the
    /// file lists, if it lists any.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or if it is for other servers.
    pub fn with_node_key_of(mut self, path: &Path) -> Result<Self, KeyError> {
        let identities: Vec<String> = self.server_identities().map(str::to_owned).collect();
        let key = node_key::existing(path, &identities)?;
        let servers: Vec<ServerUrl> = self.servers().cloned().collect();
        self.node_key = Some(sensitive(&key).map_err(|error| KeyError::File {
            place: path.display().to_string(),
            problem: error.to_string(),
        })?);
        self.node_key_servers = servers;
        Ok(self)
    }

    /// Returns the given servers, in their order.
    pub fn servers(&self) -> impl Iterator<Item = &ServerUrl> {
        self.servers.given().map(|server| &server.url)
    }

    /// Accepts payloads within `limits` only.
    #[must_use]
    pub fn with_payload_limits(mut self, limits: PayloadLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Returns the server that receives the next request.
    pub fn server(&self) -> ServerUrl {
        self.servers.first().url.clone()
    }

    /// Returns the servers whose requests others on the network can read.
    pub fn unencrypted_servers(&self) -> impl Iterator<Item = &ServerUrl> {
        self.servers().filter(|url| url.is_unencrypted_remote())
    }

    /// Returns whether the node's own key is sent to `server`.
    pub(crate) fn sends_node_key_to(&self, server: &ServerUrl) -> bool {
        self.node_key_servers.contains(server)
    }

    /// Returns whether the node's own key is sent to any server.
    pub(crate) fn has_node_key(&self) -> bool {
        self.node_key.is_some()
    }

    /// Returns the server that has named `server`. `None` if the operator has given it.
    pub(crate) fn named_by(&self, server: &ServerUrl) -> Option<ServerUrl> {
        let named_by = self.servers.find(server)?.named_by.clone();
        named_by.map(|named_by| named_by.server)
    }

    /// Uses a server no longer that another one has named.
    pub(crate) fn forget(&self, server: &ServerUrl) {
        self.servers.forget(server);
    }

    /// Returns the pins and names that the given servers prove over TLS. Servers over plain HTTP add none, and neither do
    /// servers that others have named.
    pub(crate) fn server_identities(&self) -> impl Iterator<Item = &str> {
        let all = self.servers.given();
        let all = all.flat_map(|server| &server.identities);
        all.map(String::as_str)
    }

    /// Returns whether the name of the next server is being looked up.
    pub(crate) fn is_looking_up(&self) -> bool {
        self.servers.first().lookup.is_running()
    }

    /// Returns whether there is more than one server.
    pub(crate) fn has_other_servers(&self) -> bool {
        self.servers.has_several()
    }

    /// Notes that the server of a response does not work as it should, so that the others are tried before it.
    pub(crate) fn avoid(&self, server: &ServerUrl, path: Option<ConnectionPath>) {
        if let Some(server) = self.servers.find(server) {
            server.fail(path.map(ConnectionPath::remote_address));
        }
    }

    /// Notes that the server of a response can serve nothing for this time.
    pub(crate) fn pause(&self, meta: &ResponseMeta, time: Duration) {
        if let Some(server) = self.servers.find(&meta.server) {
            server.pause(meta.path.map(ConnectionPath::remote_address), time);
        }
    }

    /// Registers a node. Registering the same facts again changes nothing.
    pub async fn register(&self, node: &NodeRegistration) -> Result<Response<()>, CallError> {
        self.send_empty(
            Method::POST,
            "/register",
            RequestOptions::with_body(json!(node)),
        )
        .await
    }

    /// Fetches a node's payload and verifies its checksums. With `wait`, asks the server to hold the request for at
    /// most so long (in whole seconds) while there is no payload.
    pub async fn fetch(
        &self,
        node: &NodeRegistration,
        wait: Option<Duration>,
    ) -> Result<Response<ReceivedPayload>, CallError> {
        let options = RequestOptions {
            wait,
            body_max_bytes: Some(self.limits.payload_max_bytes),
            body_max_flag: Some("--payload-max"),
            ..RequestOptions::with_body(json!(node))
        };
        let raw = self.send(Method::POST, "/node", options).await?;
        self.parse_payload(raw)
    }

    /// Fetches the payload of a node that has the payload `held`. With `wait`, asks the server to hold the request for at
    /// most so long while there is no other payload. If there is none, the result is a refusal with status 304. A node that
    /// has refused `held` passes the newest `retry` that it knows, and gets the payload again after another one.
    pub(crate) async fn fetch_other(
        &self,
        id: &Identifier,
        held: Digest,
        retry: Option<Revision>,
        wait: Duration,
    ) -> Result<Response<ReceivedPayload>, CallError> {
        let options = RequestOptions {
            wait: Some(wait),
            held: Some(held),
            retry,
            body_max_flag: Some("--payload-max"),
            ..self.payload_options()
        };
        let route = format!("/v1/nodes/{id}/payload");
        let raw = self.send(Method::GET, &route, options).await?;
        self.parse_payload(raw)
    }

    /// Fetches the payload of any node, without registering it.
    pub async fn payload(&self, id: &Identifier) -> Result<Response<ReceivedPayload>, CallError> {
        let route = format!("/v1/nodes/{id}/payload");
        let raw = self
            .send(Method::GET, &route, self.payload_options())
            .await?;
        self.parse_payload(raw)
    }

    /// Withdraws a registration before the seal. Takes at most two seconds.
    pub async fn leave(&self, node: &NodeRegistration) -> Result<Response<()>, CallError> {
        let options = RequestOptions {
            response_timeout: Some(LEAVE_TIMEOUT),
            ..RequestOptions::with_body(json!(node))
        };
        let leave = self.send_empty(Method::POST, "/v1/leave", options);
        timeout(LEAVE_TIMEOUT, leave).await.unwrap_or_else(|_| {
            Err(CallError::Unreachable {
                server: self.server(),
                problem: "no response within two seconds".to_owned(),
                cause: UnreachableCause::Response,
            })
        })
    }

    /// Returns the state of the whole cluster.
    pub async fn snapshot(&self) -> Result<Response<ClusterBody>, CallError> {
        self.get("/v1/snapshot").await
    }

    /// Returns all registered nodes.
    pub async fn nodes(&self) -> Result<Response<Vec<NodeEntry>>, CallError> {
        self.get("/v1/nodes").await
    }

    /// Returns one registered node.
    pub async fn node(&self, id: &Identifier) -> Result<Response<NodeBody>, CallError> {
        self.get(&format!("/v1/nodes/{id}")).await
    }

    /// Returns the generations in the server's history, newest first.
    pub async fn generations(&self) -> Result<Response<Vec<GenerationEntry>>, CallError> {
        self.get("/v1/generations").await
    }

    /// Returns one generation of the server's history.
    pub async fn generation(
        &self,
        number: GenerationNumber,
    ) -> Result<Response<GenerationBody>, CallError> {
        self.get(&format!("/v1/generations/{number}")).await
    }

    /// Returns the flight record of a generation, or of the newest one.
    pub async fn record(
        &self,
        number: Option<GenerationNumber>,
    ) -> Result<Response<RecordBody>, CallError> {
        let query = number.map(|number| format!("?generation={number}"));
        let query = query.unwrap_or_default();
        self.get(&format!("/v1/record{query}")).await
    }

    /// Returns one node's payload of one generation. This does not count as a delivery. Secret files are listed
    /// without content unless `reveal` is set.
    pub async fn payload_of(
        &self,
        number: GenerationNumber,
        id: &Identifier,
        reveal: bool,
    ) -> Result<Response<ReceivedPayload>, CallError> {
        let query = if reveal { "?reveal=true" } else { "" };
        let route = format!("/v1/generations/{number}/nodes/{id}/payload{query}");
        let raw = self
            .send(Method::GET, &route, self.payload_options())
            .await?;
        self.parse_payload(raw)
    }

    /// Renews the lease of a node, which this client acts as.
    pub async fn renew(&self, id: &Identifier) -> Result<Response<LeaseBody>, CallError> {
        let options = RequestOptions::default();
        self.send_json(Method::PUT, &format!("/v1/nodes/{id}/lease"), options)
            .await
    }

    /// Returns the servers of the cluster and their database.
    pub async fn cluster_servers(&self) -> Result<Response<ServersBody>, CallError> {
        self.get("/v1/servers").await
    }

    /// Checks that a server responds, within five seconds. [`Response::meta`] says which cluster it serves.
    pub async fn livez(&self) -> Result<Response<()>, CallError> {
        let options = RequestOptions {
            response_timeout: Some(HEALTH_TIMEOUT),
            without_node_key: true,
            ..RequestOptions::default()
        };
        self.send_empty(Method::GET, "/livez", options).await
    }

    async fn send_empty(
        &self,
        method: Method,
        route: &str,
        options: RequestOptions,
    ) -> Result<Response<()>, CallError> {
        let options = RequestOptions {
            body_max_bytes: Some(ACKNOWLEDGEMENT_MAX_BYTES),
            ..options
        };
        let RawResponse { meta, .. } = self.send(method, route, options).await?;
        Ok(Response { meta, value: () })
    }

    fn payload_options(&self) -> RequestOptions {
        RequestOptions {
            body_max_bytes: Some(self.limits.payload_max_bytes),
            ..RequestOptions::default()
        }
    }

    fn parse_payload(&self, raw: RawResponse) -> Result<Response<ReceivedPayload>, CallError> {
        let RawResponse { meta, body, .. } = raw;
        match ReceivedPayload::decode_within(&body, self.limits) {
            Ok(value) => Ok(Response { meta, value }),
            Err(error) => Err(CallError::Unusable {
                server: meta.server,
                problem: sanitize(&error.to_string()),
            }),
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
