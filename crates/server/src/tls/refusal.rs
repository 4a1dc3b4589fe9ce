//! Client certificates that a handshake refuses: why, and who hears of it.

use std::io;

use rustls::{CertificateError as Fault, Error};

use super::super::peer::Peer;
use cfgsync_access::{AuditLine, AuditOutcome, Guard};

/// Why `error` refuses the certificate that a client showed, or did not show, as a slug; `None` if it is about
/// something else.
pub(super) fn reason(error: &io::Error) -> Option<&'static str> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::NoCertificatesPresented => "no_certificate",
        Error::InvalidCertificate(fault) => match fault {
            Fault::Expired | Fault::ExpiredContext { .. } => "expired_certificate",
            Fault::NotValidYet | Fault::NotValidYetContext { .. } => "early_certificate",
            Fault::UnknownIssuer => "unknown_authority",
            _ => "wrong_certificate",
        },
        _ => return None,
    })
}

/// Tells of it, as of a token that is wrong and within the same bounds: beyond them it is counted and not told, or
/// whoever can open connections could fill a disk.
pub(super) fn tell(guard: &Guard, peer: &Peer, reason: &str, error: &io::Error) {
    let address = peer.address.ip();
    if guard.count_failure(address).is_err() {
        return;
    }
    tracing::warn!("{peer} is refused in its TLS handshake: {error}");
    guard.notes(AuditLine {
        who: "unknown".to_owned(),
        from: Some(address),
        ..guard
            .line("handshake")
            .ending(AuditOutcome::Refused, Some(reason))
    });
}
