//! Records in the store what follows from serving: first deliveries, and the inputs that the served generation includes.
//! One batch has many records, and a separate task writes it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use crate::{FirstDelivery, Shared};
use cfgsync_model::{GenerationNumber, Identifier, Revision};
use cfgsync_store::{Change, CommitError, State};
use cfgsync_support::duration;

/// The time that a record waits for others, so that one batch records many.
const BATCH_PAUSE: Duration = Duration::from_millis(100);

/// The pause before a failed batch is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The time of the next batch, and the batch that is being recorded.
#[derive(Default)]
pub(super) struct Recorder {
    due: Option<Instant>,
    /// A generation, and the newest input that it includes without a change of its files.
    confirmation: Option<(GenerationNumber, Revision)>,
    running: Option<RunningBatch>,
    /// Whether the last batch failed and this was logged.
    is_failing: bool,
}

struct RunningBatch {
    batch: Vec<Change>,
    task: JoinHandle<Result<(), CommitError>>,
}

impl Recorder {
    /// Records that `generation` includes all inputs up to `inputs`, with the next batch.
    pub(super) fn confirm(&mut self, generation: GenerationNumber, inputs: Revision) {
        self.confirmation = Some((generation, inputs));
    }

    /// Writes a batch if one is due. Returns the time of the next call. `None` if no record waits.
    pub(super) fn record_if_due(&mut self, shared: &Arc<Shared>, state: &State) -> Option<Instant> {
        let is_empty = self.confirmation.is_none() && shared.deliveries().is_empty();
        if self.running.is_some() || is_empty {
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

    /// Starts to write all waiting records.
    fn start(&mut self, shared: &Arc<Shared>, state: &State) {
        // After a restart, nodes fetch generations again whose delivery is already recorded.
        let is_news = |delivery: &FirstDelivery| {
            state.deliveries.get(&delivery.identifier) != Some(&delivery.generation)
        };
        let waiting = std::mem::take(&mut *shared.deliveries());
        let mut batch: Vec<Change> = waiting
            .into_iter()
            .filter(is_news)
            .map(|delivery| Change::Deliver {
                identifier: delivery.identifier,
                generation: delivery.generation,
                at: Some(delivery.at),
            })
            .collect();
        let confirmation = self.confirmation.take();
        if let Some((generation, inputs)) =
            confirmation.filter(|(_, inputs)| *inputs > state.included_inputs())
        {
            batch.push(Change::Confirm { generation, inputs });
        }
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
            // A warning suffices: without these records, `inspect` shows more nodes as behind, and after a restart a node
            // may wait for the first render.
            tracing::warn!(
                event = "deliveries_not_recorded",
                reason = %error,
                "cannot record deliveries: {error}; trying again every {}",
                duration::text(RETRY)
            );
        }
        self.put_back(shared, batch);
        self.due = Some(Instant::now() + RETRY);
    }

    /// Writes all remaining records, for a server that stops.
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

    /// Queues a batch again. Newer records replace it.
    fn put_back(&mut self, shared: &Shared, batch: Vec<Change>) {
        let mut waiting = shared.deliveries();
        let newer: HashMap<Identifier, FirstDelivery> = (waiting.drain(..))
            .map(|delivery| (delivery.identifier.clone(), delivery))
            .collect();
        for change in batch {
            match change {
                Change::Deliver {
                    identifier,
                    generation,
                    at: Some(at),
                } if !newer.contains_key(&identifier) => waiting.push(FirstDelivery {
                    identifier,
                    generation,
                    at,
                }),
                Change::Confirm { generation, inputs } => {
                    self.confirmation.get_or_insert((generation, inputs));
                }
                _ => {}
            }
        }
        waiting.extend(newer.into_values());
    }
}
