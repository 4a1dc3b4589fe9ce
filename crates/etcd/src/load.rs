//! Reads the whole data of a cluster at one revision of etcd.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    EtcdConfig, EtcdError, EtcdErrorKind,
    api::{KeyValue, PutRequest, RangeRequest, TxnRequest},
    instance,
    keys::{Key, Keys, ServerId},
    log_value::LogValue,
    own_mark,
    records::{self, FORMAT, MetaRecord, ServerRecord, SnapshotRecord, TransferRecord, malformed},
    session::Session,
    transaction::{is_absent, put_op},
    view::{LogRecord, View},
};
use cfgsync_model::{Digest, GenerationNumber};
use cfgsync_store::{RenderMark, shared_log};

/// The number of keys in one page. Each has at most 1.5 MiB.
const PAGE_KEYS: i64 = 32;

/// The number of times that the data are read again because etcd has compacted them meanwhile.
const TRIES_MAX: usize = 3;

/// The data of a cluster, and the revision of etcd that they show.
pub(crate) struct Loaded {
    pub(crate) view: View,
    pub(crate) etcd_revision: i64,
}

/// Reads the data of the cluster, and creates them if there are none.
pub(crate) async fn load(
    session: &Session,
    keys: &Keys,
    config: &EtcdConfig,
) -> Result<Loaded, EtcdError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match load_once(session, keys, config).await {
            Err(error) if error.kind == EtcdErrorKind::Compacted && tries < TRIES_MAX => {}
            loaded => return loaded,
        }
    }
}

/// The keys of the cluster at one revision, without the parts.
pub(crate) struct Listed {
    pub(crate) etcd_revision: i64,
    pub(crate) etcd_cluster: u64,
    meta: Option<Bytes>,
    /// The revision of etcd at which `meta` was written. Zero if there is none.
    pub(crate) meta_at: i64,
    pub(crate) snapshot: Option<(Bytes, i64)>,
    references: i64,
    pub(crate) log: Vec<LogRecord>,
    pub(crate) servers: BTreeMap<ServerId, ServerRecord>,
    pub(crate) turn: Option<ServerId>,
    pub(crate) render_marks: BTreeMap<ServerId, RenderMark>,
}

async fn load_once(
    session: &Session,
    keys: &Keys,
    config: &EtcdConfig,
) -> Result<Loaded, EtcdError> {
    let mut listed = list(session, keys).await?;
    if listed.meta.is_none() {
        create(session, keys, config, listed.etcd_cluster).await?;
        listed = list(session, keys).await?;
    }
    let meta = listed.meta()?;
    let meta = meta.ok_or_else(|| malformed("meta", &"it was deleted"))?;
    check(&meta, config, listed.etcd_cluster, false)?;
    let view = read_listed(session, keys, config, &listed).await?;
    Ok(Loaded {
        view,
        etcd_revision: listed.etcd_revision,
    })
}

/// Reads what the listed keys refer to.
pub(crate) async fn read_listed(
    session: &Session,
    keys: &Keys,
    config: &EtcdConfig,
    listed: &Listed,
) -> Result<View, EtcdError> {
    let meta = listed.meta()?;
    let meta = meta.ok_or_else(|| malformed("meta", &"it was deleted"))?;
    let mut state = shared_log::new_state(config.event_bounds);
    let mut generation_parts = BTreeMap::new();
    let mut applied = 0;
    let mut snapshot = None;
    if let Some((bytes, at)) = &listed.snapshot {
        let record: SnapshotRecord = records::decode("snapshot", bytes)?;
        let bytes = read_parts(session, keys, &record.parts).await?.concat();
        let events = read_parts(session, keys, &record.events).await?.concat();
        let bounds = config.event_bounds;
        state = shared_log::decode_state(meta.instance, &bytes, &events, bounds)
            .map_err(|error| malformed("snapshot", &error))?;
        let generations = record.generations.iter();
        generation_parts = generations
            .map(|(number, parts)| (GenerationNumber(*number), parts.clone()))
            .collect();
        applied = record.etcd_revision;
        snapshot = Some((record, *at));
    }
    let mut view = View::new(meta, state, applied);
    view.snapshot = snapshot;
    view.references = listed.references;
    view.set_servers(listed.servers.clone(), Instant::now());
    view.turn = listed.turn;
    view.render_marks = listed.render_marks.clone();
    view.generation_parts = generation_parts;
    for record in &listed.log {
        if view.has_read(record.etcd_revision) {
            view.note_old(record);
            continue;
        }
        let invalid = |error: &dyn std::fmt::Display| malformed(&View::name_of(record.key), error);
        let entry = read_entry(session, keys, record).await?;
        let proposal = shared_log::decode(&entry).map_err(|error| invalid(&error))?;
        view.take(record, proposal, true)
            .map_err(|error| invalid(&error))?;
    }
    complete_generations(session, keys, &mut view).await?;
    Ok(view)
}

/// Reads the files of all generations of the view, one generation after the other.
async fn complete_generations(
    session: &Session,
    keys: &Keys,
    view: &mut View,
) -> Result<(), EtcdError> {
    view.forget_old_generations();
    let mut generations = VecDeque::new();
    for generation in view.state.generations.iter() {
        let parts = view.generation_parts.get(&generation.number);
        let parts = parts.map(Vec::as_slice).unwrap_or_default();
        let files = read_parts(session, keys, parts).await?.concat();
        let generation = shared_log::decode_files(files, generation);
        generations.push_back(Arc::new(generation.map_err(|e| malformed("parts", &e))?));
    }
    view.set_generations(generations);
    Ok(())
}

/// Returns the entry of the log in `record`, which may be in parts.
pub(crate) async fn read_entry(
    session: &Session,
    keys: &Keys,
    record: &LogRecord,
) -> Result<Bytes, EtcdError> {
    match LogValue::parse(&record.value) {
        Some(LogValue::Inline(entry)) => Ok(entry),
        Some(LogValue::Parts(parts)) => {
            Ok(read_parts(session, keys, &parts).await?.concat().into())
        }
        None => Err(malformed(
            &View::name_of(record.key),
            &"its form is unknown",
        )),
    }
}

/// Reads parts.
pub(crate) async fn read_parts(
    session: &Session,
    keys: &Keys,
    digests: &[Digest],
) -> Result<Vec<Bytes>, EtcdError> {
    let mut parts = Vec::with_capacity(digests.len());
    for digest in digests {
        let key = Key::Part(*digest);
        let request = RangeRequest {
            key: keys.full(&key),
            serializable: true,
            ..RangeRequest::default()
        };
        // A member that is behind does not have it yet.
        let mut answer = session.range(request.clone()).await?;
        if answer.kvs.is_empty() {
            let linearized = RangeRequest {
                serializable: false,
                ..request
            };
            answer = session.range(linearized).await?;
        }
        let part = answer.kvs.pop().map(|kv| Bytes::from(kv.value));
        let part = part.filter(|part| Digest::of(part) == *digest);
        parts.push(part.ok_or_else(|| malformed(&key.to_string(), &"it is missing or damaged"))?);
    }
    Ok(parts)
}

/// Returns the newest revision of etcd. A member that is behind the others catches up first.
pub(crate) async fn newest_revision(session: &Session, keys: &Keys) -> Result<i64, EtcdError> {
    let request = RangeRequest {
        key: keys.full(&Key::Meta),
        count_only: true,
        ..RangeRequest::default()
    };
    let answer = session.range(request).await?;
    Ok(answer.header.map_or(0, |header| header.revision))
}

/// Reads all keys at one revision, except the parts.
pub(crate) async fn list(session: &Session, keys: &Keys) -> Result<Listed, EtcdError> {
    let mut listed = Listed {
        etcd_revision: 0,
        etcd_cluster: 0,
        meta: None,
        meta_at: 0,
        snapshot: None,
        references: 0,
        log: vec![],
        servers: BTreeMap::new(),
        turn: None,
        render_marks: BTreeMap::new(),
    };
    for (first, end) in keys.all_but_parts() {
        let mut from = first;
        loop {
            let request = RangeRequest {
                key: from,
                range_end: end.clone(),
                limit: PAGE_KEYS,
                // The first page decides about the revision of all.
                revision: listed.etcd_revision,
                ..RangeRequest::default()
            };
            let page = session.range(request).await?;
            if listed.etcd_revision == 0 {
                let header = page.header.as_ref();
                listed.etcd_revision = header.map_or(0, |header| header.revision);
                listed.etcd_cluster = header.map_or(0, |header| header.cluster_id);
            }
            let last = page.kvs.last().map(|kv| kv.key.clone());
            for kv in page.kvs {
                listed.add(keys, kv);
            }
            match last {
                Some(mut last) if page.more => {
                    last.push(0);
                    from = last;
                }
                _ => break,
            }
        }
    }
    listed.log.sort_by_key(|record| record.etcd_revision);
    Ok(listed)
}

impl Listed {
    /// Returns the record of the cluster. `None` if there is none.
    pub(crate) fn meta(&self) -> Result<Option<MetaRecord>, EtcdError> {
        let meta = self.meta.as_deref();
        meta.map(|bytes| records::decode("meta", bytes)).transpose()
    }

    fn add(&mut self, keys: &Keys, kv: KeyValue) {
        let value = Bytes::from(kv.value);
        match keys.name(&kv.key).and_then(Key::parse) {
            Some(Key::Meta) => {
                self.meta = Some(value);
                self.meta_at = kv.mod_revision;
            }
            Some(Key::Snapshot) => self.snapshot = Some((value, kv.mod_revision)),
            Some(Key::References) => self.references = kv.mod_revision,
            Some(Key::Log(key)) => self.log.push(LogRecord {
                key,
                etcd_revision: kv.mod_revision,
                value,
            }),
            Some(Key::Server(id)) => {
                // It only informs, so a record that is not valid is shown without its fields.
                let record = serde_json::from_slice(&value).unwrap_or_default();
                self.servers.insert(id, record);
            }
            Some(Key::Rendering(id)) => {
                let mark = own_mark::read(id, &value);
                self.render_marks.extend(mark.map(|mark| (id, mark)));
            }
            Some(Key::Turn) => self.turn = server_of(&value),
            Some(Key::Part(_) | Key::Presence(..)) | None => {}
        }
    }
}

/// Returns the server that a turn names.
pub(crate) fn server_of(value: &[u8]) -> Option<ServerId> {
    ServerId::parse(std::str::from_utf8(value).ok()?)
}

/// Creates the data of a new cluster, unless another server has done it meanwhile.
async fn create(
    session: &Session,
    keys: &Keys,
    config: &EtcdConfig,
    etcd_cluster: u64,
) -> Result<(), EtcdError> {
    let record = MetaRecord {
        format: FORMAT,
        created_by: format!("cfgsync {}", env!("CARGO_PKG_VERSION")),
        cluster: config.cluster.clone(),
        instance: instance::random()?,
        revision_base: 0,
        etcd_cluster,
        transfer: None,
    };
    let key = keys.full(&Key::Meta);
    let put = PutRequest {
        key: key.clone(),
        value: records::encode(&record),
        lease: 0,
    };
    let request = TxnRequest {
        compare: vec![is_absent(key)],
        success: vec![put_op(put)],
        failure: vec![],
    };
    session.txn(request).await?;
    Ok(())
}

/// Fails if a running server uses the data.
pub(crate) fn refuse_servers(listed: &Listed, config: &EtcdConfig) -> Result<(), EtcdError> {
    if listed.servers.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = listed.servers.values().map(|it| it.name.as_str()).collect();
    let reason = format!(
        "servers use the data below {}: {}; stop them first (a server that was killed is listed for up to 5 s)",
        config.cluster_prefix(),
        names.join(", ")
    );
    Err(EtcdError::new(EtcdErrorKind::InUse, reason))
}

/// Fails if the data cannot be used. `may_be_moved` accepts data that were moved to another store.
pub(crate) fn check(
    meta: &MetaRecord,
    config: &EtcdConfig,
    etcd_cluster: u64,
    may_be_moved: bool,
) -> Result<(), EtcdError> {
    let refused = |reason: String| Err(EtcdError::new(EtcdErrorKind::Malformed, reason));
    if meta.format != FORMAT {
        return refused(format!(
            "the data of {} in etcd have format {} and were written by {}; this program reads format {FORMAT}; use \
             a newer cfgsync",
            config.cluster, meta.format, meta.created_by
        ));
    }
    if meta.cluster != config.cluster {
        return refused(format!(
            "the data below {} in etcd belong to the cluster {}",
            config.cluster_prefix(),
            meta.cluster
        ));
    }
    let moved = |reason: String| Err(EtcdError::new(EtcdErrorKind::Moved, reason));
    match &meta.transfer {
        Some(TransferRecord::Moved { to }) if !may_be_moved => {
            return moved(format!(
                "the data of {} below {} were moved to {to}, and the cluster continues there",
                config.cluster,
                config.cluster_prefix()
            ));
        }
        Some(TransferRecord::Incoming { from }) => {
            return moved(format!(
                "the data of {} below {} are incomplete: a copy from {from} was interrupted",
                config.cluster,
                config.cluster_prefix()
            ));
        }
        _ => {}
    }
    if meta.etcd_cluster != etcd_cluster {
        let reason = format!(
            "the data of {} were written to another etcd cluster ({:x}, this one is {etcd_cluster:x}), so this etcd \
             may be a restored backup",
            config.cluster, meta.etcd_cluster
        );
        return Err(EtcdError::new(EtcdErrorKind::Replaced, reason));
    }
    Ok(())
}
