//! TLS of the client: how servers are verified, and which certificate the client presents.

mod handshake;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    CertificateError as RustlsCertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct,
    OtherError, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption, WantsClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};

use cfgsync_certificate::{self, CertificateError, pin_of, provider};
use cfgsync_model::Pin;
pub use handshake::{CertificateRejection, HandshakeError};
pub(crate) use handshake::{TlsFailure, failure};

/// How many TLS sessions are cached for resumption.
const SESSIONS_MAX: usize = 8;

/// How a client verifies servers over TLS, and how it authenticates itself.
///
/// By default, a server needs a certificate for its host name that is signed by a certificate authority of the public
/// web. Pins, here or in a join URL, replace this check: the server needs one of these keys, and its certificate may
/// say anything. If there are both pins and an authorities file, both checks must succeed.
///
/// ```
/// use cfgsync_client::{Client, Trust};
///
/// let trust = Trust::new().with_pins(["sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU".parse()?]);
/// let client = Client::with_trust(["https://boot.example:4400".parse()?], &trust)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trust {
    /// A PEM file of certificate authorities, in place of those of the public web.
    pub authorities: Option<PathBuf>,
    /// Keys of which every server must have one. The pins of a join URL are added for its own server.
    pub pins: Vec<Pin>,
    /// The client's certificate chain and its key: two PEM files. They are read again for each connection, so that
    /// the certificate can be renewed. If that fails, the client presents the previous certificate.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Trust {
    /// Trusts the certificate authorities of the public web.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificate authorities in a PEM file instead of those of the public web.
    #[must_use]
    pub fn with_authorities(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities = Some(path.into());
        self
    }

    /// Requires every server to have one of these keys, in addition to those of earlier calls.
    #[must_use]
    pub fn with_pins(mut self, pins: impl IntoIterator<Item = Pin>) -> Self {
        self.pins.extend(pins);
        self
    }

    /// Presents the certificate chain of one PEM file with the key of another. Both may be the same file.
    #[must_use]
    pub fn with_identity(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }
}

/// Returns the TLS configuration for a server that must have one of `pins`, if there are any.
pub(crate) fn config(trust: &Trust, pins: &[Pin]) -> Result<ClientConfig, CertificateError> {
    let authorities = match &trust.authorities {
        Some(path) => Some(cfgsync_certificate::read_authorities(path)?),
        None if pins.is_empty() => Some(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        }),
        None => None,
    };
    let authorities = match authorities {
        None => None,
        Some(roots) => {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
            let verifier = verifier.build();
            Some(verifier.map_err(|error| CertificateError::Unusable {
                path: trust.authorities.clone().unwrap_or_default(),
                problem: error.to_string(),
            })?)
        }
    };
    let verifier = Verifier {
        pins: pins.to_vec(),
        authorities,
    };
    let builder = builder_with(verifier);
    let mut config = match &trust.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let identity = Identity::read(certificate.clone(), key.clone())?;
            builder.with_client_cert_resolver(Arc::new(identity))
        }
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    Ok(config)
}

/// Returns a configuration for connections without TLS, which the connector requires nevertheless. It trusts no
/// server, and avoids the cost of loading certificate authorities.
pub(crate) fn unused_config() -> ClientConfig {
    let verifier = Verifier {
        pins: vec![],
        authorities: None,
    };
    builder_with(verifier).with_no_client_auth()
}

fn builder_with(verifier: Verifier) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
}

/// The client's certificate, from files that may be renewed.
#[derive(Debug)]
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    /// The last pair that could be read. Two files cannot be replaced in one step, so a read may fail meanwhile.
    last: Mutex<Arc<CertifiedKey>>,
}

impl Identity {
    fn read(certificate: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        let pair = cfgsync_certificate::read_pair(&certificate, &key)?;
        Ok(Self {
            certificate,
            key,
            last: Mutex::new(Arc::new(pair)),
        })
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(pair) = cfgsync_certificate::read_pair(&self.certificate, &self.key) {
            *last = Arc::new(pair);
        }
        Some(Arc::clone(&last))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Verifies a server by pins, by certificate authorities, or by both.
#[derive(Debug)]
struct Verifier {
    pins: Vec<Pin>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
}

/// The error for a key that has none of the expected pins.
#[derive(Debug, thiserror::Error)]
#[error("unexpected pin {0}")]
struct UnexpectedPin(Pin);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.pins.is_empty() {
            let found = pin_of(end_entity).ok_or(RustlsCertificateError::BadEncoding)?;
            if !self.pins.contains(&found) {
                let unexpected = OtherError(Arc::new(UnexpectedPin(found)));
                return Err(RustlsCertificateError::Other(unexpected).into());
            }
        }
        match &self.authorities {
            Some(authorities) => authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None if self.pins.is_empty() => Err(RustlsCertificateError::UnknownIssuer.into()),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
