//! The limits on nodes and metadata, and the warning when a limit is reached.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::answer::Refusal;
use cfgsync_store::{Bounds, CapacityExceeded};

/// The shortest time between two warnings that registrations are refused.
const WARN_INTERVAL: Duration = Duration::from_mins(1);

/// The limits of a server, and the time of its last warning that one is reached.
pub(crate) struct CapacityLimits {
    bounds: Bounds,
    warned: Mutex<Option<Instant>>,
}

impl CapacityLimits {
    /// Returns limits with these bounds. No warning was logged yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            warned: Mutex::default(),
        }
    }

    /// Returns the bounds for nodes that the spec does not name.
    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Returns the refusal for a registration that exceeds a limit. Logs a warning at most once per [`WARN_INTERVAL`].
    pub(crate) fn refuse(&self, full: CapacityExceeded) -> Refusal {
        let now = Instant::now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|warned| now - warned >= WARN_INTERVAL) {
            *warned = Some(now);
            tracing::warn!(
                event = "registrations_refused",
                "registrations are refused: {full}"
            );
        }
        Refusal::Full(full)
    }
}
