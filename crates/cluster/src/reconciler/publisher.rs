//! Publishes the result of an evaluation: the view for readers, the metrics, the wake-up of waiting nodes, and the
//! answers to commands.

use std::sync::Arc;

use imbl::OrdMap;
use tokio::sync::oneshot;

use super::{Reconciler, evaluation::Evaluation, render_key::RenderKey, renderer::RenderResult};
use crate::{
    admission::Coverage,
    attempt_failure::{AttemptFailure, InputRevisions},
    events::ReadinessNews,
    view::{NotReadyBodies, ServedGeneration, View},
};
use cfgsync_model::{Failure, Identifier, Revision, Unmet};
use cfgsync_store::RegisteredNode;

/// The generation that is served, and the inputs that it includes.
pub(super) struct Serving {
    pub(super) generation: Option<Arc<ServedGeneration>>,
    /// The generation includes registrations up to this revision.
    up_to: Revision,
    /// The key of the newest render that gave these files. `None` for a generation of another server.
    pub(super) rendered_from: Option<RenderKey>,
    /// The registrations at the time of its seal, some of which it may not include.
    pub(super) registrations: OrdMap<Identifier, RegisteredNode>,
}

/// The wake-ups and answers that follow the publication of a view.
#[derive(Default)]
pub(super) struct Publisher {
    /// Whether waiting nodes are woken after the next publication.
    is_release_due: bool,
    /// Commands that are answered after the next publication.
    commands: Vec<oneshot::Sender<()>>,
}

impl Serving {
    pub(super) fn new(generation: Option<Arc<ServedGeneration>>, up_to: Revision) -> Self {
        Self {
            generation,
            up_to,
            rendered_from: None,
            registrations: OrdMap::new(),
        }
    }

    /// Serves `served`, unless the served generation is the same or a newer one.
    pub(super) fn serve(&mut self, served: ServedGeneration) -> bool {
        let number = served.generation.number;
        let current = self.generation.as_ref();
        if current.is_some_and(|current| current.generation.number >= number) {
            return false;
        }
        self.up_to = served.generation.revision;
        self.rendered_from = None;
        self.generation = Some(Arc::new(served));
        true
    }

    /// Returns the revision up to which the generation includes registrations.
    pub(super) fn up_to(&self) -> Revision {
        self.up_to
    }

    /// Records that a render of `key` at `revision` gives the files of the served generation.
    pub(super) fn covers(&mut self, key: RenderKey, revision: Revision) {
        self.up_to = self.up_to.max(revision);
        self.rendered_from = Some(key);
    }
}

impl Publisher {
    /// Wakes waiting nodes after the next publication.
    pub(super) fn release(&mut self) {
        self.is_release_due = true;
    }

    /// Answers a command after the next publication.
    pub(super) fn acknowledge(&mut self, command: oneshot::Sender<()>) {
        self.commands.push(command);
    }
}

impl Reconciler {
    /// Publishes the evaluation and the served generation.
    pub(super) fn publish(&mut self, evaluation: Evaluation) {
        let is_due = self.is_working() || self.is_generation_due(&evaluation);
        let mut progress = evaluation.progress;
        if is_due && progress.unmet.is_empty() {
            progress.unmet.push(self.work_in_progress());
        }
        let old = self.shared.view.load();
        let (failure, render_failure) = self.failures();
        let is_new_failure = failure.as_ref().is_some_and(|failure| {
            let before = old.failure.as_ref();
            before.is_none_or(|before| before.inputs != failure.inputs)
        });
        if is_new_failure {
            // Nodes that fetched between the newer input and this view are waiting, so wake them.
            self.publisher.release();
        }
        let inputs = self.follower.state.inputs;
        let completed = match (is_due, self.renderer.newest_result()) {
            (false, _) => inputs,
            // If inputs change all the time, a generation is always due. Then the newest finished render counts.
            (true, Some((of, result))) if !result.is_retried() => {
                old.completed.max(of.newest_input())
            }
            (true, _) => old.completed,
        };
        let served = self.serving.generation.as_ref();
        let kept = served.filter(|_| !evaluation.is_satisfied);
        let kept = kept.map(|served| served.generation.number);
        let refused = self.refused_clauses();
        let is_same_reason = old.progress == progress
            && old.render_failure == render_failure
            && old.not_ready.kept == kept
            && old.not_ready.refused == refused;
        let not_ready = if is_same_reason {
            old.not_ready.clone()
        } else {
            let failure = render_failure.as_deref();
            Arc::new(NotReadyBodies::new(&progress, failure, kept, refused))
        };
        let view = View {
            pipeline: self.pipeline.clone(),
            not_ready,
            progress,
            is_satisfied: evaluation.is_satisfied,
            evaluated: inputs,
            completed,
            served: self.serving.generation.clone(),
            coverage: self.coverage(),
            failure,
            render_failure,
            held_back: self.rollouts.held_back(),
            rollout: self.rollouts.body().clone(),
        };
        self.update_metrics(&view);
        let readiness = ReadinessNews::new(&view, &self.follower.state);
        let note = readiness.note(&view.not_ready.refused);
        self.shared.note(note, self.follower.state.revision);
        self.shared.view.store(Arc::new(view));
        readiness.publish(&self.shared.readiness);
        self.shared.published.send_replace(completed);
        if std::mem::take(&mut self.publisher.is_release_due) {
            self.shared.release.send_replace(());
        }
        for command in self.publisher.commands.drain(..) {
            // An error means that the sender of the command no longer waits.
            let _ = command.send(());
        }
    }

    /// Returns the failure that releases waiting nodes, and the failure of the newest render after the first seal. After
    /// the seal, only a missed deadline releases nodes.
    fn failures(&self) -> (Option<AttemptFailure>, Option<Arc<Failure>>) {
        let failed_render = match self.renderer.result(self.render_key()) {
            Some(RenderResult::Failed(failure) | RenderResult::Paused(failure)) => {
                Some(failure.clone())
            }
            _ => None,
        };
        if self.serving.generation.is_some() {
            let missed = self.attempt.failure().map(|failure| AttemptFailure {
                failure: failure.clone(),
                inputs: None,
            });
            return (missed, failed_render);
        }
        let failure = match (self.attempt.failure(), failed_render) {
            (Some(failure), _) => Some(AttemptFailure {
                failure: failure.clone(),
                inputs: None,
            }),
            (None, Some(failure)) => Some(AttemptFailure {
                failure,
                inputs: Some(InputRevisions::of(&self.follower.state)),
            }),
            (None, None) => None,
        };
        (failure, None)
    }

    /// Returns what waiting nodes learn about refused nodes. After the seal, none of these is waited for.
    fn refused_clauses(&self) -> Vec<Unmet> {
        if self.serving.generation.is_some() {
            return vec![];
        }
        let registered = &self.follower.state.registrations;
        let refused = &self.shared.refused;
        refused.clauses(|identifier| registered.contains_key(identifier))
    }

    fn coverage(&self) -> Coverage {
        let key = self.render_key();
        let is_current = self
            .serving
            .rendered_from
            .is_some_and(|of| (of.spec, of.spec_reading) == (key.spec, key.spec_reading));
        let served = self.serving.generation.as_ref();
        Coverage {
            up_to: self.serving.up_to,
            is_independent: served
                .is_some_and(|served| served.is_independent_of_registrations(&self.pipeline)),
            is_complete: self.pipeline.is_static() && is_current,
        }
    }

    fn update_metrics(&self, view: &View) {
        let metrics = &self.shared.metrics;
        metrics
            .registered
            .set(gauge(view.progress.registered as u64));
        metrics.needed.set(gauge(view.progress.needed as u64));
        let served = view.served.as_ref();
        metrics
            .generation
            .set(gauge(served.map_or(0, |served| served.generation.number.0)));
        let is_failed = view.failure.is_some()
            || view.render_failure.is_some()
            || self.follower.state.failure.is_some();
        metrics.failed.set(i64::from(is_failed));
    }
}

fn gauge(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}
