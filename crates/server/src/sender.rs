//! The sender of a request: authenticates it by the tokens and certificates of this moment.

use cfgsync_access::{
    AccessControl, Action, CertificateNames, Credentials, Denial, PresentedToken, Principal,
    Resource,
};

use super::{rejection::Rejection, state::Connection};

/// Authenticates the sender of a request over `connection`, and lets `decide` say what it may do.
pub(super) fn authenticate<T>(
    connection: &Connection,
    token: Option<&PresentedToken>,
    node_key: Option<&[u8]>,
    decide: impl FnOnce(&AccessControl, Principal<'_>) -> Result<T, Denial>,
) -> Result<Result<T, Denial>, Rejection> {
    let config = &connection.server.config;
    let access = &config.access;
    if let Some(tls) = &config.tls
        && !tls.still_trusts(&connection.peer, || access.clock().now().as_second())
    {
        return Err(Rejection::CertificateOutdated);
    }
    let certificate = connection.peer.certificate.as_deref();
    let credentials = Credentials {
        token,
        node_key,
        certificate: certificate.map(|certificate| CertificateNames {
            alternative: &certificate.dns_names,
            common: certificate.common_name.as_deref(),
        }),
    };
    let from = connection.peer.address.ip();
    Ok(access.authenticate(&credentials, from, |principal| decide(access, principal)))
}

/// Returns whether the sender may do `action` now. A denial is neither logged nor counted.
pub(super) fn may(connection: &Connection, token: Option<&PresentedToken>, action: Action) -> bool {
    let decided = authenticate(connection, token, None, |access, principal| {
        access.authorize(&principal, action, Resource::Cluster)
    });
    matches!(decided, Ok(Ok(())))
}
