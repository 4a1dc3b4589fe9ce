//! The route itself: one task that follows the store, judges the newest state, renders it off the async
//! threads, seals, and publishes. At most one render is in flight.

use std::{collections::BTreeMap, fmt::Display, future::Future, sync::Arc, time::Duration};

use arc_swap::Guard;
use imbl::ordmap::DiffItem;
use serde_json::Map;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::{
    Config, Knock, Shared,
    audit_sink::{AuditEvent, RenderOutcome},
    readiness::Tally,
    render::Program,
    view::{Failed, NotReady, Served, View},
    work::{Made, Outcome, Work},
};
use cfgsync_materialize::MaterializeError;
use cfgsync_model::{
    Digest, Failure, FailureKind, NodeRegistration, Progress, Readiness, RegistrationSnapshot,
    Revision, Seat,
};
use cfgsync_store::{Record, Seal, State, Store};
use cfgsync_wire::SigningKey;

/// Registrations that come in a burst are judged together: an evaluation is at most this late.
const EVALUATION_PAUSE: Duration = Duration::from_millis(1);

/// First deliveries are noted together, at most this late.
const DELIVERIES_PAUSE: Duration = Duration::from_millis(100);

/// A materializer that says "not ready" is asked again after this long, then after twice as long …
const NOT_READY_RETRY_MIN: Duration = Duration::from_secs(1);
/// … up to this.
const NOT_READY_RETRY_MAX: Duration = Duration::from_secs(30);

/// A seal that could not be made is tried again after this long.
const SEAL_RETRY: Duration = Duration::from_secs(1);

/// Of a burst of registrations, up to this many get a log line each; more are counted in one.
const LOGGED_EACH_MAX: usize = 8;

/// The task's state: nobody else has it, so nothing in it needs a lock.
pub(super) struct Route {
    shared: Arc<Shared>,
    program: Arc<Program>,
    config: Config,
    changes: watch::Receiver<Revision>,
    knocks: mpsc::Receiver<Knock>,
    /// The state that the tally shows.
    seen: Arc<State>,
    tally: Tally,
    /// The rule holds, and `settle` is awaited.
    settling: bool,
    /// Counts `settle`.
    last_input: Instant,
    /// Since when the first seal is waited for: the attempt's first registration.
    attempt: Option<Instant>,
    /// Why the attempt failed, until the next one begins.
    attempt_failure: Option<Arc<Failure>>,
    rendering: Option<Rendering>,
    last_render: Option<Instant>,
    /// What the newest finished render was of, and what it came to.
    finished: Option<(Cut, Finished)>,
    /// How often the spec was read again.
    reading: u32,
    served: Option<Arc<Served>>,
    covers: Revision,
    /// What the served generation is the newest finished render of.
    covered: Option<Cut>,
    /// Waiters may have another answer once the next view is published.
    release_due: bool,
    /// When first deliveries are noted.
    deliveries_due: Option<Instant>,
}

/// What a render depends on: the same cut need not be rendered twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    inputs: Revision,
    spec: Digest,
    /// Counts how often the spec was read: files that it only names may have changed with it.
    reading: u32,
}

/// A render in flight.
struct Rendering {
    cut: Cut,
    started: Instant,
    program: Arc<Program>,
    task: JoinHandle<Made>,
}

impl Drop for Rendering {
    /// A server that stops does not leave behind what still works on its files.
    fn drop(&mut self) {
        if !self.task.is_finished() {
            self.program.stop();
        }
    }
}

/// How a render ended.
enum Finished {
    Sealed,
    NotReady {
        message: String,
        retry_at: Instant,
        pause: Duration,
    },
    Failed(Arc<Failure>),
    /// The seal could not be made; what was to be sealed is kept for the next try.
    Unsealed {
        clause: String,
        retry_at: Instant,
        kept: Option<Box<Served>>,
    },
}

impl Finished {
    /// Whether the same cut is rendered once more by itself.
    fn is_tried_again(&self) -> bool {
        matches!(self, Self::NotReady { .. } | Self::Unsealed { .. })
    }
}

/// What is published before the first evaluation.
pub(super) fn first_view(
    program: &Arc<Program>,
    store: &Arc<dyn Store>,
    sign_key: Option<&Arc<SigningKey>>,
) -> View {
    let readiness = Tally::new(program.spec.clone()).readiness(&Map::new());
    let served = store.state().generation().cloned();
    View {
        program: program.clone(),
        progress: readiness.progress().clone(),
        judged: Revision::default(),
        evaluated: Revision::default(),
        not_ready: NotReady::of(readiness.progress(), None),
        is_gate_open: false,
        covers: served
            .as_ref()
            .map_or(Revision::default(), |generation| generation.revision),
        served: served
            .map(|generation| Arc::new(Served::new(store.instance(), generation, sign_key))),
        failure: None,
        trouble: None,
    }
}

impl Route {
    pub(super) fn new(
        shared: Arc<Shared>,
        program: Arc<Program>,
        config: Config,
        changes: watch::Receiver<Revision>,
        knocks: mpsc::Receiver<Knock>,
    ) -> Self {
        let view = shared.view.load_full();
        let seen = Guard::into_inner(shared.store.state());
        let mut tally = Tally::new(program.spec.clone());
        for registered in seen.registrations.values() {
            tally.insert(registered.registration.clone());
        }
        if let Some(failure) = &seen.failure {
            tracing::error!(
                "the cluster is failed, as an operator said: {}",
                failure.reason
            );
        }
        let mut route = Self {
            tally,
            program,
            config,
            changes,
            knocks,
            seen,
            settling: false,
            last_input: Instant::now(),
            attempt: None,
            attempt_failure: None,
            rendering: None,
            last_render: None,
            finished: None,
            reading: 0,
            served: view.served.clone(),
            covers: view.covers,
            covered: None,
            release_due: false,
            deliveries_due: None,
            shared,
        };
        route.go_on();
        route
    }

    /// A server that comes back does not make anew what could come out otherwise, as a program's files may: what is
    /// sealed is what a render of these inputs gave.
    fn go_on(&mut self) {
        let Some(served) = &self.served else {
            return;
        };
        let (sealed, cut) = (&served.generation, self.cut());
        if sealed.spec == cut.spec && cut.inputs <= sealed.revision && !self.program.repeats() {
            self.finished = Some((cut, Finished::Sealed));
            self.covered = Some(cut);
        }
    }

    /// The route of DESIGN section 3, once around for every change.
    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()> + Send + 'static) {
        tokio::pin!(shutdown);
        loop {
            let came = self.follow();
            let (readiness, timer) = self.judge();
            log_registrations(&came, readiness.progress());
            self.render_if_due(&readiness);
            self.publish(readiness);
            let timer = [timer, self.note_deliveries().await]
                .into_iter()
                .flatten()
                .min();
            tokio::select! {
                () = &mut shutdown => break,
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    tokio::time::sleep(EVALUATION_PAUSE).await;
                }
                Some(knock) = self.knocks.recv() => self.heed(knock),
                made = finish(&mut self.rendering) => self.conclude(made).await,
                () = self.shared.delivered.notified() => {}
                () = sleep_until(timer) => {}
            }
        }
        self.deliveries_due = Some(Instant::now());
        self.note_deliveries().await;
    }

    /// Does what it is told beside the store's changes.
    fn heed(&mut self, knock: Knock) {
        let mut came = self.follow();
        let answered = match knock {
            Knock::NewAttempt(answered) => {
                self.attempt_failure = None;
                Some(answered)
            }
            Knock::Retry(answered) => {
                self.attempt_failure = None;
                if matches!(self.finished, Some((_, Finished::Failed(_)))) {
                    self.finished = None;
                }
                Some(answered)
            }
            Knock::Reload(program) => {
                self.reload(program);
                None
            }
        };
        // Readers must see the new attempt before its first registration is acknowledged.
        came.extend(self.follow());
        let (readiness, _) = self.judge();
        log_registrations(&came, readiness.progress());
        match answered {
            // Whoever knocked may be gone; nothing is owed to it then.
            Some(answered) => drop(answered.send(())),
            None => self.warn_of_a_gap(&readiness),
        }
        self.publish(readiness);
    }

    fn reload(&mut self, program: Arc<Program>) {
        self.program = program;
        self.reading += 1;
        self.tally = Tally::new(self.program.spec.clone());
        for registered in self.seen.registrations.values() {
            self.tally.insert(registered.registration.clone());
        }
        self.release_due = true;
    }

    /// A new spec may ask for more than the old one that was met.
    fn warn_of_a_gap(&self, readiness: &Readiness) {
        if let (Readiness::Waiting(progress), Some(served)) = (readiness, &self.served) {
            tracing::warn!(
                "by this spec not all are here: {progress}; generation {} stays served",
                served.generation.number
            );
        }
    }

    /// Notes first deliveries in the store, many at a time; answers when the next are due.
    async fn note_deliveries(&mut self) -> Option<Instant> {
        if self.shared.deliveries().is_empty() {
            return None;
        }
        let now = Instant::now();
        let due = *self.deliveries_due.get_or_insert(now + DELIVERIES_PAUSE);
        if due > now {
            return Some(due);
        }
        self.deliveries_due = None;
        let delivered = std::mem::take(&mut *self.shared.deliveries());
        let records: Vec<_> = delivered
            .into_iter()
            // A server that came back hands out again what is noted already.
            .filter(|(identifier, number)| self.seen.deliveries.get(identifier) != Some(number))
            .map(|(identifier, generation)| Record::Delivered {
                identifier,
                generation,
            })
            .collect();
        if records.is_empty() {
            return None;
        }
        if let Err(error) = self.shared.store.record(records).await {
            // Only what `inspect` says of who is behind depends on it.
            tracing::warn!("deliveries are not noted: {error}");
        }
        None
    }

    /// Brings the tally up to the store's newest state; answers who came.
    fn follow(&mut self) -> Vec<Arc<NodeRegistration>> {
        let mut came = Vec::new();
        self.changes.borrow_and_update();
        let state = Guard::into_inner(self.shared.store.state());
        if state.inputs != self.seen.inputs {
            for change in self.seen.registrations.diff(&state.registrations) {
                match change {
                    DiffItem::Add(_, new) | DiffItem::Update { new: (_, new), .. } => {
                        self.tally.insert(new.registration.clone());
                        came.push(new.registration.clone());
                    }
                    DiffItem::Remove(identifier, _) => {
                        self.tally.remove(identifier.as_str());
                        tracing::info!("{identifier} was removed");
                    }
                }
            }
            log_overrides(&self.seen, &state);
            self.last_input = Instant::now();
            if !came.is_empty() {
                // Who came while the old attempt was failing found nothing to knock for.
                self.attempt_failure = None;
            }
        }
        match (&self.seen.failure, &state.failure) {
            (None, Some(failure)) => {
                tracing::error!(
                    "an operator declared the cluster failed: {}",
                    failure.reason
                );
            }
            (Some(_), None) => tracing::info!("an operator's reset ended the failure"),
            _ => {}
        }
        self.seen = state;
        if self.tally.is_empty() || self.served.is_some() {
            self.attempt = None;
        } else if self.attempt_failure.is_none() {
            self.attempt.get_or_insert_with(Instant::now);
        }
        came
    }

    /// The rule's answer with the timers around it, and when to look again.
    fn judge(&mut self) -> (Readiness, Option<Instant>) {
        let once = self
            .served
            .as_ref()
            .map(|served| served.generation.once.clone());
        let readiness = self.tally.readiness(&once.unwrap_or_default());
        let mut progress = readiness.progress().clone();
        let mut look_again = None;
        self.settling = false;
        let rule = self.program.spec.ready.as_ref();
        if let (Readiness::Ready(_), Some(rule)) = (&readiness, rule) {
            let settled_at = self.last_input + rule.settle;
            self.settling = settled_at > Instant::now();
            if self.settling {
                progress.unmet.push(format!(
                    "settle: no change for {:?} is awaited",
                    rule.settle
                ));
                look_again = Some(settled_at);
            }
        }
        let now = Instant::now();
        match self.finished_for(self.cut()) {
            Some(Finished::NotReady {
                message, retry_at, ..
            }) => {
                progress.unmet.push(message.clone());
                if *retry_at > now {
                    look_again = Some(*retry_at);
                }
            }
            Some(Finished::Unsealed {
                clause, retry_at, ..
            }) => {
                progress.unmet.push(clause.clone());
                if *retry_at > now {
                    look_again = Some(*retry_at);
                }
            }
            _ => {}
        }
        if let (Some(started), Some(deadline)) = (self.attempt, rule.and_then(|r| r.deadline)) {
            let ends_at = started + deadline;
            // What is ready by now was so in time: it was registered before this look at it.
            let is_in_time = progress.unmet.is_empty() && self.finished_for(self.cut()).is_none();
            if ends_at <= now && self.rendering.is_none() && !is_in_time {
                self.miss_deadline(deadline, &progress);
            } else if ends_at > now && self.rendering.is_none() {
                look_again = Some(look_again.map_or(ends_at, |at: Instant| at.min(ends_at)));
            }
        }
        if let Some(last) = self.last_render {
            let next = last + self.config.min_generation_interval;
            if next > now {
                look_again = Some(look_again.map_or(next, |at: Instant| at.min(next)));
            }
        }
        match progress.unmet.is_empty() {
            true => (Readiness::Ready(progress), look_again),
            false => (Readiness::Waiting(progress), look_again),
        }
    }

    fn miss_deadline(&mut self, deadline: Duration, progress: &Progress) {
        let reason = format!("not ready within {deadline:?}: {progress}");
        tracing::error!("the attempt failed: {reason}; the next registration begins a new one");
        self.tell(AuditEvent::Attempt, RenderOutcome::Failed("deadline"));
        let at = self.shared.clock.now();
        self.attempt = None;
        self.attempt_failure = Some(Arc::new(Failure {
            kind: FailureKind::Deadline,
            reason,
            at,
        }));
        self.release_due = true;
    }

    /// Starts a render of the newest state if it is ready and was not rendered yet.
    fn render_if_due(&mut self, readiness: &Readiness) {
        let cut = self.cut();
        let now = Instant::now();
        let too_soon = self
            .last_render
            .is_some_and(|last| now < last + self.config.min_generation_interval);
        let asked_again = match self.finished_for(cut) {
            Some(Finished::NotReady { retry_at, .. } | Finished::Unsealed { retry_at, .. }) => {
                now >= *retry_at
            }
            _ => false,
        };
        let known = self.finished_for(cut).is_some();
        // A materializer's own "not ready" must not keep it from being asked again.
        let is_due = asked_again || (readiness.is_ready() && !known);
        let is_failed = self.attempt_failure.is_some() || self.seen.failure.is_some();
        if !is_due || too_soon || is_failed || self.rendering.is_some() {
            return;
        }
        let task = if let Some(kept) = self.take_kept(cut) {
            tokio::spawn(async { Ok(Outcome::New(kept)) })
        } else {
            let work = self.work();
            tokio::task::spawn_blocking(move || work.make())
        };
        self.last_render = Some(now);
        self.rendering = Some(Rendering {
            cut,
            started: now,
            program: self.program.clone(),
            task,
        });
    }

    /// What was rendered of `cut`, and could not be sealed up to now.
    fn take_kept(&mut self, cut: Cut) -> Option<Box<Served>> {
        match &mut self.finished {
            Some((of, Finished::Unsealed { kept, .. })) if *of == cut => kept.take(),
            _ => None,
        }
    }

    fn work(&self) -> Work {
        Work {
            program: self.program.clone(),
            state: self.seen.clone(),
            served: self.served.clone(),
            snapshot: self.snapshot(),
            instance: self.shared.store.instance(),
            drawn_at: self.shared.clock.now(),
            sign_key: self.shared.sign_key.clone(),
        }
    }

    fn snapshot(&self) -> RegistrationSnapshot {
        let no_seats = BTreeMap::<_, Seat>::new();
        let sealed = self.served.as_ref().map(|served| &served.generation);
        let seats = sealed.map_or(&no_seats, |generation| &generation.seats);
        let once = sealed
            .map(|generation| Map::clone(&generation.once))
            .unwrap_or_default();
        self.tally.snapshot(self.seen.inputs, seats, once)
    }

    /// How the render of `cut` ended, if it was the newest.
    fn finished_for(&self, cut: Cut) -> Option<&Finished> {
        self.finished
            .as_ref()
            .filter(|(of, _)| *of == cut)
            .map(|(_, finished)| finished)
    }

    /// What a render would be of now. Where registration is only the gate, it does not enter.
    fn cut(&self) -> Cut {
        let inputs = match self.program.gate_only() {
            true => self.seen.override_inputs,
            false => self.seen.inputs,
        };
        Cut {
            inputs,
            spec: self.program.spec.digest,
            reading: self.reading,
        }
    }

    /// Seals what a render made, or keeps its failure.
    async fn conclude(&mut self, (rendering, made): (Rendering, Result<Made, JoinError>)) {
        let took = rendering.started.elapsed();
        self.shared
            .metrics
            .render_seconds
            .observe(took.as_secs_f64());
        let made = made.unwrap_or_else(|panic| {
            Err(MaterializeError::new(format!(
                "a materializer panicked: {panic}"
            )))
        });
        let cut = rendering.cut;
        let finished = match made {
            Ok(Outcome::Same) => {
                self.covers = self.covers.max(cut.inputs);
                self.covered = Some(cut);
                Finished::Sealed
            }
            Ok(Outcome::NotReady(message)) => self.not_ready(cut, message),
            Ok(Outcome::New(served)) => match self.seal(served, cut, took).await {
                Some(finished) => finished,
                None => return,
            },
            Err(error) => {
                self.shared.metrics.render_failures.inc();
                tracing::error!("the render at revision {} failed: {error}", cut.inputs);
                let revision = cut.inputs;
                self.tell(
                    AuditEvent::Render { revision },
                    RenderOutcome::Failed("materializer"),
                );
                let at = self.shared.clock.now();
                let reason = error.to_string();
                Finished::Failed(Arc::new(Failure {
                    kind: FailureKind::Render,
                    reason,
                    at,
                }))
            }
        };
        self.finished = Some((cut, finished));
        self.release_due = true;
    }

    fn not_ready(&self, cut: Cut, message: String) -> Finished {
        let pause = match self.finished_for(cut) {
            Some(Finished::NotReady { pause, .. }) => (*pause * 2).min(NOT_READY_RETRY_MAX),
            _ => NOT_READY_RETRY_MIN,
        };
        let told = match &self.finished {
            Some((_, Finished::NotReady { message, .. })) => Some(message),
            _ => None,
        };
        if told != Some(&message) {
            tracing::info!("the rule is met, but {message}");
        }
        Finished::NotReady {
            message,
            retry_at: Instant::now() + pause,
            pause,
        }
    }

    /// `None`: another generation was sealed first, and is served now; the newest state is judged again.
    async fn seal(&mut self, served: Box<Served>, cut: Cut, took: Duration) -> Option<Finished> {
        let generation = served.generation.clone();
        let deed = AuditEvent::Seal {
            generation: generation.number,
            revision: generation.revision,
            digest: generation.digest,
        };
        if let Some(audit_sink) = &self.config.audit_sink
            && let Err(why) = audit_sink.allows(deed).await
        {
            return Some(self.unsealed(served, format!("seal: {why}; tried again"), &why));
        }
        match self.shared.store.seal(generation.clone()).await {
            Seal::Won => {
                self.tell(deed, RenderOutcome::Done);
                tracing::info!(
                    "sealed generation {} for {} in {took:?} (digest {})",
                    generation.number,
                    match generation.nodes.len() {
                        1 => "1 node".to_owned(),
                        count => format!("{count} nodes"),
                    },
                    generation.digest
                );
                self.covers = generation.revision.max(cut.inputs);
                self.covered = Some(cut);
                self.serve(*served);
                Some(Finished::Sealed)
            }
            Seal::Lost(winner) => {
                self.tell(deed, RenderOutcome::Failed("sealed_elsewhere"));
                tracing::info!("generation {} was sealed elsewhere first", winner.number);
                self.covers = winner.revision;
                self.covered = None;
                let instance = self.shared.store.instance();
                let sign_key = self.shared.sign_key.as_ref();
                self.serve(Served::new(instance, winner, sign_key));
                None
            }
            Seal::Unavailable(error) => {
                self.tell(deed, RenderOutcome::Failed("store"));
                let clause = "seal: the store is unavailable; tried again";
                Some(self.unsealed(served, clause.to_owned(), &error))
            }
        }
    }

    /// Tried again in a while; until then `clause` is the reason to wait. Said once, and not every second.
    fn unsealed(&self, served: Box<Served>, clause: String, why: &dyn Display) -> Finished {
        let told = match &self.finished {
            Some((_, Finished::Unsealed { clause, .. })) => Some(clause),
            _ => None,
        };
        if told != Some(&clause) {
            tracing::error!(
                "generation {} is not sealed: {why}",
                served.generation.number
            );
        }
        Finished::Unsealed {
            clause,
            retry_at: Instant::now() + SEAL_RETRY,
            kept: Some(served),
        }
    }

    fn tell(&self, deed: AuditEvent, ending: RenderOutcome) {
        if let Some(audit_sink) = &self.config.audit_sink {
            audit_sink.sees(deed, ending);
        }
    }

    fn serve(&mut self, served: Served) {
        self.served = Some(Arc::new(served));
        self.attempt = None;
        self.attempt_failure = None;
    }

    /// Whether a render of what there is now is still to come.
    fn is_render_owed(&self, progress: &Progress) -> bool {
        // After a seal these only put it off: who changed something is owed it still.
        let is_sealed = self.served.is_some();
        let is_owed = match self.finished_for(self.cut()) {
            None => progress.unmet.is_empty() || (self.settling && is_sealed),
            Some(finished) => finished.is_tried_again() && is_sealed,
        };
        is_owed && self.seen.failure.is_none()
    }

    /// What is waited for when the rule is met.
    fn render_clause(&self) -> String {
        let interval = self.config.min_generation_interval;
        match self.rendering {
            Some(_) => "render: the files are being made".to_owned(),
            None => format!("render: changes are gathered, files are made once in {interval:?}"),
        }
    }

    /// Lets readers see what was found.
    fn publish(&mut self, readiness: Readiness) {
        let (Readiness::Ready(mut progress) | Readiness::Waiting(mut progress)) = readiness;
        let failed = match self.finished_for(self.cut()) {
            Some(Finished::Failed(failure)) => Some(failure.clone()),
            _ => None,
        };
        let failure = match (&self.attempt_failure, &failed) {
            _ if self.served.is_some() => None,
            (Some(failure), _) => Some(Failed {
                failure: failure.clone(),
                inputs: None,
            }),
            (None, Some(failure)) => Some(Failed {
                failure: failure.clone(),
                inputs: Some(self.seen.inputs),
            }),
            (None, None) => None,
        };
        let trouble = failed.filter(|_| self.served.is_some());
        let old = self.shared.view.load();
        let is_owed = self.rendering.is_some() || self.is_render_owed(&progress);
        if is_owed && progress.unmet.is_empty() {
            progress.unmet.push(self.render_clause());
        }
        let evaluated = match (is_owed, &self.finished) {
            (false, _) => self.seen.inputs,
            // Where changes never pause a render is always owed: those that ended count.
            (true, Some((of, finished))) if !finished.is_tried_again() => {
                old.evaluated.max(of.inputs)
            }
            (true, _) => old.evaluated,
        };
        let is_gate_open = self.program.gate_only()
            && self
                .covered
                .is_some_and(|of| (of.spec, of.reading) == (self.cut().spec, self.reading));
        if let Some(failed) = &failure
            && old.failure.as_ref().map(|old| old.inputs) != Some(failed.inputs)
        {
            // Who asked between the newer input and this view was told to wait.
            self.release_due = true;
        }
        let metrics = &self.shared.metrics;
        metrics.registered.set(gauge(progress.registered as u64));
        metrics.needed.set(gauge(progress.needed as u64));
        let number = self
            .served
            .as_ref()
            .map_or(0, |served| served.generation.number.0);
        metrics.generation.set(gauge(number));
        let is_failed = failure.is_some() || trouble.is_some() || self.seen.failure.is_some();
        metrics.failed.set(i64::from(is_failed));
        let same_reason = old.progress == progress && old.trouble == trouble;
        self.shared.view.store(Arc::new(View {
            program: self.program.clone(),
            not_ready: match same_reason {
                true => old.not_ready.clone(),
                false => NotReady::of(&progress, trouble.as_deref()),
            },
            progress,
            judged: self.seen.inputs,
            evaluated,
            served: self.served.clone(),
            covers: self.covers,
            is_gate_open,
            failure,
            trouble,
        }));
        self.shared.evaluated.send_replace(evaluated);
        if std::mem::take(&mut self.release_due) {
            self.shared.release.send_replace(());
        }
    }
}

fn log_registrations(came: &[Arc<NodeRegistration>], progress: &Progress) {
    if came.len() > LOGGED_EACH_MAX {
        tracing::info!("{} nodes registered ({progress})", came.len());
        return;
    }
    for node in came {
        tracing::info!(
            "{} registered from {} ({progress})",
            node.identifier,
            node.ip
        );
    }
}

fn log_overrides(seen: &State, state: &State) {
    if seen.override_inputs == state.override_inputs {
        return;
    }
    for change in seen.overrides.diff(&state.overrides) {
        match change {
            DiffItem::Add(identifier, _)
            | DiffItem::Update {
                new: (identifier, _),
                ..
            } => tracing::info!("{identifier} is overridden: an operator's files replace its own"),
            DiffItem::Remove(identifier, _) => {
                tracing::info!("{identifier} is no longer overridden");
            }
        }
    }
}

/// Waits for the render in flight, if there is one, and takes it out.
async fn finish(rendering: &mut Option<Rendering>) -> (Rendering, Result<Made, JoinError>) {
    let Some(running) = rendering else {
        return std::future::pending().await;
    };
    let made = (&mut running.task).await;
    (rendering.take().expect("it is running"), made)
}

fn gauge(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
