//! Checks the service of this node as `--probe` says, and reports the phases `started`, `healthy` and `failed` about the
//! generation on disk.
//!
//! [`Prober::prepare`] names a new generation and ends the checks for the one before. [`Prober::begin`] follows once the
//! service has the new files. [`Prober::run`] checks meanwhile.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    ffi::OsString,
    rc::Rc,
    time::Duration,
};

use cfgsync_client::{Client, Session};
use cfgsync_model::{GenerationNumber, Identifier, PHASE_REASON_MAX_BYTES, Phase};
use cfgsync_support::duration;
use cfgsync_wire::ReportBody;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, error, info, warn};

use super::{
    deliver::Delivered,
    hook::Hook,
    probe::{ProbeSettings, Target},
};
use crate::cmd::orphans::OwnChildren;

/// The longest time for a report. It is sent again after the next check.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

const STARTED: &str = "started";
const HEALTHY: &str = "healthy";
const FAILED: &str = "failed";

/// The generation that is checked.
#[derive(Debug)]
struct Subject {
    generation: Option<GenerationNumber>,
    facts: Vec<(&'static str, OsString)>,
    /// The output of a command is reported only if no file is secret.
    has_secrets: bool,
    /// Reports as this node.
    client: Client,
}

/// The checks of a node.
pub(super) struct Prober {
    settings: Option<ProbeSettings>,
    identifier: Identifier,
    /// Whether `join` runs CMD, so that the node can report that it has started.
    has_command: bool,
    own: Rc<OwnChildren>,
    /// Begins with [`Prober::begin`].
    prepared: RefCell<Option<Subject>>,
    subject: watch::Sender<Option<Rc<Subject>>>,
    /// Whether the server may have lost the reports.
    must_repeat: Cell<bool>,
    is_stopped: Cell<bool>,
}

impl Prober {
    /// Without settings, nothing is ever checked.
    pub(super) fn new(
        settings: Option<ProbeSettings>,
        identifier: Identifier,
        has_command: bool,
        own: Rc<OwnChildren>,
    ) -> Self {
        Self {
            settings,
            identifier,
            has_command,
            own,
            prepared: RefCell::new(None),
            subject: watch::Sender::new(None),
            must_repeat: Cell::new(false),
            is_stopped: Cell::new(false),
        }
    }

    /// Ends the checks of the last generation, because the files are those of a new one.
    pub(super) fn prepare(&self, session: &Session, delivered: &Delivered) {
        self.subject.send_replace(None);
        self.prepared.replace(Some(Subject {
            generation: delivered.generation.as_ref().map(|it| it.generation),
            facts: delivered.variables.facts.clone(),
            has_secrets: delivered.has_secrets,
            client: session.client().clone(),
        }));
    }

    /// Begins to check the prepared generation, because the service has its files.
    pub(super) fn begin(&self) {
        if let Some(subject) = self.prepared.take()
            && !self.is_stopped.get()
        {
            self.subject.send_replace(Some(Rc::new(subject)));
        }
    }

    /// Ends the checks for good: the service is asked to end, or another machine takes the place of the node.
    pub(super) fn stop(&self) {
        self.is_stopped.set(true);
        self.subject.send_replace(None);
    }

    /// Reports again what was reported, because the node has registered again.
    pub(super) fn repeat(&self) {
        self.must_repeat.set(true);
    }

    /// Reports that CMD has failed, if it was not asked to end.
    pub(super) async fn on_command_ended(&self, code: u8) {
        let subject = self.subject.send_replace(None);
        if let Some(subject) = subject.filter(|_| self.settings.is_some() && code != 0) {
            let reason = format!("the command ended with {code}");
            if let Err(problem) = self.report(&subject, FAILED, Some(reason)).await {
                warn!("cannot report the failure: {problem}");
            }
        }
    }

    /// Checks the generation on disk until the future is dropped.
    pub(super) async fn run(&self) -> Infallible {
        let Some(settings) = &self.settings else {
            return std::future::pending().await;
        };
        let mut subjects = self.subject.subscribe();
        loop {
            let subject = subjects.borrow_and_update().clone();
            let checks = async {
                match &subject {
                    Some(subject) => self.check_repeatedly(settings, subject).await,
                    None => std::future::pending().await,
                }
            };
            // A check that is running is dropped, and its command is killed.
            tokio::select! {
                biased;
                _ = subjects.changed() => {}
                never = checks => match never {},
            }
        }
    }

    async fn check_repeatedly(&self, settings: &ProbeSettings, subject: &Subject) -> Infallible {
        let mut tally = Tally::new(settings.threshold);
        let counts_from = Instant::now() + settings.start_period;
        let mut reports = Reports::default();
        self.must_repeat.set(false);
        if self.has_command {
            reports.owe(STARTED, None);
        }
        loop {
            let next_at = Instant::now() + settings.interval;
            self.send(subject, &mut reports).await;
            let checked = self.check(settings, subject).await;
            let is_starting = Instant::now() < counts_from;
            if let Some(health) = tally.add(checked, is_starting) {
                log(&health, subject.generation);
                match health {
                    Health::Healthy => reports.owe(HEALTHY, None),
                    Health::Failed(reason) => reports.owe(FAILED, Some(reason)),
                }
                self.send(subject, &mut reports).await;
            }
            sleep_until(next_at).await;
        }
    }

    /// Sends the reports that the server has not accepted yet.
    async fn send(&self, subject: &Subject, reports: &mut Reports) {
        if self.must_repeat.take() {
            reports.accepted = 0;
        }
        while let Some((phase, reason)) = reports.list.get(reports.accepted) {
            match self.report(subject, phase, reason.clone()).await {
                Ok(()) => {
                    debug!("reported {phase}");
                    reports.accepted += 1;
                    reports.has_warned = false;
                }
                Err(problem) => {
                    // It is sent again after each check.
                    if !std::mem::replace(&mut reports.has_warned, true) {
                        warn!("cannot report {phase}: {problem}; trying again");
                    }
                    return;
                }
            }
        }
    }

    async fn report(
        &self,
        subject: &Subject,
        phase: &str,
        reason: Option<String>,
    ) -> Result<(), String> {
        let phase: Phase = phase.parse().expect("a valid name");
        let body = ReportBody {
            generation: subject.generation,
            reason: reason.map(|mut reason| {
                reason.truncate(reason.floor_char_boundary(PHASE_REASON_MAX_BYTES));
                reason
            }),
        };
        let report = subject.client.report(&self.identifier, &phase, &body);
        match timeout(REPORT_TIMEOUT, report).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the server did not respond in time".to_owned()),
        }
    }

    /// Checks the service once.
    async fn check(&self, settings: &ProbeSettings, subject: &Subject) -> Result<(), String> {
        let limit = settings.timeout;
        match &settings.target {
            Target::Command(line) => {
                let hook = Hook {
                    flag: "--probe",
                    line,
                    timeout: limit,
                    own: &self.own,
                    is_quiet: true,
                };
                hook.run(&subject.facts).await.map_err(|failure| {
                    if subject.has_secrets {
                        failure.problem
                    } else {
                        failure.to_string()
                    }
                })
            }
            Target::Endpoint(endpoint) => {
                let checked = timeout(limit, endpoint.check()).await;
                let checked = checked.unwrap_or_else(|_| {
                    Err(format!("no response within {}", duration::text(limit)))
                });
                checked.map_err(|problem| format!("--probe: {problem}"))
            }
        }
    }
}

/// The reports of the node about a generation.
#[derive(Default)]
struct Reports {
    /// `started`, if there is CMD, and the last decision.
    list: Vec<(&'static str, Option<String>)>,
    /// The number of those that the server has accepted.
    accepted: usize,
    /// Whether the failure of the next one was logged.
    has_warned: bool,
}

impl Reports {
    /// Adds a report. It replaces an earlier decision.
    fn owe(&mut self, phase: &'static str, reason: Option<String>) {
        self.list.retain(|(earlier, _)| *earlier == STARTED);
        self.accepted = self.accepted.min(self.list.len());
        self.list.push((phase, reason));
    }
}

fn log(health: &Health, generation: Option<GenerationNumber>) {
    let with = match generation {
        Some(number) => format!(" with generation {number}"),
        None => String::new(),
    };
    match health {
        Health::Healthy => info!(event = "probe_healthy", "the node is healthy{with}"),
        Health::Failed(reason) => {
            error!(
                event = "probe_failed",
                "the node has failed{with}: {reason}"
            );
        }
    }
}

/// A decision about the service.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    Healthy,
    /// The reason of the last check.
    Failed(String),
}

/// Counts equal results in a row.
struct Tally {
    threshold: u32,
    /// Whether the last results were successes, and how many there were.
    last: (bool, u32),
    decided: Option<bool>,
    has_succeeded: bool,
}

impl Tally {
    fn new(threshold: u32) -> Self {
        Self {
            threshold,
            last: (false, 0),
            decided: None,
            has_succeeded: false,
        }
    }

    /// Adds a result. Returns the decision if it is another one than before. While the service `is_starting`, failures
    /// before the first success do not count.
    fn add(&mut self, checked: Result<(), String>, is_starting: bool) -> Option<Health> {
        let is_success = checked.is_ok();
        self.has_succeeded |= is_success;
        if is_starting && !self.has_succeeded {
            return None;
        }
        let (was_success, count) = self.last;
        let count = if is_success == was_success { count } else { 0 };
        self.last = (is_success, count.saturating_add(1));
        if self.last.1 < self.threshold || self.decided == Some(is_success) {
            return None;
        }
        self.decided = Some(is_success);
        Some(match checked {
            Ok(()) => Health::Healthy,
            Err(reason) => Health::Failed(reason),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_results_in_a_row_decide() {
        let failed = |reason: &str| Some(Health::Failed(reason.to_owned()));
        let mut tally = Tally::new(2);
        for (checked, expected) in [
            (Ok(()), None),
            (Err("a"), None),
            (Ok(()), None),
            (Ok(()), Some(Health::Healthy)),
            (Ok(()), None),
            (Err("b"), None),
            (Err("c"), failed("c")),
            (Err("d"), None),
            (Ok(()), None),
            (Ok(()), Some(Health::Healthy)),
        ] {
            let checked = checked.map_err(str::to_owned);
            assert_eq!(tally.add(checked, false), expected);
        }
    }

    #[test]
    fn failures_of_a_service_that_starts_do_not_count() {
        let failure = || Err("no connection".to_owned());
        let mut tally = Tally::new(1);
        assert_eq!(tally.add(failure(), true), None);
        assert_eq!(tally.add(Ok(()), true), Some(Health::Healthy));
        // It was up already.
        assert!(matches!(
            tally.add(failure(), true),
            Some(Health::Failed(_))
        ));

        let mut late = Tally::new(1);
        assert_eq!(late.add(failure(), true), None);
        assert!(matches!(
            late.add(failure(), false),
            Some(Health::Failed(_))
        ));
    }

    #[test]
    fn decision_replaces_the_earlier_one_and_follows_started() {
        let mut reports = Reports::default();
        reports.owe(STARTED, None);
        reports.accepted = 1;
        reports.owe(FAILED, Some("a".to_owned()));
        reports.accepted = 2;
        reports.owe(HEALTHY, None);
        assert_eq!(reports.list, [(STARTED, None), (HEALTHY, None)]);
        assert_eq!(reports.accepted, 1);
    }
}
