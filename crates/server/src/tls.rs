//! TLS settings: the server's certificate, and the client certificates that it trusts.

mod self_signed;
mod client_verifier;

use std::{
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring::Ticketer,
    pki_types::CertificateDer,
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio_rustls::TlsAcceptor;

use super::peer::Peer;
use cfgsync_certificate::{self, CertificateError, PeerCertificate, dates_of, pin_of, provider};
use cfgsync_model::Pin;
use client_verifier::ClientVerifier;

/// The protocols that the server offers by ALPN. The branch for each stands in
/// [`connection`](super::connection)'s `serve_requests`.
const ALPN_PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

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

/// The settings of one handshake.
pub(super) struct Acceptor {
    pub(super) tls: TlsAcceptor,
    verifier: Option<Arc<ClientVerifier>>,
    /// The version of the authorities that the handshake trusts.
    pub(super) authorities_version: u64,
}

impl Acceptor {
    /// Returns the names in the certificate that the client proved, if it presented one. `chain` begins with it.
    pub(super) fn names(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<PeerCertificate> {
        let verifier = self.verifier.as_ref()?;
        Some(verifier.names(chain?))
    }
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

    /// Returns an acceptor for one handshake.
    pub(super) fn acceptor(&self) -> Acceptor {
        let active = self.active.load();
        Acceptor {
            tls: TlsAcceptor::from(Arc::clone(&active.config)),
            verifier: active.verifier.clone(),
            authorities_version: active.authorities_version,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.pin()).finish()
    }
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
