//! TLS: the server's certificate, the client certificates that it trusts, and handshakes.
//!
//! The first byte of a connection tells whether the client speaks TLS, before anything is allocated for it. The
//! handshake runs in the connection's own task, within a time limit, and its buffers are released when it is over.

mod handshake_refusal;
mod self_signed;
mod client_verifier;

use std::{
    fmt, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig, ServerConnection,
    crypto::ring::Ticketer,
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    HttpConfig,
    linger::respond_and_linger,
    peer::{Peer, PeerCertificate},
    socket::StallGuard,
};
use cfgsync_certificate::{self, CertificateError, dates_of, names_of, pin_of, provider};
use cfgsync_model::Pin;
use cfgsync_support::duration;
use cfgsync_wire::{Code, ErrorBody, TLS_REQUIRED};
use client_verifier::ClientVerifier;

/// The protocols that the server offers by ALPN. The branch for each stands in
/// [`connection`](super::connection)'s `serve_requests`.
const ALPN_PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// The first byte of every TLS handshake.
const HANDSHAKE_BYTE: u8 = 0x16;

/// How much of a response a connection buffers encrypted, in bytes.
const ENCRYPTED_MAX_BYTES: usize = 64 << 10;

/// The files with a server's certificate and key, in PEM format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, followed by those of its issuers.
    pub certificate: PathBuf,
    /// The private key of the certificate. May be the same file.
    pub key: PathBuf,
    /// The authorities whose client certificates are trusted. Then every client must present one. `None` means that
    /// clients are asked for no certificate.
    pub client_authorities: Option<PathBuf>,
}

/// The TLS settings of a server. Clones share them: [`Tls::replace`] affects all later connections.
#[derive(Clone)]
pub struct Tls {
    active: Arc<ArcSwap<Active>>,
}

/// The reason why TLS cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file of certificates or keys cannot be used.
    #[error(transparent)]
    File(#[from] CertificateError),
    /// A key, or the certificate for it, cannot be created.
    #[error("cannot create a certificate: {0}")]
    Create(String),
    /// A certificate that was created cannot be stored.
    #[error("cannot write {}: {problem}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        problem: String,
    },
}

/// The settings that new connections use.
#[derive(Clone)]
struct Active {
    config: Arc<ServerConfig>,
    pin: Pin,
    dates: RangeInclusive<i64>,
    /// Verifies client certificates, if clients must present one.
    verifier: Option<Arc<ClientVerifier>>,
    /// How often the trusted authorities have changed.
    authorities_version: u64,
}

impl Active {
    /// Whether `new` trusts the same client certificates.
    fn trusts_the_same(&self, new: &Self) -> bool {
        match (&self.verifier, &new.verifier) {
            (None, None) => true,
            (Some(old), Some(new)) => old.has_same_authorities(new),
            _ => false,
        }
    }
}

impl Tls {
    /// Reads `files`.
    ///
    /// # Errors
    /// If a file cannot be read, or the key does not belong to the certificate.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let pair = cfgsync_certificate::read_pair(&files.certificate, &files.key)?;
        Self::with_certificate(pair, files.client_authorities.as_deref())
    }

    /// Creates a key and a certificate for these host names and addresses, in memory alone.
    ///
    /// # Errors
    /// If a name cannot stand in a certificate, or the authorities cannot be read.
    pub fn self_signed(
        names: &[String],
        client_authorities: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let made = self_signed::create(names)?;
        Self::with_certificate(made.certified()?, client_authorities)
    }

    /// Creates a key and a certificate for these host names and addresses, and stores both in one file that only its
    /// owner reads. Does nothing if the file exists. [`TlsFiles`] may name it twice.
    ///
    /// # Errors
    /// If a name cannot stand in a certificate, or the file cannot be written.
    pub fn create_once(names: &[String], path: &Path) -> Result<(), TlsError> {
        if path.exists() {
            return Ok(());
        }
        self_signed::create(names)?.store(path)
    }

    /// Uses the settings of `new` for all later connections.
    pub fn replace(&self, new: &Self) {
        let new = new.active.load();
        self.active.rcu(|old| Active {
            authorities_version: old.authorities_version + u64::from(!old.trusts_the_same(&new)),
            ..Active::clone(&new)
        });
    }

    /// Returns the pin of the certificate's key.
    pub fn pin(&self) -> Pin {
        self.active.load().pin
    }

    /// Returns when the certificate is valid, in seconds since 1970.
    pub fn dates(&self) -> RangeInclusive<i64> {
        self.active.load().dates.clone()
    }

    fn with_certificate(
        pair: CertifiedKey,
        client_authorities: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let certificate = pair.cert.first();
        let facts = certificate
            .and_then(|certificate| Some((pin_of(certificate)?, dates_of(certificate)?)));
        let (pin, dates) = facts.ok_or_else(|| TlsError::Create("it cannot be read".to_owned()))?;
        let verifier = client_authorities.map(ClientVerifier::trusting);
        let verifier = verifier.transpose()?.map(Arc::new);
        let config = config(pair, verifier.as_ref())?;
        let active = Arc::new(Active {
            config: Arc::new(config),
            pin,
            dates,
            verifier,
            authorities_version: 0,
        });
        Ok(Self {
            active: Arc::new(ArcSwap::new(active)),
        })
    }

    /// Whether the certificate that `peer` proved in its handshake is still trusted. It is if the authorities have not
    /// changed since, and it has not expired at `now`, in seconds since 1970.
    pub(super) fn still_trusts(&self, peer: &Peer, now: impl FnOnce() -> i64) -> bool {
        peer.certificate.as_ref().is_none_or(|certificate| {
            peer.authorities_version == self.active.load().authorities_version
                && now() <= certificate.expires
        })
    }

    /// Does the handshake with `peer`, and notes its certificate in it. `None` if the handshake failed: then the
    /// connection is closed, and the log says why.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        peer: &mut Peer,
        config: &HttpConfig,
    ) -> Option<TlsConnection> {
        let limit = config.handshake_timeout;
        match timeout(limit, self.handshake(stream, peer, config)).await {
            Ok(Ok((stream, certificate, authorities_version))) => {
                peer.certificate = certificate.map(Arc::new);
                peer.authorities_version = authorities_version;
                return Some(stream);
            }
            Ok(Err(Failure::Closed)) => {
                tracing::debug!(%peer, "closed before the TLS handshake");
            }
            Ok(Err(Failure::RateExceeded)) => {
                tracing::debug!(%peer, "too many TLS handshakes from this address");
            }
            Ok(Err(Failure::NotTls { is_http, stream })) => {
                tracing::debug!(%peer, is_http, "the client does not speak TLS");
                let response = if is_http {
                    tls_required_response()
                } else {
                    vec![]
                };
                respond_and_linger(stream, &response).await;
            }
            Ok(Err(Failure::Handshake { error, stream })) => {
                tracing::debug!(%peer, "the TLS handshake failed: {error}");
                if let Some(reason) = handshake_refusal::reason(&error) {
                    handshake_refusal::report(&config.access, peer, reason, &error);
                }
                respond_and_linger(stream, &[]).await;
            }
            Err(_) => {
                let limit = duration::text(limit);
                tracing::debug!(%peer, "the TLS handshake took longer than {limit}");
            }
        }
        None
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        peer: &Peer,
        config: &HttpConfig,
    ) -> Result<(TlsConnection, Option<PeerCertificate>, u64), Failure> {
        // The first byte is checked before anything is allocated for the connection.
        let mut first = [0];
        let peeked = stream.peek(&mut first).await;
        let stream = StallGuard::new(stream, config.write_stall_timeout);
        // A handshake costs as much as a request, so it counts as one, before any cryptography is done for it.
        let has_byte = matches!(peeked, Ok(1..));
        if has_byte && config.access.check_rate(peer.address.ip()).is_err() {
            return Err(Failure::RateExceeded);
        }
        match peeked {
            Ok(1..) if first[0] == HANDSHAKE_BYTE => {}
            Ok(1..) => {
                let is_http = first[0].is_ascii_uppercase();
                return Err(Failure::NotTls { is_http, stream });
            }
            _ => return Err(Failure::Closed),
        }
        let (acceptor, authorities_version) = {
            let active = self.active.load();
            let acceptor = TlsAcceptor::from(Arc::clone(&active.config));
            (acceptor, active.authorities_version)
        };
        let set_limits = |session: &mut ServerConnection| {
            session.set_buffer_limit(Some(ENCRYPTED_MAX_BYTES));
        };
        let accepted = acceptor
            .accept_with(stream, set_limits)
            .into_fallible()
            .await;
        let stream = accepted.map_err(|(error, stream)| Failure::Handshake { error, stream })?;
        let stream = Box::new(stream);
        let chain = stream.get_ref().1.peer_certificates();
        let certificate = chain.and_then(<[_]>::first);
        // The verifier accepts only certificates whose names can be read.
        let certificate = certificate.map(|own| names_of(own).unwrap_or_default());
        Ok((stream, certificate, authorities_version))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.pin()).finish()
    }
}

/// A connection over TLS. Boxed, because its state takes more than a kilobyte, and a task reserves memory for each value
/// that it moves.
pub(super) type TlsConnection = Box<TlsStream<StallGuard<TcpStream>>>;

/// How a handshake failed.
enum Failure {
    /// The client closed the connection, or it broke.
    Closed,
    /// The client's address exceeded its rate. TLS has no alert for that, so the connection is just closed.
    RateExceeded,
    /// The client does not speak TLS.
    NotTls {
        is_http: bool,
        stream: StallGuard<TcpStream>,
    },
    /// The handshake was refused by one side. An alert has told the client.
    Handshake {
        error: io::Error,
        stream: StallGuard<TcpStream>,
    },
}

fn config(
    pair: CertifiedKey,
    verifier: Option<&Arc<ClientVerifier>>,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3");
    let resolver = Arc::new(SingleCertAndKey::from(pair));
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier) as _),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = ALPN_PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    // Sessions are resumed with tickets that the client stores, so that the server stores nothing. With client
    // certificates there is no resumption. Each handshake must verify the certificate again: it may have expired, or
    // its issuer may no longer be trusted.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if verifier.is_none() {
        let ticketer = Ticketer::new().map_err(|error| TlsError::Create(error.to_string()))?;
        config.ticketer = ticketer;
        config.send_tls13_tickets = 1;
    }
    Ok(config)
}

/// Returns the response for a client that speaks plain HTTP to a TLS port.
fn tls_required_response() -> Vec<u8> {
    let message = "this port speaks TLS: use https://, or the join URL that `serve` printed";
    let body = ErrorBody::new(Code::Internal, TLS_REQUIRED, message);
    let body = serde_json::to_string(&body).expect("text");
    let length = body.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
