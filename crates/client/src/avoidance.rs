//! For how long a server, or one of its addresses, is tried after the others because it has failed.

use std::time::Duration;

use tokio::time::Instant;

/// The time after the first failure. It doubles with each further failure in a row.
const FIRST: Duration = Duration::from_secs(5);
/// The longest time.
const MAX: Duration = Duration::from_mins(1);

/// The failures of one server or address since its last success.
#[derive(Debug, Default)]
pub(crate) struct Avoidance {
    failures: u32,
    until: Option<Instant>,
}

impl Avoidance {
    /// Notes a failure. The time is at most a minute.
    pub(crate) fn fail(&mut self) {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        // Nodes that have lost the same server do not all come back to it at the same time.
        let share = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
        let spread = doubled.min(MAX).mul_f64(0.5 + share / 2.0);
        self.until = Some(Instant::now() + spread);
    }

    /// Notes that it can do nothing now, and says itself for how long. This is no failure, so the time does not double.
    pub(crate) fn pause(&mut self, time: Duration) {
        self.until = Some(Instant::now() + time.min(MAX));
    }

    /// Notes a success.
    pub(crate) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// Returns when it is to be tried in its turn again. `None`: now.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until.filter(|until| *until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn avoidance_is_bounded_and_ends_with_a_success() {
        let mut avoidance = Avoidance::default();
        assert_eq!(avoidance.until(), None);
        let mut bound = FIRST;
        for _ in 0..20 {
            avoidance.fail();
            let left = avoidance.until().unwrap() - Instant::now();
            assert!(bound / 2 <= left && left <= bound, "{left:?}");
            bound = (bound * 2).min(MAX);
        }
        advance(MAX).await;
        assert_eq!(avoidance.until(), None);
        avoidance.succeed();
        avoidance.pause(Duration::from_secs(2));
        assert_eq!(
            avoidance.until(),
            Some(Instant::now() + Duration::from_secs(2))
        );
    }
}
