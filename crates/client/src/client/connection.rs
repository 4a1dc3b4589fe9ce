//! One server of a client: how it is reached and verified, and whether it has failed lately.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper_util::{client::legacy, rt::TokioExecutor};
use rustls::ClientConfig;
use tokio::time::Instant;

use super::{
    CallError, TrustError, bearer,
    cause::{cause, unreachable_cause},
};
use crate::{
    HandshakeError, ServerUrl,
    addresses::Addresses,
    avoidance::Avoidance,
    connect::{Connector, NameLookup, connector},
    tls::{self, TlsFailure, Trust},
};
use cfgsync_model::Pin;

/// A server with its own connection pool, because each server may be trusted in another way.
#[derive(Debug)]
pub(super) struct ServerConnection {
    pub(super) url: ServerUrl,
    pub(super) http: legacy::Client<Connector, Full<Bytes>>,
    /// The look-up of its name.
    pub(super) lookup: NameLookup,
    /// The token of the join URL, marked sensitive.
    pub(super) authorization: Option<HeaderValue>,
    /// The identity that the server proves over TLS: one of these pins, or this name if there are no pins. Empty for
    /// plain HTTP.
    pub(super) identities: Vec<String>,
    /// The server that has named this one. `None` for a server that the operator has given.
    pub(super) named_by: Option<NamedBy>,
    /// The keys of which the server must have one. Empty if its certificate alone decides.
    pins: Vec<Pin>,
    /// The file of the certificate authorities, if one was given.
    authorities: Option<PathBuf>,
    tls: ClientConfig,
    avoidance: Mutex<Avoidance>,
}

/// The server that has named another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedBy {
    pub(super) server: ServerUrl,
    /// The cluster that it serves. A server of another cluster is not used.
    pub(super) cluster: Option<String>,
}

impl ServerConnection {
    /// Returns a server that the operator has given. If there are others, connecting has shorter bounds.
    pub(super) fn given(
        url: ServerUrl,
        trust: &Trust,
        has_others: bool,
    ) -> Result<Self, TrustError> {
        let pins = [url.pins(), &trust.pins].concat();
        let tls = if url.is_tls() {
            tls::config(trust, &pins)?
        } else if *trust == Trust::default() {
            tls::unused_config()
        } else {
            return Err(TrustError::Plain(url));
        };
        let authorization = url.token().map(bearer).transpose();
        let authorization = authorization.map_err(|error| TrustError::Token(url.clone(), error))?;
        let authorities = trust.authorities.clone();
        let server = Self::new(url, pins, authorities, authorization, tls, has_others);
        Ok(server)
    }

    /// Returns a server that this one has named. It is verified as this one is, and gets the same token.
    pub(super) fn other(&self, url: ServerUrl, cluster: Option<String>) -> Self {
        let named_by = NamedBy {
            server: self.url.clone(),
            cluster,
        };
        Self {
            named_by: Some(named_by),
            ..Self::new(
                url,
                self.pins.clone(),
                self.authorities.clone(),
                self.authorization.clone(),
                self.tls.clone(),
                true,
            )
        }
    }

    fn new(
        url: ServerUrl,
        pins: Vec<Pin>,
        authorities: Option<PathBuf>,
        authorization: Option<HeaderValue>,
        tls: ClientConfig,
        has_others: bool,
    ) -> Self {
        let identities = if !url.is_tls() {
            vec![]
        } else if pins.is_empty() {
            vec![url.host().to_ascii_lowercase()]
        } else {
            pins.iter().map(ToString::to_string).collect()
        };
        let lookup = NameLookup::default();
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1)
            .build(connector(tls.clone(), lookup.clone(), has_others));
        Self {
            url,
            http,
            lookup,
            authorization,
            identities,
            named_by: None,
            pins,
            authorities,
            tls,
            avoidance: Mutex::default(),
        }
    }

    /// Returns whether the operator has named what the server proves: a key, or the authority that has signed its
    /// certificate. The authorities of the public web sign for every host, so they prove nothing here.
    pub(super) fn is_proven(&self) -> bool {
        self.url.is_tls() && (!self.pins.is_empty() || self.authorities.is_some())
    }

    /// Returns whether a server with these pins may be verified by the same keys as this one.
    pub(super) fn shares_a_pin(&self, pins: &[Pin]) -> bool {
        pins.is_empty() || pins.iter().any(|pin| self.pins.contains(pin))
    }

    /// Notes that a request has failed, at this address if it is known.
    pub(super) fn fail(&self, address: Option<IpAddr>) {
        if !self.has_other_address(address, Addresses::fail) {
            self.avoidance().fail();
        }
    }

    /// Notes that the server at this address can serve nothing for this time.
    pub(super) fn pause(&self, address: Option<IpAddr>, time: Duration) {
        if !self.has_other_address(address, |addresses, at| addresses.pause(at, time)) {
            self.avoidance().pause(time);
        }
    }

    /// Notes that a request at this address has succeeded.
    pub(super) fn succeed(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.lookup.with_addresses(|addresses| {
                addresses.connected(address);
                addresses.succeed(address);
            });
        }
        self.avoidance().succeed();
    }

    /// Returns when this server is to be tried in its turn again. `None`: now.
    pub(super) fn avoided_until(&self) -> Option<Instant> {
        self.avoidance().until()
    }

    /// Notes something about an address. Returns whether the name has another one that has not failed.
    fn has_other_address(
        &self,
        address: Option<IpAddr>,
        note: impl FnOnce(&mut Addresses, IpAddr),
    ) -> bool {
        let Some(address) = address else { return false };
        self.lookup.with_addresses(|addresses| {
            addresses.connected(address);
            note(addresses, address);
            addresses.has_other(address)
        })
    }

    fn avoidance(&self) -> MutexGuard<'_, Avoidance> {
        self.avoidance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the error of a request to which no response began.
    pub(super) fn call_error(&self, error: &legacy::Error) -> CallError {
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
