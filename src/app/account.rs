//! Audit entries for what the server does without a request (seals, failures, reloaded specs), and the warning about
//! registered nodes without a key.

use cfgsync_access::{AccessControl, AuditLine, AuditOutcome};
use cfgsync_cluster::{AuditEvent, AuditRefused, AuditSink, Coordinator, RenderOutcome};
use cfgsync_model::Identifier;
use cfgsync_spec::{IdentityMode, Spec};
use cfgsync_store::BoxFuture;

/// How many identifiers a warning lists.
const NAMES_MAX: usize = 10;

/// Writes to the audit log of `guard`, if there is one.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) guard: AccessControl,
}

impl Account {
    /// Puts `spec` in force, if the audit log can record it and the cluster accepts it.
    ///
    /// # Errors
    /// The reason why it is not in force.
    pub(super) async fn reload(&self, coordinator: &Coordinator, spec: Spec) -> Result<(), String> {
        let identity = spec.identity;
        let line = self
            .guard
            .server_line("spec")
            .with_hash("spec", spec.digest);
        let (reason, problem) = if let Err(error) = self.guard.announce(&line).await {
            ("audit", error.to_string())
        } else if let Err(error) = coordinator.reload(spec).await {
            ("another_cluster", error.to_string())
        } else {
            tracing::info!(event = "reloaded", "the spec was read again");
            self.guard.record(line);
            warn_of_unclaimed(coordinator, identity);
            return Ok(());
        };
        tracing::error!(
            event = "reload_refused",
            reason = problem,
            "the spec was not reloaded, and the last good one stays in force: {problem}"
        );
        self.guard
            .record(line.with_outcome(AuditOutcome::Refused, Some(reason)));
        Err(problem)
    }

    fn line(&self, event: AuditEvent) -> AuditLine {
        match event {
            AuditEvent::Seal {
                generation,
                revision,
                digest,
            } => AuditLine {
                generation: Some(generation),
                revision: Some(revision),
                ..self
                    .guard
                    .server_line("seal")
                    .with_hash("generation", digest)
            },
            AuditEvent::Render { revision } => AuditLine {
                revision: Some(revision),
                ..self.guard.server_line("render")
            },
            AuditEvent::Attempt => self.guard.server_line("attempt"),
        }
    }
}

/// Warns if nodes are registered without a key: the next node that registers under such a name with a key owns it.
pub(super) fn warn_of_unclaimed(coordinator: &Coordinator, identity: IdentityMode) {
    if identity != IdentityMode::FirstUse {
        return;
    }
    let unclaimed = coordinator.registered_without_key();
    if unclaimed.is_empty() {
        return;
    }
    let shown: Vec<&str> = (unclaimed.iter().take(NAMES_MAX))
        .map(Identifier::as_str)
        .collect();
    let more = match unclaimed.len().saturating_sub(NAMES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    tracing::warn!(
        "the spec says `identity: first-use`, but {} registered nodes have no key ({}{more}); the next node that \
         registers under such a name owns it. Let these nodes join again now, and remove those that are gone with \
         `cfgsync rm`",
        unclaimed.len(),
        shown.join(", "),
    );
}

impl AuditSink for Account {
    fn allows(&self, event: AuditEvent) -> BoxFuture<'_, Result<(), AuditRefused>> {
        Box::pin(async move {
            let announced = self.guard.announce(&self.line(event)).await;
            // The audit log itself logs the reason for the operator.
            announced.map_err(|_| AuditRefused("the audit log cannot be written".to_owned()))
        })
    }

    fn record(&self, event: AuditEvent, outcome: RenderOutcome) {
        let line = self.line(event);
        self.guard.record(match outcome {
            RenderOutcome::Done => line,
            RenderOutcome::Failed(why) => line.with_outcome(AuditOutcome::Failed, Some(why)),
        });
    }
}
