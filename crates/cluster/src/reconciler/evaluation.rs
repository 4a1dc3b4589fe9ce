//! The evaluation: the result of the readiness rule, combined with the timers `settle` and `deadline`.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Reconciler, renderer::RenderResult};
use crate::{
    audit_sink::{AuditEvent, RenderOutcome},
    render::Pipeline,
};
use cfgsync_model::{Failure, FailureKind, Progress, Readiness, Unmet, ValueReader};
use cfgsync_store::RegisteredNode;
use cfgsync_support::duration;

/// The result of the readiness rule, combined with the timers.
pub(super) struct Evaluation {
    /// The registered nodes, and every reason to wait.
    pub(super) progress: Progress,
    /// Whether the registrations satisfy the rule, without its timers.
    pub(super) is_satisfied: bool,
    /// Whether the rule is satisfied but `settle` has not passed yet.
    pub(super) is_settling: bool,
    /// The time at which the result changes without an input.
    pub(super) wake_at: WakeAt,
}

impl Evaluation {
    /// Returns whether nothing delays a render.
    pub(super) fn is_ready(&self) -> bool {
        self.progress.unmet.is_empty()
    }
}

/// The earliest of several times.
#[derive(Clone, Copy, Default)]
pub(super) struct WakeAt(pub(super) Option<Instant>);

impl WakeAt {
    /// Adds a time, if there is one.
    pub(super) fn add(&mut self, at: Option<Instant>) {
        self.0 = [self.0, at].into_iter().flatten().min();
    }
}

impl Reconciler {
    /// Evaluates the rule and the timers. Fails the attempt if its deadline has passed.
    pub(super) fn evaluate(&mut self) -> Evaluation {
        let now = Instant::now();
        let values = ValueReader::new(self.follower.values());
        let tracker = &self.follower.tracker;
        let readiness = match &self.serving.generation {
            Some(served) => tracker.readiness(&served.generation.once, &values),
            None => tracker.readiness(&serde_json::Map::new(), &values),
        };
        self.value_follower.on_evaluated(values.reads());
        let is_satisfied = readiness.is_ready();
        let (Readiness::Ready(mut progress) | Readiness::Waiting(mut progress)) = readiness;
        self.update_attempt(is_satisfied, now);
        let mut wake_at = WakeAt::default();
        let mut is_settling = false;
        let key = self.render_key();
        let rule = self.pipeline.spec.ready.as_ref();
        if let Some(rule) = rule.filter(|_| is_satisfied)
            && let Some(settles_at) = self.attempt.settles_at(rule.settle, now)
        {
            is_settling = true;
            progress.unmet.push(Unmet::Settling(rule.settle));
            wake_at.add(Some(settles_at));
        }
        if let Some((unmet, retry_at)) = self.renderer.result(key).and_then(RenderResult::retry) {
            progress.unmet.push(unmet.clone());
            wake_at.add((retry_at > now).then_some(retry_at));
        }
        let is_seal_slow = self.sealer.slow_at().is_some_and(|at| at <= now);
        if is_seal_slow {
            progress.unmet.push(Unmet::StoreSlow);
        } else {
            wake_at.add(self.sealer.slow_at());
        }
        if self
            .renderer
            .result(key)
            .is_some_and(RenderResult::is_failed)
        {
            // The failed render has released the waiting nodes. A deadline would only hide its reason, and would prevent
            // its retry. The next input or command begins another attempt.
            self.attempt.end();
        }
        // If the set became ready in time, the deadline does not fail it while its files are rendered or sealed.
        let is_in_time = self.is_working() && !is_seal_slow;
        let deadline = rule.and_then(|rule| rule.deadline);
        if let (Some(deadline), Some(ends_at)) = (deadline, self.attempt.ends_at(deadline))
            && !is_in_time
        {
            let is_ready_now = progress.unmet.is_empty() && self.renderer.result(key).is_none();
            if ends_at > now {
                wake_at.add(Some(ends_at));
            } else if !is_ready_now {
                self.miss_deadline(deadline, &progress);
            }
        }
        let interval = self.config.min_generation_interval;
        wake_at.add(self.renderer.next_start(interval, now));
        Evaluation {
            progress,
            is_satisfied,
            is_settling,
            wake_at,
        }
    }

    /// Starts or ends the attempt. After a seal, there is one while registered nodes wait for a set that is no longer
    /// complete by the spec in force.
    fn update_attempt(&mut self, is_satisfied: bool, now: Instant) {
        let state = &self.follower.state;
        let is_sealed = self.serving.generation.is_some();
        let up_to = self.serving.up_to();
        let is_attempt = if is_sealed {
            let waits = |node: &RegisteredNode| {
                let identifier = &node.registration.identifier;
                node.revision > up_to && !self.pipeline.excludes(identifier)
            };
            !is_satisfied
                && !self.pipeline.is_static()
                && state.registrations_revision > up_to
                && state.registrations.values().any(waits)
        } else {
            !self.follower.tracker.is_empty()
        };
        if is_sealed && !is_attempt {
            self.attempt.clear_failure();
        }
        self.attempt.update(is_attempt, now);
    }

    fn miss_deadline(&mut self, deadline: Duration, progress: &Progress) {
        let deadline = duration::text(deadline);
        let reason = format!("not ready within {deadline}: {progress}");
        tracing::error!(
            event = "attempt_failed",
            reason,
            "the attempt failed: {reason}; the next registration begins a new attempt"
        );
        self.audit(AuditEvent::Attempt, RenderOutcome::Failed("deadline"));
        self.attempt.fail(Arc::new(Failure {
            kind: FailureKind::Deadline,
            reason,
            at: self.shared.clock.now(),
        }));
        self.publisher.release();
    }

    /// Warns of changed expressions whose values are sealed, so that the change has no effect.
    pub(super) fn warn_changed_once(&self, reloaded: &Pipeline) {
        let Some(served) = &self.serving.generation else {
            return;
        };
        let old = &self.pipeline.spec.once;
        for (name, expression) in &reloaded.spec.once {
            let before = old.iter().find(|(old, _)| old == name);
            let is_changed = before.is_some_and(|(_, old)| old.source() != expression.source());
            if is_changed && served.generation.once.contains_key(name) {
                tracing::warn!(
                    "once.{name}: the expression has changed, and the sealed value stays; to evaluate it again, run \
                     `cfgsync redraw {name}`"
                );
            }
        }
    }

    /// Warns if a reloaded spec requires more than the old one did.
    pub(super) fn warn_unsatisfied_spec(&mut self, progress: &Progress) {
        if std::mem::take(&mut self.is_reloaded)
            && !progress.unmet.is_empty()
            && let Some(served) = &self.serving.generation
        {
            tracing::warn!(
                event = "spec_not_satisfied",
                generation = served.generation.number.0,
                "the new spec is not satisfied ({progress}); still serving generation {}",
                served.generation.number
            );
        }
    }
}
