//! The attempt to reach the first seal: its start, its failure, and the last change of what the rule reads. The timers
//! `settle` and `deadline` are computed from these.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use cfgsync_model::Failure;

/// The timers around the readiness rule, on the server's monotonic clock.
pub(super) struct Attempt {
    /// The time since which nodes wait. `None` without such nodes, and after a failure.
    started: Option<Instant>,
    /// The reason why the attempt failed, until the next one begins.
    failure: Option<Arc<Failure>>,
    /// The time at which a registration, or a value that the rule reads, last changed.
    last_change: Instant,
}

impl Attempt {
    /// Returns the state before the first attempt. `settle` counts from `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: None,
            failure: None,
            last_change: now,
        }
    }

    /// Restarts the timer `settle`.
    pub(super) fn on_rule_input_changed(&mut self, now: Instant) {
        self.last_change = now;
    }

    /// Starts the attempt if nodes wait for a generation, and ends it otherwise.
    pub(super) fn update(&mut self, is_attempt: bool, now: Instant) {
        if !is_attempt {
            self.started = None;
        } else if self.failure.is_none() {
            self.started.get_or_insert(now);
        }
    }

    /// Returns the time at which these count as settled, if that is after `now`.
    pub(super) fn settles_at(&self, settle: Duration, now: Instant) -> Option<Instant> {
        let at = self.last_change + settle;
        (at > now).then_some(at)
    }

    /// Returns the time at which the attempt fails, if one runs and there is a deadline.
    pub(super) fn ends_at(&self, deadline: Option<Duration>) -> Option<Instant> {
        Some(self.started? + deadline?)
    }

    /// Ends the attempt without a failure of its own. The next update begins another one.
    pub(super) fn end(&mut self) {
        self.started = None;
    }

    /// Fails the attempt. The next one begins after [`Attempt::clear_failure`].
    pub(super) fn fail(&mut self, failure: Arc<Failure>) {
        self.started = None;
        self.failure = Some(failure);
    }

    /// Returns the reason why the attempt failed.
    pub(super) fn failure(&self) -> Option<&Arc<Failure>> {
        self.failure.as_ref()
    }

    /// Forgets the failure, so that the next attempt can begin.
    pub(super) fn clear_failure(&mut self) {
        self.failure = None;
    }

    /// Ends the attempt, because a generation is sealed.
    pub(super) fn on_sealed(&mut self) {
        self.started = None;
        self.failure = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failure() -> Arc<Failure> {
        Arc::new(Failure {
            kind: cfgsync_model::FailureKind::Deadline,
            reason: "late".to_owned(),
            at: cfgsync_support::clock::Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn deadline_counts_from_the_first_node_and_ends_with_the_seal() {
        let start = Instant::now();
        let mut attempt = Attempt::new(start);
        attempt.update(false, start);
        assert_eq!(attempt.ends_at(Some(SECOND)), None, "no nodes");
        attempt.update(true, start + SECOND);
        attempt.update(true, start + 2 * SECOND);
        assert_eq!(attempt.ends_at(Some(SECOND)), Some(start + 2 * SECOND));
        assert_eq!(attempt.ends_at(None), None, "no deadline");
        attempt.update(false, start + 2 * SECOND);
        assert_eq!(attempt.ends_at(Some(SECOND)), None, "sealed");
    }

    #[test]
    fn next_attempt_begins_only_after_the_failure_is_cleared() {
        let start = Instant::now();
        let mut attempt = Attempt::new(start);
        attempt.update(true, start);
        attempt.fail(failure());
        attempt.update(true, start + SECOND);
        assert_eq!(attempt.ends_at(Some(SECOND)), None);
        attempt.clear_failure();
        attempt.update(true, start + 5 * SECOND);
        assert_eq!(attempt.ends_at(Some(SECOND)), Some(start + 6 * SECOND));
    }

    #[test]
    fn settle_counts_from_the_last_change() {
        let start = Instant::now();
        let mut attempt = Attempt::new(start);
        assert_eq!(attempt.settles_at(SECOND, start), Some(start + SECOND));
        attempt.on_rule_input_changed(start + SECOND);
        assert_eq!(
            attempt.settles_at(SECOND, start + SECOND),
            Some(start + 2 * SECOND)
        );
        assert_eq!(attempt.settles_at(SECOND, start + 2 * SECOND), None);
        assert_eq!(attempt.settles_at(Duration::ZERO, start + SECOND), None);
    }
}
