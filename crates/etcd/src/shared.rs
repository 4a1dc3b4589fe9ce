//! The shared parts of an open store's tasks: the newest state, the connection, and the callers that wait for a decision.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use rustls::ClientConfig;
use tokio::{
    sync::{Notify, broadcast, oneshot, watch},
    time::Instant,
};

use crate::{
    EtcdConfig, EtcdError,
    keys::{Keys, LogKey, ServerId},
    own_mark::OwnMark,
    session::Session,
    view::{Decision, View},
};
use cfgsync_store::{
    Commit, CommitError, Freshness, Presence, PublishedState, SealOutcome, ServerDescription,
};

/// The number of messages of other servers that wait to be taken.
const PRESENCES_MAX: usize = 256;

/// The answer to a batch.
pub(crate) type BatchAnswer = oneshot::Sender<Result<Commit, CommitError>>;

/// The answer to a seal.
pub(crate) type SealAnswer = oneshot::Sender<Result<SealOutcome, CommitError>>;

/// The callers that wait for what an entry of the log does.
#[derive(Debug)]
pub(crate) enum Waiting {
    Batches(Vec<BatchAnswer>),
    Seal(SealAnswer),
}

/// The state of the connection to etcd.
struct Link {
    /// When etcd last answered.
    heard: Instant,
    /// The reason why there is no connection.
    problem: Option<String>,
}

/// The shared parts of an open store's tasks.
pub(crate) struct Shared {
    pub(crate) config: EtcdConfig,
    pub(crate) keys: Keys,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) published: PublishedState,
    /// The connection whose watch keeps the view fresh. `None` while there is none.
    pub(crate) session: watch::Sender<Option<Arc<Session>>>,
    /// The reason why the store can never accept another change.
    pub(crate) failure: watch::Sender<Option<String>>,
    /// This server.
    pub(crate) id: ServerId,
    /// Whether this server has the turn to render.
    pub(crate) turn: watch::Sender<bool>,
    /// Notified when the turn has changed.
    pub(crate) turn_changed: Notify,
    /// The number of this server's lease. Zero if it has none.
    lease: AtomicI64,
    /// The messages of the other servers about their nodes.
    pub(crate) presences: broadcast::Sender<Arc<Presence>>,
    /// The description that this server gives of itself.
    pub(crate) description: watch::Sender<ServerDescription>,
    /// The mark of the render of this server.
    pub(crate) own_mark: OwnMark,
    link: Mutex<Link>,
    view: Mutex<View>,
    waiting: Mutex<HashMap<LogKey, Waiting>>,
}

impl Shared {
    pub(crate) fn new(
        config: EtcdConfig,
        keys: Keys,
        tls: Arc<ClientConfig>,
        id: ServerId,
        view: View,
    ) -> Self {
        Self {
            id,
            turn: watch::Sender::new(false),
            turn_changed: Notify::new(),
            lease: AtomicI64::new(0),
            presences: broadcast::Sender::new(PRESENCES_MAX),
            description: watch::Sender::default(),
            own_mark: OwnMark::default(),
            config,
            keys,
            tls,
            published: PublishedState::new(Arc::new(view.state.clone())),
            session: watch::Sender::new(None),
            failure: watch::Sender::new(None),
            link: Mutex::new(Link {
                heard: Instant::now(),
                problem: None,
            }),
            view: Mutex::new(view),
            waiting: Mutex::default(),
        }
    }

    /// Locks the view. No lock is held while a task waits for etcd.
    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the rest of the server whether it has the turn, by the view.
    pub(crate) fn publish_turn(&self) {
        let has_turn = self.view().turn == Some(self.id);
        self.turn
            .send_if_modified(|turn| std::mem::replace(turn, has_turn) != has_turn);
    }

    /// Returns the number of this server's lease. Zero if it has none.
    pub(crate) fn lease(&self) -> i64 {
        self.lease.load(Ordering::Relaxed)
    }

    /// Notes the number of this server's lease.
    pub(crate) fn set_lease(&self, lease: i64) {
        self.lease.store(lease, Ordering::Relaxed);
    }

    /// Notes that etcd has answered.
    pub(crate) fn heard(&self) {
        let mut link = self.link();
        link.heard = Instant::now();
        link.problem = None;
    }

    /// Notes why there is no connection.
    pub(crate) fn lost(&self, error: &EtcdError) {
        self.link().problem = Some(error.reason.clone());
    }

    /// Returns how old the view may be.
    pub(crate) fn freshness(&self) -> Freshness {
        let link = self.link();
        Freshness {
            silent_for: link.heard.elapsed(),
            problem: link.problem.clone(),
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the state of the view.
    pub(crate) fn publish(&self, view: &View) {
        self.published.publish(Arc::new(view.state.clone()));
    }

    /// Notes the callers that wait for the entry at `key`.
    pub(crate) fn wait_for(&self, key: LogKey, waiting: Waiting) {
        self.waiting().insert(key, waiting);
    }

    /// Returns the callers that wait for the entry at `key`.
    pub(crate) fn take_waiting(&self, key: LogKey) -> Option<Waiting> {
        self.waiting().remove(&key)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<LogKey, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the callers what the entry at `key` did.
    pub(crate) fn answer(&self, key: LogKey, decision: Decision) {
        match (self.take_waiting(key), decision) {
            (Some(Waiting::Batches(answers)), Decision::Batches(results)) => {
                for (answer, result) in answers.into_iter().zip(results) {
                    // A caller that has left needs no answer.
                    let _ = answer.send(result.map_err(CommitError::from));
                }
            }
            (Some(Waiting::Seal(answer)), Decision::Seal(result)) => {
                let _ = answer.send(result.map_err(CommitError::from));
            }
            // Another server has written it, or it is empty: then the callers get no answer, and report an unknown result.
            _ => {}
        }
    }

    /// Tells the callers that the entry at `key` is not in the log, or may not be.
    pub(crate) fn answer_error(&self, key: LogKey, error: &CommitError) {
        match self.take_waiting(key) {
            Some(Waiting::Batches(answers)) => {
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
            Some(Waiting::Seal(answer)) => {
                let _ = answer.send(Err(error.clone()));
            }
            None => {}
        }
    }
}
