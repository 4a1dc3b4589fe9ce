//! The reason why a TLS handshake failed, in terms of what an operator can change.

use std::{error::Error, io, path::PathBuf};

use rustls::{AlertDescription, CertificateError as RustlsCertificateError, pki_types::UnixTime};

use super::UnexpectedPin;
use cfgsync_model::Pin;

/// The reason why a TLS handshake failed. A retry does not help. The messages complete a sentence that begins with the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The server's key has another pin.
    #[error("is not trusted: its key has the pin {found}, not the expected one")]
    UnexpectedPin {
        /// The pin of the server's key.
        found: Pin,
    },
    /// No trusted certificate authority signed the server's certificate.
    #[error("is not trusted: its certificate is not signed by a trusted certificate authority")]
    UnknownAuthority,
    /// No certificate authority in the file that was given signed the server's certificate.
    #[error("is not trusted: its certificate is not signed by an authority in {}", .authorities.display())]
    OtherAuthority {
        /// The file of certificate authorities.
        authorities: PathBuf,
    },
    /// The server's certificate does not contain the name that it was called by.
    #[error("is not trusted: its certificate is for {}, not for {expected}", listed(.presented))]
    WrongName {
        /// The host in the URL.
        expected: String,
        /// The names in the certificate.
        presented: Vec<String>,
    },
    /// The server's certificate has expired, at this time.
    #[error("is not trusted: its certificate expired at {0}")]
    Expired(String),
    /// The server's certificate becomes valid at this time.
    #[error("is not trusted: its certificate is not valid before {0}")]
    NotYetValid(String),
    /// The server's certificate is wrong in another way.
    #[error("is not trusted: its certificate is invalid: {0}")]
    InvalidCertificate(String),
    /// The server requires a client certificate, and this client has none.
    #[error("requires a client certificate")]
    ClientCertificateRequired,
    /// The server rejected this client's certificate.
    #[error("rejected the client certificate: {0}")]
    ClientCertificateRejected(CertificateRejection),
}

/// The reason why a server rejected a client's certificate, as far as a TLS alert can say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateRejection {
    /// No certificate authority that the server trusts signed it.
    #[error("it is not signed by a certificate authority that the server trusts")]
    UnknownAuthority,
    /// It has expired or is not valid yet: there is one alert for both.
    #[error("it has expired or is not valid yet, by the server's clock")]
    NotValidNow,
    /// It is on a revocation list.
    #[error("it is revoked")]
    Revoked,
    /// Its extended key usage does not include client authentication.
    #[error("it is not valid for clients")]
    NotForClients,
    /// The server cannot parse it.
    #[error("it is damaged, or the names in it cannot be read")]
    Unreadable,
    /// The alert says nothing more.
    #[error("the server gives no reason")]
    Unspecified,
}

/// The part of a connection error that TLS caused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// One side does not trust the other.
    Handshake(HandshakeError),
    /// The server does not speak TLS.
    NotTls,
}

impl HandshakeError {
    /// Returns whether the only fault is a certificate outside its validity period, by one of the clocks.
    pub fn is_expiry(&self) -> bool {
        matches!(
            self,
            Self::Expired(_)
                | Self::NotYetValid(_)
                | Self::ClientCertificateRejected(CertificateRejection::NotValidNow)
        )
    }

    /// Returns what an operator can do about it, in terms of the program's flags.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnexpectedPin { .. } => {
                "a pin is the fingerprint of the server's key; if the key was replaced, use the join URL that `serve` \
                 prints now; if it was not, another machine may answer in the server's place"
            }
            Self::UnknownAuthority => {
                "name the file of its certificate authority with --ca-file, or use the join URL that `serve` prints, \
                 which contains the pin of its key"
            }
            Self::OtherAuthority { .. } => {
                "put the authority that signed the server's certificate into that file, or use the join URL that \
                 `serve` prints"
            }
            Self::WrongName { .. } => {
                "use a host name that is in the certificate, or the server's join URL"
            }
            Self::Expired(_) => {
                "renew the server's certificate; if it is current, correct this machine's clock"
            }
            Self::NotYetValid(_) => "check this machine's clock",
            Self::InvalidCertificate(_) => "give the server another certificate",
            Self::ClientCertificateRequired => "add --client-cert FILE and --client-key FILE",
            Self::ClientCertificateRejected(rejection) => rejection.hint(),
        }
    }
}

impl CertificateRejection {
    fn hint(self) -> &'static str {
        match self {
            Self::NotValidNow => {
                "show its dates with: openssl x509 -noout -dates -in FILE; if now is between them, check the clocks \
                 of this machine and of the server"
            }
            Self::NotForClients => {
                "if the certificate has an extendedKeyUsage, it must include clientAuth"
            }
            Self::Unreadable => {
                "show it with: openssl x509 -noout -text -in FILE; its subjectAltName must be well formed"
            }
            Self::UnknownAuthority | Self::Revoked | Self::Unspecified => {
                "--client-cert needs a certificate that is signed by an authority in the server's --client-ca"
            }
        }
    }
}

/// Returns the TLS failure among the causes of `error`, if there is one.
pub(crate) fn failure(error: &(dyn Error + 'static)) -> Option<TlsFailure> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return from_rustls(error);
        }
        // `io::Error::source` skips the error that it wraps and returns that error's source.
        if let Some(wrapped) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            return failure(wrapped);
        }
        next = error.source();
    }
    None
}

fn from_rustls(error: &rustls::Error) -> Option<TlsFailure> {
    let reason = match error {
        rustls::Error::InvalidMessage(_) => return Some(TlsFailure::NotTls),
        rustls::Error::InvalidCertificate(error) => from_certificate_error(error),
        rustls::Error::NoCertificatesPresented => {
            HandshakeError::InvalidCertificate("the server sent none".to_owned())
        }
        rustls::Error::AlertReceived(alert) => from_alert(*alert)?,
        _ => return None,
    };
    Some(TlsFailure::Handshake(reason))
}

fn from_certificate_error(error: &RustlsCertificateError) -> HandshakeError {
    use RustlsCertificateError as Cause;
    match error {
        Cause::UnknownIssuer => HandshakeError::UnknownAuthority,
        Cause::ExpiredContext { not_after, .. } => HandshakeError::Expired(format_time(*not_after)),
        Cause::NotValidYetContext { not_before, .. } => {
            HandshakeError::NotYetValid(format_time(*not_before))
        }
        Cause::NotValidForNameContext {
            expected,
            presented,
        } => HandshakeError::WrongName {
            expected: expected.to_str().into_owned(),
            presented: presented.iter().map(|name| plain_name(name)).collect(),
        },
        Cause::Other(other) => match other.0.downcast_ref::<UnexpectedPin>() {
            Some(UnexpectedPin(found)) => HandshakeError::UnexpectedPin { found: *found },
            None => HandshakeError::InvalidCertificate(error.to_string()),
        },
        other => HandshakeError::InvalidCertificate(other.to_string()),
    }
}

fn from_alert(alert: AlertDescription) -> Option<HandshakeError> {
    let rejection = match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            return Some(HandshakeError::ClientCertificateRequired);
        }
        AlertDescription::UnknownCA => CertificateRejection::UnknownAuthority,
        AlertDescription::CertificateExpired => CertificateRejection::NotValidNow,
        AlertDescription::CertificateRevoked => CertificateRejection::Revoked,
        AlertDescription::UnsupportedCertificate => CertificateRejection::NotForClients,
        AlertDescription::BadCertificate => CertificateRejection::Unreadable,
        AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => CertificateRejection::Unspecified,
        _ => return None,
    };
    Some(HandshakeError::ClientCertificateRejected(rejection))
}

fn format_time(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => format!("{seconds} s after 1970"),
    }
}

/// Removes the wrapping from a name that rustls formats as `DnsName("x")` or `IpAddress(y)`.
fn plain_name(name: &str) -> String {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').to_owned()
}

/// Lists at most five names and counts the rest.
fn listed(names: &[String]) -> String {
    const NAMES_MAX: usize = 5;
    let shown = names.iter().take(NAMES_MAX).map(|name| format!("{name:?}"));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if names.len() > NAMES_MAX {
        text.push_str(&format!(" and {} more", names.len() - NAMES_MAX));
    }
    if text.is_empty() {
        text.push_str("no name");
    }
    text
}
