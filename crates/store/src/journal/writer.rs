//! The writer thread: while it syncs one frame, the requests for the next one queue up.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    commit::{Answer, Journal, Request, Response},
    disk::WriteError,
};
use crate::{PublishedState, SealOutcome};

/// The capacity of the queue. Senders wait when it is full.
const QUEUE_MAX_REQUESTS: usize = 1024;

/// The largest number of requests that share one frame.
const FRAME_MAX_REQUESTS: usize = 1024;

/// A request, and the channel for its answer.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The state and the failure that the writer publishes to readers.
pub(super) struct Published {
    pub(super) state: PublishedState,
    /// The reason why the journal can accept no more changes.
    pub(super) failure: watch::Sender<Option<String>>,
}

/// Starts the thread. It ends when all senders are dropped and all requests are written.
pub(super) fn start(
    journal: Journal,
    published: Arc<Published>,
) -> std::io::Result<(mpsc::Sender<Job>, JoinHandle<()>)> {
    let (jobs, queue) = mpsc::channel(QUEUE_MAX_REQUESTS);
    let thread = thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || {
            let mut reporter = PanicReporter {
                published: published.clone(),
                is_done: false,
            };
            if let Err(error) = write_all(journal, queue, &published) {
                reporter.report(error.to_string());
            }
            reporter.is_done = true;
        })?;
    Ok((jobs, thread))
}

fn write_all(
    mut journal: Journal,
    mut queue: mpsc::Receiver<Job>,
    published: &Published,
) -> Result<(), WriteError> {
    let mut jobs = Vec::with_capacity(FRAME_MAX_REQUESTS);
    while queue.blocking_recv_many(&mut jobs, FRAME_MAX_REQUESTS) > 0 {
        let (requests, senders): (Vec<_>, Vec<_>) =
            jobs.drain(..).map(|job| (job.request, job.answer)).unzip();
        let answers = journal.commit(requests)?;
        // Publish the state before the answers, so that callers read their own writes.
        published.state.publish(journal.state.clone());
        let is_won = |answer: &Answer| matches!(answer, Ok(Response::Sealed(SealOutcome::Won)));
        let is_sealed = answers.iter().any(is_won);
        for (sender, answer) in senders.into_iter().zip(answers) {
            // The caller may no longer wait for the answer. The change stays in effect.
            let _ = sender.send(answer);
        }
        journal.maintain(is_sealed)?;
    }
    journal.close();
    Ok(())
}

/// Reports a failure also if the thread panics.
struct PanicReporter {
    published: Arc<Published>,
    is_done: bool,
}

impl PanicReporter {
    /// Reports `reason`, unless another failure was reported before.
    fn report(&self, reason: String) {
        self.published.failure.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert(reason);
            is_first
        });
    }
}

impl Drop for PanicReporter {
    fn drop(&mut self) {
        if !self.is_done {
            self.report("its thread panicked, which is a bug".to_owned());
        }
    }
}
