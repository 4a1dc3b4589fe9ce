//! Keeps the data in etcd small: takes snapshots, deletes the entries of the log that they include, and deletes parts
//! that nothing refers to. Only the server that has the turn to render does it. Every step is safe if two do it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    EtcdError, EtcdErrorKind,
    api::{Compare, PutRequest, RangeRequest, TxnRequest},
    keys::{Key, LogKey},
    part_writer, parts,
    records::{self, SnapshotRecord},
    session::Session,
    shared::Shared,
    transaction::{delete_op, exists, is_at_revision, put_op},
};
use cfgsync_model::Digest;
use cfgsync_store::{State, shared_log};

/// The number of keys that are deleted in one transaction.
const DELETIONS_MAX: usize = 100;

/// The number of keys that are listed at once.
const PAGE_KEYS: i64 = 1000;

/// Looks through the data until `stop`.
pub(crate) struct Housekeeper {
    shared: Arc<Shared>,
    /// The parts that nothing refers to, and since when.
    unreferenced: HashMap<Digest, Instant>,
}

impl Housekeeper {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            unreferenced: HashMap::new(),
        }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(self.shared.config.housekeeping.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let look = async {
            loop {
                ticks.tick().await;
                let session = self.shared.session.borrow().clone();
                let Some(session) = session.filter(|_| *self.shared.turn.borrow()) else {
                    self.unreferenced.clear();
                    continue;
                };
                if let Err(error) = self.look_through(&session).await {
                    tracing::debug!(event = "etcd_housekeeping_failed", "{error}");
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = look => {}
        }
    }

    async fn look_through(&mut self, session: &Session) -> Result<(), EtcdError> {
        self.delete_included(session).await?;
        if self.is_snapshot_due() {
            self.take_snapshot(session).await?;
        }
        self.delete_unreferenced(session).await
    }

    fn is_snapshot_due(&self) -> bool {
        let (view, limits) = (self.shared.view(), &self.shared.config.housekeeping);
        let snapshot = view.snapshot.as_ref();
        let snapshot_bytes = snapshot.map_or(0, |(snapshot, _)| snapshot.bytes_min());
        limits.is_snapshot_due(snapshot_bytes, view.log_bytes(), view.log.len())
    }

    /// Writes a snapshot of the view. Another server's snapshot that comes meanwhile stays.
    async fn take_snapshot(&self, session: &Session) -> Result<(), EtcdError> {
        let (state, etcd_revision, instance, before, generations) = {
            let view = self.shared.view();
            let generations = view.generation_parts.iter();
            let generations = generations.map(|(number, parts)| (number.0, parts.clone()));
            (
                State::clone(&view.state),
                view.applied,
                view.meta.instance,
                view.snapshot.as_ref().map_or(0, |(_, at)| *at),
                generations.collect(),
            )
        };
        let history = self.shared.config.history;
        let encoded = tokio::task::spawn_blocking(move || {
            let events = shared_log::encode_events(instance, &state);
            let state = shared_log::encode_state(instance, &state, history);
            (parts::divide(state), parts::divide(events))
        });
        let (parts, events) = encoded.await.map_err(|panic| {
            EtcdError::new(
                EtcdErrorKind::Malformed,
                format!("a snapshot failed: {panic}"),
            )
        })?;
        part_writer::write(session, &self.shared.keys, &parts).await?;
        part_writer::write(session, &self.shared.keys, &events).await?;
        let keys = &self.shared.keys;
        let digests = |parts: &[(Digest, Bytes)]| parts.iter().map(|(digest, _)| *digest).collect();
        let (state_parts, event_parts): (Vec<Digest>, Vec<Digest>) =
            (digests(&parts), digests(&events));
        let parts_exist = (state_parts.iter().chain(&event_parts))
            .map(|part| exists(keys.full(&Key::Part(*part))));
        let key = keys.full(&Key::Snapshot);
        let unchanged = is_at_revision(key.clone(), before);
        let record = SnapshotRecord {
            etcd_revision,
            parts: state_parts.clone(),
            events: event_parts.clone(),
            generations,
        };
        let request = TxnRequest {
            compare: std::iter::once(unchanged).chain(parts_exist).collect(),
            success: vec![
                put_op(PutRequest {
                    key,
                    value: records::encode(&record),
                    lease: 0,
                }),
                put_op(PutRequest {
                    key: keys.full(&Key::References),
                    ..PutRequest::default()
                }),
            ],
            failure: vec![],
        };
        let written = session.txn(request).await?;
        if written.succeeded {
            let bytes: usize = parts.iter().map(|(_, part)| part.len()).sum();
            tracing::debug!(
                event = "etcd_snapshot",
                "wrote a snapshot of {bytes} bytes at revision {etcd_revision} of etcd"
            );
        }
        Ok(())
    }

    /// Deletes the entries of the log that the newest snapshot includes.
    async fn delete_included(&self, session: &Session) -> Result<(), EtcdError> {
        let included: Vec<LogKey> = {
            let view = self.shared.view();
            let Some((snapshot, _)) = &view.snapshot else {
                return Ok(());
            };
            let entries = view.log.range(..=snapshot.etcd_revision);
            entries.map(|(_, entry)| entry.key).collect()
        };
        let keys = included.into_iter().map(Key::Log);
        self.delete(session, keys.collect(), vec![]).await
    }

    /// Deletes the parts that nothing has referred to for a long time.
    async fn delete_unreferenced(&mut self, session: &Session) -> Result<(), EtcdError> {
        let listed = self.list_parts(session).await?;
        let (needed, newest_reference) = self.referenced();
        let now = Instant::now();
        self.unreferenced
            .retain(|part, _| listed.contains(part) && !needed.contains(part));
        let mut old = Vec::new();
        for part in listed {
            if needed.contains(&part) {
                continue;
            }
            let since = *self.unreferenced.entry(part).or_insert(now);
            if now.duration_since(since) > self.shared.config.housekeeping.unreferenced_max {
                old.push(Key::Part(part));
            }
        }
        // A reference that was added meanwhile prevents the deletion.
        let unchanged = is_at_revision(self.shared.keys.full(&Key::References), newest_reference);
        self.delete(session, old, vec![unchanged]).await
    }

    /// Returns the parts that something refers to, and the revision of etcd of the newest reference that is known.
    fn referenced(&self) -> (HashSet<Digest>, i64) {
        let view = self.shared.view();
        let snapshot = view.snapshot.iter().flat_map(|(snapshot, _)| {
            let generations = snapshot.generations.values().flatten();
            let own = snapshot.parts.iter().chain(&snapshot.events);
            own.chain(generations)
        });
        let entries = view.log.values().flat_map(|entry| &entry.parts);
        let generations = view.generation_parts.values().flatten();
        let all = snapshot.chain(entries).chain(generations);
        (all.copied().collect(), view.references)
    }

    async fn list_parts(&self, session: &Session) -> Result<BTreeSet<Digest>, EtcdError> {
        let (mut from, end) = self.shared.keys.parts();
        let mut listed = BTreeSet::new();
        loop {
            let request = RangeRequest {
                key: from,
                range_end: end.clone(),
                limit: PAGE_KEYS,
                keys_only: true,
                serializable: true,
                ..RangeRequest::default()
            };
            let page = session.range(request).await?;
            let last = page.kvs.last().map(|kv| kv.key.clone());
            let keys = page.kvs.iter();
            let names = keys.filter_map(|kv| self.shared.keys.name(&kv.key));
            listed.extend(names.filter_map(Key::parse).filter_map(|key| match key {
                Key::Part(digest) => Some(digest),
                _ => None,
            }));
            match last {
                Some(mut last) if page.more => {
                    last.push(0);
                    from = last;
                }
                _ => return Ok(listed),
            }
        }
    }

    /// Deletes `keys` if `compare` succeeds.
    async fn delete(
        &self,
        session: &Session,
        keys: Vec<Key>,
        compare: Vec<Compare>,
    ) -> Result<(), EtcdError> {
        for some in keys.chunks(DELETIONS_MAX) {
            let deletions = some.iter().map(|key| delete_op(self.shared.keys.full(key)));
            let request = TxnRequest {
                compare: compare.clone(),
                success: deletions.collect(),
                failure: vec![],
            };
            session.txn(request).await?;
        }
        Ok(())
    }
}
