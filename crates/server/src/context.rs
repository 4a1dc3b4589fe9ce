//! The context of one request: its sender, its route, its authorization and its audit entry.
//!
//! The checks run in this order: the client's rate, the framing of the request, its route and method, the origin of a
//! browser's request, authentication and authorization. A handler that learns from the body which node the request is
//! about calls [`RequestContext::authorize_identifier`].

mod audit;

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::extract::FromRequestParts;
use hyper::{
    header::{EXPECT, HeaderValue},
    http::request::Parts,
};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tracing::Level;

use super::{
    audit_draft::AuditDraft,
    path::{PathMatch, RouteTable, WrongPath},
    peer::Peer,
    presented_token::presented_token,
    rejection::Rejection,
    route::{Endpoint, Handler, Route},
    sender::authenticate,
    state::{Connection, ServerState},
    transport_checks::{check_framing, check_host, check_origin},
};
use cfgsync_access::{
    AccessControl, Action, Denial, IdentityMode, NodeIdentity, Pattern, PresentedToken, Principal,
    PrincipalKind, Resource, Role,
};
use cfgsync_cluster::{AccessKind, MetadataAccess, Refusal};
use cfgsync_model::{Digest, GenerationNumber, Identifier, Namespace, Phase, RunName, ValueKey};
use cfgsync_wire::NODE_KEY_HEADER;

/// A request and what is known about it.
pub(super) struct RequestContext {
    connection: Arc<Connection>,
    pub(super) head: Parts,
    /// The route's index in the table, see [`PathMatch::index`].
    pub(super) route_index: usize,
    /// The row that serves the request; `None` for an unknown path or method.
    endpoint: Option<&'static Endpoint>,
    token: Option<PresentedToken>,
    /// The role that the sender has proven; `None` until it is authenticated, and on a server that requires no
    /// credentials.
    role: Option<Role>,
    /// The namespaces that the sender's token is limited to; `None` if it is not limited.
    namespaces: Option<Arc<[Pattern]>>,
    audit: AuditDraft,
}

impl RequestContext {
    pub(super) fn new(connection: Arc<Connection>, head: Parts) -> Self {
        let routes = connection.server.routes;
        let route_index = routes.find(head.uri.path()).index;
        let route = routes.routes().get(route_index);
        Self {
            connection,
            route_index,
            endpoint: route.and_then(|route| route.endpoint(&head.method)),
            head,
            token: None,
            role: None,
            namespaces: None,
            audit: AuditDraft::default(),
        }
    }

    pub(super) fn server(&self) -> &ServerState {
        &self.connection.server
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.connection.peer
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The row of the table; `None` for an unknown path.
    pub(super) fn route(&self) -> Option<&'static Route> {
        self.routes().routes().get(self.route_index)
    }

    /// The name of the route in logs and metrics.
    pub(super) fn pattern(&self) -> &'static str {
        self.route().map_or("unknown", |route| route.pattern)
    }

    /// The request's method for logs. A method that the protocol does not know may be any text of any length.
    fn method(&self) -> &str {
        match self.head.method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS"
            | "CONNECT" | "TRACE") => known,
            _ => "other",
        }
    }

    fn path(&self) -> PathMatch<'_> {
        self.routes().find(self.head.uri.path())
    }

    fn routes(&self) -> &'static RouteTable {
        self.connection.server.routes
    }

    /// The node that the path names.
    pub(super) fn path_identifier(&self) -> Result<Identifier, WrongPath> {
        self.path().identifier()
    }

    /// The namespace that the path names.
    pub(super) fn path_namespace(&self) -> Result<Namespace, WrongPath> {
        self.path().namespace()
    }

    /// The namespace, and the key or the alias in it, that the path names.
    pub(super) fn path_value(&self) -> Result<(Namespace, ValueKey), WrongPath> {
        let path = self.path();
        Ok((path.namespace()?, path.key()?))
    }

    /// The key or the alias that the path names.
    pub(super) fn path_key(&self) -> Result<ValueKey, WrongPath> {
        self.path().key()
    }

    /// The phase that the path names.
    pub(super) fn path_phase(&self) -> Result<Phase, WrongPath> {
        self.path().phase()
    }

    /// The run that the path names.
    pub(super) fn path_run(&self) -> Result<RunName, WrongPath> {
        self.path().run()
    }

    /// The generation that the path names.
    pub(super) fn path_generation(&self) -> Result<GenerationNumber, WrongPath> {
        self.path().generation()
    }

    /// Whether the query asks to show secret files: `?reveal=true`.
    pub(super) fn wants_secrets(&self) -> bool {
        let query = self.head.uri.query().unwrap_or_default();
        query.split('&').any(|parameter| parameter == "reveal=true")
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(super) fn expects_continue(&self) -> bool {
        self.head.headers.contains_key(EXPECT)
    }

    /// Decides whether the request may go ahead at all, and which handler serves it.
    pub(super) fn admit(&mut self) -> Result<Handler, Rejection> {
        let is_probe = self.endpoint.is_some_and(|row| row.action == Action::Probe);
        // Monitoring must not be locked out by other clients behind the same address.
        if !is_probe {
            self.check_rate()?;
        }
        check_framing(&self.head)?;
        let endpoint = self.find_endpoint()?;
        if !is_probe {
            if let Err(rejection) = self.check_browser() {
                self.report_denial(&rejection);
                return Err(rejection);
            }
            self.authorize(endpoint.action)?;
        }
        Ok(endpoint.handler)
    }

    /// Refuses the requests that a browser sends for another site. A server that requires credentials needs no check of
    /// the host name: a page of another site has none for it.
    fn check_browser(&self) -> Result<(), Rejection> {
        let (headers, config) = (&self.head.headers, &self.server().config);
        check_origin(headers)?;
        if config.access.requires_credentials() {
            return Ok(());
        }
        check_host(headers, &config.hosts)
    }

    fn check_rate(&self) -> Result<(), Rejection> {
        let checked = (self.server().config.access).check_rate(self.peer().address.ip());
        checked.map_err(|wait| Rejection::TooManyRequests { wait })
    }

    fn find_endpoint(&self) -> Result<&'static Endpoint, Rejection> {
        if let Some(endpoint) = self.endpoint {
            return Ok(endpoint);
        }
        let Some(route) = self.route() else {
            // `CONNECT` has no path. Then the message shows the whole target.
            let uri = &self.head.uri;
            let target = match uri.path() {
                "" => uri.to_string(),
                path => path.to_owned(),
            };
            return Err(Rejection::NoRoute(target));
        };
        let method = self.head.method.clone();
        Err(Rejection::Method { route, method })
    }

    /// Checks that the sender may do `action`, whatever the node.
    fn authorize(&mut self, action: Action) -> Result<(), Rejection> {
        let access = &self.server().config.access;
        if access.requires_credentials() {
            self.token = presented_token(&self.head.headers);
        }
        // A wrong namespace is refused by the handler, to clients that may read or change values at all.
        let path = self.path();
        let namespace = path.names_namespace().then(|| path.namespace().ok());
        let namespace = namespace.flatten();
        let resource = namespace
            .as_ref()
            .map_or(Resource::Cluster, Resource::Namespace);
        self.require(action, resource)
    }

    /// Checks once more that the sender may do what the request asks for, after the request was held.
    pub(super) fn authorize_again(&mut self) -> Result<(), Rejection> {
        let action = self.endpoint.map_or(Action::Operate, |row| row.action);
        self.authorize(action)
    }

    /// Checks that the sender may act as the node `identifier`. Call it again after the request was held: meanwhile
    /// the token may have been revoked, or the name may have been released. If no key owns the name, the result is
    /// [`Denial::Unclaimed`].
    pub(super) fn authorize_identifier(
        &mut self,
        identifier: &Identifier,
    ) -> Result<(), Rejection> {
        let action = self.endpoint.map_or(Action::Operate, |row| row.action);
        self.authorize_node(identifier, |access, principal, node| {
            access.authorize(principal, action, Resource::Node(node))
        })
    }

    /// Checks that the sender may register as `identifier`. Returns the hash of the key that becomes the owner of the
    /// name with the registration, if no key owns it yet.
    pub(super) fn authorize_registration(
        &mut self,
        identifier: &Identifier,
    ) -> Result<Option<Digest>, Rejection> {
        self.authorize_node(identifier, AccessControl::authorize_registration)
    }

    /// Authenticates the sender, and decides what it may do as the node `identifier`.
    fn authorize_node<T>(
        &mut self,
        identifier: &Identifier,
        decide: impl FnOnce(&AccessControl, &Principal<'_>, NodeIdentity<'_>) -> Result<T, Denial>,
    ) -> Result<T, Rejection> {
        self.set_node(identifier);
        if tracing::enabled!(Level::DEBUG) {
            tracing::Span::current().record("node", identifier.as_str());
        }
        let coordinator = &self.server().coordinator;
        let mode = coordinator.identity();
        let owner = match mode {
            IdentityMode::FirstUse => coordinator.owner(identifier),
            _ => None,
        };
        let node = NodeIdentity {
            identifier,
            mode,
            owner: owner.as_ref(),
        };
        self.authenticate_and(|access, principal| {
            *principal = principal.acting_as(identifier);
            decide(access, principal, node)
        })
    }

    /// Authenticates the sender by the tokens of this moment, and lets `decide` say what it may do. A denial is logged
    /// and slows down clients that guess.
    fn authenticate_and<T>(
        &mut self,
        decide: impl FnOnce(&AccessControl, &mut Principal<'_>) -> Result<T, Denial>,
    ) -> Result<T, Rejection> {
        self.decide(decide)?.map_err(|denial| self.deny(denial))
    }

    /// Authenticates the sender by the tokens of this moment, and lets `decide` say what it may do.
    fn decide<T>(
        &mut self,
        decide: impl FnOnce(&AccessControl, &mut Principal<'_>) -> Result<T, Denial>,
    ) -> Result<Result<T, Denial>, Rejection> {
        let connection = Arc::clone(&self.connection);
        let node_key = self.head.headers.get(NODE_KEY_HEADER);
        let node_key = node_key.map(HeaderValue::as_bytes);
        let (role, audit) = (&mut self.role, &mut self.audit);
        let namespaces = &mut self.namespaces;
        let token = self.token.as_ref();
        authenticate(&connection, token, node_key, |access, mut principal| {
            *role = principal.role();
            *namespaces = principal.namespaces().cloned();
            let decided = decide(access, &mut principal);
            if access.audit().is_some() {
                audit.principal = Some(principal.to_string());
            }
            decided
        })
    }

    /// Turns a denial into the response, and slows down clients that guess.
    fn deny(&mut self, denial: Denial) -> Rejection {
        // These responses tell a node that it needs a key, or must register. They are normal steps and no attempts at
        // anything.
        if matches!(denial, Denial::NoKey(_) | Denial::Unclaimed(_)) {
            return Rejection::Denied(denial);
        }
        let is_wrong_guess = denial.is_wrong_guess();
        let rejection = Rejection::Denied(denial);
        match self.report_denial(&rejection) {
            Some(wait) if is_wrong_guess => Rejection::TooManyDenied { wait },
            // Another attempt reveals nothing, and the client should learn at once that it will not help.
            _ => rejection,
        }
    }

    /// Logs a denial. If the client was denied too often, logs nothing and returns how long it must wait.
    fn report_denial(&mut self, rejection: &Rejection) -> Option<Duration> {
        let access = &self.server().config.access;
        match access.check_failure_rate(self.peer().address.ip()) {
            Ok(()) => {
                let (peer, method, route) = (self.peer(), self.method(), self.pattern());
                tracing::warn!(
                    event = "request_denied",
                    %peer,
                    reason = %rejection,
                    "denied {method} {route} from {peer}: {rejection}"
                );
                None
            }
            Err(wait) => {
                self.audit.is_suppressed = true;
                Some(wait)
            }
        }
    }

    /// Keeps and logs the reason why a node may not register. The sender has the right to register nodes, so a client
    /// without credentials cannot push out the refusals of others.
    pub(super) fn note_refused(&self, identifier: Identifier, ip: IpAddr, rejection: &Rejection) {
        let is_logged = match rejection {
            // The refusal is logged already, see `report_denial`.
            Rejection::Denied(denial) if denial.is_about_identity() => true,
            Rejection::Refused(Refusal::Full(_)) => true,
            Rejection::Refused(refusal) if !matches!(refusal, Refusal::Store(_)) => false,
            _ => return,
        };
        let name = identifier.clone();
        let coordinator = &self.server().coordinator;
        let (reason, message) = (rejection.reason(), rejection.to_string());
        let is_new = coordinator.note_refused(identifier, ip, reason, message);
        let access = &self.server().config.access;
        if is_new && !is_logged && access.check_failure_rate(self.peer().address.ip()).is_ok() {
            tracing::warn!("{name} from {ip} was refused: {rejection}");
        }
    }

    /// Whether the sender has proven to be an operator.
    fn is_operator(&self) -> bool {
        self.role == Some(Role::Operator)
    }

    /// Returns the part of the nodes' metadata that the sender may see.
    pub(super) fn metadata_access(&self) -> MetadataAccess {
        match self.role {
            // Beside values, the holder of a limited token sees what a viewer sees.
            _ if self.namespaces.is_some() => MetadataAccess::WithoutSecrets,
            Some(Role::Viewer) => MetadataAccess::WithoutSecrets,
            None | Some(Role::Node | Role::Operator) => MetadataAccess::All,
        }
    }

    /// How a payload is accessed by `GET`: a node receives it, an operator only looks at it.
    pub(super) fn access_kind(&self) -> AccessKind {
        if !self.is_operator() {
            return AccessKind::Delivery;
        }
        AccessKind::Look {
            reveal: self.wants_secrets(),
        }
    }

    /// Checks that the sender may also do `action` to `resource`.
    pub(super) fn require(
        &mut self,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<(), Rejection> {
        self.authenticate_and(|access, principal| access.authorize(principal, action, resource))
    }

    /// The name of the token or the certificate of the sender. `None` for a client without credentials.
    pub(super) fn identity(&mut self) -> Option<String> {
        let identity = self.decide(|_, principal| {
            let is_known = matches!(
                principal.kind(),
                PrincipalKind::Token(_) | PrincipalKind::Certificate { .. }
            );
            Ok(is_known.then(|| principal.to_string()))
        });
        identity.ok().and_then(Result::ok).flatten()
    }

    /// The token that the sender presented.
    pub(super) fn token(&self) -> Option<PresentedToken> {
        self.token
    }

    /// Whether the sender may do `action` in a namespace. A denial is neither logged nor counted.
    pub(super) fn may(&mut self, action: Action, namespace: &Namespace) -> bool {
        let resource = Resource::Namespace(namespace);
        let decided =
            self.decide(|access, principal| access.authorize(principal, action, resource));
        matches!(decided, Ok(Ok(())))
    }

    /// Whether a list for the sender may contain a namespace.
    pub(super) fn lists(&self, namespace: &Namespace) -> bool {
        self.namespaces.as_ref().is_none_or(|patterns| {
            let mut patterns = patterns.iter();
            patterns.any(|pattern| pattern.matches(namespace.as_str()))
        })
    }
}

/// A context that a handler behind the router borrows until it returns its response.
pub(super) type SharedContext = Arc<Mutex<RequestContext>>;

/// The extractor with which a handler behind the router gets the context. Do not move it into a streamed body: the
/// audit line is written when the handler returns.
pub(super) struct Context(OwnedMutexGuard<RequestContext>);

impl<S: Sync> FromRequestParts<S> for Context {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let shared = parts.extensions.get::<SharedContext>();
        let shared = shared.cloned().ok_or(Rejection::Bug)?;
        shared
            .try_lock_owned()
            .map(Self)
            .map_err(|_| Rejection::Bug)
    }
}

impl std::ops::Deref for Context {
    type Target = RequestContext;

    fn deref(&self) -> &RequestContext {
        &self.0
    }
}

impl std::ops::DerefMut for Context {
    fn deref_mut(&mut self) -> &mut RequestContext {
        &mut self.0
    }
}
