//! Who may do what on a server: tokens, operators' certificates, rates, the audit log; and what of it is read again.

use std::{num::NonZeroU32, path::PathBuf};

use cfgsync_access::{
    AccessConfig, AccessControl, AuditLog, AuditOutcome, AuditTarget, IdentityUnsupported, Pattern,
    Policy, Rate, Tokens, TokensError,
};
use cfgsync_support::clock::WallClock;
use clap::Args;

use super::beside::read_beside;

/// Who may do what.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(super) struct AccessArgs {
    /// The tokens that open this server, one line each (see `cfgsync token new`); SIGHUP reads them again
    #[arg(long, env = "CFGSYNC_TOKENS", value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// A client certificate with such a name is an operator's (`*` is anything); repeat it for more
    #[arg(long, env = "CFGSYNC_OPERATOR_CERT", value_name = "PATTERN")]
    operator_cert: Vec<Pattern>,
    /// Nodes need no credentials. Where nobody is asked for any, operators need none either, beyond loopback as well
    #[arg(long, env = "CFGSYNC_ALLOW_ANONYMOUS")]
    allow_anonymous: bool,
    /// Write a line for each change, refusal and first delivery to this file, or to stdout (`-`); SIGHUP opens it again
    #[arg(long, env = "CFGSYNC_AUDIT_LOG", value_name = "FILE", value_parser = target)]
    audit_log: Option<AuditTarget>,
    /// Change nothing that the audit log cannot take: each change is on disk there before it is made
    #[arg(long, env = "CFGSYNC_AUDIT_REQUIRED")]
    audit_required: bool,
    /// Requests and TLS handshakes of one address in a second, once its burst is used up; 0 is as many as it likes
    #[arg(
        long,
        env = "CFGSYNC_RATE_MAX",
        value_name = "COUNT",
        default_value = "2000"
    )]
    rate_max: u32,
    /// Requests and TLS handshakes of one address at once: enough for ten thousand nodes behind it to boot
    #[arg(
        long,
        env = "CFGSYNC_RATE_BURST",
        value_name = "COUNT",
        default_value = "60000"
    )]
    rate_burst: NonZeroU32,
    /// Requests that are held for one node at a time; more are answered at once
    #[arg(
        long,
        env = "CFGSYNC_WAITERS_PER_NODE_MAX",
        value_name = "COUNT",
        default_value = "8",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(super) waiters_per_node_max: u16,
}

/// Why a server cannot guard itself as it was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    /// A file of tokens that cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The audit log cannot be opened.
    #[error("cannot open the audit log {target}: {error}")]
    Audit {
        /// Where it should be.
        target: AuditTarget,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// Operators' certificates, where nobody is asked for one.
    #[error("--operator-cert needs --client-ca FILE, by which clients' certificates are verified")]
    NoAuthority,
    /// An audit log is required, and there is none.
    #[error("--audit-required needs --audit-log FILE")]
    NoAudit,
    /// The spec wants to know who is who.
    #[error(transparent)]
    IdentityUnsupported(#[from] IdentityUnsupported),
}

impl AccessArgs {
    /// Whether others than this machine may reach the server: they are asked for credentials, or somebody said so.
    pub(super) fn may_be_exposed(&self) -> bool {
        self.allow_anonymous || self.tokens.is_some()
    }

    /// A guard as it was told. `certificates` says whether client certificates are verified.
    pub(super) fn guard(&self, certificates: bool) -> Result<AccessControl, AccessError> {
        let tokens = self.tokens.as_deref().map(Tokens::load).transpose()?;
        if let (Some(tokens), Some(path)) = (&tokens, &self.tokens)
            && tokens.count() == 0
        {
            let path = path.display();
            tracing::warn!("{path} holds no token: nobody can come in with one");
        }
        if !self.operator_cert.is_empty() && !certificates {
            return Err(AccessError::NoAuthority);
        }
        if self.audit_required && self.audit_log.is_none() {
            return Err(AccessError::NoAudit);
        }
        let audit = self.audit_log.as_ref().map(|target| {
            AuditLog::open(target.clone(), self.audit_required).map_err(|error| {
                AccessError::Audit {
                    target: target.clone(),
                    error,
                }
            })
        });
        let rate = NonZeroU32::new(self.rate_max).map(|per_second| Rate {
            per_second,
            burst: self.rate_burst,
        });
        Ok(AccessControl::new(AccessConfig {
            tokens,
            policy: Policy {
                allow_anonymous: self.allow_anonymous,
                certificates,
                operator_certificates: self.operator_cert.clone(),
            },
            rate,
            audit: audit.transpose()?,
            clock: WallClock::system(),
        }))
    }

    /// Reads the tokens again, and opens the audit log again. The last good tokens stay if there is a mistake.
    pub(super) async fn reread(&self, guard: &AccessControl) {
        if let Some(audit) = guard.audit() {
            audit.reopen().await;
        }
        let Some(path) = self.tokens.clone() else {
            return;
        };
        let shown = path.display().to_string();
        let (reason, problem) = match read_beside(move || Tokens::load(&path)).await {
            Ok(Ok(tokens)) => {
                let line = guard
                    .server_line("tokens")
                    .with_hash("tokens", tokens.digest());
                match guard.announce(&line).await {
                    Ok(()) => {
                        let count = tokens.count();
                        guard.set_tokens(tokens);
                        tracing::info!("SIGHUP: {shown} is read again; it holds {count} tokens");
                        guard.record(line);
                        return;
                    }
                    Err(error) => ("audit", format!(" {error}")),
                }
            }
            Ok(Err(error)) => ("mistake", format!("\n{error}")),
            Err(problem) => ("mistake", format!(" {problem}")),
        };
        tracing::error!("SIGHUP: the last good tokens stay in force:{problem}");
        let line = guard.server_line("tokens");
        guard.record(line.with_outcome(AuditOutcome::Refused, Some(reason)));
    }
}

fn target(text: &str) -> Result<AuditTarget, String> {
    match text {
        "" => Err("expected a file, or `-` for stdout".to_owned()),
        "-" => Ok(AuditTarget::Stdout),
        path => Ok(AuditTarget::File(path.into())),
    }
}
