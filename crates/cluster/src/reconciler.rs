//! The reconciler: one task that keeps the served generation up to date with the registrations.
//!
//! Each round of [`Reconciler::run`] takes the same steps: follow the store, evaluate the newest state, start the work
//! that is due, publish. Renders, seals, adoptions of other servers' generations and delivery records run as separate
//! tasks. The loop never blocks on them: deadlines, reloads and publishing work even if the store or a materializer
//! hangs. At most one render, seal or adoption runs at a time.

mod follower;
mod attempt;
mod value_follower;
mod render_key;
mod crash_mark;
mod render_job;
mod renderer;
mod sealer;
mod evaluation;
mod adopter;
mod expiry;
mod lease_expiry;
mod recorder;
mod stop_recorder;
mod note_writer;
mod rollouts;
mod turn;
mod publisher;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    Config, Shared,
    attempt_failure::InputRevisions,
    audit_sink::{AuditEvent, RenderOutcome},
    events::send_notice,
    notes::NoteKind,
    render::Pipeline,
    view::ServedGeneration,
};
use adopter::Adopter;
use attempt::Attempt;
use cfgsync_model::{
    Failure, FailureKind, Generation, GenerationNumber, NodeRegistration, Revision, Unmet,
};
use cfgsync_spec::Late;
use cfgsync_store::SealCondition;
use cfgsync_support::duration;
use crash_mark::{CrashMark, CrashWatch};
use evaluation::Evaluation;
use expiry::Expiry;
use follower::{Follower, log_registrations};
use lease_expiry::LeaseExpiry;
use note_writer::NoteWriter;
use publisher::{Publisher, Serving};
use recorder::Recorder;
use render_job::{RenderJob, RenderedGeneration};
use render_key::RenderKey;
use renderer::{FinishedRender, RenderResult, Renderer};
use rollouts::Rollouts;
use sealer::{PendingSeal, SealAnswer, Sealer, seal_event, unsealed};
use turn::Turn;
use value_follower::ValueFollower;

/// The shortest time between two evaluations because of changes, so that one evaluation includes many registrations of a
/// burst. A change after a quiet time is evaluated at once.
const EVALUATION_INTERVAL: Duration = Duration::from_millis(1);

/// The shortest time between two retries of a failed render that registrations without new inputs cause.
const FAILED_RENDER_RETRY: Duration = Duration::from_secs(1);

/// The time that a running seal and pending delivery records have to finish when the server stops.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// A request to the reconciler that is not a change of the store. Each is answered once its effect is published.
pub(crate) enum Command {
    /// Begin a new attempt, because a node registered after a failure had released the waiting nodes. It retries a failed
    /// render at most once a second.
    BeginAttempt(oneshot::Sender<()>),
    /// Retry a failed attempt or render, because an operator requested it.
    Retry(oneshot::Sender<()>),
    /// Replace the spec and its materializers.
    Reload(Arc<Pipeline>, oneshot::Sender<()>),
    /// Publish the newest state of the store.
    Publish(oneshot::Sender<()>),
    /// Continue a roll-out.
    ResumeRollout(oneshot::Sender<()>),
}

/// Completes when another node was refused, not before `earliest`. A client can cause many refusals.
async fn refusals_changed(shared: &Shared, earliest: Instant) {
    tokio::time::sleep_until(earliest).await;
    shared.refused.changed().await;
}

/// The state of the task. Only the task uses it, so it needs no lock.
pub(crate) struct Reconciler {
    shared: Arc<Shared>,
    config: Config,
    commands: mpsc::Receiver<Command>,
    pipeline: Arc<Pipeline>,
    /// The number of times that the spec was read.
    spec_reading: u32,
    /// Whether the spec was reloaded since the last evaluation.
    is_reloaded: bool,
    follower: Follower,
    value_follower: ValueFollower,
    attempt: Attempt,
    renderer: Renderer,
    turn: Turn,
    crash_mark: Arc<CrashMark>,
    crash_watch: CrashWatch,
    sealer: Sealer,
    adopter: Adopter,
    expiry: Expiry,
    lease_expiry: LeaseExpiry,
    recorder: Recorder,
    note_writer: NoteWriter,
    rollouts: Rollouts,
    serving: Serving,
    publisher: Publisher,
}

impl Reconciler {
    /// Returns a reconciler for the store and the view in `shared`. It does nothing before [`Reconciler::run`].
    pub(crate) fn new(
        shared: Arc<Shared>,
        config: Config,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let view = shared.view.load_full();
        let pipeline = view.pipeline.clone();
        let changes = shared.store.follow();
        let follower = Follower::new(&*shared.store, changes, &pipeline.spec);
        let state = &follower.state;
        let mut serving = Serving::new(view.served.clone(), view.coverage.up_to);
        serving.registrations = state.registrations.clone();
        let mut reconciler = Self {
            value_follower: ValueFollower::new(state, &pipeline),
            follower,
            config,
            commands,
            pipeline,
            spec_reading: 0,
            is_reloaded: false,
            attempt: Attempt::new(Instant::now()),
            renderer: Renderer::default(),
            turn: Turn::new(shared.store.render_turn()),
            crash_mark: Arc::new(CrashMark::new(shared.store.clone())),
            crash_watch: CrashWatch::default(),
            sealer: Sealer::default(),
            adopter: Adopter::default(),
            expiry: Expiry::default(),
            lease_expiry: LeaseExpiry::default(),
            recorder: Recorder::default(),
            note_writer: NoteWriter::default(),
            rollouts: Rollouts::new(Instant::now()),
            serving,
            publisher: Publisher::default(),
            shared,
        };
        reconciler.resume();
        let revision = reconciler.follower.state.revision;
        reconciler.shared.note(NoteKind::Started, revision);
        reconciler
    }

    /// After a restart, accepts the served generation if a new render could give other results, as a program's does.
    fn resume(&mut self) {
        self.shared
            .leases
            .set_used(self.pipeline.spec.lease.is_some());
        if !self.pipeline.is_repeatable() {
            self.accept_served();
        }
        self.resume_rollout();
    }

    /// Delays a render during which a server has ended, or pauses it after several. That server is the one before this
    /// one, or another one that shares the store.
    fn note_crashes(&mut self) {
        let key = self.render_key();
        let is_sealed = matches!(self.renderer.result(key), Some(RenderResult::Sealed));
        if is_sealed || self.is_working() {
            return;
        }
        let (store, state) = (&*self.shared.store, &self.follower.state);
        let crashes = self
            .crash_watch
            .new_crashes(store, key, state, &self.pipeline);
        let result =
            crashes.and_then(|crashes| RenderResult::after_crash(crashes, &self.shared.clock));
        if let Some(result) = result {
            if result.is_failed() {
                self.publisher.release();
            }
            self.renderer.set_result(key, result);
        }
    }

    /// Accepts the served generation as the result of the newest inputs, if it was made from them and the current spec.
    /// They are then not rendered again.
    fn accept_served(&mut self) {
        let Some(served) = &self.serving.generation else {
            return;
        };
        let (sealed, key) = (&served.generation, self.render_key());
        if sealed.spec == key.spec && key.newest_input() <= sealed.revision {
            let revision = sealed.revision;
            self.renderer.set_result(key, RenderResult::Sealed);
            self.serving.covers(key, revision);
        }
    }

    /// Runs until `shutdown` is complete.
    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()> + Send + 'static) {
        tokio::pin!(shutdown);
        loop {
            let registered = self.follow();
            self.note_crashes();
            let evaluation = self.evaluate();
            log_registrations(&registered, &evaluation.progress);
            self.warn_unsatisfied_spec(&evaluation.progress);
            self.start_due_work(&evaluation);
            let mut wake_at = evaluation.wake_at;
            wake_at.add(
                self.recorder
                    .record_if_due(&self.shared, &self.follower.state),
            );
            wake_at.add(
                self.expiry
                    .delete_if_due(&self.shared, &self.follower.state),
            );
            wake_at.add(self.lease_expiry.remove_if_due(
                &self.shared,
                &self.follower.state,
                &self.pipeline,
            ));
            wake_at.add(self.turn.ends_at().filter(|at| *at > Instant::now()));
            wake_at.add(self.advance_rollout());
            self.publish(evaluation);
            wake_at.add(self.note_writer.write_if_due(&self.shared));
            let next_evaluation = Instant::now() + EVALUATION_INTERVAL;
            tokio::select! {
                () = &mut shutdown => break,
                is_open = self.follower.changed_after(next_evaluation) => {
                    if !is_open {
                        break;
                    }
                }
                Some(command) = self.commands.recv() => self.handle_command(command),
                render = self.renderer.finished() => self.on_render_finished(render),
                (seal, answer, took) = self.sealer.answered() => {
                    self.on_seal_answered(seal, answer, took);
                }
                served = self.adopter.finished() => self.on_generation_adopted(served),
                () = self.recorder.recorded(&self.shared) => {}
                () = self.note_writer.written(&self.shared) => {}
                () = self.shared.delivered.notified() => {}
                () = self.expiry.deleted() => {}
                () = self.lease_expiry.removed() => {}
                () = self.turn.changed() => {}
                () = self.rollouts.stop_recorder.recorded(&self.shared) => {}
                () = refusals_changed(&self.shared, next_evaluation) => {}
                () = sleep_until(wake_at.0) => {}
            }
        }
        self.shut_down().await;
    }

    /// Updates the task's state to the newest state of the store. Returns the nodes that registered.
    fn follow(&mut self) -> Vec<Arc<NodeRegistration>> {
        let now = Instant::now();
        let changed = self.follower.follow(&*self.shared.store);
        let values_before = self.value_follower.seen();
        let is_rule_value_changed = self
            .value_follower
            .follow(&self.follower.state, &self.pipeline);
        if changed.registrations || is_rule_value_changed {
            self.attempt.on_rule_input_changed(now);
        }
        let registered = changed.registered.iter();
        let registered = registered.map(|registration| &registration.identifier);
        self.shared.leases.on_registered_anywhere(registered);
        if !changed.registered.is_empty() {
            // A node that registered while the attempt was failing has not begun the next attempt, so begin it here.
            self.attempt.clear_failure();
        }
        if values_before != self.value_follower.seen() && self.serving.generation.is_none() {
            // The render that failed may have ended before it read the value.
            self.renderer.clear_failure();
        }
        if let Some(served) = &self.serving.generation {
            let sealed = &served.generation.nodes;
            let is_new = |node: &Arc<NodeRegistration>| !sealed.contains_key(&node.identifier);
            if changed.registered.iter().any(is_new) {
                self.renderer.hurry();
            }
        }
        changed.registered
    }

    /// Returns whether a render, a seal or an adoption is running.
    fn is_working(&self) -> bool {
        self.renderer.is_running() || self.sealer.is_running() || self.adopter.is_running()
    }

    /// Starts the work that is due: an adoption, a retry of a seal, or a render of the newest state.
    fn start_due_work(&mut self, evaluation: &Evaluation) {
        if self.is_working() {
            return;
        }
        if let Some(newest) = self.follower.state.generation().cloned() {
            self.adopt(newest);
        }
        // After a seal, a missed deadline releases nodes, and changes nothing for those that are served.
        let is_sealed = self.serving.generation.is_some();
        let is_attempt_failed = !is_sealed && self.attempt.failure().is_some();
        let is_failed = is_attempt_failed || self.follower.state.failure.is_some();
        if is_failed || self.is_working() {
            return;
        }
        let (key, now) = (self.render_key(), Instant::now());
        if let Some(served) = self.renderer.take_unsealed(key, now) {
            self.seal(PendingSeal { key, served });
            return;
        }
        let is_due = match self.renderer.result(key) {
            None => evaluation.is_ready(),
            // The reasons of a materializer that was not ready must not prevent its retry.
            Some(result) => result.retry().is_some_and(|(_, retry_at)| retry_at <= now),
        };
        if !is_due || self.has_other_spec() {
            self.turn.clear();
            return;
        }
        let interval = self.config.min_generation_interval;
        if self.renderer.next_start(interval, now).is_none() && self.turn.allows(now) {
            self.turn.clear();
            let job = self.render_job(key);
            self.renderer.start(key, job);
        }
    }

    /// Starts to serve a generation that another server sealed, if it is newer than the served one.
    fn adopt(&mut self, generation: Arc<Generation>) {
        let served = self.serving.generation.as_ref();
        if served.is_none_or(|served| served.generation.number < generation.number) {
            let instance = self.shared.store.instance();
            let signer = self.shared.signer.clone();
            self.adopter.start(instance, generation, signer);
        }
    }

    fn seal(&mut self, seal: PendingSeal) {
        let audit_sink = self.config.audit_sink.clone();
        let only_if = self.seal_condition(&seal);
        let store = self.shared.store.clone();
        self.sealer.start(seal, only_if, store, audit_sink);
    }

    /// Returns what must be as the render saw it. The first generation of a cluster that takes no node later has every node
    /// that was acknowledged.
    fn seal_condition(&self, seal: &PendingSeal) -> SealCondition {
        let is_first = seal.served.generation.number == GenerationNumber(1);
        let is_closed = self.pipeline.spec.late == Late::Refuse && !self.pipeline.is_static();
        SealCondition {
            registrations: (is_first && is_closed).then_some(seal.key.inputs.registrations),
            same_spec: self.turn.has_others() && !self.config.adopt_spec,
        }
    }

    /// Whether the newest generation comes from another spec, which another server has, so that this one does not render.
    fn has_other_spec(&self) -> bool {
        let newest = self.follower.state.generation();
        let is_other = newest.is_some_and(|newest| newest.spec != self.pipeline.spec.digest);
        is_other && self.turn.has_others() && !self.config.adopt_spec
    }

    fn render_job(&self, key: RenderKey) -> RenderJob {
        RenderJob {
            key,
            crash_mark: self.crash_mark.clone(),
            pipeline: self.pipeline.clone(),
            state: self.follower.state.clone(),
            members: self.follower.tracker.members().clone(),
            revision: self.follower.state.inputs,
            served: self.serving.generation.clone(),
            instance: self.shared.store.instance(),
            sealed_registrations: self.serving.registrations.clone(),
            clock: self.shared.clock.clone(),
            signer: self.shared.signer.clone(),
        }
    }

    /// Returns the key of a render that starts now. Static files do not depend on registrations.
    fn render_key(&self) -> RenderKey {
        let mut inputs = InputRevisions::of(&self.follower.state);
        if self.pipeline.is_static() {
            inputs.registrations = Revision::default();
        }
        RenderKey {
            inputs,
            values: self.value_follower.changed(),
            spec: self.pipeline.spec.digest,
            spec_reading: self.spec_reading,
        }
    }

    /// Executes a command. It is answered after the next publication.
    fn handle_command(&mut self, command: Command) {
        let answer = match command {
            Command::BeginAttempt(answer) => {
                self.attempt.clear_failure();
                let now = Instant::now();
                if self.renderer.next_start(FAILED_RENDER_RETRY, now).is_none() {
                    self.renderer.clear_failure();
                }
                answer
            }
            Command::Retry(answer) => {
                self.attempt.clear_failure();
                self.renderer.clear_failure();
                self.renderer.clear_pause();
                answer
            }
            Command::Reload(pipeline, answer) => {
                self.warn_changed_once(&pipeline);
                self.pipeline = pipeline;
                self.shared
                    .leases
                    .set_used(self.pipeline.spec.lease.is_some());
                if self.pipeline.spec.rollout.is_none() {
                    self.rollouts.end();
                }
                self.spec_reading += 1;
                self.is_reloaded = true;
                if self.serving.generation.is_some() {
                    self.attempt.clear_failure();
                }
                self.follower.track(&self.pipeline.spec);
                self.publisher.release();
                let message = "the server has read its spec again".to_owned();
                send_notice(&self.shared.notices, "spec_reloaded", message);
                answer
            }
            Command::Publish(answer) => answer,
            Command::ResumeRollout(answer) => {
                self.continue_rollout();
                answer
            }
        };
        self.publisher.acknowledge(answer);
    }

    /// Seals the generation of a finished render, or keeps the failure.
    fn on_render_finished(&mut self, render: FinishedRender) {
        let FinishedRender {
            key,
            revision,
            took,
            rendering,
            reads,
        } = render;
        if let Some(reads) = reads {
            self.value_follower.on_rendered(reads, &self.follower.state);
        }
        let metrics = &self.shared.metrics;
        metrics.render_seconds.observe(took.as_secs_f64());
        let result = match rendering {
            Ok(RenderedGeneration::New(served)) => {
                tracing::debug!(
                    "rendered generation {} in {:.3} s",
                    served.generation.number,
                    took.as_secs_f64()
                );
                self.renderer.clear_result();
                self.seal(PendingSeal { key, served });
                return;
            }
            Ok(RenderedGeneration::Unchanged) => {
                self.serving.covers(key, revision);
                if let Some(served) = &self.serving.generation {
                    self.recorder.confirm(served.generation.number, revision);
                }
                RenderResult::Sealed
            }
            Ok(RenderedGeneration::NotReady(message)) => self.renderer.not_ready(key, message),
            Ok(RenderedGeneration::NoThread(error)) => self.renderer.without_thread(key, &error),
            Err(error) => {
                metrics.render_failures.inc();
                tracing::error!(
                    event = "render_failed",
                    revision = revision.0,
                    reason = %error,
                    "the render of revision {revision} failed: {error}"
                );
                self.audit(
                    AuditEvent::Render { revision },
                    RenderOutcome::Failed("materializer"),
                );
                RenderResult::Failed(Arc::new(Failure {
                    kind: FailureKind::Render,
                    reason: error.to_string(),
                    at: self.shared.clock.now(),
                }))
            }
        };
        self.renderer.set_result(key, result);
        self.publisher.release();
    }

    /// Serves a sealed generation, or keeps it for a retry.
    fn on_seal_answered(&mut self, seal: PendingSeal, answer: SealAnswer, took: Duration) {
        let metrics = &self.shared.metrics;
        metrics.seal_seconds.observe(took.as_secs_f64());
        let PendingSeal { key, served } = seal;
        let event = seal_event(&served.generation);
        match answer {
            SealAnswer::Won => {
                self.audit(event, RenderOutcome::Done);
                let generation = &served.generation;
                let nodes = match generation.nodes.len() {
                    1 => "1 node".to_owned(),
                    count => format!("{count} nodes"),
                };
                let (number, digest) = (generation.number, generation.digest);
                let revision = generation.revision;
                tracing::info!(
                    event = "generation_sealed",
                    generation = number.0,
                    revision = revision.0,
                    "sealed generation {number} for {nodes} (digest {digest})"
                );
                if self.serve(*served) {
                    self.serving.covers(key, revision);
                }
                self.renderer.set_result(key, RenderResult::Sealed);
            }
            SealAnswer::Lost(winner) => {
                self.audit(event, RenderOutcome::Failed("sealed_elsewhere"));
                self.renderer.clear_result();
                self.adopt(winner);
            }
            SealAnswer::Outdated => {
                self.audit(event, RenderOutcome::Failed("outdated"));
                self.renderer.clear_result();
            }
            SealAnswer::NotSealed {
                unmet,
                reason,
                slug,
            } => {
                if let Some(slug) = slug {
                    self.audit(event, RenderOutcome::Failed(slug));
                }
                let before = self.renderer.result(key);
                let result = unsealed(before, unmet, &reason, served);
                self.renderer.set_result(key, result);
            }
        }
        self.publisher.release();
    }

    /// Serves a generation that another server sealed. The newest inputs are rendered unless it includes them.
    fn on_generation_adopted(&mut self, served: ServedGeneration) {
        if self.serve(served) {
            self.renderer.clear_result();
            self.value_follower
                .on_adopted(&self.follower.state, &self.pipeline);
            self.accept_served();
            self.publisher.release();
        }
    }

    /// Serves `served` and ends the attempt. Returns `false`, and changes nothing, if a newer one is already served.
    fn serve(&mut self, served: ServedGeneration) -> bool {
        let up_to = self.serving.up_to();
        let previous = self
            .serving
            .generation
            .clone()
            .map(|previous| (previous, up_to));
        let is_newer = self.serving.serve(served);
        if is_newer {
            let registrations = &self.follower.state.registrations;
            self.serving.registrations = registrations.clone();
            self.attempt.on_sealed();
            self.begin_rollout(previous.as_ref());
        }
        is_newer
    }

    /// Returns whether the newest inputs still need a generation.
    fn is_generation_due(&self, evaluation: &Evaluation) -> bool {
        // After the first seal, `settle` and retries only delay the generation, so it is still due.
        let is_sealed = self.serving.generation.is_some();
        let is_due = match self.renderer.result(self.render_key()) {
            None => evaluation.is_ready() || (evaluation.is_settling && is_sealed),
            Some(result) => result.is_retried() && is_sealed,
        };
        is_due && self.follower.state.failure.is_none()
    }

    /// Returns what nodes wait for while the rule is satisfied.
    fn work_in_progress(&self) -> Unmet {
        if self.renderer.is_running() {
            Unmet::Rendering
        } else if self.sealer.is_running() {
            Unmet::Storing
        } else if self.adopter.is_running() {
            Unmet::Loading
        } else if self.has_other_spec() {
            Unmet::OtherSpec
        } else if self.turn.is_waiting() {
            Unmet::RenderingElsewhere
        } else {
            Unmet::CollectingChanges(self.config.min_generation_interval)
        }
    }

    fn audit(&self, event: AuditEvent, outcome: RenderOutcome) {
        if let Some(audit_sink) = &self.config.audit_sink {
            audit_sink.record(event, outcome);
        }
    }

    /// Waits until a running seal and pending delivery records have finished.
    async fn shut_down(&mut self) {
        let finish = async {
            if self.sealer.is_running() {
                let (seal, answer, took) = self.sealer.answered().await;
                self.on_seal_answered(seal, answer, took);
            }
            self.recorder
                .flush(&self.shared, &self.follower.state)
                .await;
            self.note_writer.flush(&self.shared).await;
        };
        if tokio::time::timeout(SHUTDOWN_PATIENCE, finish)
            .await
            .is_err()
        {
            tracing::warn!(
                "the store did not answer within {} while the server stopped",
                duration::text(SHUTDOWN_PATIENCE)
            );
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
