//! Who may do what, and whose identifier it is: decisions on what a request brought, without a socket or a clock.

use super::{
    Pattern,
    token::{Role, Token, same},
    tokens::Tokens,
};
use cfgsync_model::{Digest, Identifier};
use cfgsync_spec::IdentityMode;
use cfgsync_support::clock::Timestamp;

/// What a request needs of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: whoever watches the server has no secrets.
    Nothing,
    /// A node, or an operator.
    Node,
    /// An operator.
    Operator,
}

/// What a request brought to show who sends it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The hash of its token.
    pub token: Option<Digest>,
    /// The names in the client certificate that its connection showed; there is one if this is there.
    pub certificate: Option<Names<'a>>,
    /// The hash of the node's own key.
    pub key: Option<Digest>,
}

/// The names in a client certificate that was verified.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Its alternative names.
    pub alternative: &'a [String],
    /// The common name of its subject.
    pub common: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// All of them.
    pub fn all(self) -> impl Iterator<Item = &'a str> {
        let alternative = self.alternative.iter().map(String::as_str);
        alternative.chain(self.common)
    }
}

/// Whom a server takes a request's sender for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal<'a> {
    /// Anybody, on a server that asks nobody for credentials.
    Anybody,
    /// Somebody without credentials, where nodes need none.
    Anonymous,
    /// The holder of a token.
    Token(&'a Token),
    /// The holder of a certificate.
    Certificate {
        /// The name that makes it an operator's, or else its first one; may be any text.
        name: &'a str,
        /// A node's, unless an operator said otherwise.
        role: Role,
    },
}

/// Why a request's sender may not do that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// A browser sent it for a page of another site, whose author may reach less than whoever looks at it (403).
    #[error(
        "a page of another site asks this of a browser that can reach this server; it answers no such pages"
    )]
    OtherSite,
    /// It brought nothing (401).
    #[error(
        "credentials are needed: {} token (join and inspect: --token-file or CFGSYNC_TOKEN; on the wire: \
         `Authorization: Bearer …`)", article(*.0)
    )]
    NoCredentials(Role),
    /// There is no such token (401).
    #[error(
        "this server does not know the token: it was revoked, or is another server's, or is cut short"
    )]
    UnknownToken,
    /// It was good once (401).
    #[error("the token {name} expired at {at}; ask an operator for a new one")]
    Expired {
        /// Which.
        name: String,
        /// When.
        at: Timestamp,
    },
    /// Something that only an operator may do (403).
    #[error("only an operator may do that, and {0} is a node's")]
    NotOperator(String),
    /// A token for other nodes (403).
    #[error("the token {name} is for nodes called {pattern}, not for {identifier}")]
    OtherNodes {
        /// Which token.
        name: String,
        /// For whom it is.
        pattern: String,
        /// Who was asked for.
        identifier: Identifier,
    },
    /// Only a token says who is who, and this one does not (403).
    #[error(
        "the spec says `identity: token`, and {who} says no names of nodes: {identifier} needs a token with an \
         `identifier=` that matches it"
    )]
    NamesNobody {
        /// Who asked.
        who: String,
        /// Who was asked for.
        identifier: Identifier,
    },
    /// Only a certificate says who is who (403).
    #[error("the spec says `identity: certificate`, and the client certificate is not that of {0}")]
    OtherCertificate(Identifier),
    /// A node must show its own key (403).
    #[error(
        "{0} needs a key of its own (the spec says `identity: first-use`); `cfgsync join` makes one, and sends it \
         as Cfgsync-Node-Key"
    )]
    NoKey(Identifier),
    /// The identifier is another's (403).
    #[error(
        "another key than this node's was the first to come as {0}, and has the name; if that machine is gone, an \
         operator gives it free: cfgsync release {0}"
    )]
    OtherKey(Identifier),
}

impl Denial {
    /// Whether another try could be the right one, so that tries must be few.
    pub fn is_a_wrong_guess(&self) -> bool {
        matches!(self, Self::UnknownToken | Self::OtherKey(_))
    }
}

/// Whether a node may act under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Known,
    /// It may register, which makes the name its own. Until then it is as good as unregistered.
    Unclaimed,
}

/// What an operator chose, beside the tokens.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Nodes need no credentials.
    pub allow_anonymous: bool,
    /// Whether client certificates are verified: one is then a node's credentials.
    pub certificates: bool,
    /// Certificates with such a name are operators'.
    pub operator_certificates: Vec<Pattern>,
}

/// Whom the sender of a request is taken for. `tokens` is `None` on a server that has no file of them. A token that was
/// sent counts, and nothing else beside it: a wrong one is never passed over. The time is asked for where one expires.
///
/// # Errors
/// The answer, and the way out.
pub fn identify<'a>(
    policy: &Policy,
    tokens: Option<&'a Tokens>,
    credentials: &Credentials<'a>,
    now: impl FnOnce() -> Timestamp,
) -> Result<Principal<'a>, Denial> {
    if let (Some(tokens), Some(hash)) = (tokens, &credentials.token) {
        let token = tokens.find(hash).ok_or(Denial::UnknownToken)?;
        if let Some(at) = token.expires.filter(|at| *at <= now()) {
            let name = token.name.clone();
            return Err(Denial::Expired { name, at });
        }
        return Ok(Principal::Token(token));
    }
    if let Some(names) = credentials.certificate {
        let is_operators = |name: &str| {
            let mut patterns = policy.operator_certificates.iter();
            patterns.any(|pattern| pattern.matches(name))
        };
        let (name, role) = match names.all().find(|name| is_operators(name)) {
            Some(name) => (Some(name), Role::Operator),
            None => (names.all().next(), Role::Node),
        };
        let name = name.unwrap_or("without a name");
        return Ok(Principal::Certificate { name, role });
    }
    match tokens.is_none() && !policy.certificates {
        true => Ok(Principal::Anybody),
        false => Ok(Principal::Anonymous),
    }
}

/// Whether `principal` may do what needs `need`.
///
/// # Errors
/// The answer, and the way out.
pub fn authorize(policy: &Policy, principal: Principal<'_>, need: Need) -> Result<(), Denial> {
    match (need, principal.role()) {
        (Need::Nothing, _) | (_, None | Some(Role::Operator)) => Ok(()),
        (Need::Node, _) if principal != Principal::Anonymous || policy.allow_anonymous => Ok(()),
        (Need::Node, _) => Err(Denial::NoCredentials(Role::Node)),
        (Need::Operator, _) if principal == Principal::Anonymous => {
            Err(Denial::NoCredentials(Role::Operator))
        }
        (Need::Operator, _) => Err(Denial::NotOperator(principal.to_string())),
    }
}

/// Whether `principal` may act as the node `identifier`, whose name `owner` has, if anybody has.
///
/// A token's own pattern holds in every mode. Operators who have shown that they are may act for any node.
///
/// # Errors
/// The answer, and the way out.
pub fn may_be(
    mode: IdentityMode,
    principal: Principal<'_>,
    credentials: &Credentials<'_>,
    identifier: &Identifier,
    owner: Option<&Digest>,
) -> Result<Standing, Denial> {
    if principal.role() == Some(Role::Operator) {
        return Ok(Standing::Known);
    }
    let names = match principal {
        Principal::Token(token) => token.identifier.as_ref().map(|pattern| (token, pattern)),
        _ => None,
    };
    if let Some((token, pattern)) = names
        && !pattern.matches(identifier.as_str())
    {
        return Err(Denial::OtherNodes {
            name: token.name.clone(),
            pattern: pattern.to_string(),
            identifier: identifier.clone(),
        });
    }
    match mode {
        IdentityMode::Open => Ok(Standing::Known),
        IdentityMode::Token if names.is_some() => Ok(Standing::Known),
        IdentityMode::Token => Err(Denial::NamesNobody {
            who: principal.to_string(),
            identifier: identifier.clone(),
        }),
        IdentityMode::Certificate => {
            let mut own = credentials.certificate.iter().flat_map(|names| names.all());
            match own.any(|name| name == identifier.as_str()) {
                true => Ok(Standing::Known),
                false => Err(Denial::OtherCertificate(identifier.clone())),
            }
        }
        IdentityMode::FirstUse => match (&credentials.key, owner) {
            (None, _) => Err(Denial::NoKey(identifier.clone())),
            (Some(_), None) => Ok(Standing::Unclaimed),
            (Some(key), Some(owner)) if same(key, owner) => Ok(Standing::Known),
            (Some(_), Some(_)) => Err(Denial::OtherKey(identifier.clone())),
        },
    }
}

impl<'a> Principal<'a> {
    /// The same who acts as `identifier`: a node's certificate is called by that name, if it has it.
    #[must_use]
    pub fn acting_as(self, credentials: &Credentials<'a>, identifier: &Identifier) -> Self {
        let mut names = credentials.certificate.iter().flat_map(|names| names.all());
        match (self, names.find(|name| *name == identifier.as_str())) {
            (Self::Certificate { role, .. }, Some(name)) if role == Role::Node => {
                Self::Certificate { name, role }
            }
            _ => self,
        }
    }

    /// What it has shown that it may do; nobody showed anything where nobody is asked.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Anybody => None,
            Self::Anonymous => Some(Role::Node),
            Self::Token(token) => Some(token.role),
            Self::Certificate { role, .. } => Some(role),
        }
    }
}

/// As logs and messages call it.
impl std::fmt::Display for Principal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anybody => f.write_str("anybody"),
            Self::Anonymous => f.write_str("anonymous"),
            Self::Token(token) => write!(f, "token {}", token.name),
            // A certificate's text is its owner's.
            Self::Certificate { name, .. } => write!(f, "certificate {}", name.escape_debug()),
        }
    }
}

fn article(role: Role) -> &'static str {
    match role {
        Role::Node => "a node's",
        Role::Operator => "an operator's",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

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
        }
    }

    /// What each principal is called, by what it brings.
    fn who(brings: &str) -> (Option<Digest>, Vec<String>) {
        match brings.split_once(':') {
            Some(("token", name)) => (Some(digest(name)), vec![]),
            Some(("certificate", name)) => (None, vec![name.to_owned()]),
            Some(("both", name)) => (Some(digest(name)), vec!["ops-1".to_owned()]),
            _ => (None, vec![]),
        }
    }

    /// What `judge` says of it.
    fn identified<R>(
        policy: &Policy,
        brings: &str,
        judge: impl FnOnce(Principal<'_>) -> Result<R, Denial>,
    ) -> Result<R, Denial> {
        let (token, names) = who(brings);
        let certificate = (!names.is_empty()).then_some(Names {
            alternative: &names,
            common: None,
        });
        let credentials = Credentials {
            token,
            certificate,
            key: None,
        };
        let tokens = tokens();
        judge(identify(policy, Some(&tokens), &credentials, || NOW)?)
    }

    #[test]
    fn who_somebody_is_decides_what_they_may() {
        use Need::{Node, Nothing, Operator};
        // What is brought, whether nodes may be anonymous, and what may be done with it.
        for (brings, anonymous, may) in [
            ("nothing", false, &[Nothing][..]),
            ("nothing", true, &[Nothing, Node]),
            ("token:node", false, &[Nothing, Node]),
            ("token:web", false, &[Nothing, Node]),
            ("token:soon", false, &[Nothing, Node]),
            ("token:ops", false, &[Nothing, Node, Operator]),
            ("certificate:node-1", false, &[Nothing, Node]),
            ("certificate:ops-1", false, &[Nothing, Node, Operator]),
            // The token counts, not what else there is.
            ("both:node", true, &[Nothing, Node]),
            // And a wrong one opens nothing, where nothing would have opened something.
            ("token:unknown", true, &[]),
            ("token:late", true, &[]),
            ("both:unknown", true, &[]),
        ] {
            let policy = policy(anonymous);
            for need in [Nothing, Node, Operator] {
                let let_in = identified(&policy, brings, |who| authorize(&policy, who, need));
                assert_eq!(let_in.is_ok(), may.contains(&need), "{brings} {need:?}");
            }
        }
    }

    #[test]
    fn a_server_that_asks_nobody_lets_everybody_in() {
        let policy = Policy::default();
        let credentials = Credentials {
            token: Some(digest("any")),
            ..Credentials::default()
        };
        let anybody = identify(&policy, None, &credentials, || NOW).unwrap();
        assert_eq!(anybody, Principal::Anybody);
        assert_eq!(authorize(&policy, anybody, Need::Operator), Ok(()));
    }

    #[test]
    fn names_are_whose_the_spec_says() {
        use IdentityMode::{Certificate, FirstUse, Open, Token};
        let all = [Open, FirstUse, Certificate, Token];
        let (own, other) = (digest("own key"), digest("other key"));
        // What is brought, which key owns `web-1`, and in which modes the sender may act as it with its own key.
        for (brings, owner, known) in [
            ("nothing", Some(own), &[Open, FirstUse][..]),
            ("nothing", Some(other), &[Open]),
            ("token:node", Some(own), &[Open, FirstUse]),
            ("token:node", Some(other), &[Open]),
            ("token:web", Some(own), &[Open, FirstUse, Token]),
            ("token:web", Some(other), &[Open, Token]),
            ("token:ops", Some(other), &all),
            (
                "certificate:web-1",
                Some(own),
                &[Open, FirstUse, Certificate],
            ),
            ("certificate:web-1", Some(other), &[Open, Certificate]),
            ("certificate:web-2", Some(own), &[Open, FirstUse]),
            ("certificate:*", Some(other), &[Open]),
            ("certificate:ops-1", Some(other), &all),
        ] {
            let (_, names) = who(brings);
            let credentials = Credentials {
                token: None,
                certificate: (!names.is_empty()).then_some(Names {
                    alternative: &names,
                    common: None,
                }),
                key: Some(own),
            };
            let web_1 = "web-1".parse().unwrap();
            for mode in all {
                let may = identified(&policy(true), brings, |principal| {
                    may_be(mode, principal, &credentials, &web_1, owner.as_ref())
                });
                let expected = known.contains(&mode);
                assert_eq!(
                    may == Ok(Standing::Known),
                    expected,
                    "{brings} {mode}: {may:?}"
                );
                assert_ne!(may, Ok(Standing::Unclaimed), "{brings} {mode}");
            }
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_for_who_registers_with_a_key() {
        let web_1 = "web-1".parse().unwrap();
        let with = |key: Option<Digest>, brings: &str| {
            let credentials = Credentials {
                key,
                ..Credentials::default()
            };
            identified(&policy(true), brings, |principal| {
                let mode = IdentityMode::FirstUse;
                may_be(mode, principal, &credentials, &web_1, None)
            })
        };
        assert_eq!(with(Some(digest("k")), "nothing"), Ok(Standing::Unclaimed));
        assert_eq!(with(None, "token:node"), Err(Denial::NoKey(web_1.clone())));
        assert_eq!(with(None, "token:ops"), Ok(Standing::Known));
    }

    #[test]
    fn a_tokens_pattern_holds_in_every_mode() {
        use IdentityMode::{Certificate, FirstUse, Open, Token};
        let db_1: Identifier = "db-1".parse().unwrap();
        for mode in [Open, FirstUse, Certificate, Token] {
            let names = ["db-1".to_owned()];
            let credentials = Credentials {
                token: None,
                certificate: Some(Names {
                    alternative: &names,
                    common: Some("db-1"),
                }),
                key: Some(digest("k")),
            };
            let may = identified(&policy(true), "token:web", |principal| {
                may_be(mode, principal, &credentials, &db_1, Some(&digest("k")))
            });
            assert!(
                matches!(may, Err(Denial::OtherNodes { .. })),
                "{mode}: {may:?}"
            );
        }
    }

    #[test]
    fn a_certificate_is_its_holders_by_any_of_its_names() {
        let names = ["a.example".to_owned(), "b.example".to_owned()];
        let all = Names {
            alternative: &names,
            common: Some("c.example"),
        };
        let credentials = Credentials {
            certificate: Some(all),
            ..Credentials::default()
        };
        let principal = identify(&policy(false), None, &credentials, || NOW).unwrap();
        for (name, is_its) in [
            ("a.example", true),
            ("b.example", true),
            ("c.example", true),
            ("d.example", false),
            ("A.example", false),
            ("example", false),
        ] {
            let identifier = name.parse().unwrap();
            let mode = IdentityMode::Certificate;
            let may = may_be(mode, principal, &credentials, &identifier, None);
            assert_eq!(may.is_ok(), is_its, "{name}");
            // It is called by the name that let it in.
            let called = principal.acting_as(&credentials, &identifier).to_string();
            let expected = if is_its { name } else { "a.example" };
            assert_eq!(called, format!("certificate {expected}"));
        }
    }

    /// An operator's certificate of several names was audited under one that is no operator's.
    #[test]
    fn an_operators_certificate_is_called_by_the_name_that_makes_it_one() {
        let names = ["web-1".to_owned(), "ops-1".to_owned()];
        let credentials = Credentials {
            certificate: Some(Names {
                alternative: &names,
                common: None,
            }),
            ..Credentials::default()
        };
        let principal = identify(&policy(false), None, &credentials, || NOW).unwrap();
        assert_eq!(principal.role(), Some(Role::Operator));
        let web_1 = "web-1".parse().unwrap();
        for principal in [principal, principal.acting_as(&credentials, &web_1)] {
            assert_eq!(principal.to_string(), "certificate ops-1");
        }
    }
}
