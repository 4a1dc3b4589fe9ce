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
mod tests {
    use cfgsync_model::{Identifier, Namespace};

    use super::*;
    use crate::PresentedToken;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const OWN_KEY: &str = "the node's own key";
    const OTHER_KEY: &str = "another node's key";

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    /// Tokens of all kinds; each secret is its name.
    fn tokens() -> Tokens {
        let line = |name: &str, rest: &str| {
            let (role, more) = rest.split_once(' ').unwrap_or((rest, ""));
            format!("{name} {role} sha256:{} {more}\n", digest(name))
        };
        let text = [
            line("ops", "operator"),
            line("reader", "operator read-only"),
            line("team", "operator namespace=team-* namespace=shared"),
            line("team-eye", "operator namespace=team-* read-only"),
            line("eye", "viewer"),
            line("node", "node"),
            line("web", "node identifier=web-*"),
            line("late", "node expires=1970-01-01T00:00:00Z"),
            line("soon", "node expires=1970-01-01T00:00:01Z"),
        ]
        .concat();
        Tokens::parse(&text, "tokens").unwrap()
    }

    fn policy(allow_anonymous: bool) -> Policy {
        Policy {
            allow_anonymous,
            certificates: true,
            operator_certificates: vec!["ops-*".parse().unwrap()],
            viewer_certificates: vec!["eye-*".parse().unwrap(), "ops-1".parse().unwrap()],
        }
    }

    /// The credentials of a client, as the tables below write it: `nothing`, `token:NAME`, `certificate:NAME`, or
    /// `both:NAME` for a token beside an operator's certificate.
    fn decide<R>(
        policy: &Policy,
        presents: &str,
        node_key: Option<&str>,
        decide: impl FnOnce(Principal<'_>) -> Result<R, Denial>,
    ) -> Result<R, Denial> {
        let (token, names) = match presents.split_once(':') {
            Some(("token", name)) => (Some(name), vec![]),
            Some(("certificate", name)) => (None, vec![name.to_owned()]),
            Some(("both", name)) => (Some(name), vec!["ops-1".to_owned()]),
            _ => (None, vec![]),
        };
        let token = token.map(|name| PresentedToken::from_text(name.as_bytes()));
        let credentials = Credentials {
            token: token.as_ref(),
            certificate: (!names.is_empty()).then_some(CertificateNames {
                alternative: &names,
                common: None,
            }),
            node_key: node_key.map(str::as_bytes),
        };
        let tokens = tokens();
        decide(authenticate(policy, Some(&tokens), &credentials, || NOW)?)
    }

    #[test]
    fn the_role_decides_which_actions_are_allowed() {
        use Action::{
            CheckAccess, ClaimRun, EndRun, Fetch, Inspect, Leave, ListNames, Operate, Probe, Read,
            ReadValues, Register, Report, WaitForPhase, Watch, WriteAliases, WriteValues,
        };
        let open = &[Probe, CheckAccess][..];
        let nodes = &[
            Probe,
            CheckAccess,
            Register,
            Fetch,
            Leave,
            Report,
            WaitForPhase,
            ClaimRun,
            EndRun,
        ][..];
        let views = &[Probe, CheckAccess, Inspect, Watch, WaitForPhase][..];
        // Without a namespace, a token that is limited to namespaces allows nothing about values.
        let limited = &[Probe, CheckAccess, Inspect, Watch, WaitForPhase, ListNames][..];
        let reads = &[
            Probe,
            CheckAccess,
            Inspect,
            Watch,
            WaitForPhase,
            ListNames,
            Read,
            ReadValues,
        ][..];
        let all = &[
            Probe,
            CheckAccess,
            Register,
            Fetch,
            Leave,
            Report,
            WaitForPhase,
            Inspect,
            Watch,
            Read,
            Operate,
            ReadValues,
            WriteValues,
            ListNames,
            WriteAliases,
            ClaimRun,
            EndRun,
        ][..];
        // The client's credentials, whether nodes may be anonymous, and the actions that are allowed then.
        for (presents, anonymous, allowed) in [
            ("nothing", false, open),
            ("nothing", true, nodes),
            ("token:node", false, nodes),
            ("token:web", false, nodes),
            ("token:soon", false, nodes),
            ("token:ops", false, all),
            ("token:reader", false, reads),
            ("token:team", false, limited),
            ("token:team-eye", false, limited),
            ("token:eye", false, views),
            ("token:eye", true, views),
            ("certificate:eye-1", false, views),
            ("certificate:node-1", false, nodes),
            ("certificate:ops-1", false, all),
            // The token counts, not the certificate beside it.
            ("both:node", true, nodes),
            // A wrong token allows nothing, even where no token at all would allow something.
            ("token:unknown", true, &[]),
            ("token:late", true, &[]),
            ("both:unknown", true, &[]),
        ] {
            let policy = policy(anonymous);
            for action in all {
                let decided = decide(&policy, presents, None, |principal| {
                    authorize(&policy, &principal, *action, Resource::Cluster)
                });
                let expected = allowed.contains(action);
                assert_eq!(
                    decided.is_ok(),
                    expected,
                    "{presents} {action:?}: {decided:?}"
                );
            }
        }
    }

    #[test]
    fn namespaces_of_a_token_limit_its_values() {
        let [team_a, shared, other] =
            ["team-a", "shared", "team"].map(|name| name.parse::<Namespace>().unwrap());
        let read = Action::ReadValues;
        let write = Action::WriteValues;
        // The client's credentials, the namespace, and what is allowed there.
        for (presents, namespace, allowed) in [
            ("token:ops", &team_a, &[read, write][..]),
            ("token:reader", &team_a, &[read]),
            ("token:team", &team_a, &[read, write]),
            ("token:team", &shared, &[read, write]),
            ("token:team", &other, &[]),
            ("token:team-eye", &team_a, &[read]),
            ("token:team-eye", &shared, &[]),
            ("certificate:ops-1", &other, &[read, write]),
            ("token:eye", &team_a, &[]),
            ("token:node", &team_a, &[]),
            ("nothing", &team_a, &[]),
        ] {
            let policy = policy(true);
            for action in [read, write, Action::WriteAliases, Action::Operate] {
                let decided = decide(&policy, presents, None, |principal| {
                    authorize(&policy, &principal, action, Resource::Namespace(namespace))
                });
                let is_of_values = [read, write].contains(&action);
                let expected = if is_of_values {
                    allowed.contains(&action)
                } else {
                    ["token:ops", "certificate:ops-1"].contains(&presents)
                };
                assert_eq!(
                    decided.is_ok(),
                    expected,
                    "{presents} {action:?} {namespace}: {decided:?}"
                );
            }
        }
        let denied = |presents, action, resource| {
            let policy = policy(true);
            let decided = decide(&policy, presents, None, |principal| {
                authorize(&policy, &principal, action, resource)
            });
            decided.unwrap_err().to_string()
        };
        for (presents, action, resource, expected) in [
            (
                "token:team",
                read,
                Resource::Namespace(&other),
                "the token team is for namespaces that match team-* or shared, not for team; use another token",
            ),
            (
                "token:team",
                Action::Operate,
                Resource::Cluster,
                "the token team is only for values in namespaces that match team-* or shared; use a token without \
                 `namespace=`",
            ),
            (
                "token:reader",
                write,
                Resource::Namespace(&other),
                "the token reader is for reading only; use a token without `read-only` to change anything",
            ),
        ] {
            assert_eq!(denied(presents, action, resource), expected);
        }
    }

    /// An operator may act as any node, but not with a token that is limited.
    #[test]
    fn limited_tokens_act_as_no_node() {
        let policy = policy(true);
        let identifier = "node-1".parse().unwrap();
        let node = NodeIdentity {
            identifier: &identifier,
            mode: IdentityMode::Open,
            owner: None,
        };
        for (presents, expected) in [
            ("token:ops", true),
            ("token:reader", false),
            ("token:team", false),
        ] {
            let registered = decide(&policy, presents, None, |principal| {
                authorize_registration(&policy, &principal, node)
            });
            assert_eq!(registered.is_ok(), expected, "{presents}: {registered:?}");
            for action in [Action::Fetch, Action::Leave] {
                let decided = decide(&policy, presents, None, |principal| {
                    authorize(&policy, &principal, action, Resource::Node(node))
                });
                assert_eq!(decided.is_ok(), expected, "{presents}: {decided:?}");
            }
        }
    }

    #[test]
    fn server_without_credentials_allows_everything() {
        let policy = Policy::default();
        let token = PresentedToken::from_text(b"any");
        let credentials = Credentials {
            token: Some(&token),
            certificate: Some(CertificateNames {
                alternative: &[],
                common: Some("node-1"),
            }),
            node_key: None,
        };
        let principal = authenticate(&policy, None, &credentials, || NOW).unwrap();
        assert_eq!(principal.kind(), PrincipalKind::Anybody);
        let operate = authorize(&policy, &principal, Action::Operate, Resource::Cluster);
        assert_eq!(operate, Ok(()));
    }

    /// Decides whether a client may fetch as `identifier`.
    fn fetch_as(
        presents: &str,
        node_key: Option<&str>,
        mode: IdentityMode,
        identifier: &Identifier,
        owner: Option<&str>,
    ) -> Result<(), Denial> {
        let policy = policy(true);
        let owner = owner.map(digest);
        decide(&policy, presents, node_key, |principal| {
            let node = NodeIdentity {
                identifier,
                mode,
                owner: owner.as_ref(),
            };
            authorize(&policy, &principal, Action::Fetch, Resource::Node(node))
        })
    }

    #[test]
    fn the_spec_decides_what_proves_a_nodes_identity() {
        use IdentityMode::{Certificate, FirstUse, Open, Token};
        let all = [Open, FirstUse, Certificate, Token];
        let web_1 = "web-1".parse().unwrap();
        // The client's credentials beside its own key, which key owns `web-1`, and the modes in which it is allowed.
        for (presents, owner, allowed) in [
            ("nothing", OWN_KEY, &[Open, FirstUse][..]),
            ("nothing", OTHER_KEY, &[Open]),
            ("token:node", OWN_KEY, &[Open, FirstUse]),
            ("token:node", OTHER_KEY, &[Open]),
            ("token:web", OWN_KEY, &[Open, FirstUse, Token]),
            ("token:web", OTHER_KEY, &[Open, Token]),
            ("token:ops", OTHER_KEY, &all),
            ("certificate:web-1", OWN_KEY, &[Open, FirstUse, Certificate]),
            ("certificate:web-1", OTHER_KEY, &[Open, Certificate]),
            ("certificate:web-2", OWN_KEY, &[Open, FirstUse]),
            ("certificate:*", OTHER_KEY, &[Open]),
            ("certificate:ops-1", OTHER_KEY, &all),
        ] {
            for mode in all {
                let decided = fetch_as(presents, Some(OWN_KEY), mode, &web_1, Some(owner));
                assert_eq!(
                    decided.is_ok(),
                    allowed.contains(&mode),
                    "{presents} {mode}: {decided:?}"
                );
            }
        }
    }

    /// A handler that did not look at the grant treated a node without an owner as allowed.
    #[test]
    fn only_a_registration_is_allowed_while_no_key_owns_the_identifier() {
        let web_1: Identifier = "web-1".parse().unwrap();
        let policy = policy(true);
        let node = NodeIdentity {
            identifier: &web_1,
            mode: IdentityMode::FirstUse,
            owner: None,
        };
        for action in [Action::Register, Action::Fetch, Action::Leave] {
            let decided = decide(&policy, "nothing", Some(OWN_KEY), |principal| {
                authorize(&policy, &principal, action, Resource::Node(node))
            });
            assert_eq!(decided, Err(Denial::Unclaimed(web_1.clone())), "{action:?}");
        }
        let register = |presents, key| {
            decide(&policy, presents, key, |principal| {
                authorize_registration(&policy, &principal, node)
            })
        };
        assert_eq!(
            register("nothing", Some(OWN_KEY)),
            Ok(Some(digest(OWN_KEY)))
        );
        assert_eq!(register("nothing", None), Err(Denial::NoKey(web_1.clone())));
        assert_eq!(register("token:ops", None), Ok(None));
        let fetch = |key, presents| fetch_as(presents, key, IdentityMode::FirstUse, &web_1, None);
        assert_eq!(fetch(None, "token:node"), Err(Denial::NoKey(web_1.clone())));
        assert_eq!(fetch(None, "token:ops"), Ok(()));
    }

    #[test]
    fn token_pattern_holds_in_every_mode() {
        use IdentityMode::{Certificate, FirstUse, Open, Token};
        let db_1: Identifier = "db-1".parse().unwrap();
        for mode in [Open, FirstUse, Certificate, Token] {
            let decided = fetch_as("token:web", Some(OWN_KEY), mode, &db_1, Some(OWN_KEY));
            assert!(
                matches!(decided, Err(Denial::OtherNodes { .. })),
                "{mode}: {decided:?}"
            );
        }
    }

    #[test]
    fn certificate_proves_each_of_its_names() {
        let names = ["a.example".to_owned(), "b.example".to_owned()];
        let credentials = Credentials {
            certificate: Some(CertificateNames {
                alternative: &names,
                common: Some("c.example"),
            }),
            ..Credentials::default()
        };
        let policy = policy(false);
        let principal = authenticate(&policy, None, &credentials, || NOW).unwrap();
        for (name, is_proven) in [
            ("a.example", true),
            ("b.example", true),
            ("c.example", true),
            ("d.example", false),
            ("A.example", false),
            ("example", false),
        ] {
            let identifier = name.parse().unwrap();
            let node = Resource::Node(NodeIdentity {
                identifier: &identifier,
                mode: IdentityMode::Certificate,
                owner: None,
            });
            let decided = authorize(&policy, &principal, Action::Fetch, node);
            assert_eq!(decided.is_ok(), is_proven, "{name}");
            // Logs show the name by which it was allowed.
            let shown = principal.acting_as(&identifier).to_string();
            let expected = if is_proven { name } else { "a.example" };
            assert_eq!(shown, format!("certificate {expected}"));
        }
    }

    /// The audit log showed an operator's certificate under a name that gives it no operator role.
    #[test]
    fn operator_certificate_is_logged_under_its_operator_name() {
        let names = ["web-1".to_owned(), "ops-1".to_owned()];
        let credentials = Credentials {
            certificate: Some(CertificateNames {
                alternative: &names,
                common: None,
            }),
            ..Credentials::default()
        };
        let principal = authenticate(&policy(false), None, &credentials, || NOW).unwrap();
        assert_eq!(principal.role(), Some(Role::Operator));
        let web_1 = "web-1".parse().unwrap();
        for principal in [principal, principal.acting_as(&web_1)] {
            assert_eq!(principal.to_string(), "certificate ops-1");
        }
    }
}
