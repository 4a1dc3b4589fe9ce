//! How long to wait before asking again: exponential, with full jitter, so that a thousand nodes that lost
//! the same server do not come back in the same instant.

use std::time::Duration;

/// The first wait is at most so long.
const FIRST_MAX: Duration = Duration::from_millis(100);
/// No wait is longer.
const LAST_MAX: Duration = Duration::from_secs(5);

/// Grows with every wait until it is reset.
#[derive(Debug, Default)]
pub struct Backoff {
    waits: u32,
}

impl Backoff {
    /// The next wait, drawn evenly between nothing and a bound that doubles from 100 ms to 5 s.
    pub fn next_wait(&mut self) -> Duration {
        let bound = FIRST_MAX
            .saturating_mul(1 << self.waits.min(10))
            .min(LAST_MAX);
        self.waits = self.waits.saturating_add(1);
        jittered(bound)
    }

    /// How many waits there were since the last reset.
    pub fn waits(&self) -> u32 {
        self.waits
    }

    /// Starts over: something went well.
    pub fn reset(&mut self) {
        self.waits = 0;
    }
}

/// Between nothing and `bound`. Without randomness, half of it.
fn jittered(bound: Duration) -> Duration {
    let share = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
    bound.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_over() {
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
    fn waits_are_spread_over_the_whole_range() {
        let waits: Vec<_> = (0..200).map(|_| jittered(LAST_MAX)).collect();
        assert!(waits.iter().any(|wait| *wait < LAST_MAX / 4));
        assert!(waits.iter().any(|wait| *wait > LAST_MAX * 3 / 4));
    }
}
