//! Keeps the view fresh: one connection, one watch, and what its events do. It connects again after a failure.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    EtcdError, EtcdErrorKind,
    api::{Event, WatchCreateRequest, WatchResponse, event::EventType},
    keys::{Key, LogKey},
    load::{self, read_entry, read_parts},
    own_mark, presence, records,
    session::Session,
    shared::Shared,
    view::{Decision, LogRecord, View},
};
use cfgsync_store::{CommitError, shared_log};
use cfgsync_support::backoff::Backoff;

/// The interval at which the connection is asked to show that it works.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The time without any response after which a connection counts as lost. Together with the interval, a connection that
/// is lost without a sign is noticed within 6 s.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// Follows the log until `stop`.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    stop: CancellationToken,
    /// The revision of etcd up to which all events were read.
    position: i64,
    /// The endpoint that is tried next.
    next_endpoint: usize,
    backoff: Backoff,
}

/// The effects of entries that are read, to be told to the callers once the state is published.
type Decisions = Vec<(LogKey, Decision)>;

impl Follower {
    pub(crate) fn new(
        shared: Arc<Shared>,
        stop: CancellationToken,
        position: i64,
        next_endpoint: usize,
    ) -> Self {
        Self {
            shared,
            stop,
            position,
            next_endpoint,
            backoff: Backoff::default(),
        }
    }

    /// Follows the log over `session`, and over new connections after its end.
    pub(crate) async fn run(mut self, session: Session) {
        let stop = self.stop.clone();
        let follow = async {
            let mut session = Arc::new(session);
            loop {
                let error = self.follow(&session).await;
                self.shared.session.send_replace(None);
                self.shared.lost(&error);
                session.mark_broken();
                if !self.can_go_on(&error) {
                    return;
                }
                tracing::warn!(
                    event = "etcd_lost",
                    "the connection to etcd is lost: {error}"
                );
                session = self.reconnect().await;
                tracing::info!(
                    event = "etcd_connected",
                    "connected to etcd at {}",
                    session.endpoint()
                );
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow => {}
        }
        self.shared.session.send_replace(None);
    }

    /// Whether the store can go on after `error`. If not, it reports the failure.
    fn can_go_on(&self, error: &EtcdError) -> bool {
        if error.kind != EtcdErrorKind::Malformed {
            return true;
        }
        self.shared.failure.send_replace(Some(error.reason.clone()));
        false
    }

    async fn reconnect(&mut self) -> Arc<Session> {
        loop {
            sleep(self.backoff.next_wait()).await;
            let config = &self.shared.config;
            let endpoint = &config.endpoints[self.next_endpoint % config.endpoints.len()];
            self.next_endpoint += 1;
            match Session::open(endpoint, config, self.shared.tls.clone()).await {
                Ok(session) => return Arc::new(session),
                Err(error) => tracing::debug!(event = "etcd_unreachable", "{error}"),
            }
        }
    }

    /// Watches until the connection fails. Returns the reason.
    async fn follow(&mut self, session: &Arc<Session>) -> EtcdError {
        match load::newest_revision(session, &self.shared.keys).await {
            Ok(etcd_revision) => {
                if let Err(error) = self.check_history(session, etcd_revision) {
                    return error;
                }
            }
            Err(error) => return error,
        }
        loop {
            match self.watch(session).await {
                Ok(never) => match never {},
                Err(error) if error.kind == EtcdErrorKind::Compacted => {
                    if let Err(error) = self.read_again(session).await {
                        return error;
                    }
                }
                Err(error) => return error,
            }
        }
    }

    async fn watch(
        &mut self,
        session: &Arc<Session>,
    ) -> Result<std::convert::Infallible, EtcdError> {
        let (key, range_end) = self.shared.keys.all();
        let create = WatchCreateRequest {
            key,
            range_end,
            start_revision: self.position + 1,
            fragment: true,
        };
        let mut watch = session.watch(create).await?;
        let mut ticks = interval(PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                response = watch.next() => {
                    heard = Instant::now();
                    self.shared.heard();
                    self.take_response(session, response?).await?;
                }
                _ = ticks.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        let seconds = SILENCE_MAX.as_secs();
                        let reason = format!("{} was silent for {seconds} s", session.endpoint());
                        return Err(EtcdError::new(EtcdErrorKind::Ambiguous, reason));
                    }
                    watch.ask_for_progress();
                }
                () = session.broken() => {
                    let reason = format!("{}: a call failed", session.endpoint());
                    return Err(EtcdError::new(EtcdErrorKind::Ambiguous, reason));
                }
            }
        }
    }

    async fn take_response(
        &mut self,
        session: &Arc<Session>,
        response: WatchResponse,
    ) -> Result<(), EtcdError> {
        let endpoint = session.endpoint();
        if response.canceled {
            if response.compact_revision > 0 {
                let reason = format!("{endpoint}: revision {} is compacted", self.position + 1);
                return Err(EtcdError::new(EtcdErrorKind::Compacted, reason));
            }
            let reason = format!("{endpoint} cancelled the watch: {}", response.cancel_reason);
            return Err(EtcdError::new(EtcdErrorKind::Ambiguous, reason));
        }
        if response.created {
            self.backoff.reset();
            self.shared.session.send_replace(Some(session.clone()));
            return Ok(());
        }
        let last = response.events.last().and_then(|event| event.kv.as_ref());
        let last = last.map(|kv| kv.mod_revision);
        let mut records = Vec::new();
        for event in response.events {
            self.take_event(event, &mut records);
        }
        self.read_log(session, records).await?;
        if let Some(last) = last {
            // The next fragment may have more events of the same revision.
            self.position = if response.fragment { last - 1 } else { last };
        }
        Ok(())
    }

    /// Fails if etcd is behind what was read before: then it was restored from a backup.
    fn check_history(&self, session: &Session, etcd_revision: i64) -> Result<(), EtcdError> {
        if etcd_revision >= self.position {
            return Ok(());
        }
        let reason = format!(
            "{} is at revision {etcd_revision}, and {} was read before: etcd was restored from a backup",
            session.endpoint(),
            self.position
        );
        Err(EtcdError::new(EtcdErrorKind::Malformed, reason))
    }

    /// Takes an event of the keys beside the log at once. Those of the log are added to `records`.
    fn take_event(&self, event: Event, records: &mut Vec<LogRecord>) {
        let is_put = event.r#type() == EventType::Put;
        let Some(kv) = event.kv else { return };
        let Some(key) = self.shared.keys.name(&kv.key).and_then(Key::parse) else {
            return;
        };
        let value = Bytes::from(kv.value);
        match key {
            Key::Log(key) if is_put => records.push(LogRecord {
                key,
                etcd_revision: kv.mod_revision,
                value,
            }),
            Key::Log(key) => self.shared.view().forget_entry(key),
            Key::Part(digest) if is_put => self.shared.view().parts.add(digest, value),
            Key::References => self.shared.view().references = kv.mod_revision,
            Key::Snapshot if is_put => match records::decode("snapshot", &value) {
                Ok(record) => self.shared.view().note_snapshot(record, kv.mod_revision),
                Err(error) => tracing::warn!(event = "etcd_record_refused", "{error}"),
            },
            Key::Server(id) if is_put => {
                let record = serde_json::from_slice(&value).unwrap_or_default();
                self.shared.view().note_server(id, record, Instant::now());
            }
            Key::Server(id) => {
                self.shared.view().servers.remove(&id);
            }
            Key::Rendering(id) => {
                let mark = if is_put {
                    own_mark::read(id, &value)
                } else {
                    None
                };
                let marks = &mut self.shared.view().render_marks;
                match mark {
                    Some(mark) => drop(marks.insert(id, mark)),
                    None => drop(marks.remove(&id)),
                }
            }
            Key::Presence(id, _) if is_put && id != self.shared.id => {
                if let Some(presence) = presence::read(&value) {
                    // Without a receiver there is nothing to tell.
                    let _ = self.shared.presences.send(Arc::new(presence));
                }
            }
            Key::Turn => {
                let holder = if is_put {
                    load::server_of(&value)
                } else {
                    None
                };
                self.shared.view().turn = holder;
                self.shared.publish_turn();
                self.shared.turn_changed.notify_one();
            }
            Key::Meta if is_put => self.check_meta(&value),
            Key::Part(_) | Key::Snapshot | Key::Meta | Key::Presence(..) => {}
        }
    }

    /// Reports a failure if the data no longer belong to the instance of this server, or were moved to another store. The
    /// snapshot is replaced together with the record, so this server can no longer write.
    fn check_meta(&self, value: &[u8]) {
        let meta = records::decode::<records::MetaRecord>("meta", value);
        let instance = self.shared.view().meta.instance;
        let reason = match meta {
            Err(error) => {
                tracing::warn!(event = "etcd_record_refused", "{error}");
                return;
            }
            Ok(meta) if meta.transfer.is_some() => {
                "the data of the cluster in etcd were moved to another store".to_owned()
            }
            Ok(meta) if meta.instance != instance => {
                "another server has begun a new instance in etcd".to_owned()
            }
            Ok(_) => return,
        };
        self.shared.failure.send_replace(Some(reason));
    }

    /// Reads entries of the log, in order, publishes the state, and answers the callers.
    async fn read_log(&self, session: &Session, records: Vec<LogRecord>) -> Result<(), EtcdError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut decisions = Decisions::new();
        let read = self.read_records(session, records, &mut decisions).await;
        {
            let mut view = self.shared.view();
            view.note_progress(Instant::now());
            self.shared.publish(&view);
        }
        for (key, decision) in decisions {
            self.shared.answer(key, decision);
        }
        read
    }

    async fn read_records(
        &self,
        session: &Session,
        records: Vec<LogRecord>,
        decisions: &mut Decisions,
    ) -> Result<(), EtcdError> {
        for record in records {
            if self.shared.view().has_read(record.etcd_revision) {
                continue;
            }
            match self.read_record(session, &record).await {
                Ok(decision) => decisions.push((record.key, decision)),
                Err(error) if error.kind == EtcdErrorKind::Malformed => {
                    self.shared.view().note(&record);
                    tracing::error!(
                        event = "etcd_record_refused",
                        "an entry of the log in etcd is ignored: {error}"
                    );
                    self.shared
                        .answer_error(record.key, &CommitError::Unavailable(error.reason));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read_record(
        &self,
        session: &Session,
        record: &LogRecord,
    ) -> Result<Decision, EtcdError> {
        let keys = &self.shared.keys;
        let invalid =
            |error: &dyn std::fmt::Display| records::malformed(&View::name_of(record.key), error);
        let entry = read_entry(session, keys, record).await?;
        let proposal = shared_log::decode(&entry).map_err(|error| invalid(&error))?;
        let missing = self.shared.view().missing_parts(&proposal);
        let parts = read_parts(session, keys, &missing).await?;
        let mut view = self.shared.view();
        for (digest, part) in missing.into_iter().zip(parts) {
            view.parts.add(digest, part);
        }
        view.take(record, proposal, false)
            .map_err(|error| invalid(&error))
    }

    /// Reads the data of the cluster again, because etcd no longer has the events since the last one that was read.
    async fn read_again(&mut self, session: &Arc<Session>) -> Result<(), EtcdError> {
        let (keys, config) = (&self.shared.keys, &self.shared.config);
        let listed = load::list(session, keys).await?;
        self.check_history(session, listed.etcd_revision)?;
        let snapshot = match &listed.snapshot {
            Some((bytes, _)) => Some(records::decode::<records::SnapshotRecord>(
                "snapshot", bytes,
            )?),
            None => None,
        };
        let applied = self.shared.view().applied;
        if snapshot.is_none_or(|snapshot| snapshot.etcd_revision <= applied) {
            // The log still has everything that is new.
            let etcd_revision = listed.etcd_revision;
            {
                let mut view = self.shared.view();
                view.set_servers(listed.servers, Instant::now());
                view.turn = listed.turn;
                view.render_marks = listed.render_marks;
            }
            self.shared.publish_turn();
            self.read_log(session, listed.log).await?;
            self.position = etcd_revision;
            return Ok(());
        }
        let loaded = load::load(session, keys, config).await?;
        {
            let mut view = self.shared.view();
            if loaded.view.meta.instance != view.meta.instance {
                return Err(records::malformed("meta", &"the instance has changed"));
            }
            *view = loaded.view;
            self.shared.publish(&view);
        }
        self.position = loaded.etcd_revision;
        Ok(())
    }
}
