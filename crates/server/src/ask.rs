//! One request on its way: who sent it, what it may do, and what the audit log will say of it.

use std::collections::BTreeMap;

use hyper::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, TRANSFER_ENCODING},
    http::request::Parts,
};

use super::{
    peer::Peer,
    reply::Rejection,
    route::{Route, Target},
    state::Server,
};
use cfgsync_access::{
    AuditLine, AuditOutcome, Credentials, Denial, IdentityMode, Names, Need, Principal, Role,
    Standing, may_be,
};
use cfgsync_cluster::{AccessKind, Delivery};
use cfgsync_model::{Digest, GenerationNumber, Identifier, NodeRegistration};
use cfgsync_wire::NODE_KEY_HEADER;

/// A request and what is known of it.
pub(super) struct Ask<'a> {
    pub(super) server: &'a Server,
    pub(super) head: &'a Parts,
    target: Target<'a>,
    pub(super) peer: &'a Peer,
    credentials: Credentials<'a>,
    /// What its sender has shown to be, once it was let in.
    role: Option<Role>,
    note: Note,
}

/// What the audit log is told beside.
#[derive(Default)]
struct Note {
    /// Known once it was let in.
    who: Option<String>,
    node: Option<Identifier>,
    sha256: BTreeMap<String, String>,
    /// The generation of the payload that it is the first to get, or sees what is secret of.
    generation: Option<GenerationNumber>,
    unchanged: bool,
    reveals: bool,
    refused: Option<&'static str>,
    /// Its sender was denied so much already that this is not told.
    untold: bool,
}

impl<'a> Ask<'a> {
    pub(super) fn new(
        server: &'a Server,
        peer: &'a Peer,
        head: &'a Parts,
        target: Target<'a>,
    ) -> Self {
        Self {
            server,
            head,
            target,
            peer,
            credentials: Credentials::default(),
            role: None,
            note: Note::default(),
        }
    }

    /// Whether the sender asks too often. Whoever watches the server may.
    pub(super) fn count(&self) -> Result<(), Rejection> {
        if [Route::Livez, Route::Readyz].contains(&self.target.route) {
            return Ok(());
        }
        let counted = self.server.config.guard.count(self.peer.address.ip());
        counted.map_err(|wait| Rejection::TooOften { wait })
    }

    /// Refuses what a server in between may have read in another way (RFC 9112, sections 3.2 and 6.1): hyper takes the
    /// first host and the last encoding.
    pub(super) fn is_clear(&self) -> Result<(), Rejection> {
        let headers = &self.head.headers;
        if headers.get_all(HOST).iter().nth(1).is_some() {
            return Err(Rejection::TwoHosts);
        }
        let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
        match (encodings.next(), encodings.next()) {
            (None, _) => Ok(()),
            (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
            (Some(_), _) => Err(Rejection::Encoding),
        }
    }

    /// Whether the sender may ask this at all, whatever the node.
    pub(super) fn enter(&mut self) -> Result<(), Rejection> {
        if self.target.route.need() == Need::Nothing {
            return Ok(());
        }
        if is_of_another_site(&self.head.headers) {
            return Err(self.denied(Denial::OtherSite));
        }
        let guard = &self.server.config.guard;
        if guard.asks() {
            let certificate = self.peer.certificate.as_deref();
            self.credentials = Credentials {
                token: token(&self.head.headers),
                certificate: certificate.map(|certificate| Names {
                    alternative: &certificate.dns_names,
                    common: certificate.common_name.as_deref(),
                }),
                key: None,
            };
        }
        self.is_let_in(None, |_, _| Ok(()))
    }

    /// Finds out who asks, as which node, and whether they may, by what holds now and by `judge`.
    fn is_let_in<R>(
        &mut self,
        node: Option<&Identifier>,
        judge: impl FnOnce(Principal<'_>, &Credentials<'_>) -> Result<R, Denial>,
    ) -> Result<R, Rejection> {
        let guard = &self.server.config.guard;
        if let Some(tls) = &self.server.config.tls
            && !tls.still_knows(self.peer, || guard.clock().now().as_second())
        {
            return Err(Rejection::HandshakeAgain);
        }
        let judged = guard.identify(&self.credentials, |principal| {
            let principal = match node {
                Some(node) => principal.acting_as(&self.credentials, node),
                None => principal,
            };
            self.role = principal.role();
            if guard.audit().is_some() {
                self.note.who = Some(principal.to_string());
            }
            guard.authorize(principal, self.target.route.need())?;
            judge(principal, &self.credentials)
        });
        judged.map_err(|denial| self.denied(denial))
    }

    /// Whether the sender may act as the node `identifier`. Asked again after it was held: meanwhile its token may have
    /// been revoked, or its name given free.
    pub(super) fn acts_as(&mut self, identifier: &Identifier) -> Result<Standing, Rejection> {
        self.note.node = Some(identifier.clone());
        let coordinator = &self.server.coordinator;
        let mode = coordinator.identity();
        let mut owner = None;
        if mode == IdentityMode::FirstUse {
            owner = coordinator.owner(identifier);
            self.credentials.key = key(&self.head.headers);
        }
        self.is_let_in(Some(identifier), |principal, credentials| {
            may_be(mode, principal, credentials, identifier, owner.as_ref())
        })
    }

    /// The hash of the node's own key, for [`Standing::Unclaimed`].
    pub(super) fn key(&self) -> Option<Digest> {
        self.credentials.key
    }

    /// The request is about this node.
    pub(super) fn is_about(&mut self, identifier: &Identifier) {
        self.note.node = Some(identifier.clone());
    }

    /// It brought this.
    pub(super) fn brings(&mut self, what: impl Into<String>, hash: Digest) {
        if self.server.config.guard.audit().is_some() {
            self.note.sha256.insert(what.into(), hash.to_string());
        }
    }

    /// It brought these facts.
    pub(super) fn brings_facts(&mut self, registration: &NodeRegistration) {
        if self.server.config.guard.audit().is_some() {
            let json = serde_json::to_vec(registration);
            let json = json.expect("a registration was JSON before");
            self.brings("facts", Digest::of(&json));
        }
    }

    /// It said nothing new.
    pub(super) fn is_nothing_new(&mut self) {
        self.note.unchanged = true;
    }

    /// It changes nothing, and yet somebody may want to know of it.
    pub(super) fn is_a_look_at_secrets(&mut self) {
        self.note.reveals = true;
    }

    /// What a payload is for that is asked for with GET: nodes have theirs, operators look.
    pub(super) fn purpose(&self) -> AccessKind {
        match self.is_operators() {
            true => AccessKind::Look {
                reveal: self.wants_secrets(),
            },
            false => AccessKind::Delivery,
        }
    }

    /// A payload goes out. With an operator's credential it may be anybody's: what is secret in it is seen.
    pub(super) async fn hands_over(&mut self, handed: &Delivery) -> Result<(), Rejection> {
        let reveals = handed.shows_secrets && self.is_operators();
        if reveals || handed.is_first {
            self.note.generation = Some(handed.generation);
            self.brings("payload", handed.payload.digest);
        }
        if reveals {
            self.is_a_look_at_secrets();
            // Boxed, so that a request that is held is not larger for it.
            Box::pin(self.begins()).await?;
        }
        Ok(())
    }

    /// Whether its sender has shown to be an operator.
    fn is_operators(&self) -> bool {
        self.role == Some(Role::Operator)
    }

    /// Whether secret files are to be shown: `?reveal=true`.
    pub(super) fn wants_secrets(&self) -> bool {
        let query = self.head.uri.query().unwrap_or_default();
        query.split('&').any(|asked| asked == "reveal=true")
    }

    /// It is answered that there is nothing for that node.
    pub(super) fn is_refused(&mut self, reason: &'static str) {
        self.note.refused = Some(reason);
    }

    /// The last step before a change: where the audit log is required, it says first what will be done.
    pub(super) async fn begins(&self) -> Result<(), Rejection> {
        if let Some(audit) = self.server.config.guard.audit() {
            let line = || self.line(AuditOutcome::Asked, None, None);
            audit.asked(line).await?;
        }
        Ok(())
    }

    /// What became of it, for the audit log.
    pub(super) fn ends(&mut self, status: StatusCode, refused: Option<&'static str>) {
        let Some(audit) = self.server.config.guard.audit() else {
            return;
        };
        let refused = refused.or(self.note.refused);
        let changes = self.target.route.changes(&self.head.method);
        let denied = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
        let outcome = match refused {
            // Of those there may be any number; they are counted instead, so that nobody can fill the log.
            Some(_) if status == StatusCode::TOO_MANY_REQUESTS || self.note.untold => return,
            Some(_) if changes || denied || self.note.refused.is_some() => AuditOutcome::Refused,
            Some(_) => return,
            None if self.note.reveals => AuditOutcome::Revealed,
            None if self.note.generation.is_some() => AuditOutcome::Delivered,
            None if !changes => return,
            None if self.note.unchanged => AuditOutcome::Unchanged,
            None => AuditOutcome::Changed,
        };
        audit.note(self.line(outcome, Some(status), refused));
    }

    fn line(
        &self,
        outcome: AuditOutcome,
        status: Option<StatusCode>,
        refused: Option<&'static str>,
    ) -> AuditLine {
        let named = || self.target.identifier().ok();
        AuditLine {
            at: self.server.config.guard.clock().now(),
            what: format!("{} {}", self.head.method, self.target.route.pattern()),
            outcome,
            who: self
                .note
                .who
                .clone()
                .unwrap_or_else(|| "unknown".to_owned()),
            from: Some(self.peer.address.ip()),
            node: self
                .note
                .node
                .clone()
                .or_else(named)
                .map(|node| node.to_string()),
            generation: self.note.generation,
            revision: None,
            status: status.map(|status| status.as_u16()),
            reason: refused.map(str::to_owned),
            sha256: self.note.sha256.clone(),
        }
    }

    /// Counts what was denied, tells it while there is not too much of it, and slows down who guesses.
    fn denied(&mut self, denial: Denial) -> Rejection {
        // With the first answer to it a node learns that it needs a key: that is no attempt at anything.
        if matches!(denial, Denial::NoKey(_)) {
            return Rejection::Denied(denial);
        }
        let guard = &self.server.config.guard;
        match guard.count_failure(self.peer.address.ip()) {
            Ok(()) => {
                let (peer, method, route) =
                    (self.peer, &self.head.method, self.target.route.pattern());
                tracing::warn!("{peer} is denied {method} {route}: {denial}");
            }
            Err(wait) if denial.is_a_wrong_guess() => return Rejection::TooManyDenied { wait },
            // Who asks again learns nothing by it, and is to know at once that it is no use.
            Err(_) => self.note.untold = true,
        }
        Rejection::Denied(denial)
    }
}

/// Whether a browser names a site that is not this server's as the one whose page asks. Browsers do with every request
/// that could change something; nobody else does.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN).map(HeaderValue::as_bytes) else {
        return false;
    };
    let authority = origin.strip_prefix(b"http://");
    let authority = authority.or_else(|| origin.strip_prefix(b"https://"));
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    match (authority, host) {
        (Some(authority), Some(host)) => !authority.eq_ignore_ascii_case(host),
        _ => true,
    }
}

/// The hash of the token in `Authorization: Bearer TOKEN`, or of the password of `Basic`, which clients send that know
/// nothing but a URL. Anything else is no token that there is.
fn token(headers: &HeaderMap) -> Option<Digest> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let found = || {
        let at = value.iter().position(|&byte| byte == b' ')?;
        let (scheme, rest) = (&value[..at], value[at..].trim_ascii());
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return Some(Digest::of(rest));
        }
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return None;
        }
        let decoded = data_encoding::BASE64.decode(rest).ok()?;
        let colon = decoded.iter().position(|&byte| byte == b':')?;
        Some(Digest::of(&decoded[colon + 1..]))
    };
    Some(found().unwrap_or_else(|| Digest::of(b"")))
}

/// The hash of the node's own key.
fn key(headers: &HeaderMap) -> Option<Digest> {
    let value = headers.get(NODE_KEY_HEADER)?.as_bytes();
    (value.len() >= KEY_MIN_BYTES).then(|| Digest::of(value))
}

/// Shorter keys are none, in bytes: somebody could guess them.
const KEY_MIN_BYTES: usize = 16;
