//! The store: opens the data of a cluster in etcd, and takes changes and seals.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    EtcdConfig, EtcdError, EtcdErrorKind, connect, database,
    first_session::first_session,
    follower::Follower,
    housekeeper::Housekeeper,
    keys::{Keys, ServerId},
    load::{self, Loaded},
    mark_writer, new_instance, part_writer, parts, presence, quota_watch,
    server_record::RecordKeeper,
    shared::Shared,
    writer::{JOBS_MAX, Job, Request, Writer},
};
use cfgsync_model::{Digest, Generation, Instance, Revision};
use cfgsync_store::{
    BoxFuture, Change, Commit, CommitError, Database, Freshness, Presence, RenderMark,
    SealCondition, SealOutcome, ServerDescription, ServerStatus, State, StateGuard, Store,
    shared_log,
};
use cfgsync_support::backoff::Backoff;

/// The longest pause before etcd is tried again at a start.
const START_WAIT_MAX: Duration = Duration::from_secs(1);

/// The time after the deadline of a request in which the writer answers it.
const ANSWER_GRACE: Duration = Duration::from_millis(500);

/// A store on etcd. Dropping it ends its tasks and closes its connection.
pub struct EtcdStore {
    instance: Instance,
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    /// The task that ends the lease of this server, until it is awaited.
    keeper: Mutex<Option<JoinHandle<()>>>,
    stop: CancellationToken,
    /// Ends the tasks.
    _stop_on_drop: DropGuard,
}

impl EtcdStore {
    /// Connects to etcd, and reads the data of the cluster, or creates them.
    ///
    /// # Errors
    /// Fails if no endpoint can be used within the start timeout, and if the data are not valid. [`EtcdErrorKind`] says
    /// whose fault it is.
    pub async fn open(config: EtcdConfig) -> Result<Self, EtcdError> {
        Self::open_within(config, false).await
    }

    /// Like [`EtcdStore::open`], for data that a server refuses because etcd was restored from a backup, or because they
    /// were moved away: they continue as a new instance. Of several servers that do so at once, one draws it.
    ///
    /// # Errors
    /// Like [`EtcdStore::open`]. Fails as well if running servers use the data.
    pub async fn open_restored(config: EtcdConfig) -> Result<Self, EtcdError> {
        Self::open_within(config, true).await
    }

    async fn open_within(config: EtcdConfig, restored: bool) -> Result<Self, EtcdError> {
        let limit = config.start_timeout;
        let mut last = None;
        let opened = timeout(limit, Self::open_when_ready(config, restored, &mut last)).await;
        opened.unwrap_or_else(|_| {
            let cause = last.map_or(String::new(), |error| format!(": {error}"));
            let reason = format!("etcd was not ready within {} s{cause}", limit.as_secs());
            Err(EtcdError::new(EtcdErrorKind::Unreachable, reason))
        })
    }

    /// Tries until etcd answers, because it may start at the same time. `last` keeps the newest reason to try again. Other
    /// errors do not end by themselves, so they are returned at once.
    async fn open_when_ready(
        config: EtcdConfig,
        restored: bool,
        last: &mut Option<EtcdError>,
    ) -> Result<Self, EtcdError> {
        let mut backoff = Backoff::default();
        loop {
            let error = match Self::open_now(config.clone(), restored).await {
                Err(error) if error.may_be_starting() => error,
                opened => return opened,
            };
            if last.is_none() {
                tracing::warn!(
                    event = "etcd_waiting",
                    "etcd does not answer yet; trying again for up to {} s: {error}",
                    config.start_timeout.as_secs()
                );
            }
            *last = Some(error);
            sleep(backoff.next_wait().min(START_WAIT_MAX)).await;
        }
    }

    async fn open_now(config: EtcdConfig, restored: bool) -> Result<Self, EtcdError> {
        let tls = connect::tls(&config)?;
        let keys = Keys::new(config.cluster_prefix());
        let (session, endpoint) = first_session(&config, &tls).await?;
        if restored {
            new_instance::begin(&session, &keys, &config).await?;
        }
        let Loaded {
            view,
            etcd_revision,
        } = load::load(&session, &keys, &config).await?;
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|error| {
            let reason = format!("cannot get random numbers: {error}");
            EtcdError::new(EtcdErrorKind::Unreachable, reason)
        })?;
        let id = ServerId(u64::from_le_bytes(id));
        let instance = view.meta.instance;
        let shared = Arc::new(Shared::new(config, keys, tls, id, view));
        let (jobs, receiver) = mpsc::channel(JOBS_MAX);
        let stop = CancellationToken::new();
        let writer = Writer::new(shared.clone(), receiver);
        let follower = Follower::new(shared.clone(), stop.clone(), etcd_revision, endpoint + 1);
        tokio::spawn(writer.run(stop.clone()));
        tokio::spawn(follower.run(session));
        let keeper = tokio::spawn(RecordKeeper::new(shared.clone()).run(stop.clone()));
        tokio::spawn(mark_writer::keep(shared.clone(), stop.clone()));
        tokio::spawn(Housekeeper::new(shared.clone()).run(stop.clone()));
        tokio::spawn(quota_watch::run(shared.clone(), stop.clone()));
        Ok(Self {
            instance,
            shared,
            jobs,
            keeper: Mutex::new(Some(keeper)),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        })
    }

    /// Returns where the data are, for messages.
    pub fn place(&self) -> String {
        let config = &self.shared.config;
        let endpoints: Vec<String> = config.endpoints.iter().map(ToString::to_string).collect();
        format!(
            "etcd at {}, below {}",
            endpoints.join(", "),
            config.cluster_prefix()
        )
    }

    /// Sends a request to the writer, and waits for its answer.
    async fn submit<T>(
        &self,
        request: Request,
        answered: oneshot::Receiver<Result<T, CommitError>>,
        deadline: Instant,
    ) -> Result<T, CommitError> {
        let busy = || CommitError::Unavailable("etcd has not taken earlier changes yet".to_owned());
        let sent = timeout_at(deadline, self.jobs.send(Job { request, deadline })).await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                return Err(CommitError::Unavailable("the server is ending".to_owned()));
            }
            Err(_) => return Err(busy()),
        }
        let unknown =
            || CommitError::Unknown("etcd has not confirmed the change in time".to_owned());
        // The writer answers at the deadline, and knows more.
        match timeout_at(deadline + ANSWER_GRACE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(unknown()),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.shared.config.write_timeout
    }

    /// Writes the files of `generation`. Returns the digests of their parts.
    async fn write_files(
        &self,
        generation: &Arc<Generation>,
        deadline: Instant,
    ) -> Result<Vec<Digest>, CommitError> {
        let encoded = generation.clone();
        let encoded =
            tokio::task::spawn_blocking(move || parts::divide(shared_log::encode_files(&encoded)));
        let parts = encoded.await.map_err(|panic| {
            CommitError::Unavailable(format!(
                "encoding the files of a generation failed: {panic}"
            ))
        })?;
        let mut session = self.shared.session.subscribe();
        let open = timeout_at(deadline, session.wait_for(Option::is_some)).await;
        let session = open.ok().and_then(Result::ok).and_then(|open| open.clone());
        let session = session
            .ok_or_else(|| CommitError::Unavailable("there is no connection to etcd".to_owned()))?;
        let written = part_writer::write(&session, &self.shared.keys, &parts).await;
        written.map_err(|error| CommitError::Unavailable(error.reason))?;
        Ok(parts.into_iter().map(|(digest, _)| digest).collect())
    }
}

impl Store for EtcdStore {
    fn instance(&self) -> Instance {
        self.instance
    }

    fn state(&self) -> StateGuard {
        self.shared.published.state()
    }

    fn follow(&self) -> watch::Receiver<Revision> {
        self.shared.published.follow()
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Commit, CommitError>> {
        Box::pin(async move {
            let batch = shared_log::encode_batch(&changes);
            if let Some(commit) = without_effect(&self.state(), changes) {
                return Ok(commit);
            }
            let (answer, answered) = oneshot::channel();
            let request = Request::Batch(batch, answer);
            self.submit(request, answered, self.deadline()).await
        })
    }

    fn seal_if(
        &self,
        generation: Arc<Generation>,
        only_if: SealCondition,
    ) -> BoxFuture<'_, Result<SealOutcome, CommitError>> {
        Box::pin(async move {
            let before = {
                let state = self.state();
                let newest = state.generation().cloned();
                let number = newest.as_ref().map(|newest| newest.number);
                if generation.number != number.unwrap_or_default().next() {
                    let mut state = State::clone(&state);
                    let next = state.revision.next();
                    return Ok(state.seal_if(generation, only_if, 1, next)?);
                }
                newest
            };
            let deadline = self.deadline();
            let parts = self.write_files(&generation, deadline).await?;
            let history = self.shared.config.history;
            let entry =
                shared_log::encode_seal(&generation, only_if, before.as_deref(), history, &parts);
            let (digest, (answer, answered)) = (generation.digest, oneshot::channel());
            self.shared.view().keep_own(generation);
            let request = Request::Seal(entry, parts, answer);
            let sealed = self.submit(request, answered, self.deadline()).await;
            self.shared.view().forget_own(digest);
            sealed
        })
    }

    fn crashed_renders(&self) -> Vec<RenderMark> {
        let left = self.shared.view().left_marks(self.shared.id);
        left.into_iter().map(|(_, mark)| mark).collect()
    }

    fn set_render_mark(&self, mark: RenderMark) -> BoxFuture<'_, Result<(), String>> {
        let number = self.shared.own_mark.want(Some(mark));
        Box::pin(self.shared.own_mark.written(number))
    }

    fn clear_render_mark(&self) {
        self.shared.own_mark.want(None);
    }

    fn freshness(&self) -> Freshness {
        self.shared.freshness()
    }

    fn render_turn(&self) -> Option<watch::Receiver<bool>> {
        Some(self.shared.turn.subscribe())
    }

    fn describe(&self, description: ServerDescription) {
        self.shared.description.send_replace(description);
    }

    fn servers(&self) -> Vec<ServerStatus> {
        self.shared
            .view()
            .server_statuses(self.shared.id, Instant::now())
    }

    fn database(&self) -> BoxFuture<'_, Result<Option<Database>, String>> {
        Box::pin(async {
            let session = self.shared.session.borrow().clone();
            let session = session.ok_or("there is no connection to etcd")?;
            let database = database::describe(&session).await;
            database.map(Some).map_err(|error| error.reason)
        })
    }

    fn share_presence(&self, presence: Presence) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let session = self.shared.session.borrow().clone();
            let Some(session) = session else { return };
            let written = presence::write(&self.shared, &session, &presence).await;
            if let Err(error) = written {
                tracing::debug!(event = "etcd_presence_failed", "{error}");
            }
        })
    }

    fn presences(&self) -> Option<broadcast::Receiver<Arc<Presence>>> {
        Some(self.shared.presences.subscribe())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.shared.own_mark.close().await;
            self.stop.cancel();
            let keeper = self
                .keeper
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(keeper) = keeper {
                // After a panic, the lease ends by itself.
                let _ = keeper.await;
            }
        })
    }

    fn failed(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            let mut failure = self.shared.failure.subscribe();
            let reason = failure.wait_for(Option::is_some).await;
            match reason.ok().and_then(|reason| reason.clone()) {
                Some(reason) => reason,
                None => std::future::pending().await,
            }
        })
    }
}

/// Returns the answer to a batch that changes nothing, so that it need not be written. Whether it is rejected is decided
/// in the log alone, because the local view may be old.
fn without_effect(state: &State, changes: Vec<Change>) -> Option<Commit> {
    // A new node is a change or is rejected. This saves the copy of the state for most registrations.
    let has_new_node = changes.iter().any(|change| match change {
        Change::Register { registration, .. } => {
            !state.registrations.contains_key(&registration.identifier)
        }
        _ => false,
    });
    if has_new_node {
        return None;
    }
    let mut state = State::clone(state);
    let next = state.revision.next();
    let commit = state.apply(changes, next).ok()?;
    (!commit.is_changed()).then_some(commit)
}
