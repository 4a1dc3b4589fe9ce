//! TLS of the client: whom it trusts, what it shows of itself, and why a connection is not one to trust.

use std::{
    error::Error,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    AlertDescription, CertificateError as ServerFault, ClientConfig, ConfigBuilder,
    DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
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

/// How many sessions are remembered, to resume them.
const SESSIONS_MAX: usize = 8;

/// Whom a client trusts over TLS, and what it shows of itself.
///
/// With nothing said, servers must have a certificate for their name that an authority of the public web has
/// signed. Pins, here or in a join URL, stand in its place: who has the key is the server, whatever its
/// certificate says. With both pins and authorities, both must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// A PEM file of authorities to believe, instead of the public web's.
    pub authorities: Option<PathBuf>,
    /// The server must have one of these keys. They are for every server; a join URL's are for its own.
    pub pins: Vec<Pin>,
    /// The client's certificate, followed by those of its issuers, and its key: two PEM files. They are read for each
    /// connection, so that a certificate may be renewed; where that fails, the one of before is shown.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why a connection is not one to trust, or its other end does not trust this one. Waiting does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It has another key than it should.
    #[error("is not trusted: its key has the pin {found}, which is not the one expected")]
    Pin {
        /// The pin that it has.
        found: Pin,
    },
    /// Nobody who is believed has signed its certificate.
    #[error("is not trusted: no authority that is trusted has signed its certificate")]
    Authority,
    /// Its certificate is for others.
    #[error("is not trusted: its certificate is not for {expected} but for {}", listed(.presented))]
    Name {
        /// What it was called.
        expected: String,
        /// What it may be called.
        presented: Vec<String>,
    },
    /// Its certificate is too old.
    #[error("is not trusted: its certificate expired at {0}")]
    Expired(String),
    /// Its certificate is too new.
    #[error("is not trusted: its certificate is valid from {0} only")]
    NotYetValid(String),
    /// Something else is wrong with its certificate.
    #[error("is not trusted: its certificate is refused: {0}")]
    Certificate(String),
    /// It wants to know who asks.
    #[error("asks for a client certificate")]
    WantsCertificate,
    /// It does not like what this client shows.
    #[error("refuses this client's certificate: {0}")]
    RefusesCertificate(Fault),
}

/// What a server has against a client's certificate, as far as an alert can say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nobody whom it believes has signed it.
    #[error("no authority that it trusts has signed it")]
    Authority,
    /// One alert is for both.
    #[error("it has expired, or is not valid yet, by the server's clock")]
    NotNow,
    /// It was taken back.
    #[error("it is revoked")]
    Revoked,
    /// Its extended key usages are others.
    #[error("it is not for clients")]
    NotForClients,
    /// It cannot be understood.
    #[error("it is damaged, or the names in it cannot be read")]
    Unreadable,
    /// Another one.
    #[error("it does not say why")]
    Unsaid,
}

/// What went wrong below HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TlsTrouble {
    /// Credentials.
    Distrust(Distrust),
    /// The other end speaks something else.
    NotTls,
}

impl Distrust {
    /// Whether it is but a certificate whose time, by one of the clocks, is not now.
    pub fn is_of_time(&self) -> bool {
        matches!(
            self,
            Self::Expired(_) | Self::NotYetValid(_) | Self::RefusesCertificate(Fault::NotNow)
        )
    }

    /// The way out.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Pin { .. } => {
                "if the server was given another key on purpose, take its new join URL; otherwise \
                                 somebody stands between here and the server"
            }
            Self::Authority => {
                "name the file of its authority with --ca-file, or take the join URL that `serve` \
                                prints, which holds the pin of its key"
            }
            Self::Name { .. } => {
                "call the server by a name of its certificate, or take its join URL"
            }
            Self::Expired(_) => {
                "the server needs a new certificate; or is this machine's clock wrong?"
            }
            Self::NotYetValid(_) => "is this machine's clock wrong?",
            Self::Certificate(_) => "the server needs another certificate",
            Self::WantsCertificate => "add --client-cert FILE and --client-key FILE",
            Self::RefusesCertificate(fault) => fault.hint(),
        }
    }
}

impl Fault {
    fn hint(self) -> &'static str {
        match self {
            Self::NotNow => {
                "its dates: openssl x509 -noout -dates -in FILE; if now is between them, a clock is wrong, here or at \
                 the server"
            }
            Self::NotForClients => {
                "where a certificate has an extendedKeyUsage, a client's needs clientAuth in it"
            }
            Self::Unreadable => {
                "look at it with openssl x509 -noout -text -in FILE; its subjectAltName must be well formed"
            }
            Self::Authority | Self::Revoked | Self::Unsaid => {
                "--client-cert needs a certificate that an authority of the server's --client-ca has signed"
            }
        }
    }
}

/// How to speak TLS to a server that has one of `pins`, if there are any, and to be trusted.
pub(super) fn config(trust: &Trust, pins: &[Pin]) -> Result<ClientConfig, CertificateError> {
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
    let builder = trusting(verifier);
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

/// For connections without TLS, whose connector wants one nevertheless: it trusts nobody, and costs nothing.
pub(super) fn no_config() -> ClientConfig {
    let verifier = Verifier {
        pins: vec![],
        authorities: None,
    };
    trusting(verifier).with_no_client_auth()
}

/// What of a failed call is TLS'.
pub(super) fn trouble(error: &(dyn Error + 'static)) -> Option<TlsTrouble> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return of_rustls(error);
        }
        // Its source is that of what it wraps: what it wraps would be passed over.
        if let Some(wrapped) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            return trouble(wrapped);
        }
        next = error.source();
    }
    None
}

fn trusting(verifier: Verifier) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
}

fn of_rustls(error: &rustls::Error) -> Option<TlsTrouble> {
    let distrust = match error {
        rustls::Error::InvalidMessage(_) => return Some(TlsTrouble::NotTls),
        rustls::Error::InvalidCertificate(fault) => of_certificate(fault),
        rustls::Error::NoCertificatesPresented => Distrust::Certificate("it shows none".to_owned()),
        rustls::Error::AlertReceived(alert) => of_alert(*alert)?,
        _ => return None,
    };
    Some(TlsTrouble::Distrust(distrust))
}

fn of_certificate(fault: &ServerFault) -> Distrust {
    match fault {
        ServerFault::UnknownIssuer => Distrust::Authority,
        ServerFault::ExpiredContext { not_after, .. } => Distrust::Expired(moment(*not_after)),
        ServerFault::NotValidYetContext { not_before, .. } => {
            Distrust::NotYetValid(moment(*not_before))
        }
        ServerFault::NotValidForNameContext {
            expected,
            presented,
        } => Distrust::Name {
            expected: expected.to_str().into_owned(),
            presented: presented.iter().map(|name| plain(name)).collect(),
        },
        ServerFault::Other(other) => match other.0.downcast_ref::<WrongPin>() {
            Some(WrongPin(found)) => Distrust::Pin { found: *found },
            None => Distrust::Certificate(fault.to_string()),
        },
        other => Distrust::Certificate(other.to_string()),
    }
}

fn of_alert(alert: AlertDescription) -> Option<Distrust> {
    Some(match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            Distrust::WantsCertificate
        }
        AlertDescription::UnknownCA => Distrust::RefusesCertificate(Fault::Authority),
        AlertDescription::CertificateExpired => Distrust::RefusesCertificate(Fault::NotNow),
        AlertDescription::CertificateRevoked => Distrust::RefusesCertificate(Fault::Revoked),
        AlertDescription::UnsupportedCertificate => {
            Distrust::RefusesCertificate(Fault::NotForClients)
        }
        AlertDescription::BadCertificate => Distrust::RefusesCertificate(Fault::Unreadable),
        AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => Distrust::RefusesCertificate(Fault::Unsaid),
        _ => return None,
    })
}

fn moment(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(moment) => moment.to_string(),
        Err(_) => format!("{seconds} s after 1970"),
    }
}

/// A name as rustls writes it, `DnsName("x")` or `IpAddress(y)`, without the wrapping.
fn plain(name: &str) -> String {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').to_owned()
}

/// At most as many names as a person reads.
fn listed(names: &[String]) -> String {
    const NAMES_MAX: usize = 5;
    let shown = names.iter().take(NAMES_MAX).map(|name| format!("{name:?}"));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_MAX {
        text.push_str(&format!(" and {} more", names.len() - NAMES_MAX));
    }
    match text.is_empty() {
        true => "nobody".to_owned(),
        false => text,
    }
}

/// What a client shows of itself, from files that somebody may renew.
#[derive(Debug)]
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    /// What could be read last: two files are not replaced in one step.
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

/// Whether a server is the one that is meant.
#[derive(Debug)]
struct Verifier {
    pins: Vec<Pin>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
}

/// A key that is not pinned.
#[derive(Debug, thiserror::Error)]
#[error("the pin is {0}")]
struct WrongPin(Pin);

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
            let found = pin_of(end_entity).ok_or(ServerFault::BadEncoding)?;
            if !self.pins.contains(&found) {
                let wrong = OtherError(Arc::new(WrongPin(found)));
                return Err(ServerFault::Other(wrong).into());
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
            None if self.pins.is_empty() => Err(ServerFault::UnknownIssuer.into()),
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
