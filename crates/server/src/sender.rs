//! The sender of a request: authenticates it by the tokens and certificates of this moment.

use cfgsync_access::{
    AccessControl, Action, CertificateNames, Credentials, Denial, Pattern, PresentedToken,
    Principal, Resource,
};

use std::sync::Arc;

use super::{rejection::Rejection, state::Connection};
use cfgsync_model::Namespace;

/// The values that a sender may read.
#[derive(Debug, Default)]
pub(super) struct ValueRights {
    /// Whether it may read values at all, and list aliases.
    pub(super) lists_names: bool,
    /// The namespaces that its token is limited to; `None` if it is not limited.
    namespaces: Option<Arc<[Pattern]>>,
}

impl ValueRights {
    /// Returns the rights that the sender has now. A denial is neither logged nor counted.
    pub(super) fn of(connection: &Connection, token: Option<&PresentedToken>) -> Self {
        let rights = authenticate(connection, token, None, |access, principal| {
            let names = access.authorize(&principal, Action::ListNames, Resource::Cluster);
            names.map(|()| Self {
                lists_names: true,
                namespaces: principal.namespaces().cloned(),
            })
        });
        rights.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Returns whether the sender may read the values of a namespace.
    pub(super) fn reads(&self, namespace: &Namespace) -> bool {
        let matches = |patterns: &Arc<[Pattern]>| {
            let mut patterns = patterns.iter();
            patterns.any(|pattern| pattern.matches(namespace.as_str()))
        };
        self.lists_names && self.namespaces.as_ref().is_none_or(matches)
    }
}

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
