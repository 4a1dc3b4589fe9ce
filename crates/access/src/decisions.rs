//! Decides about a client's identity and permissions, without I/O and without a clock.

use cfgsync_model::Digest;
use cfgsync_spec::IdentityMode;
use cfgsync_support::clock::Timestamp;

use super::{
    Action, CertificateNames, Credentials, Denial, NodeIdentity, Pattern, Principal, PrincipalKind,
    Resource, Role, Tokens, token::hashes_match,
};

/// The operator's settings for access, beside the tokens.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Nodes need no credentials.
    pub allow_anonymous: bool,
    /// Client certificates are verified, so that one proves which node its holder is.
    pub certificates: bool,
    /// A certificate with a name that matches one of these has the operator role.
    pub operator_certificates: Vec<Pattern>,
    /// A certificate with a name that matches one of these has the viewer role, unless it has the operator role.
    pub viewer_certificates: Vec<Pattern>,
}

/// Returns the principal that `credentials` prove. `tokens` is `None` on a server without a tokens file; `now` is
/// called only for a token that expires.
///
/// A token, where the server has tokens, takes precedence over everything else: a wrong one is never ignored. A
/// certificate counts only if the policy verifies certificates.
///
/// # Errors
/// [`Denial::UnknownToken`] and [`Denial::Expired`].
pub fn authenticate<'a>(
    policy: &Policy,
    tokens: Option<&'a Tokens>,
    credentials: &Credentials<'a>,
    now: impl FnOnce() -> Timestamp,
) -> Result<Principal<'a>, Denial> {
    let mut credentials = *credentials;
    if !policy.certificates {
        credentials.certificate = None;
    }
    let kind = if let (Some(tokens), Some(presented)) = (tokens, credentials.token) {
        let token = tokens.find(presented.hash()).ok_or(Denial::UnknownToken)?;
        if let Some(at) = token.expires.filter(|at| *at <= now()) {
            let name = token.name.clone();
            return Err(Denial::Expired { name, at });
        }
        PrincipalKind::Token(token)
    } else if let Some(names) = credentials.certificate {
        holder_of_certificate(policy, names)
    } else if tokens.is_none() && !policy.certificates {
        PrincipalKind::Anybody
    } else {
        PrincipalKind::Anonymous
    };
    Ok(Principal { kind, credentials })
}

fn holder_of_certificate<'a>(policy: &Policy, names: CertificateNames<'a>) -> PrincipalKind<'a> {
    for (patterns, role) in [
        (&policy.operator_certificates, Role::Operator),
        (&policy.viewer_certificates, Role::Viewer),
    ] {
        let matches = |name: &&str| patterns.iter().any(|pattern| pattern.matches(name));
        if let Some(name) = names.all().find(matches) {
            return PrincipalKind::Certificate { name, role };
        }
    }
    PrincipalKind::Certificate {
        name: names.all().next().unwrap_or("without a name"),
        role: Role::Node,
    }
}

/// Decides whether `principal` may do `action` to `resource`. A node whose identifier no key owns yet is denied:
/// [`authorize_registration`] is the one exception.
///
/// # Errors
/// The reason for the denial.
pub fn authorize(
    policy: &Policy,
    principal: &Principal<'_>,
    action: Action,
    resource: Resource<'_>,
) -> Result<(), Denial> {
    check_role(policy, principal, action)?;
    check_limits(principal, action, resource)?;
    match resource {
        Resource::Cluster | Resource::Namespace(_) => Ok(()),
        Resource::Node(node) => match authorize_node(principal, node)? {
            None => Ok(()),
            Some(_) => Err(Denial::Unclaimed(node.identifier.clone())),
        },
    }
}

/// Decides whether `principal` may register as `node`. Returns the hash of the key that becomes the owner of the
/// identifier, if no key owns it yet and the spec requires one.
///
/// # Errors
/// The reason for the denial.
pub fn authorize_registration(
    policy: &Policy,
    principal: &Principal<'_>,
    node: NodeIdentity<'_>,
) -> Result<Option<Digest>, Denial> {
    check_role(policy, principal, Action::Register)?;
    check_limits(principal, Action::Register, Resource::Node(node))?;
    authorize_node(principal, node)
}

/// Decides whether the limits of an operator's token allow `action`. An action on values without a namespace is denied to
/// a token that is limited to namespaces.
fn check_limits(
    principal: &Principal<'_>,
    action: Action,
    resource: Resource<'_>,
) -> Result<(), Denial> {
    let PrincipalKind::Token(token) = principal.kind else {
        return Ok(());
    };
    let name = || token.name.clone();
    if token.read_only && !action.only_reads() {
        return Err(Denial::ReadOnly { name: name() });
    }
    if token.namespaces.is_empty() || action.is_outside_namespaces() {
        return Ok(());
    }
    let patterns = || {
        let patterns = token.namespaces.iter().map(ToString::to_string);
        patterns.collect::<Vec<_>>().join(" or ")
    };
    match (action, resource) {
        (Action::ReadValues | Action::WriteValues, Resource::Namespace(namespace)) => {
            if token.is_for(namespace.as_str()) {
                return Ok(());
            }
            Err(Denial::OtherNamespaces {
                name: name(),
                patterns: patterns(),
                namespace: namespace.clone(),
            })
        }
        _ => Err(Denial::OnlyNamespaces {
            name: name(),
            patterns: patterns(),
        }),
    }
}

fn check_role(policy: &Policy, principal: &Principal<'_>, action: Action) -> Result<(), Denial> {
    let Some(required) = action.required_role() else {
        return Ok(());
    };
    let is_anonymous = principal.kind == PrincipalKind::Anonymous;
    match principal.role() {
        // The server requires no credentials, or the operator role includes all others.
        None | Some(Role::Operator) => Ok(()),
        Some(Role::Node) if required == Role::Node && is_anonymous && policy.allow_anonymous => {
            Ok(())
        }
        Some(_) if is_anonymous => Err(Denial::NoCredentials(required)),
        Some(role) if role == required => Ok(()),
        // A phase is a part of the state of the cluster.
        Some(Role::Viewer) if action == Action::WaitForPhase => Ok(()),
        Some(role) => Err(Denial::WrongRole {
            required,
            principal: principal.to_string(),
            role,
        }),
    }
}

/// Decides whether `principal` may act as `node`. A token's own pattern holds in every mode. A proven operator may act
/// as any node. Returns the hash of the presented key if no key owns the identifier yet. Then the principal may only
/// register.
fn authorize_node(
    principal: &Principal<'_>,
    node: NodeIdentity<'_>,
) -> Result<Option<Digest>, Denial> {
    if principal.role() == Some(Role::Operator) {
        return Ok(None);
    }
    let identifier = node.identifier;
    let mut token_names_node = false;
    if let PrincipalKind::Token(token) = principal.kind
        && let Some(pattern) = &token.identifier
    {
        if !pattern.matches(identifier.as_str()) {
            return Err(Denial::OtherNodes {
                name: token.name.clone(),
                pattern: pattern.to_string(),
                identifier: identifier.clone(),
            });
        }
        token_names_node = true;
    }
    match node.mode {
        IdentityMode::Open => Ok(None),
        IdentityMode::Token if token_names_node => Ok(None),
        IdentityMode::Token => Err(Denial::NamesNoNode {
            principal: principal.to_string(),
            identifier: identifier.clone(),
        }),
        IdentityMode::Certificate if principal.certificate_name(identifier).is_some() => Ok(None),
        IdentityMode::Certificate => Err(Denial::OtherCertificate(identifier.clone())),
        IdentityMode::FirstUse => {
            let Some(key) = principal.credentials.node_key_hash() else {
                return Err(Denial::NoKey(identifier.clone()));
            };
            match node.owner {
                None => Ok(Some(key)),
                Some(owner) if hashes_match(&key, owner) => Ok(None),
                Some(_) => Err(Denial::OtherKey(identifier.clone())),
            }
        }
    }
}

#[cfg(test)]
mod tests;
