//! The delay before a retry: exponential backoff with full jitter. A thousand nodes that lost the same server then do
//! not reconnect at the same instant.

use std::time::Duration;

/// Upper bound of the first wait.
const FIRST_MAX: Duration = Duration::from_millis(100);
/// Upper bound of every wait.
const LAST_MAX: Duration = Duration::from_secs(5);

/// Counts the waits in a row. Their upper bound doubles with each, until [`Backoff::reset`].
#[derive(Debug, Default)]
pub struct Backoff {
    waits: u32,
}

impl Backoff {
    /// Returns the next wait, drawn evenly between zero and a bound that doubles from 100 ms to 5 s.
    pub fn next_wait(&mut self) -> Duration {
        let bound = FIRST_MAX
            .saturating_mul(1 << self.waits.min(10))
            .min(LAST_MAX);
        self.waits = self.waits.saturating_add(1);
        jittered(bound)
    }

    /// Returns the number of waits since the last reset.
    pub fn waits(&self) -> u32 {
        self.waits
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.waits = 0;
    }
}

/// Draws a duration between zero and `bound`. Returns half of `bound` if the system has no random numbers.
fn jittered(bound: Duration) -> Duration {
    let share = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
    bound.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_doubles_up_to_the_maximum_and_resets() {
        let mut backoff = Backoff::default();
        for bound_ms in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            assert!(backoff.next_wait() <= Duration::from_millis(bound_ms));
        }
        for _ in 0..1000 {
            assert!(backoff.next_wait() <= LAST_MAX);
        }
        backoff.reset();
        assert!(backoff.next_wait() <= FIRST_MAX);
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        let waits: Vec<_> = (0..200).map(|_| jittered(LAST_MAX)).collect();
        assert!(waits.iter().any(|wait| *wait < LAST_MAX / 4));
        assert!(waits.iter().any(|wait| *wait > LAST_MAX * 3 / 4));
    }
}
