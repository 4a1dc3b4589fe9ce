//! `join --watch` after the first delivery: waits for each new generation, delivers it, and runs CMD beside.
//!
//! [`Follower`] follows the server. [`run`] handles signals and CMD meanwhile. Only a signal, the end of CMD, or another
//! machine with the same name ends it: after any other failure, the files of the last delivery stay, and the node tries
//! again.

use std::{ffi::OsString, pin::pin, rc::Rc, time::Duration};

use cfgsync_client::{DeliveredGeneration, Event, JoinError, Session};
use cfgsync_model::Digest;
use cfgsync_support::duration;
use cfgsync_wire::ReceivedPayload;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{error, info, warn};

use super::{
    JoinFailure, action,
    child::{Applied, Child, ChildEvent},
    deliver::{self, Delivered},
    describe_files,
    lease::renew_meanwhile,
    memory,
    prober::Prober,
    refusal,
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
    let manager = Manager::from_environment();
    let prober = Prober::new(
        settings.probe.clone(),
        plan.options.identifier.clone(),
        !plan.command.is_empty(),
        own.clone(),
    );
    prober.prepare(session, &first);
    let following = begin(
        plan,
        settings,
        session,
        signals,
        first,
        own.clone(),
        &prober,
    );
    let (mut child, mut follower) = following?;
    if child.is_none() {
        manager.ready();
    }
    info!(event = "following", "following the cluster");
    let mut orphans = pin!(collect_orphans(own));
    let mut probing = pin!(prober.run());
    let mut is_following = true;
    loop {
        let delivered = {
            let mut next = pin!(async {
                if is_following {
                    follower.next().await
                } else {
                    std::future::pending().await
                }
            });
            loop {
                tokio::select! {
                    biased;
                    signal = signals.next() => match &mut child {
                        Some(child) => {
                            child.on_signal(signal);
                            if child.is_stopping() {
                                prober.stop();
                            }
                        }
                        None => return Err(JoinFailure::Ended(signal)),
                    },
                    event = event_of(&mut child) => match event? {
                        ChildEvent::Ended(exit) => {
                            prober.on_command_ended(exit.code()).await;
                            return Ok(exit);
                        }
                        ChildEvent::Restarted => on_applied(plan, settings, &prober),
                    },
                    Err(error) = &mut orphans => return Err(JoinFailure::Wait(error)),
                    delivered = &mut next => break delivered,
                    never = &mut probing => match never {},
                }
            }
        };
        let delivered = match delivered {
            Ok(delivered) => delivered,
            Err(error) if child.is_none() => return Err(error.into()),
            Err(error) => {
                error!(
                    event = "replaced",
                    "{error}; this node follows no longer, and its files stay"
                );
                manager.status(&error.to_string());
                is_following = false;
                prober.stop();
                continue;
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
        if applied == Applied::Done {
            on_applied(plan, settings, &prober);
        }
    }
}

/// Waits for CMD, if there is one.
async fn event_of(child: &mut Option<Child<'_>>) -> Result<ChildEvent, JoinFailure> {
    match child {
        Some(child) => child.ended().await,
        None => std::future::pending().await,
    }
}

/// Notes that CMD has the files of the last delivery.
fn on_applied(plan: &Plan, settings: &WatchSettings, prober: &Prober) {
    if settings.reload != Reload::Nothing {
        finish_action(plan);
    }
    prober.begin();
}

/// Starts CMD, and prepares to follow after the first delivery.
fn begin<'a>(
    plan: &'a Plan,
    settings: &'a WatchSettings,
    session: &'a mut Session,
    signals: &mut Signals,
    first: Delivered,
    own: Rc<OwnChildren>,
    prober: &'a Prober,
) -> Result<(Option<Child<'a>>, Follower<'a>), JoinFailure> {
    let Delivered {
        variables,
        locks,
        held,
        generation,
        has_changes,
        is_action_pending,
        refused,
        ..
    } = first;
    let facts = variables.facts.clone();
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
    let must_act = has_changes || is_action_pending || !has_receipt;
    let owed = (child.is_none() && must_act).then_some(facts);
    if owed.is_none() && settings.acts() {
        finish_action(plan);
    }
    if owed.is_none() {
        prober.begin();
    }
    memory::release_unused();
    let mut follower = Follower::new(plan, settings, session, own, prober);
    follower.held = refused.or(held);
    follower.session.set_refused(refused.is_some());
    follower.delivered = generation;
    follower.owed = owed;
    Ok((child, follower))
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
    prober: &'a Prober,
    progress: Progress,
    /// The payload that the node has, or that it refused.
    held: Option<Digest>,
    delivered: Option<DeliveredGeneration>,
    /// The facts of the last delivery, if its action is still to be done.
    owed: Option<Vec<(&'static str, OsString)>>,
    /// When the files last changed.
    changed_at: Instant,
    /// Failures of the session since the server last responded as it should.
    failures: u32,
}

impl<'a> Follower<'a> {
    fn new(
        plan: &'a Plan,
        settings: &'a WatchSettings,
        session: &'a mut Session,
        own: Rc<OwnChildren>,
        prober: &'a Prober,
    ) -> Self {
        let mut progress = Progress::without_bar();
        progress.set_node(&plan.options.identifier);
        Self {
            plan,
            settings,
            session,
            own,
            prober,
            progress,
            held: None,
            delivered: None,
            owed: None,
            changed_at: Instant::now(),
            failures: 0,
        }
    }

    /// Returns the next delivery, whose action is done.
    ///
    /// # Errors
    /// Another machine has taken the place of this node.
    async fn next(&mut self) -> Result<Delivered, JoinError> {
        if let Some(facts) = self.owed.take() {
            self.act(&facts).await;
            self.prober.begin();
        }
        loop {
            let payload = loop {
                match self.receive(self.held).await {
                    Ok(payload) => break payload,
                    Err(error) if error.is_replaced() => return Err(error),
                    Err(error) => sleep(self.pause_after_response(&error)).await,
                }
            };
            let delivered = self.deliver(payload).await;
            memory::release_unused();
            if let Some(delivered) = delivered {
                return Ok(delivered);
            }
        }
    }

    /// Delivers `payload`, or a newer one that arrives meanwhile. Returns `None` if the files stay as they are.
    async fn deliver(&mut self, mut payload: ReceivedPayload) -> Option<Delivered> {
        let is_retry = payload.digest == self.held && self.session.must_retry();
        let mut not_before = if is_retry {
            info!(
                event = "retry",
                "an operator asks for another try of {}",
                name_of(&payload)
            );
            Instant::now()
        } else {
            self.time_of_change(&payload)
        };
        let mut failures = 0;
        loop {
            while let Some(newer) = self.receive_until(not_before, payload.digest).await {
                payload = newer;
            }
            if payload.digest == self.held && !is_retry {
                return None;
            }
            let delivering = deliver::deliver(self.plan, self.session, &payload, &self.own);
            match renew_meanwhile(self.session, delivering).await {
                Ok(delivered) => return Some(self.on_delivered(&payload, delivered).await),
                Err(error) if is_about_payload(&error) => {
                    self.refuse(&payload, &error).await;
                    return None;
                }
                Err(error) => {
                    let problem = format!(
                        "cannot write {}: {error}{}",
                        name_of(&payload),
                        remedy(&error)
                    );
                    not_before = Instant::now() + self.pause_after(&problem, failures);
                    failures += 1;
                }
            }
        }
    }

    async fn on_delivered(
        &mut self,
        payload: &ReceivedPayload,
        mut delivered: Delivered,
    ) -> Delivered {
        self.failures = 0;
        self.held = payload.digest;
        self.session.set_refused(false);
        self.delivered.clone_from(&delivered.generation);
        self.prober.prepare(self.session, &delivered);
        let files = describe_files(payload.files.files().len(), payload.generation);
        Manager::from_environment().status(&format!("following; delivered: {files}"));
        if delivered.has_changes {
            self.changed_at = Instant::now();
            if !matches!(self.settings.action, Action::Nothing) {
                // The program may take long.
                delivered.locks = None;
                self.act(&delivered.variables.facts).await;
            }
        }
        delivered
    }

    /// Waits for another payload than `held`.
    async fn receive(&mut self, held: Option<Digest>) -> Result<ReceivedPayload, JoinError> {
        let is_retry = self.failures > 0;
        self.session.follow(held, self.delivered.clone(), is_retry);
        let mut events = self.session.start();
        while let Some(event) = events.next().await {
            match event {
                Event::UpToDate => self.failures = 0,
                Event::Registered { .. } => self.prober.repeat(),
                _ => {}
            }
            self.progress.event(event);
        }
        events.finish().await
    }

    /// Waits until this time. Meanwhile it follows the server, for a newer payload than `held`, and so that its lease does not expire.
    async fn receive_until(
        &mut self,
        until: Instant,
        held: Option<Digest>,
    ) -> Option<ReceivedPayload> {
        while Instant::now() < until {
            match timeout_at(until, self.receive(held)).await {
                Ok(Ok(newer)) => return Some(newer),
                Ok(Err(error)) => {
                    let again_at = Instant::now() + self.pause_after_response(&error);
                    sleep_until(again_at.min(until)).await;
                }
                Err(_) => {}
            }
        }
        None
    }

    /// Does the action after a change. Meanwhile it holds a request at the server, so that its lease does not expire.
    async fn act(&mut self, facts: &[(&'static str, OsString)]) {
        let mut held = self.held;
        let mut acting = pin!(action::act(self.settings, &self.own, facts));
        let is_done = loop {
            self.session.follow(held, self.delivered.clone(), false);
            tokio::select! {
                biased;
                is_done = &mut acting => break is_done,
                received = self.session.run(|_| {}) => match received {
                    // It is fetched again afterwards.
                    Ok(newer) => held = newer.digest,
                    Err(_) => break renew_meanwhile(self.session, acting).await,
                },
            }
        };
        if is_done {
            finish_action(self.plan);
        }
    }

    /// Returns when the payload may be written. Each node has a time of its own within `--splay`.
    fn time_of_change(&self, payload: &ReceivedPayload) -> Instant {
        let now = Instant::now();
        let identifier = &self.plan.options.identifier;
        let number = payload.generation.map_or(0, |number| number.0);
        let splayed = now + spread(identifier, number, self.settings.splay);
        let at = splayed.max(self.changed_at + self.settings.min_interval);
        if at > now {
            let name = name_of(payload);
            let wait = duration::text(Duration::from_secs((at - now).as_secs() + 1));
            info!("{name} is there; its files are written within {wait}");
        }
        at
    }

    /// Keeps the files, and does not try this payload again.
    async fn refuse(&mut self, payload: &ReceivedPayload, error: &JoinFailure) {
        let name = name_of(payload);
        let problem = format!("{name} is not used: {error}");
        error!(
            event = "refused",
            "{problem}; the files of the last delivery stay until the next generation, or `cfgsync retry {}`",
            self.plan.options.identifier
        );
        Manager::from_environment().status(&problem);
        self.held = payload.digest;
        self.session.set_refused(true);
        refusal::report(self.session, payload, error).await;
    }

    /// Reports a failure of the session, and returns how long to wait before the next attempt.
    fn pause_after_response(&mut self, error: &JoinError) -> Duration {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        self.pause_after(&format!("cannot follow the cluster: {error}"), failures)
    }

    /// Reports a failure after so many others, and returns how long to wait before the next attempt.
    fn pause_after(&self, problem: &str, failures: u32) -> Duration {
        let doubled = RETRY_FIRST.saturating_mul(1 << failures.min(5));
        let most = doubled.min(RETRY_MAX);
        // Not all nodes at once.
        let identifier = &self.plan.options.identifier;
        let pause = most / 2 + spread(identifier, u64::from(failures), most / 2);
        error!(
            event = "problem",
            "{problem}; the files of the last delivery stay, trying again in {}",
            duration::text(Duration::from_secs(pause.as_secs().max(1)))
        );
        Manager::from_environment().status(problem);
        pause
    }
}

/// Returns whether the same payload would fail again.
fn is_about_payload(error: &JoinFailure) -> bool {
    match error {
        JoinFailure::Environment(_) | JoinFailure::Check { .. } => true,
        JoinFailure::Join(error) => matches!(error, JoinError::Route(_) | JoinError::Unusable(_)),
        _ => false,
    }
}

/// Returns the way out, in parentheses.
fn remedy(error: &JoinFailure) -> String {
    match error {
        JoinFailure::Join(JoinError::Disk(error)) => error.hint().map(|hint| format!(" ({hint})")),
        _ => None,
    }
    .unwrap_or_default()
}

fn name_of(payload: &ReceivedPayload) -> String {
    match payload.generation {
        Some(number) => format!("generation {number}"),
        None => "the new payload".to_owned(),
    }
}
