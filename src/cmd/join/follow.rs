//! `join --watch` after the first delivery: waits for each new generation, delivers it, and runs CMD beside.
//!
//! [`Follower`] follows the server. [`run`] handles signals and CMD meanwhile. Only a signal or the end of CMD ends it:
//! after any failure, the files of the last delivery stay, and the node tries again.

use std::{pin::pin, rc::Rc, time::Duration};

use cfgsync_client::{DeliveredGeneration, Event, JoinError, Session};
use cfgsync_model::{Digest, GenerationNumber};
use cfgsync_support::duration;
use cfgsync_wire::ReceivedPayload;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use super::{
    JoinFailure, action,
    child::{Applied, Child, ChildEvent},
    deliver::{self, Delivered},
    describe_files,
    resolve::Plan,
    signals::Signals,
    spread::spread,
    watch::{Action, Reload, WatchSettings},
};
use crate::cmd::{
    exit::Exit,
    manager::Manager,
    orphans::{self, OwnChildren},
    progress::Progress,
};

/// The pause after the first failure in a row.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// The longest pause after a failure.
const RETRY_MAX: Duration = Duration::from_mins(1);

/// Follows the cluster until a signal arrives or CMD ends. `first` is the delivery that `join` has made.
pub(super) async fn run(
    plan: &Plan,
    settings: &WatchSettings,
    session: &mut Session,
    signals: &mut Signals,
    first: Delivered,
    own: Rc<OwnChildren>,
) -> Result<Exit, JoinFailure> {
    let Delivered {
        variables,
        locks,
        held,
        generation,
        has_changes,
        is_action_pending,
    } = first;
    let mut child = None;
    if !plan.command.is_empty() {
        signals.also_forward().map_err(JoinFailure::Wait)?;
        child = Some(Child::start(
            &plan.command,
            settings,
            variables,
            own.clone(),
        )?);
    }
    // The files are complete, and CMD has started.
    drop(locks);
    // Without a receipt, nothing says whether an earlier process has done it.
    let has_receipt = plan.delivery.receipt().is_some();
    let must_act = child.is_none() && (has_changes || is_action_pending || !has_receipt);
    if !must_act {
        finish_action(plan);
    }
    let manager = Manager::from_environment();
    if child.is_none() {
        manager.ready();
    }
    info!(event = "following", "following the cluster");
    let mut follower = Follower::new(plan, settings, session, own.clone());
    follower.held = held;
    follower.delivered = generation;
    follower.must_act = must_act;
    let mut orphans = pin!(collect_orphans(own));
    loop {
        let delivered = {
            let mut next = pin!(follower.next());
            loop {
                let ended = async {
                    match &mut child {
                        Some(child) => child.ended().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    signal = signals.next() => match &mut child {
                        Some(child) => child.on_signal(signal),
                        None => return Err(JoinFailure::Ended(signal)),
                    },
                    event = ended => match event? {
                        ChildEvent::Ended(exit) => return Ok(exit),
                        ChildEvent::Restarted => finish_action(plan),
                    },
                    Err(error) = &mut orphans => return Err(JoinFailure::Wait(error)),
                    delivered = &mut next => break delivered,
                }
            }
        };
        let Delivered {
            variables,
            locks,
            has_changes,
            ..
        } = delivered;
        let applied = match &mut child {
            Some(child) => child.apply(variables, has_changes),
            None => Applied::Done,
        };
        drop(locks);
        if applied == Applied::Done && settings.reload != Reload::Nothing {
            finish_action(plan);
        }
    }
}

/// Collects orphans if the process is PID 1. Other processes get none.
async fn collect_orphans(own: Rc<OwnChildren>) -> std::io::Result<std::convert::Infallible> {
    if std::process::id() == 1 {
        orphans::collect(&own).await
    } else {
        std::future::pending().await
    }
}

/// Notes in the receipt that CMD has the delivered files.
fn finish_action(plan: &Plan) {
    if let Err(error) = plan.delivery.finish_action() {
        warn!("{error}; the next start of `join` does the action for these files again");
    }
}

/// Follows the server and delivers each new generation.
struct Follower<'a> {
    plan: &'a Plan,
    settings: &'a WatchSettings,
    session: &'a mut Session,
    own: Rc<OwnChildren>,
    progress: Progress,
    /// The payload that the node has, or that it refused.
    held: Option<Digest>,
    delivered: Option<DeliveredGeneration>,
    /// Whether the action for the last delivery is still to be done.
    must_act: bool,
    /// When the files last changed.
    changed_at: Option<Instant>,
    /// Whether the wait of `--splay` and `--min-interval` is over.
    has_waited: bool,
    /// Failures since the server last responded as it should.
    failures: u32,
}

impl<'a> Follower<'a> {
    fn new(
        plan: &'a Plan,
        settings: &'a WatchSettings,
        session: &'a mut Session,
        own: Rc<OwnChildren>,
    ) -> Self {
        let mut progress = Progress::without_bar();
        progress.set_node(&plan.options.identifier);
        Self {
            plan,
            settings,
            session,
            own,
            progress,
            held: None,
            delivered: None,
            must_act: false,
            changed_at: Some(Instant::now()),
            has_waited: false,
            failures: 0,
        }
    }

    /// Returns the next delivery, whose action is done.
    async fn next(&mut self) -> Delivered {
        if std::mem::take(&mut self.must_act) {
            self.act(self.delivered.as_ref().map(|it| it.generation))
                .await;
        }
        loop {
            let payload = match self.receive().await {
                Ok(payload) => payload,
                Err(error) => {
                    self.pause(&format!("cannot follow the cluster: {error}"))
                        .await;
                    continue;
                }
            };
            if let Some(at) = self.wait_until(&payload) {
                // Another generation may follow meanwhile, so this one is dropped.
                drop(payload);
                sleep_until(at).await;
                self.has_waited = true;
                continue;
            }
            match deliver::deliver(self.plan, self.session, &payload, &self.own).await {
                Ok(mut delivered) => {
                    self.failures = 0;
                    self.has_waited = false;
                    self.held = payload.digest;
                    self.delivered.clone_from(&delivered.generation);
                    let files = describe_files(payload.files.files().len(), payload.generation);
                    Manager::from_environment().status(&format!("following; delivered: {files}"));
                    if delivered.has_changes {
                        self.changed_at = Some(Instant::now());
                        if !matches!(self.settings.action, Action::Nothing) {
                            // The program may take long.
                            delivered.locks = None;
                        }
                        self.act(payload.generation).await;
                    }
                    return delivered;
                }
                Err(error) if is_about_payload(&error) => self.refuse(&payload, &error),
                Err(error) => {
                    let name = name_of(&payload);
                    self.pause(&format!("cannot write {name}: {error}")).await;
                }
            }
        }
    }

    /// Waits for another payload than the one that the node has.
    async fn receive(&mut self) -> Result<ReceivedPayload, JoinError> {
        let is_retry = self.failures > 0;
        self.session
            .follow(self.held, self.delivered.clone(), is_retry);
        let mut events = self.session.start();
        while let Some(event) = events.next().await {
            if event == Event::UpToDate {
                self.failures = 0;
                self.has_waited = false;
            }
            self.progress.event(event);
        }
        events.finish().await
    }

    /// Does the action after a change.
    async fn act(&mut self, generation: Option<GenerationNumber>) {
        let generation = deliver::generation_text(generation);
        let is_done = action::act(self.settings, &self.own, &generation).await;
        if is_done && self.settings.reload == Reload::Nothing {
            finish_action(self.plan);
        }
    }

    /// Returns when the payload may be written, if that is later. Each node has a time of its own within `--splay`.
    fn wait_until(&self, payload: &ReceivedPayload) -> Option<Instant> {
        if self.has_waited {
            return None;
        }
        let now = Instant::now();
        let identifier = &self.plan.options.identifier;
        let number = payload.generation.map_or(0, |number| number.0);
        let splayed = now + spread(identifier, number, self.settings.splay);
        let spaced = self.changed_at.map(|at| at + self.settings.min_interval);
        let at = splayed.max(spaced.unwrap_or(now));
        (at > now).then(|| {
            let name = name_of(payload);
            let wait = duration::text(Duration::from_secs((at - now).as_secs() + 1));
            info!("{name} is there; its files are written within {wait}");
            at
        })
    }

    /// Keeps the files, and does not try this payload again.
    fn refuse(&mut self, payload: &ReceivedPayload, error: &JoinFailure) {
        let name = name_of(payload);
        let problem = format!("{name} is not used: {error}");
        error!(
            event = "refused",
            "{problem}; the files of the last delivery stay until the next generation"
        );
        Manager::from_environment().status(&problem);
        self.held = payload.digest;
        self.has_waited = false;
    }

    async fn pause(&mut self, problem: &str) {
        let doubled = RETRY_FIRST.saturating_mul(1 << self.failures.min(5));
        let most = doubled.min(RETRY_MAX);
        // Not all nodes at once.
        let identifier = &self.plan.options.identifier;
        let pause = most / 2 + spread(identifier, u64::from(self.failures), most / 2);
        self.failures = self.failures.saturating_add(1);
        error!(
            event = "problem",
            "{problem}; the files of the last delivery stay, trying again in {}",
            duration::text(Duration::from_secs(pause.as_secs().max(1)))
        );
        Manager::from_environment().status(problem);
        sleep(pause).await;
    }
}

/// Returns whether the same payload would fail again.
fn is_about_payload(error: &JoinFailure) -> bool {
    match error {
        JoinFailure::Environment(_) | JoinFailure::Check(_) => true,
        JoinFailure::Join(error) => matches!(error, JoinError::Route(_) | JoinError::Unusable(_)),
        _ => false,
    }
}

fn name_of(payload: &ReceivedPayload) -> String {
    match payload.generation {
        Some(number) => format!("generation {number}"),
        None => "the new payload".to_owned(),
    }
}
