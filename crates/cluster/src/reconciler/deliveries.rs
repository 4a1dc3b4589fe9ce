//! Records first deliveries in the store, many in one batch, in a separate task.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use crate::Shared;
use cfgsync_model::{GenerationNumber, Identifier};
use cfgsync_store::{Change, CommitError, State};
use cfgsync_support::duration;

/// The time that a delivery waits for others, so that one batch records many.
const BATCH_PAUSE: Duration = Duration::from_millis(100);

/// The pause before a failed batch is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The time of the next batch, and the batch that is being recorded.
#[derive(Default)]
pub(super) struct DeliveryRecorder {
    due: Option<Instant>,
    running: Option<RunningBatch>,
    /// Whether the last batch failed and this was logged.
    is_failing: bool,
}

struct RunningBatch {
    batch: Vec<Change>,
    task: JoinHandle<Result<(), CommitError>>,
}

impl DeliveryRecorder {
    /// Records deliveries if a batch is due. Returns the time of the next call. `None` if no delivery waits.
    pub(super) fn record_if_due(&mut self, shared: &Arc<Shared>, state: &State) -> Option<Instant> {
        if self.running.is_some() || shared.deliveries().is_empty() {
            return None;
        }
        let now = Instant::now();
        let due = *self.due.get_or_insert(now + BATCH_PAUSE);
        if due > now {
            return Some(due);
        }
        self.due = None;
        self.start(shared, state);
        None
    }

    /// Starts to record all waiting deliveries.
    fn start(&mut self, shared: &Arc<Shared>, state: &State) {
        // After a restart, nodes fetch generations again whose delivery is already recorded.
        let is_news = |(identifier, generation): &(Identifier, GenerationNumber)| {
            state.deliveries.get(identifier) != Some(generation)
        };
        let waiting = std::mem::take(&mut *shared.deliveries());
        let batch: Vec<Change> = waiting
            .into_iter()
            .filter(is_news)
            .map(|(identifier, generation)| Change::Deliver {
                identifier,
                generation,
            })
            .collect();
        if batch.is_empty() {
            return;
        }
        let (store, changes) = (shared.store.clone(), batch.clone());
        let task = tokio::spawn(async move { store.apply(changes).await.map(drop) });
        self.running = Some(RunningBatch { batch, task });
    }

    /// Waits until the running batch is recorded, or puts it back for a retry. Never resolves if no batch is running.
    pub(super) async fn recorded(&mut self, shared: &Shared) {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let ended = (&mut running.task).await;
        let RunningBatch { batch, .. } = self.running.take().expect("it is awaited");
        let error = match ended {
            Ok(Ok(())) => {
                self.is_failing = false;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        if !std::mem::replace(&mut self.is_failing, true) {
            // A warning suffices: only the nodes that `inspect` shows as behind depend on these records.
            tracing::warn!(
                event = "deliveries_not_recorded",
                reason = %error,
                "cannot record deliveries: {error}; trying again every {}",
                duration::text(RETRY)
            );
        }
        put_back(shared, batch);
        self.due = Some(Instant::now() + RETRY);
    }

    /// Records all remaining deliveries, for a server that stops.
    pub(super) async fn flush(&mut self, shared: &Arc<Shared>, state: &State) {
        if self.running.is_some() {
            self.recorded(shared).await;
        }
        if !self.is_failing {
            self.start(shared, state);
        }
        if self.running.is_some() {
            self.recorded(shared).await;
        }
    }
}

/// Queues a batch again. Newer deliveries to the same nodes replace it.
fn put_back(shared: &Shared, batch: Vec<Change>) {
    let mut waiting = shared.deliveries();
    let newer: HashMap<Identifier, GenerationNumber> = waiting.drain(..).collect();
    for change in batch {
        if let Change::Deliver {
            identifier,
            generation,
        } = change
            && !newer.contains_key(&identifier)
        {
            waiting.push((identifier, generation));
        }
    }
    waiting.extend(newer);
}
