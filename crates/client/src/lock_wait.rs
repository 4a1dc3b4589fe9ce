//! The wait for another delivery that has locked a directory.

use std::{path::Path, time::Duration};

use tokio::time::Instant;

use crate::{JoinError, disk::DiskError};

/// Longest wait for another delivery to the same directory. A delivery takes milliseconds, and rarely seconds.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);
/// Pause between two attempts to lock a directory.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The wait for other deliveries, over all attempts of one delivery.
pub(crate) struct LockWait {
    started: Instant,
    is_waiting: bool,
}

impl LockWait {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            is_waiting: false,
        }
    }

    /// Returns the result of an attempt, or waits if a directory was locked: then the caller tries again. Calls
    /// `on_wait` when the first wait begins.
    pub(crate) async fn after<T>(
        &mut self,
        attempt: Result<T, JoinError>,
        on_wait: impl FnOnce(&Path),
    ) -> Option<Result<T, JoinError>> {
        let path = match attempt {
            Err(JoinError::Disk(DiskError::Locked { path, .. })) => path,
            other => return Some(other),
        };
        if self.started.elapsed() >= LOCK_WAIT_MAX {
            let waited = LOCK_WAIT_MAX;
            return Some(Err(DiskError::Locked { path, waited }.into()));
        }
        if !std::mem::replace(&mut self.is_waiting, true) {
            on_wait(&path);
        }
        tokio::time::sleep(LOCK_PAUSE).await;
        None
    }
}
