//! The wall clock, which callers pass in, so that tests control the time.
//!
//! Timers use tokio's monotonic clock, which tests can pause. The wall clock only gives the timestamps that people read.

use std::sync::Arc;

pub use jiff::Timestamp;

/// A source of the current date and time. Clones share one source.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl WallClock {
    /// Returns the clock of the operating system.
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// Returns a clock whose time is the result of `read`.
    pub fn from_fn(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns the current time, in UTC.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl std::fmt::Debug for WallClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WallClock")
    }
}
