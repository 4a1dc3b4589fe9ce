//! TLS: the key that the server shows, whom it asks for certificates, and handshakes.
//!
//! A connection that is not what it should be costs a look at its first byte. A handshake runs in its
//! connection's own task, within a bound, and its buffers are gone when it is over.

mod refusal;
mod self_signed;
mod clients;

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
    farewell::farewell,
    peer::{Peer, PeerCertificate},
    socket::StallGuard,
};
use cfgsync_certificate::{self, CertificateError, dates_of, names_of, pin_of, provider};
use cfgsync_model::Pin;
use cfgsync_wire::{Code, ErrorBody, TLS_REQUIRED};
use clients::Clients;

/// What both sides speak within TLS.
const PROTOCOL: &[u8] = b"http/1.1";

/// The first byte of every TLS handshake.
const HANDSHAKE_BYTE: u8 = 0x16;

/// How much of an answer a connection holds encrypted, in bytes.
const ENCRYPTED_MAX_BYTES: usize = 64 << 10;

/// Where a server's certificate and key stand, in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate, followed by those of its issuers.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// Whose signatures clients' certificates must have. Without it no client is asked for one.
    pub client_authorities: Option<PathBuf>,
}

/// How a server does TLS. Clones share it: what is read again is used by all connections that follow.
#[derive(Clone)]
pub struct Tls {
    shown: Arc<ArcSwap<Shown>>,
}

/// Why there is no TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be used.
    #[error(transparent)]
    File(#[from] CertificateError),
    /// A key and a certificate for it could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(String),
    /// A certificate that was made could not be kept.
    #[error("cannot write {}: {problem}", path.display())]
    Keep {
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        problem: String,
    },
}

/// What a connection gets.
#[derive(Clone)]
struct Shown {
    config: Arc<ServerConfig>,
    pin: Pin,
    dates: RangeInclusive<i64>,
    /// Who is asked for a certificate, if that is asked for.
    clients: Option<Arc<Clients>>,
    /// Counts how often those who are believed have changed.
    authorities: u64,
}

impl Shown {
    /// Whether `new` takes the same clients.
    fn takes_whom(&self, new: &Self) -> bool {
        match (&self.clients, &new.clients) {
            (None, None) => true,
            (Some(old), Some(new)) => old.are_those_of(new),
            _ => false,
        }
    }
}

impl Tls {
    /// Reads `files`.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let pair = cfgsync_certificate::read_pair(&files.certificate, &files.key)?;
        Self::showing(pair, files.client_authorities.as_deref())
    }

    /// With a key and a certificate that are made now, for these host names and addresses, and not kept.
    pub fn self_signed(
        names: &[String],
        client_authorities: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let made = self_signed::make(names)?;
        Self::showing(made.certified()?, client_authorities)
    }

    /// Makes a key and a certificate for these host names and addresses, and keeps them in one file that only its
    /// owner reads, unless it is there already. [`TlsFiles`] may then name it twice.
    pub fn make_once(names: &[String], path: &Path) -> Result<(), TlsError> {
        match path.exists() {
            true => Ok(()),
            false => self_signed::make(names)?.keep(path),
        }
    }

    /// Does as `new` does from now on.
    pub fn take(&self, new: &Self) {
        let new = new.shown.load();
        self.shown.rcu(|old| Shown {
            authorities: old.authorities + u64::from(!old.takes_whom(&new)),
            ..Shown::clone(&new)
        });
    }

    /// The pin of the key that is shown.
    pub fn pin(&self) -> Pin {
        self.shown.load().pin
    }

    /// When the certificate that is shown is valid, in seconds since 1970.
    pub fn dates(&self) -> RangeInclusive<i64> {
        self.shown.load().dates.clone()
    }

    fn showing(pair: CertifiedKey, client_authorities: Option<&Path>) -> Result<Self, TlsError> {
        let certificate = pair.cert.first();
        let said = certificate.and_then(|shown| Some((pin_of(shown)?, dates_of(shown)?)));
        let (pin, dates) = said.ok_or_else(|| TlsError::Make("it cannot be read".to_owned()))?;
        let clients = client_authorities.map(Clients::signed_by).transpose()?;
        let clients = clients.map(Arc::new);
        let config = config(pair, clients.as_ref())?;
        let shown = Arc::new(Shown {
            config: Arc::new(config),
            pin,
            dates,
            clients,
            authorities: 0,
        });
        Ok(Self {
            shown: Arc::new(ArcSwap::new(shown)),
        })
    }

    /// Whether `peer` may still be taken for what its handshake proved: the authorities are those that it was judged by,
    /// and its certificate has not expired at `now`, in seconds since 1970.
    pub(super) fn still_knows(&self, peer: &Peer, now: impl FnOnce() -> i64) -> bool {
        peer.certificate.as_ref().is_none_or(|certificate| {
            peer.authorities == self.shown.load().authorities && now() <= certificate.expires
        })
    }

    /// Shakes hands with `peer`, and notes in it what it proved to be. `None` when that came to nothing: then the
    /// connection is over, and the log says why.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        peer: &mut Peer,
        config: &HttpConfig,
    ) -> Option<Encrypted> {
        let limit = config.handshake_timeout;
        match timeout(limit, self.handshake(stream, peer, config)).await {
            Ok(Ok((stream, certificate, authorities))) => {
                peer.certificate = certificate.map(Arc::new);
                peer.authorities = authorities;
                return Some(stream);
            }
            Ok(Err(Failed::Gone)) => {
                tracing::debug!(%peer, "gone without a word");
            }
            Ok(Err(Failed::TooOften)) => {
                tracing::debug!(%peer, "shakes hands too often");
            }
            Ok(Err(Failed::NotTls { is_http, stream })) => {
                let (what, answer) = match is_http {
                    true => ("plain HTTP", speak_tls()),
                    false => ("something else", vec![]),
                };
                tracing::debug!(%peer, "{what} came where TLS is spoken");
                farewell(stream, &answer).await;
            }
            Ok(Err(Failed::Handshake { error, stream })) => {
                tracing::debug!(%peer, "the TLS handshake failed: {error}");
                if let Some(reason) = refusal::reason(&error) {
                    refusal::tell(&config.guard, peer, reason, &error);
                }
                farewell(stream, &[]).await;
            }
            Err(_) => {
                tracing::debug!(%peer, "the TLS handshake was not done within {limit:?}");
            }
        }
        None
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        peer: &Peer,
        config: &HttpConfig,
    ) -> Result<(Encrypted, Option<PeerCertificate>, u64), Failed> {
        // Before anything is made for a connection, its first byte says whether it may become one.
        let mut first = [0];
        let peeked = stream.peek(&mut first).await;
        let stream = StallGuard::new(stream, config.write_stall_timeout);
        // It counts as a request, which it costs as much as, before anything is worked out for it.
        let is_there = matches!(peeked, Ok(1..));
        if is_there && config.guard.count(peer.address.ip()).is_err() {
            return Err(Failed::TooOften);
        }
        match peeked {
            Ok(1..) if first[0] == HANDSHAKE_BYTE => {}
            Ok(1..) => {
                let is_http = first[0].is_ascii_uppercase();
                return Err(Failed::NotTls { is_http, stream });
            }
            _ => return Err(Failed::Gone),
        }
        let (acceptor, authorities) = {
            let shown = self.shown.load();
            let acceptor = TlsAcceptor::from(Arc::clone(&shown.config));
            (acceptor, shown.authorities)
        };
        let bound = |session: &mut ServerConnection| {
            session.set_buffer_limit(Some(ENCRYPTED_MAX_BYTES));
        };
        let accepted = acceptor.accept_with(stream, bound).into_fallible().await;
        let stream = accepted.map_err(|(error, stream)| Failed::Handshake { error, stream })?;
        let stream = Box::new(stream);
        let shown = stream.get_ref().1.peer_certificates();
        let shown = shown.and_then(<[_]>::first);
        // What has no names that can be read is not verified.
        let names = shown.map(|shown| names_of(shown).unwrap_or_default());
        Ok((stream, names, authorities))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.pin()).finish()
    }
}

/// A connection over TLS. Boxed: its state is more than a kilobyte, and a task keeps room for what it passes on.
pub(super) type Encrypted = Box<TlsStream<StallGuard<TcpStream>>>;

/// How a handshake comes to nothing.
enum Failed {
    /// The peer closed the connection, or it broke.
    Gone,
    /// Its address asked too often: closed without a word, since none of TLS' says so.
    TooOften,
    /// It speaks something else.
    NotTls {
        is_http: bool,
        stream: StallGuard<TcpStream>,
    },
    /// It did not do what it must. An alert has told it.
    Handshake {
        error: io::Error,
        stream: StallGuard<TcpStream>,
    },
}

fn config(pair: CertifiedKey, clients: Option<&Arc<Clients>>) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need");
    let resolver = Arc::new(SingleCertAndKey::from(pair));
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients) as _),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // Sessions are resumed by what the client keeps, so that the server keeps nothing. A client's certificate is
    // looked at in every handshake: it may have expired, or its issuer may no longer be believed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if clients.is_none() {
        let ticketer = Ticketer::new().map_err(|error| TlsError::Make(error.to_string()))?;
        config.ticketer = ticketer;
        config.send_tls13_tickets = 1;
    }
    Ok(config)
}

/// What a client that speaks plain HTTP is told in its own language.
fn speak_tls() -> Vec<u8> {
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
