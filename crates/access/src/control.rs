//! The state that a server decides with: the current tokens, the policy, the rates and the audit log.

use std::{fmt, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use cfgsync_model::Digest;
use cfgsync_spec::IdentityMode;
use cfgsync_support::clock::{Timestamp, WallClock};
use tokio::sync::watch;

use super::{
    Action, AuditLine, AuditLog, AuditOutcome, AuditUnavailable, Credentials, Denial, NodeIdentity,
    Policy, Principal, PrincipalKind, Rate, Resource, Tokens, decisions, rates::AddressRates,
    refusal_lines::RefusalLines,
};

/// How many wrong credentials, and how many reported denials, one address may cause at once; then one per second.
const FAILURE_RATE: Rate = Rate {
    per_second: NonZeroU32::MIN,
    burst: NonZeroU32::new(20).expect("not zero"),
};

/// The settings of an [`AccessControl`].
#[derive(Debug)]
pub struct AccessConfig {
    /// The accepted tokens; `None` if the server has no tokens file.
    pub tokens: Option<Tokens>,
    /// The operator's other settings.
    pub policy: Policy,
    /// The request rate of each client address; `None` means unlimited.
    pub rate: Option<Rate>,
    /// The log of changes and denials; `None` if there is none.
    pub audit: Option<AuditLog>,
    /// The clock by which tokens expire and audit lines are dated.
    pub clock: WallClock,
}

impl Default for AccessConfig {
    /// Returns settings without tokens, certificates, limits and log: everything is allowed.
    fn default() -> Self {
        Self {
            tokens: None,
            policy: Policy::default(),
            rate: None,
            audit: None,
            clock: WallClock::system(),
        }
    }
}

/// Authenticates and authorizes requests, limits their rate, and keeps the audit log. Cloning is cheap, and clones
/// share everything.
#[derive(Clone)]
pub struct AccessControl {
    shared: Arc<Shared>,
}

struct Shared {
    tokens: Option<ArcSwap<Tokens>>,
    tokens_changed: watch::Sender<()>,
    policy: Policy,
    rate: Option<AddressRates>,
    failures: AddressRates,
    refusal_lines: RefusalLines,
    audit: Option<AuditLog>,
    clock: WallClock,
}

/// The reason why the server cannot verify the identity that the spec's `identity:` requires.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityUnsupported {
    /// The server requires no credentials, so every client has the rights of an operator.
    #[error(
        "the spec says `identity: {0}`, but this server requires no credentials, so every client has the rights of an \
         operator"
    )]
    NoCredentials(IdentityMode),
    /// The server verifies no client certificates.
    #[error(
        "the spec says `identity: certificate`, but this server verifies no client certificates"
    )]
    NoCertificates,
    /// The server has no tokens file.
    #[error("the spec says `identity: token`, but this server has no tokens")]
    NoTokens,
}

impl AccessControl {
    /// Returns an access control with these settings.
    pub fn new(config: AccessConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                tokens: config.tokens.map(ArcSwap::from_pointee),
                tokens_changed: watch::Sender::new(()),
                policy: config.policy,
                rate: config.rate.map(AddressRates::new),
                failures: AddressRates::new(FAILURE_RATE),
                refusal_lines: RefusalLines::new(),
                audit: config.audit,
                clock: config.clock,
            }),
        }
    }

    /// Returns whether the server knows any credentials at all. If not, every client may do everything.
    pub fn requires_credentials(&self) -> bool {
        self.shared.tokens.is_some() || self.shared.policy.certificates
    }

    /// Checks that the server can verify the identity of nodes as `mode` requires.
    ///
    /// # Errors
    /// The kind of credentials that the server lacks.
    pub fn check_identity_mode(&self, mode: IdentityMode) -> Result<(), IdentityUnsupported> {
        match mode {
            IdentityMode::Open => Ok(()),
            IdentityMode::Certificate if !self.shared.policy.certificates => {
                Err(IdentityUnsupported::NoCertificates)
            }
            IdentityMode::Token if self.shared.tokens.is_none() => {
                Err(IdentityUnsupported::NoTokens)
            }
            mode if !self.requires_credentials() => Err(IdentityUnsupported::NoCredentials(mode)),
            IdentityMode::Certificate | IdentityMode::Token | IdentityMode::FirstUse => Ok(()),
        }
    }

    /// Replaces the accepted tokens. Does nothing if the server was started without a tokens file.
    pub fn set_tokens(&self, mut tokens: Tokens) {
        if let Some(current) = &self.shared.tokens {
            tokens.take_uses(&current.load());
            current.store(Arc::new(tokens));
            self.shared.tokens_changed.send_replace(());
        }
    }

    /// Returns a receiver that is marked changed after each call of [`Self::set_tokens`].
    pub fn tokens_changed(&self) -> watch::Receiver<()> {
        self.shared.tokens_changed.subscribe()
    }

    /// Returns the names and expiry times of the tokens that expire first, at most `max`.
    pub fn expiring_tokens(&self, max: usize) -> Vec<(String, Timestamp)> {
        let tokens = self.shared.tokens.as_ref().map(ArcSwap::load);
        let mut expiring = tokens.map_or_else(Vec::new, |tokens| tokens.expiring());
        expiring.sort_by(|(name, at), (other, other_at)| (at, name).cmp(&(other_at, other)));
        expiring.truncate(max);
        expiring
    }

    /// Counts a request of `address` against its rate.
    ///
    /// # Errors
    /// If the rate is exceeded: how long the client must wait.
    pub fn check_rate(&self, address: IpAddr) -> Result<(), Duration> {
        match &self.shared.rate {
            Some(rate) => rate.check(address),
            None => Ok(()),
        }
    }

    /// Counts a denial of `address` against the rate of reported denials and of attempts with wrong credentials.
    ///
    /// # Errors
    /// If the rate is exceeded: how long the client must wait.
    pub fn check_failure_rate(&self, address: IpAddr) -> Result<(), Duration> {
        self.shared.failures.check(address)
    }

    /// Returns the current tokens; `None` if the server was started without a tokens file.
    pub fn tokens(&self) -> Option<Arc<Tokens>> {
        self.shared.tokens.as_ref().map(ArcSwap::load_full)
    }

    /// Authenticates by the current tokens and the current time, see [`super::authenticate`], notes the use of a token by
    /// the address `from`, and passes the principal to `decide`. The principal borrows from the current tokens, which keeps a reference count that all
    /// cores would share out of the hot path.
    ///
    /// # Errors
    /// If authentication fails, or the error of `decide`.
    pub fn authenticate<R>(
        &self,
        credentials: &Credentials<'_>,
        from: IpAddr,
        decide: impl FnOnce(Principal<'_>) -> Result<R, Denial>,
    ) -> Result<R, Denial> {
        let tokens = self.shared.tokens.as_ref().map(ArcSwap::load);
        let tokens = tokens.as_ref().map(|tokens| &***tokens);
        let now = || self.shared.clock.now();
        let policy = &self.shared.policy;
        let principal = decisions::authenticate(policy, tokens, credentials, now)?;
        if let (PrincipalKind::Token(token), Some(tokens)) = (principal.kind(), tokens) {
            tokens.note_use(&token.hash, now(), from);
        }
        decide(principal)
    }

    /// Decides whether `principal` may do `action` to `resource`, see [`super::authorize`].
    ///
    /// # Errors
    /// The reason for the denial.
    pub fn authorize(
        &self,
        principal: &Principal<'_>,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<(), Denial> {
        decisions::authorize(&self.shared.policy, principal, action, resource)
    }

    /// Decides whether `principal` may register as `node`, see [`super::authorize_registration`].
    ///
    /// # Errors
    /// The reason for the denial.
    pub fn authorize_registration(
        &self,
        principal: &Principal<'_>,
        node: NodeIdentity<'_>,
    ) -> Result<Option<Digest>, Denial> {
        decisions::authorize_registration(&self.shared.policy, principal, node)
    }

    /// The audit log, if the server keeps one.
    pub fn audit(&self) -> Option<&AuditLog> {
        self.shared.audit.as_ref()
    }

    /// Returns an audit line, dated now, for something that the server does by itself or on a signal.
    pub fn server_line(&self, what: &str) -> AuditLine {
        AuditLine::for_server(self.shared.clock.now(), what)
    }

    /// Announces a change before it is made, see [`AuditLog::write_ahead`].
    ///
    /// # Errors
    /// If the log is required and cannot be written. The change must not be made then.
    pub async fn announce(&self, line: &AuditLine) -> Result<(), AuditUnavailable> {
        match self.audit() {
            Some(audit) => {
                let announcement = || line.clone().with_outcome(AuditOutcome::Asked, None);
                audit.write_ahead(announcement).await
            }
            None => Ok(()),
        }
    }

    /// Logs the end of an operation, or its refusal, see [`AuditLog::record`]. Refusals of a client's requests are
    /// limited for each address and in all. The next recorded one says how many were left out.
    pub fn record(&self, mut line: AuditLine) {
        let Some(audit) = self.audit() else {
            return;
        };
        if line.outcome == AuditOutcome::Refused
            && let Some(address) = line.from
        {
            match self.shared.refusal_lines.record(address) {
                Some(left_out) => line.left_out = left_out,
                None => return,
            }
        }
        audit.record(&line);
    }

    /// The clock by which tokens expire and audit lines are dated.
    pub fn clock(&self) -> &WallClock {
        &self.shared.clock
    }
}

impl Default for AccessControl {
    /// Returns an access control that allows everything, see [`AccessConfig::default`].
    fn default() -> Self {
        Self::new(AccessConfig::default())
    }
}

impl fmt::Debug for AccessControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessControl")
    }
}
