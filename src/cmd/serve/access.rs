//! Access to a server: tokens, operators' certificates, request rates and the audit log; and how they are reloaded.

use std::{num::NonZeroU32, path::PathBuf};

use cfgsync_access::{
    AccessConfig, AccessControl, AuditLog, AuditOutcome, AuditTarget, IdentityUnsupported, Pattern,
    Policy, Rate, Tokens, TokensError,
};
use cfgsync_support::clock::WallClock;
use cfgsync_wire::{ReloadOutcome, ReloadPart, ReloadedPart};
use clap::Args;

use super::{
    blocking::read_blocking,
    cause::{Cause, after_colon},
};
use crate::cmd::progress::counted;

/// Access to the server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(super) struct AccessArgs {
    /// The file of accepted tokens (see `cfgsync token new`); read again on SIGHUP
    #[arg(long, env = "CFGSYNC_TOKENS", value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Give the role of an operator to client certificates with this name; `*` matches any text; repeatable
    #[arg(long, env = "CFGSYNC_OPERATOR_CERT", value_name = "PATTERN")]
    operator_cert: Vec<Pattern>,
    /// Give the role of a viewer to client certificates with this name; `*` matches any text; repeatable
    #[arg(long, env = "CFGSYNC_VIEWER_CERT", value_name = "PATTERN")]
    viewer_cert: Vec<Pattern>,
    /// Accept nodes without credentials; without --tokens and --client-ca, every client may also act as an operator
    #[arg(long, env = "CFGSYNC_ALLOW_ANONYMOUS")]
    allow_anonymous: bool,
    /// Write each change, refusal and first delivery to this file, or to stdout (`-`); reopened on SIGHUP
    #[arg(long, env = "CFGSYNC_AUDIT_LOG", value_name = "FILE", value_parser = target)]
    audit_log: Option<AuditTarget>,
    /// Write each change to the audit log on disk before it takes effect, and refuse it if that fails
    #[arg(long, env = "CFGSYNC_AUDIT_REQUIRED")]
    audit_required: bool,
    /// Most requests and TLS handshakes per second from one address, after its burst; 0 means no limit
    #[arg(
        long,
        env = "CFGSYNC_RATE_MAX",
        value_name = "COUNT",
        default_value = "2000"
    )]
    rate_max: u32,
    /// Burst of requests and TLS handshakes from one address; the default lets 10,000 nodes behind NAT boot at once
    #[arg(
        long,
        env = "CFGSYNC_RATE_BURST",
        value_name = "COUNT",
        default_value = "60000"
    )]
    rate_burst: NonZeroU32,
    /// Most requests that the server holds for one node; it answers further ones at once
    #[arg(
        long,
        env = "CFGSYNC_WAITERS_PER_NODE_MAX",
        value_name = "COUNT",
        default_value = "8",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(super) waiters_per_node_max: u16,
}

/// The reason why the access flags cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    /// The file of tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The audit log cannot be opened.
    #[error("cannot open the audit log {target}: {error}")]
    Audit {
        /// The file, or stdout.
        target: AuditTarget,
        /// The operating system's error.
        error: std::io::Error,
    },
    /// `--operator-cert` or `--viewer-cert` without client certificates.
    #[error("{0} needs --client-ca FILE, the authorities that sign client certificates")]
    NoAuthority(&'static str),
    /// `--audit-required` without an audit log.
    #[error("--audit-required needs --audit-log FILE")]
    NoAudit,
    /// The spec requires an identity that these flags cannot prove.
    #[error(transparent)]
    IdentityUnsupported(#[from] IdentityUnsupported),
}

impl AccessArgs {
    /// Whether the server may listen beyond loopback: it requires tokens, or the flags permit anonymous access.
    pub(super) fn may_be_exposed(&self) -> bool {
        self.allow_anonymous || self.tokens.is_some()
    }

    /// Returns the guard. `certificates` says whether client certificates are verified.
    pub(super) fn guard(&self, certificates: bool) -> Result<AccessControl, AccessError> {
        let tokens = self.tokens.as_deref().map(Tokens::load).transpose()?;
        if let (Some(tokens), Some(path)) = (&tokens, &self.tokens)
            && tokens.count() == 0
        {
            let path = path.display();
            tracing::warn!("{path} contains no token, so no client can authenticate with one");
        }
        for (flag, patterns) in [
            ("--operator-cert", &self.operator_cert),
            ("--viewer-cert", &self.viewer_cert),
        ] {
            if !patterns.is_empty() && !certificates {
                return Err(AccessError::NoAuthority(flag));
            }
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
                viewer_certificates: self.viewer_cert.clone(),
            },
            rate,
            audit: audit.transpose()?,
            clock: WallClock::system(),
        }))
    }

    /// Reopens the audit log, if there is one.
    pub(super) async fn reopen_audit_log(&self, guard: &AccessControl) {
        if let Some(audit) = guard.audit() {
            audit.reopen().await;
        }
    }

    /// Reads the tokens again. If the file has a mistake, the last good tokens stay in force.
    pub(super) async fn reload_tokens(&self, guard: &AccessControl, cause: Cause) -> ReloadedPart {
        let part =
            |outcome, message: String| ReloadedPart::new(ReloadPart::Tokens, outcome, message);
        let Some(path) = self.tokens.clone() else {
            let message = "the server has no tokens file".to_owned();
            return part(ReloadOutcome::NotUsed, message);
        };
        let shown = path.display().to_string();
        let (reason, problem) = match read_blocking(move || Tokens::load(&path)).await {
            Ok(Ok(tokens)) => {
                let line = guard
                    .server_line("tokens")
                    .with_hash("tokens", tokens.digest());
                match guard.announce(&line).await {
                    Ok(()) => {
                        let count = tokens.count();
                        guard.set_tokens(tokens);
                        let message = format!("read {shown} again: {}", counted(count, "token"));
                        tracing::info!(event = "reloaded", "{cause}: {message}");
                        guard.record(line);
                        return part(ReloadOutcome::Reloaded, message);
                    }
                    Err(error) => ("audit", error.to_string()),
                }
            }
            Ok(Err(error)) => ("mistake", error.to_string()),
            Err(problem) => ("mistake", problem),
        };
        tracing::error!(
            event = "reload_refused",
            reason = problem,
            "{cause}: the tokens were not reloaded, and the last good ones stay in force:{}",
            after_colon(&problem)
        );
        let line = guard.server_line("tokens");
        guard.record(line.with_outcome(AuditOutcome::Refused, Some(reason)));
        part(ReloadOutcome::Refused, problem)
    }
}

fn target(text: &str) -> Result<AuditTarget, String> {
    match text {
        "" => Err("expected a file, or `-` for stdout".to_owned()),
        "-" => Ok(AuditTarget::Stdout),
        path => Ok(AuditTarget::File(path.into())),
    }
}
