//! Deletes values that have expired, in a separate task. An expiry is a change like any other.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use crate::{Shared, values::expired};
use cfgsync_store::{CommitError, State};

/// The pause before a failed deletion is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The longest time until the wall clock is read again. It may have been set meanwhile.
const CHECK_MAX: Duration = Duration::from_mins(1);

/// The deletion that is running.
#[derive(Default)]
pub(super) struct Expiry {
    running: Option<JoinHandle<Result<(), CommitError>>>,
    retry_at: Option<Instant>,
}

impl Expiry {
    /// Deletes the values that have expired, if no deletion is running. Returns the time of the next call. `None` if no
    /// value expires.
    pub(super) fn delete_if_due(&mut self, shared: &Arc<Shared>, state: &State) -> Option<Instant> {
        if self.running.is_some() {
            return None;
        }
        let (next, now) = (state.values.next_expiry()?, shared.clock.now());
        if let Some(retry_at) = self.retry_at.filter(|at| *at > Instant::now()) {
            return Some(retry_at);
        }
        if next > now {
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            return Some(Instant::now() + wait.min(CHECK_MAX));
        }
        let changes = expired(state, now);
        let store = shared.store.clone();
        self.running = Some(tokio::spawn(async move {
            match store.apply(changes).await {
                // A value was set anew or deleted meanwhile. The next call finds those that have expired still.
                Ok(_) | Err(CommitError::Rejected(_)) => Ok(()),
                Err(error) => Err(error),
            }
        }));
        None
    }

    /// Waits until the running deletion ends. Never resolves if none is running.
    pub(super) async fn deleted(&mut self) {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let ended = running.await;
        self.running = None;
        let error = match ended {
            Ok(Ok(())) => {
                self.retry_at = None;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        if self.retry_at.is_none() {
            tracing::warn!("cannot delete values that have expired: {error}; trying again");
        }
        self.retry_at = Some(Instant::now() + RETRY);
    }
}
