//! The thread that writes: while one batch is synced, the next one gathers.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    commit::{Answer, Journal, Request, Response},
    disk::Trouble,
};
use crate::{SealOutcome, State};
use cfgsync_model::Revision;

/// How many changes may wait to be written; senders wait beyond that.
const QUEUE_MAX_CHANGES: usize = 1024;

/// How many changes become one batch at most.
const BATCH_MAX_CHANGES: usize = 1024;

/// A change and whom to tell.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// What readers see of the journal.
pub(super) struct Published {
    pub(super) state: ArcSwap<State>,
    pub(super) changed: watch::Sender<Revision>,
    /// Why the journal has ended before its time.
    pub(super) broken: watch::Sender<Option<String>>,
}

/// Starts the thread. It ends once all senders are gone and everything is written.
pub(super) fn start(
    journal: Journal,
    published: Arc<Published>,
) -> std::io::Result<(mpsc::Sender<Job>, JoinHandle<()>)> {
    let (jobs, queue) = mpsc::channel(QUEUE_MAX_CHANGES);
    let thread = thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || {
            let mut guard = Guard {
                published: published.clone(),
                is_done: false,
            };
            if let Err(fatal) = write_all(journal, queue, &published) {
                guard.say(fatal.to_string());
            }
            guard.is_done = true;
        })?;
    Ok((jobs, thread))
}

fn write_all(
    mut journal: Journal,
    mut queue: mpsc::Receiver<Job>,
    published: &Published,
) -> Result<(), Trouble> {
    let mut jobs = Vec::with_capacity(BATCH_MAX_CHANGES);
    while queue.blocking_recv_many(&mut jobs, BATCH_MAX_CHANGES) > 0 {
        let (requests, senders): (Vec<_>, Vec<_>) =
            jobs.drain(..).map(|job| (job.request, job.answer)).unzip();
        let answers = journal.commit(requests)?;
        // First it can be seen, then it is acknowledged.
        let revision = journal.state.revision;
        if published.state.load().revision != revision {
            published.state.store(journal.state.clone());
            published.changed.send_replace(revision);
        }
        let is_sealed = |answer: &Answer| matches!(answer, Ok(Response::Sealed(SealOutcome::Won)));
        let tidy = answers.iter().any(is_sealed);
        for (sender, answer) in senders.into_iter().zip(answers) {
            // The caller may have gone away; the change stands.
            let _ = sender.send(answer);
        }
        journal.keep_house(tidy)?;
    }
    Ok(())
}

/// Says that the thread has ended before its time, also when it panics.
struct Guard {
    published: Arc<Published>,
    is_done: bool,
}

impl Guard {
    fn say(&self, reason: String) {
        self.published.broken.send_if_modified(|broken| {
            let is_new = broken.is_none();
            broken.get_or_insert(reason);
            is_new
        });
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.is_done {
            self.say("its thread has panicked, which is a bug".to_owned());
        }
    }
}
