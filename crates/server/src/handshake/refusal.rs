//! Client certificates that a handshake refuses: the reason, and its report.

use std::io;

use rustls::{CertificateError as Fault, Error};

use super::super::peer::Peer;
use cfgsync_access::{AccessControl, AuditLine, AuditOutcome};

/// Returns why a client's certificate was refused, or that it is missing, as a short identifier; `None` if `error` has
/// another cause.
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

/// Logs the refusal and writes its audit line, within the same rate as other denials. Beyond that rate it is only
/// counted in metrics, because any client that can connect could fill the disk.
pub(super) fn report(access: &AccessControl, peer: &Peer, reason: &str, error: &io::Error) {
    let address = peer.address.ip();
    if access.check_failure_rate(address).is_err() {
        return;
    }
    tracing::warn!(
        event = "handshake_refused",
        %peer,
        reason = %error,
        "refused the TLS handshake with {peer}: {error}"
    );
    access.record(AuditLine {
        who: "unknown".to_owned(),
        from: Some(address),
        ..access
            .server_line("handshake")
            .with_outcome(AuditOutcome::Refused, Some(reason))
    });
}
