//! The sender of a request, once it is authenticated.

use std::{fmt, sync::Arc};

use cfgsync_model::Identifier;

use super::{CertificateNames, Credentials, Pattern, Role, Token};

/// The authenticated sender of a request: who it is, and what else it presented to prove which node it is.
#[derive(Debug, Clone, Copy)]
pub struct Principal<'a> {
    pub(super) kind: PrincipalKind<'a>,
    pub(super) credentials: Credentials<'a>,
}

/// The credentials by which a principal is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalKind<'a> {
    /// Any client, on a server that requires no credentials.
    Anybody,
    /// A client without credentials, on a server that knows tokens or certificates.
    Anonymous,
    /// The holder of a token.
    Token(&'a Token),
    /// The holder of a client certificate.
    Certificate {
        /// The name that matches such a pattern, otherwise the first name. May be any text.
        name: &'a str,
        /// The node role, unless one of the names matches a pattern for operators or viewers.
        role: Role,
    },
}

impl<'a> Principal<'a> {
    /// Returns the credentials by which the principal is known.
    pub fn kind(&self) -> PrincipalKind<'a> {
        self.kind
    }

    /// The role that the principal has proven. `None` on a server that requires no credentials: nothing is proven
    /// there, and everything is allowed.
    pub fn role(&self) -> Option<Role> {
        match self.kind {
            PrincipalKind::Anybody => None,
            PrincipalKind::Anonymous => Some(Role::Node),
            PrincipalKind::Token(token) => Some(token.role),
            PrincipalKind::Certificate { role, .. } => Some(role),
        }
    }

    /// The namespaces that the principal's token is limited to; `None` if it is not limited.
    pub fn namespaces(&self) -> Option<&'a Arc<[Pattern]>> {
        match self.kind {
            PrincipalKind::Token(token) if !token.namespaces.is_empty() => Some(&token.namespaces),
            _ => None,
        }
    }

    /// The same principal, acting as the node `identifier`. A node's certificate with several names is then logged
    /// under the name of that node.
    #[must_use]
    pub fn acting_as(mut self, identifier: &Identifier) -> Self {
        let is_node_certificate = matches!(
            self.kind,
            PrincipalKind::Certificate {
                role: Role::Node,
                ..
            }
        );
        if is_node_certificate && let Some(name) = self.certificate_name(identifier) {
            let role = Role::Node;
            self.kind = PrincipalKind::Certificate { name, role };
        }
        self
    }

    /// The certificate's name that equals `identifier`.
    pub(super) fn certificate_name(&self, identifier: &Identifier) -> Option<&'a str> {
        let mut names = (self.credentials.certificate.into_iter()).flat_map(CertificateNames::all);
        names.find(|name| *name == identifier.as_str())
    }
}

/// The principal's name in logs and messages.
impl fmt::Display for Principal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PrincipalKind::Anybody => f.write_str("anybody"),
            PrincipalKind::Anonymous => f.write_str("anonymous"),
            PrincipalKind::Token(token) => write!(f, "token {}", token.name),
            // The certificate's issuer chose this text, so control characters are escaped.
            PrincipalKind::Certificate { name, .. } => {
                write!(f, "certificate {}", name.escape_debug())
            }
        }
    }
}
