//! The route of data in one place: registration → snapshot → readiness → materialize → seal → payload.
//!
//! [`Coordinator`] is the handle that the outside calls. Changes go to the store and are acknowledged by it;
//! they never wait for an evaluation. One task, `route`, follows the store, evaluates the newest state and
//! publishes a `view::View` that readers take without a lock.

pub mod metrics;
mod answer;
mod audit_sink;
pub mod readiness;
pub mod render;
mod view;
mod describe;
mod work;
mod room;
mod route;

pub use answer::{Accepted, AccessKind, AnotherCluster, Answer, Delivery, Refusal};
pub use audit_sink::{AuditEvent, AuditRefused, AuditSink, RenderOutcome};

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};

use crate::metrics::{ChangeLabels, Metrics};
use cfgsync_materialize::Materializer;
use cfgsync_model::{
    ArtifactPath, ArtifactSet, Digest, Failure, FailureKind, GenerationNumber, Identifier,
    Instance, NodeRegistration, Revision,
};
use cfgsync_spec::{IdentityMode, Spec};
use cfgsync_store::{Bounds, Input, Outcome, Record, State, Store};
use cfgsync_support::clock::WallClock;
use cfgsync_wire::{LeaveBody, SigningKey};
use render::Program;
use room::Room;
use view::{Failed, Payload, Served, View};

/// How many messages to the route may be under way; senders wait beyond that.
const KNOCKS_MAX: usize = 64;

/// How long `replace` waits for the generation that shows its files. They are stored by then, whatever comes.
const REPLACE_WAIT_MAX: Duration = Duration::from_mins(1);

/// How long an operator's question waits for the evaluation of what came before it.
const CATCH_UP_MAX: Duration = Duration::from_millis(200);

/// What an operator may choose.
#[derive(Debug, Clone)]
pub struct Config {
    /// Renders do not start sooner than this after the last one.
    pub min_generation_interval: Duration,
    /// How much there may be of nodes.
    pub bounds: Bounds,
    /// What payloads are signed with, if they are.
    pub sign_key: Option<Arc<SigningKey>>,
    /// Who keeps account of what is done without a request.
    pub audit_sink: Option<Arc<dyn AuditSink>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_generation_interval: Duration::from_secs(1),
            bounds: Bounds::default(),
            sign_key: None,
            audit_sink: None,
        }
    }
}

/// A handle; cloning is cheap.
#[derive(Clone)]
pub struct Coordinator {
    shared: Arc<Shared>,
}

/// What the handle and the route share.
struct Shared {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    clock: WallClock,
    sign_key: Option<Arc<SigningKey>>,
    room: Room,
    /// Materializers of the embedding program, after those of the spec.
    embedded: Vec<Arc<dyn Materializer>>,
    view: ArcSwap<View>,
    /// Marked changed when there may be another answer for someone who waits; progress alone is none.
    release: watch::Sender<()>,
    /// Marked changed after every evaluation.
    evaluated: watch::Sender<Revision>,
    knocks: mpsc::Sender<Knock>,
    /// First deliveries, until the route notes them.
    deliveries: Mutex<Vec<(Identifier, GenerationNumber)>>,
    /// Wakes the route for them.
    delivered: Notify,
    draining: AtomicBool,
}

/// What the route is told beside the store's changes.
enum Knock {
    /// A node registered while the attempt had failed by its deadline: a new one begins.
    NewAttempt(oneshot::Sender<()>),
    /// Try again what failed.
    Retry(oneshot::Sender<()>),
    /// Another spec.
    Reload(Arc<Program>),
}

impl Coordinator {
    /// A handle, and the route: a future that runs until `shutdown` is complete.
    pub fn new(
        store: Arc<dyn Store>,
        spec: Spec,
        embedded: Vec<Arc<dyn Materializer>>,
        config: Config,
        clock: WallClock,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let program = Arc::new(program(spec, &embedded));
        let (knocks, knocked) = mpsc::channel(KNOCKS_MAX);
        let changes = store.follow();
        let sign_key = config.sign_key.clone();
        let first = route::first_view(&program, &store, sign_key.as_ref());
        let shared = Arc::new(Shared {
            store,
            metrics: Arc::default(),
            clock,
            sign_key,
            room: Room::new(config.bounds),
            embedded,
            view: ArcSwap::from_pointee(first),
            release: watch::Sender::new(()),
            evaluated: watch::Sender::new(Revision::default()),
            knocks,
            deliveries: Mutex::default(),
            delivered: Notify::new(),
            draining: AtomicBool::new(false),
        });
        let route = route::Route::new(shared.clone(), program, config, changes, knocked);
        (Self { shared }, route.run(shutdown))
    }

    /// Whose revisions and generation numbers these are.
    pub fn instance(&self) -> Instance {
        self.shared.store.instance()
    }

    /// The cluster's name. It never changes: one server is one cluster.
    pub fn cluster_name(&self) -> String {
        self.shared.view.load().program.spec.cluster.clone()
    }

    /// The server's figures; those that cost something are brought up to date here.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// How a node shows that an identifier is its own.
    pub fn identity(&self) -> IdentityMode {
        self.shared.view.load().program.spec.identity
    }

    /// The hash of the key that has `identifier`, if any has.
    pub fn owner(&self, identifier: &Identifier) -> Option<Digest> {
        self.shared.store.state().keys.get(identifier).copied()
    }

    /// Who is registered under a name that no key has.
    pub fn registered_without_key(&self) -> Vec<Identifier> {
        let state = self.shared.store.state();
        state.registered_without_key().cloned().collect()
    }

    /// Gives `identifier` free: the next key to come with it has it.
    pub async fn release(&self, identifier: &Identifier) -> Result<Revision, Refusal> {
        if self.owner(identifier).is_none() {
            return Err(Refusal::NoKey(identifier.clone()));
        }
        let released = Record::Released(identifier.clone());
        let revision = self.shared.store.record(vec![released]).await?;
        self.count_change("release");
        Ok(revision)
    }

    /// Accepts a node's facts. The same facts again change nothing.
    pub async fn register(&self, registration: NodeRegistration) -> Result<Revision, Refusal> {
        let accepted = self.register_as(registration, None).await?;
        Ok(accepted.revision)
    }

    /// The same for a node that comes with its own key, of which `key` is the hash: the identifier is then that key's.
    pub async fn register_as(
        &self,
        registration: NodeRegistration,
        key: Option<Digest>,
    ) -> Result<Accepted, Refusal> {
        let identifier = &registration.identifier;
        let within = {
            let view = self.shared.view.load();
            let is_given_files = view.program.is_stranger(identifier.as_str())
                && self.shared.store.state().overrides.contains_key(identifier);
            if view.program.excludes(identifier) && !is_given_files {
                return Err(Refusal::NotListed(identifier.clone()));
            }
            let sealed = view.served.is_some() && view.program.is_closed_to(identifier.as_str());
            if sealed && !self.is_known(identifier) {
                return Err(Refusal::TooLate(identifier.clone()));
            }
            view.program
                .spec
                .metadata
                .complete(&registration.metadata)?;
            self.shared.room.for_node(&view.program, identifier)
        };
        if let Some(key) = key {
            self.claim(&registration, key, within).await?;
        }
        let input = Input::Register {
            registration,
            within,
        };
        let outcome = self.shared.store.put(input).await?;
        if let Outcome::Full(full) = outcome {
            return Err(self.shared.room.refuse(full));
        }
        let failure = self
            .shared
            .view
            .load()
            .failure
            .as_ref()
            .map(|failed| failed.failure.kind);
        if failure == Some(FailureKind::Deadline) {
            // Otherwise this node's next question could still meet the old attempt's failure.
            self.knock(Knock::NewAttempt).await;
        }
        match outcome {
            Outcome::Changed(revision) => {
                self.count_change("register");
                if self.shared.view.load().is_gate_open {
                    // No render follows that would wake who waits under that name.
                    self.shared.release.send_replace(());
                }
                Ok(Accepted {
                    revision,
                    changed: true,
                })
            }
            Outcome::Unchanged(revision) => Ok(Accepted {
                revision,
                // Another key has the name now.
                changed: key.is_some(),
            }),
            Outcome::Absent | Outcome::OtherFacts | Outcome::Full(_) => {
                unreachable!("a registration is never absent, and one without room is refused")
            }
        }
    }

    /// Makes the node's identifier the key's, unless it is another's.
    async fn claim(
        &self,
        registration: &NodeRegistration,
        key: Digest,
        within: Bounds,
    ) -> Result<(), Refusal> {
        let identifier = &registration.identifier;
        if self.owner(identifier).is_none() {
            let room = room::for_name(&self.shared.store.state(), registration, within);
            room.map_err(|full| self.shared.room.refuse(full))?;
            let identifier = identifier.clone();
            let claimed = Record::Claimed { identifier, key };
            self.shared.store.record(vec![claimed]).await?;
        }
        // Of two that came at once the store has kept one.
        match self.owner(identifier) == Some(key) {
            true => Ok(()),
            false => Err(Refusal::OtherKey(identifier.clone())),
        }
    }

    /// What a node is told that must register before it has the identifier that it asks for.
    pub fn unregistered(&self) -> Answer {
        Answer::NotReady(self.shared.view.load().not_ready.unregistered.clone())
    }

    /// What `identifier` is told now. Compares revisions and looks up one payload: never waits, never grows
    /// with the number of nodes. A payload counts as delivered.
    pub fn answer(&self, identifier: &str) -> Answer {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        if let Some((served, payload)) = current(&view, &state, identifier) {
            let (generation, is_first) = (served.generation.number, payload.take());
            if is_first {
                self.note_delivery(identifier, generation);
            }
            return Answer::Payload(Delivery {
                payload: payload.encoded.clone(),
                generation,
                is_first,
                shows_secrets: payload.secret,
            });
        }
        self.why_not(&view, &state, identifier)
    }

    /// The same for this purpose.
    pub fn answer_for(&self, purpose: AccessKind, identifier: &str) -> Answer {
        match purpose {
            AccessKind::Delivery => self.answer(identifier),
            AccessKind::Look { reveal } => self.look(identifier, reveal),
        }
    }

    /// Why there is no payload for `identifier` now.
    fn why_not(&self, view: &View, state: &State, identifier: &str) -> Answer {
        if let Some(failure) = &state.failure {
            return Answer::Failed(failure.clone());
        }
        let program = &view.program;
        let is_registered = state.registrations.contains_key(identifier);
        if let Ok(identifier) = Identifier::new(identifier) {
            if program.excludes(&identifier) {
                return Answer::Missing(Refusal::NotListed(identifier));
            }
            if view.is_gate_open && is_registered {
                return Answer::Missing(Refusal::NoFiles(identifier));
            }
            let is_sealed = view.served.is_some() && program.is_closed_to(identifier.as_str());
            if is_sealed && !is_registered {
                return Answer::Missing(Refusal::TooLate(identifier));
            }
        }
        if let Some(Failed { failure, inputs }) = &view.failure
            && inputs.is_none_or(|inputs| inputs == state.inputs)
        {
            return Answer::Failed(failure.clone());
        }
        let not_ready = match is_registered {
            true => view.not_ready.registered.clone(),
            false => view.not_ready.unregistered.clone(),
        };
        match self.shared.draining.load(Ordering::Relaxed) {
            true => Answer::Draining(not_ready),
            false => Answer::NotReady(not_ready),
        }
    }

    /// Holds the question until there is a payload other than `held`, a failure or a final no. At `until`
    /// the answer is what it is then: not ready, or the payload that is `held` still.
    pub async fn wait(&self, identifier: &str, held: Option<Digest>, until: Instant) -> Answer {
        self.wait_for(AccessKind::Delivery, identifier, held, until)
            .await
    }

    /// The same for this purpose.
    pub async fn wait_for(
        &self,
        purpose: AccessKind,
        identifier: &str,
        held: Option<Digest>,
        until: Instant,
    ) -> Answer {
        // Subscribe first, compare then: a release in between is not lost.
        let mut release = self.shared.release.subscribe();
        loop {
            release.borrow_and_update();
            let answer = self.answer_for(purpose, identifier);
            let same = match &answer {
                Answer::Payload(handed) => held == Some(handed.payload.digest),
                Answer::NotReady(_) => true,
                Answer::Missing(_) | Answer::Failed(_) | Answer::Draining(_) => false,
            };
            if !same || self.shared.draining.load(Ordering::Relaxed) {
                return answer;
            }
            if tokio::time::timeout_at(until, release.changed())
                .await
                .is_err()
            {
                return self.answer_for(purpose, identifier);
            }
        }
    }

    /// Waits, for a moment at most, until the newest inputs are judged: who registers and looks then sees one
    /// picture, not its registration beside the progress of before.
    pub async fn caught_up(&self) {
        // Subscribe first, compare then.
        let mut evaluated = self.shared.evaluated.subscribe();
        let inputs = self.shared.store.state().inputs;
        let judged = async {
            while self.shared.view.load().judged < inputs && evaluated.changed().await.is_ok() {}
        };
        // Later than that the picture is the one there is.
        let _ = tokio::time::timeout(CATCH_UP_MAX, judged).await;
    }

    /// Puts an operator's files in place of a node's own. After a seal, answered when the generation that
    /// shows them is sealed.
    pub async fn replace(
        &self,
        identifier: Identifier,
        files: ArtifactSet,
    ) -> Result<Revision, Refusal> {
        {
            // A generation that fails for all must not be one operator's slip: what is known is refused here.
            let view = self.shared.view.load();
            let sealed = view.served.as_ref().map(|served| &served.generation.shared);
            let is_shared = |path: &ArtifactPath| {
                view.program.declares_shared(path)
                    || sealed.is_some_and(|shared| shared.get(path).is_some())
            };
            if let Some(taken) = files.files().iter().find(|file| is_shared(&file.path)) {
                let path = taken.path.clone();
                return Err(Refusal::SharedPath { path });
            }
        }
        let outcome = self
            .shared
            .store
            .put(Input::Override { identifier, files })
            .await?;
        self.changed_override(outcome).await
    }

    /// Ends an override. After a seal, answered like [`Coordinator::replace`].
    pub async fn remove_override(&self, identifier: &Identifier) -> Result<Revision, Refusal> {
        let outcome = self
            .shared
            .store
            .put(Input::RemoveOverride(identifier.clone()))
            .await?;
        match outcome {
            Outcome::Absent => Err(Refusal::NoOverride(identifier.clone())),
            outcome => self.changed_override(outcome).await,
        }
    }

    /// Takes a node out, at an operator's word.
    pub async fn remove(&self, identifier: &Identifier) -> Result<Revision, Refusal> {
        let view = self.shared.view.load_full();
        if view.served.is_some() && view.program.is_closed_to(identifier.as_str()) {
            return Err(match self.is_known(identifier) {
                true => Refusal::Sealed(identifier.clone()),
                false => Refusal::Unregistered(identifier.clone()),
            });
        }
        self.take_out(identifier.clone(), None).await
    }

    /// Withdraws a node's own registration, before the first seal.
    pub async fn leave(&self, leave: LeaveBody) -> Result<Revision, Refusal> {
        let LeaveBody {
            identifier,
            ip,
            metadata,
        } = leave;
        let state = self.shared.store.state();
        let Some(known) = state.registrations.get(&identifier) else {
            return Err(Refusal::Unregistered(identifier));
        };
        if self
            .shared
            .view
            .load()
            .served
            .as_ref()
            .is_some_and(|s| s.has(identifier.as_str()))
        {
            return Err(Refusal::LeftTooLate(identifier));
        }
        let mut facts = NodeRegistration::clone(&known.registration);
        facts.ip = ip.unwrap_or(facts.ip);
        if let Some(metadata) = metadata {
            facts = facts.with_metadata_value(metadata);
        }
        let has_key = state.keys.contains_key(&identifier);
        let revision = self.take_out(identifier.clone(), Some(facts)).await?;
        if has_key {
            // Who goes by itself gives its name back: it may come again from another machine.
            match self.release(&identifier).await {
                // An operator was faster.
                Err(Refusal::NoKey(_)) => Ok(revision),
                released => released,
            }
        } else {
            Ok(revision)
        }
    }

    /// Declares the cluster failed: every node is told `reason` until [`Coordinator::reset`].
    pub async fn fail(&self, reason: String) -> Result<Revision, Refusal> {
        let at = self.shared.clock.now();
        let failure = Failure {
            kind: FailureKind::Operator,
            reason,
            at,
        };
        let revision = self
            .shared
            .store
            .record(vec![Record::Failed(failure)])
            .await?;
        self.count_change("fail");
        self.shared.release.send_replace(());
        Ok(revision)
    }

    /// Takes [`Coordinator::fail`] back and tries again what failed by itself.
    pub async fn reset(&self) -> Result<Revision, Refusal> {
        let revision = self.shared.store.record(vec![Record::Reset]).await?;
        self.count_change("reset");
        self.knock(Knock::Retry).await;
        Ok(revision)
    }

    /// Evaluates with another spec from now on. One of another cluster is refused.
    pub async fn reload(&self, spec: Spec) -> Result<(), AnotherCluster> {
        let served = self.cluster_name();
        if spec.cluster != served {
            return Err(AnotherCluster {
                served,
                found: spec.cluster,
            });
        }
        let program = Arc::new(program(spec, &self.shared.embedded));
        // The route is gone only at shutdown, and then no spec matters.
        let _ = self.shared.knocks.send(Knock::Reload(program)).await;
        Ok(())
    }

    /// From now on those who wait are told to ask again, here or elsewhere.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.shared.release.send_replace(());
    }

    fn is_known(&self, identifier: &Identifier) -> bool {
        self.shared
            .store
            .state()
            .registrations
            .contains_key(identifier)
    }

    async fn take_out(
        &self,
        identifier: Identifier,
        only_if: Option<NodeRegistration>,
    ) -> Result<Revision, Refusal> {
        let input = Input::Remove {
            identifier: identifier.clone(),
            only_if,
        };
        match self.shared.store.put(input).await? {
            Outcome::Changed(revision) | Outcome::Unchanged(revision) => {
                self.count_change("remove");
                // Whoever waits under that name has another answer now.
                self.shared.release.send_replace(());
                Ok(revision)
            }
            Outcome::Absent => Err(Refusal::Unregistered(identifier)),
            Outcome::OtherFacts => Err(Refusal::OtherFacts(identifier)),
            Outcome::Full(_) => unreachable!("only a registration needs room"),
        }
    }

    async fn changed_override(&self, outcome: Outcome) -> Result<Revision, Refusal> {
        let (Outcome::Changed(revision) | Outcome::Unchanged(revision)) = outcome else {
            unreachable!("an override is never absent here")
        };
        if matches!(outcome, Outcome::Changed(_)) {
            self.count_change("override");
        }
        if self.shared.view.load().served.is_some() {
            let mut evaluated = self.shared.evaluated.subscribe();
            let shown = evaluated.wait_for(|evaluated| *evaluated >= revision);
            // The files are stored; if the render takes longer, or fails, `inspect` says so.
            let _ = tokio::time::timeout(REPLACE_WAIT_MAX, shown).await;
        }
        Ok(revision)
    }

    async fn knock(&self, knock: impl FnOnce(oneshot::Sender<()>) -> Knock) {
        let (answered, answer) = oneshot::channel();
        if self.shared.knocks.send(knock(answered)).await.is_ok() {
            // An error means that the route has ended, and then nobody is answered any more.
            let _ = answer.await;
        }
    }

    fn note_delivery(&self, identifier: &str, generation: GenerationNumber) {
        let Ok(identifier) = Identifier::new(identifier) else {
            return;
        };
        let mut deliveries = self.shared.deliveries();
        deliveries.push((identifier, generation));
        if deliveries.len() == 1 {
            self.shared.delivered.notify_one();
        }
    }

    fn count_change(&self, kind: &'static str) {
        self.shared
            .metrics
            .changes
            .get_or_create(&ChangeLabels { kind })
            .inc();
    }
}

impl Shared {
    fn deliveries(&self) -> std::sync::MutexGuard<'_, Vec<(Identifier, GenerationNumber)>> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The payload that `identifier` may have now: never one that is older than its own registration.
fn current<'a>(
    view: &'a View,
    state: &State,
    identifier: &str,
) -> Option<(&'a Served, &'a Payload)> {
    let served = view.served.as_deref()?;
    let payload = served.payload(identifier)?;
    let program = &view.program;
    // Nothing came since the generation was made, so whoever has a payload in it is registered as it was then.
    // Where registration is only the gate, the generation says nothing of who has passed it.
    let nothing_came = state.inputs <= view.covers && !program.gate_only();
    let may_fetch = nothing_came
        || program.is_open(identifier)
        // It has a payload only where an operator's files gave it one.
        || program.is_stranger(identifier)
        || state
            .registrations
            .get(identifier)
            .is_some_and(|registered| view.is_gate_open || registered.revision <= view.covers);
    (may_fetch && state.failure.is_none()).then_some((served, payload))
}

fn program(spec: Spec, embedded: &[Arc<dyn Materializer>]) -> Program {
    let mut materializers = cfgsync_materialize::build(&spec);
    materializers.extend(embedded.iter().cloned());
    Program::new(Arc::new(spec), materializers)
}

#[cfg(test)]
mod race_tests;
#[cfg(test)]
mod audit_sink_tests;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod tests;
