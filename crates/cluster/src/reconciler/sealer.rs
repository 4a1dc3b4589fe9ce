//! Seals generations in a separate task: asks the audit sink, then the store. A store that does not answer does not
//! block the reconciler.

use std::{fmt::Display, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};
use tracing::Instrument as _;

use super::{render_key::RenderKey, renderer::RenderResult};
use crate::{
    audit_sink::{AuditEvent, AuditSink},
    view::ServedGeneration,
};
use cfgsync_model::{Generation, Unmet};
use cfgsync_store::{CommitError, SealOutcome, Store};
use cfgsync_support::duration;

/// The pause before a failed seal is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The time after which waiting nodes learn that the store has not answered. From then on the deadline applies again.
const PATIENCE: Duration = Duration::from_secs(1);

/// The seal that is running, if there is one.
#[derive(Default)]
pub(super) struct Sealer {
    running: Option<RunningSeal>,
}

struct RunningSeal {
    seal: PendingSeal,
    started: Instant,
    task: JoinHandle<SealAnswer>,
}

/// A generation that should be sealed.
pub(super) struct PendingSeal {
    /// The key of its render.
    pub(super) key: RenderKey,
    /// The generation with its encoded payloads.
    pub(super) served: Box<ServedGeneration>,
}

/// The result of a seal.
pub(super) enum SealAnswer {
    /// The generation is sealed, by this request or by an earlier one.
    Won,
    /// Another generation, the value, was sealed first.
    Lost(Arc<Generation>),
    /// The generation is not known to be sealed. The same generation is retried.
    NotSealed {
        /// The reason that waiting nodes get.
        unmet: Unmet,
        /// The reason for the log.
        reason: String,
        /// The code of the reason for the audit log. `None` if the audit log itself refused the seal.
        slug: Option<&'static str>,
    },
}

impl Sealer {
    /// Returns whether a seal is running.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Returns the time from which waiting nodes learn that the running seal is slow.
    pub(super) fn slow_at(&self) -> Option<Instant> {
        self.running
            .as_ref()
            .map(|running| running.started + PATIENCE)
    }

    /// Starts to seal a generation.
    pub(super) fn start(
        &mut self,
        seal: PendingSeal,
        store: Arc<dyn Store>,
        audit_sink: Option<Arc<dyn AuditSink>>,
    ) {
        let generation = seal.served.generation.clone();
        let span = tracing::debug_span!("seal", generation = %generation.number);
        let answer = ask(generation, store, audit_sink).instrument(span);
        self.running = Some(RunningSeal {
            seal,
            started: Instant::now(),
            task: tokio::spawn(answer),
        });
    }

    /// Waits for the result of the running seal and returns it, with the time that it took. Never resolves if none is running.
    pub(super) async fn answered(&mut self) -> (PendingSeal, SealAnswer, Duration) {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let answer = (&mut running.task).await;
        let running = self.running.take().expect("it is awaited");
        let answer = answer.unwrap_or_else(|panic| unknown(&panic));
        (running.seal, answer, running.started.elapsed())
    }
}

async fn ask(
    generation: Arc<Generation>,
    store: Arc<dyn Store>,
    audit_sink: Option<Arc<dyn AuditSink>>,
) -> SealAnswer {
    if let Some(audit_sink) = audit_sink
        && let Err(refused) = audit_sink.allows(seal_event(&generation)).await
    {
        return SealAnswer::NotSealed {
            unmet: Unmet::SealRefused(refused.to_string()),
            reason: refused.to_string(),
            slug: None,
        };
    }
    match store.seal(generation).await {
        Ok(SealOutcome::Won) => SealAnswer::Won,
        Ok(SealOutcome::Lost(winner)) => SealAnswer::Lost(winner),
        Err(CommitError::Unknown(reason)) => unknown(&reason),
        Err(error @ (CommitError::Unavailable(_) | CommitError::Rejected(_))) => {
            SealAnswer::NotSealed {
                unmet: Unmet::StoreUnavailable,
                reason: error.to_string(),
                slug: Some("store"),
            }
        }
    }
}

/// Returns the result if it is unknown whether the generation is sealed. A retry wins if the first seal took effect.
fn unknown(reason: &dyn Display) -> SealAnswer {
    SealAnswer::NotSealed {
        unmet: Unmet::SealUnconfirmed,
        reason: format!("the store did not confirm the seal: {reason}"),
        slug: Some("unknown"),
    }
}

/// Returns the result of a render whose generation is not sealed yet. Logs the reason unless it was logged last time.
pub(super) fn unsealed(
    before: Option<&RenderResult>,
    unmet: Unmet,
    reason: &str,
    generation: Box<ServedGeneration>,
) -> RenderResult {
    let is_known =
        matches!(before, Some(RenderResult::Unsealed { unmet: known, .. }) if *known == unmet);
    if !is_known {
        tracing::error!(
            event = "seal_failed",
            "cannot seal generation {}: {reason}; trying again every {}",
            generation.generation.number,
            duration::text(RETRY)
        );
    }
    RenderResult::Unsealed {
        unmet,
        retry_at: Instant::now() + RETRY,
        generation: Some(generation),
    }
}

/// Returns the event of a seal for the audit log.
pub(super) fn seal_event(generation: &Generation) -> AuditEvent {
    AuditEvent::Seal {
        generation: generation.number,
        revision: generation.revision,
        digest: generation.digest,
    }
}
