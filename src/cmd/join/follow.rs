//! `join --watch` after the first delivery: waits for each new generation, delivers it, and runs CMD beside.
//!
//! [`Follower`] follows the server. [`run`] handles signals and CMD meanwhile. Only a signal or the end of CMD ends it:
//! after any failure, the files of the last delivery stay, and the node tries again.

use std::{pin::pin, rc::Rc, time::Duration};

use cfgsync_client::{DeliveredGeneration, Event, JoinError, Session};
use cfgsync_model::Digest;
use cfgsync_support::duration;
use cfgsync_wire::ReceivedPayload;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::{
    JoinFailure,
    child::{Applied, Child, ChildEvent},
    deliver::{self, Delivered},
    describe_files,
    resolve::Plan,
    signals::Signals,
    spread::spread,
    watch::WatchSettings,
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
) -> Result<Exit, JoinFailure> {
    let own = Rc::<OwnChildren>::default();
    let Delivered {
        variables,
        locks,
        held,
        generation,
        ..
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
    finish_action(plan);
    let manager = Manager::from_environment();
    if child.is_none() {
        manager.ready();
    }
    info!(event = "following", "following the cluster");
    let mut follower = Follower::new(plan, session, held, generation);
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
        if applied == Applied::Done {
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
    session: &'a mut Session,
    progress: Progress,
    /// The payload that the node has, or that it refused.
    held: Option<Digest>,
    delivered: Option<DeliveredGeneration>,
    /// Failures since the server last responded as it should.
    failures: u32,
}

impl<'a> Follower<'a> {
    fn new(
        plan: &'a Plan,
        session: &'a mut Session,
        held: Option<Digest>,
        delivered: Option<DeliveredGeneration>,
    ) -> Self {
        let mut progress = Progress::without_bar();
        progress.set_node(&plan.options.identifier);
        Self {
            plan,
            session,
            progress,
            held,
            delivered,
            failures: 0,
        }
    }

    /// Returns the next delivery.
    async fn next(&mut self) -> Delivered {
        loop {
            let payload = match self.receive().await {
                Ok(payload) => payload,
                Err(error) => {
                    self.pause(&format!("cannot follow the cluster: {error}"))
                        .await;
                    continue;
                }
            };
            match deliver::deliver(self.plan, self.session, &payload).await {
                Ok(delivered) => {
                    self.failures = 0;
                    self.held = payload.digest;
                    self.delivered.clone_from(&delivered.generation);
                    let files = describe_files(payload.files.files().len(), payload.generation);
                    Manager::from_environment().status(&format!("following; delivered: {files}"));
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
            }
            self.progress.event(event);
        }
        events.finish().await
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
        JoinFailure::Environment(_) => true,
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
