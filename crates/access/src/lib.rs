//! Who may do what: tokens and their roles, whose identifier it is, how often an address may ask, and the log of it
//! all.
//!
//! [`identify`], [`authorize`] and [`may_be`] decide, and are nothing but decisions. [`Guard`] is what a server holds: the tokens
//! of the moment, what the operator chose, the counts by address and the audit log.

mod pattern;
mod token;
mod tokens;
mod decide;
mod rate;
mod line;
mod audit;

pub use audit::{Audit, AuditTarget, AuditUnavailable};
pub use decide::{
    Credentials, Denial, Names, Need, Policy, Principal, Standing, authorize, identify, may_be,
};
pub use line::{AuditLine, AuditOutcome};
pub use pattern::{InvalidPattern, Pattern};
pub use rate::{Rate, counted_as};
pub use token::{Role, Token, hash, new_secret};
pub use tokens::{Tokens, TokensError, check_name};

use std::{fmt, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use arc_swap::ArcSwap;

pub use cfgsync_spec::IdentityMode;

use cfgsync_support::clock::WallClock;
use rate::PerAddress;

/// So many credentials of one address may be wrong, and so many of its denials are told; then one a second.
const FAILURES: Rate = Rate {
    per_second: NonZeroU32::MIN,
    burst: NonZeroU32::new(20).expect("not zero"),
};

/// What a server is to heed.
#[derive(Debug)]
pub struct GuardConfig {
    /// The tokens it accepts; `None` if it was given no file of them.
    pub tokens: Option<Tokens>,
    /// What the operator chose beside them.
    pub policy: Policy,
    /// How often an address may ask; `None` is as often as it likes.
    pub rate: Option<Rate>,
    /// Where changes and refusals are noted.
    pub audit: Option<Audit>,
    /// The wall clock, for tokens that expire.
    pub clock: WallClock,
}

/// What a server holds to judge requests by. Cloning is cheap; the default lets everybody do everything.
#[derive(Clone)]
pub struct Guard {
    shared: Arc<Shared>,
}

struct Shared {
    tokens: Option<ArcSwap<Tokens>>,
    policy: Policy,
    rate: Option<PerAddress>,
    failures: PerAddress,
    audit: Option<Audit>,
    clock: WallClock,
}

/// The spec asks who is who, and this server asks nobody for anything that could tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotTell {
    /// No credentials at all: whoever comes could ask as an operator.
    #[error(
        "the spec says `identity: {0}`, but whoever reaches this server may do what operators may"
    )]
    Nobody(IdentityMode),
    /// No certificates.
    #[error("the spec says `identity: certificate`, but this server asks nobody for a certificate")]
    Certificates,
    /// No tokens.
    #[error("the spec says `identity: token`, but this server accepts no tokens")]
    Tokens,
}

impl Guard {
    /// A guard that heeds `config`.
    pub fn new(config: GuardConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                tokens: config.tokens.map(ArcSwap::from_pointee),
                policy: config.policy,
                rate: config.rate.map(PerAddress::new),
                failures: PerAddress::new(FAILURES),
                audit: config.audit,
                clock: config.clock,
            }),
        }
    }

    /// Whether anybody is asked for credentials.
    pub fn asks(&self) -> bool {
        self.shared.tokens.is_some() || self.shared.policy.certificates
    }

    /// Whether it can tell who is who, as a spec wants it.
    ///
    /// # Errors
    /// What is missing.
    pub fn can_tell(&self, mode: IdentityMode) -> Result<(), CannotTell> {
        match mode {
            IdentityMode::Open => Ok(()),
            IdentityMode::Certificate if !self.shared.policy.certificates => {
                Err(CannotTell::Certificates)
            }
            IdentityMode::Token if self.shared.tokens.is_none() => Err(CannotTell::Tokens),
            mode if !self.asks() => Err(CannotTell::Nobody(mode)),
            IdentityMode::Certificate | IdentityMode::Token | IdentityMode::FirstUse => Ok(()),
        }
    }

    /// Takes other tokens from now on. Nothing if the server was started without a file of them.
    pub fn set_tokens(&self, tokens: Tokens) {
        if let Some(held) = &self.shared.tokens {
            held.store(Arc::new(tokens));
        }
    }

    /// Counts a request of `address`; if that was one too many, how long it is to wait.
    ///
    /// # Errors
    /// How long.
    pub fn count(&self, address: IpAddr) -> Result<(), Duration> {
        match &self.shared.rate {
            Some(rate) => rate.take(address),
            None => Ok(()),
        }
    }

    /// Counts what `address` was denied, likewise.
    ///
    /// # Errors
    /// How long.
    pub fn count_failure(&self, address: IpAddr) -> Result<(), Duration> {
        self.shared.failures.take(address)
    }

    /// See [`identify`]: by the tokens and the time of now. The answer is what `judge` says of the principal, which
    /// is borrowed from these tokens: no reference is counted that all processors share.
    ///
    /// # Errors
    /// See there, and what `judge` says.
    pub fn identify<R>(
        &self,
        credentials: &Credentials<'_>,
        judge: impl FnOnce(Principal<'_>) -> Result<R, Denial>,
    ) -> Result<R, Denial> {
        let tokens = self.shared.tokens.as_ref().map(ArcSwap::load);
        let tokens = tokens.as_ref().map(|tokens| &***tokens);
        let now = || self.shared.clock.now();
        judge(identify(&self.shared.policy, tokens, credentials, now)?)
    }

    /// See [`authorize`].
    ///
    /// # Errors
    /// See there.
    pub fn authorize(&self, principal: Principal<'_>, need: Need) -> Result<(), Denial> {
        authorize(&self.shared.policy, principal, need)
    }

    /// Where changes and refusals are noted.
    pub fn audit(&self) -> Option<&Audit> {
        self.shared.audit.as_ref()
    }

    /// A line on what this server does now, by itself or at a signal.
    pub fn line(&self, what: &str) -> AuditLine {
        AuditLine::of_the_server(self.shared.clock.now(), what)
    }

    /// Before that is done: see [`Audit::asked`].
    ///
    /// # Errors
    /// See there.
    pub async fn announces(&self, line: &AuditLine) -> Result<(), AuditUnavailable> {
        match self.audit() {
            Some(audit) => {
                let asked = || line.clone().ending(AuditOutcome::Asked, None);
                audit.asked(asked).await
            }
            None => Ok(()),
        }
    }

    /// Afterwards, or instead: see [`Audit::note`].
    pub fn notes(&self, line: AuditLine) {
        if let Some(audit) = self.audit() {
            audit.note(line);
        }
    }

    /// The wall clock.
    pub fn clock(&self) -> &WallClock {
        &self.shared.clock
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new(GuardConfig {
            tokens: None,
            policy: Policy::default(),
            rate: None,
            audit: None,
            clock: WallClock::system(),
        })
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}
