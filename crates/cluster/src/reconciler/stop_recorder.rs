//! Records in the store that a failure has stopped a roll-out, so that the stop outlasts the server.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use crate::Shared;
use cfgsync_store::{Change, CommitError, StoppedRollout};
use cfgsync_support::duration;

/// The pause before a failed record is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The record that is being written, if there is one.
#[derive(Default)]
pub(super) struct StopRecorder {
    running: Option<JoinHandle<Result<(), CommitError>>>,
    retry_at: Option<Instant>,
    /// Whether an operator has resumed while the stop was being recorded.
    is_resumed: bool,
}

impl StopRecorder {
    /// Starts to record a stop. Returns the time of the next call, if a record has failed.
    pub(super) fn record_if_due(
        &mut self,
        shared: &Arc<Shared>,
        stopped: Option<StoppedRollout>,
    ) -> Option<Instant> {
        let stopped = stopped?;
        if self.running.is_some() {
            return None;
        }
        if let Some(retry_at) = self.retry_at.filter(|at| *at > Instant::now()) {
            return Some(retry_at);
        }
        self.write(shared, Change::StopRollout(stopped));
        None
    }

    /// Takes into account that an operator has resumed. The store has recorded that, but not yet the stop that is being
    /// written.
    pub(super) fn resume(&mut self) {
        self.is_resumed = self.running.is_some();
    }

    fn write(&mut self, shared: &Arc<Shared>, change: Change) {
        let store = shared.store.clone();
        self.running = Some(tokio::spawn(async move {
            store.apply(vec![change]).await.map(drop)
        }));
    }

    /// Waits until the record is written, or failed. Never resolves if none is being written.
    pub(super) async fn recorded(&mut self, shared: &Arc<Shared>) {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let ended = running.await;
        self.running = None;
        let error = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(panic.to_string()),
        };
        self.retry_at = error.as_ref().map(|_| Instant::now() + RETRY);
        if let Some(error) = error {
            tracing::warn!(
                event = "stop_not_recorded",
                reason = %error,
                "cannot record that the roll-out is stopped: {error}; trying again every {}",
                duration::text(RETRY)
            );
        }
        if std::mem::take(&mut self.is_resumed) {
            let generation = shared
                .store
                .state()
                .stopped_rollout
                .as_ref()
                .map(|stopped| stopped.generation);
            if let Some(generation) = generation {
                self.write(shared, Change::ResumeRollout { generation });
            }
        }
    }
}
