//! Reads the files of the server again, on SIGHUP and for `POST /v1/reload`. Files with a mistake leave the former state
//! in force.

use cfgsync::app::NewSpec;
use cfgsync_access::{AccessControl, AuditOutcome};
use cfgsync_cluster::metrics::{Metrics, PartLabels};
use cfgsync_spec::Spec;
use cfgsync_wire::{ReloadOutcome, ReloadPart, ReloadResult, ReloadedPart, SigningKey};
use tokio::sync::{mpsc, oneshot};

use super::{
    ServeArgs,
    blocking::read_blocking,
    cause::{Cause, after_colon},
    description::Description,
    tls::ServeTls,
};
use crate::cmd::spec_file;

/// The inputs of a reload.
pub(super) struct Reload<'a> {
    /// The flags, which name the files.
    pub(super) args: &'a ServeArgs,
    pub(super) guard: &'a AccessControl,
    /// Receives each valid spec.
    pub(super) specs: &'a mpsc::Sender<NewSpec>,
    /// The key that signs payloads.
    pub(super) sign_key: Option<&'a SigningKey>,
    /// The certificate of the server.
    pub(super) tls: Option<&'a ServeTls>,
    /// The metrics of the server.
    pub(super) metrics: &'a Metrics,
    /// The description for the other servers.
    pub(super) description: &'a Description,
}

impl Reload<'_> {
    /// Reads all files again, or only those of one part. A reload of all files also reopens the audit log.
    pub(super) async fn run(&self, only: Option<ReloadPart>, cause: Cause) -> ReloadResult {
        let is_due = |part| only.is_none_or(|only| only == part);
        if only.is_none() {
            self.args.access.reopen_audit_log(self.guard).await;
        }
        let mut parts = Vec::new();
        if is_due(ReloadPart::Tokens) {
            parts.push(self.args.access.reload_tokens(self.guard, cause).await);
            self.description.set_tokens(self.guard.tokens().as_deref());
        }
        if is_due(ReloadPart::Certificates) {
            parts.push(match self.tls {
                Some(tls) => tls.reload(self.guard).await,
                None => ReloadedPart::new(
                    ReloadPart::Certificates,
                    ReloadOutcome::NotUsed,
                    "the server uses no TLS",
                ),
            });
        }
        if is_due(ReloadPart::SignKey) {
            let compared = self.args.signing.compare(self.sign_key, cause).await;
            parts.push(compared);
        }
        if is_due(ReloadPart::Spec) {
            parts.push(self.spec(cause).await);
        }
        for part in &parts {
            self.count(part);
        }
        ReloadResult { parts }
    }

    /// Sets the metrics of one part. A part that the server does not use has none.
    pub(super) fn count(&self, reloaded: &ReloadedPart) {
        let part = reloaded.part.name();
        let success = &self.metrics.reload_success;
        match reloaded.outcome {
            ReloadOutcome::Reloaded => {
                success.get_or_create(&PartLabels { part }).set(1);
                let at = self.guard.clock().now().as_second();
                let time = &self.metrics.reload_success_time;
                time.get_or_create(&PartLabels { part }).set(at);
            }
            ReloadOutcome::Refused => {
                success.get_or_create(&PartLabels { part }).set(0);
            }
            ReloadOutcome::NotUsed | ReloadOutcome::NeedsRestart => {}
        }
    }

    async fn spec(&self, cause: Cause) -> ReloadedPart {
        let (file, shown) = (self.args.spec.clone(), self.args.spec.display());
        let part = |outcome, message: String| ReloadedPart::new(ReloadPart::Spec, outcome, message);
        let (line, reason, problem) = match read_blocking(move || spec_file::load(&file)).await {
            Ok(Ok(spec)) => match self.guard.check_identity_mode(spec.identity) {
                Ok(()) => {
                    tracing::info!("{cause}: read {shown} again");
                    return match self.put_in_force(spec).await {
                        Ok(()) => part(ReloadOutcome::Reloaded, format!("read {shown} again")),
                        Err(problem) => part(ReloadOutcome::Refused, problem),
                    };
                }
                Err(error) => {
                    let line = self
                        .guard
                        .server_line("spec")
                        .with_hash("spec", spec.digest);
                    (line, "cannot_tell", error.to_string())
                }
            },
            Ok(Err(error)) => (self.guard.server_line("spec"), "mistake", error.to_string()),
            Err(problem) => (self.guard.server_line("spec"), "mistake", problem),
        };
        tracing::error!(
            event = "reload_refused",
            reason = problem,
            "{cause}: the spec was not reloaded, and the last good one stays in force:{}",
            after_colon(&problem)
        );
        let refused = line.with_outcome(AuditOutcome::Refused, Some(reason));
        self.guard.record(refused);
        part(ReloadOutcome::Refused, problem)
    }

    /// Passes `spec` to the server.
    async fn put_in_force(&self, spec: Spec) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let read = spec.clone();
        // Both fail only if the server has stopped.
        let _ = self.specs.send(NewSpec { spec, answer }).await;
        let stopped = || Err("the server is stopping".to_owned());
        answered.await.unwrap_or_else(|_| stopped())?;
        self.description.set_spec(&read);
        Ok(())
    }
}
