//! The local view of the log: what its entries have done so far. It does no I/O.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    keys::{Key, LogKey, ServerId},
    log_value::LogValue,
    parts::PartCache,
    records::{MetaRecord, ServerRecord, SnapshotRecord},
};
use cfgsync_model::{Digest, Generation, GenerationNumber, Revision};
use cfgsync_store::{
    Commit, Rejection, RenderMark, SealOutcome, ServerDescription, ServerStatus, State,
    shared_log::{Proposal, ProposedFiles, SealProposal, SharedLogError},
};

/// The effect of an entry of the log.
#[derive(Debug)]
pub(crate) enum Decision {
    /// The results of its batches.
    Batches(Vec<Result<Commit, Rejection>>),
    /// The result of its seal.
    Seal(Result<SealOutcome, Rejection>),
}

/// One entry of the log, as etcd has it.
#[derive(Debug)]
pub(crate) struct LogRecord {
    pub(crate) key: LogKey,
    /// The revision of etcd at which it was written.
    pub(crate) etcd_revision: i64,
    pub(crate) value: Bytes,
}

/// The part of an entry that is kept once it is read.
#[derive(Debug)]
pub(crate) struct KnownEntry {
    pub(crate) key: LogKey,
    /// The size of the entry in etcd, without its parts, in bytes.
    pub(crate) bytes: usize,
    /// The parts that hold the entry, if it is long.
    pub(crate) parts: Vec<Digest>,
}

/// A running server, as this one sees it.
#[derive(Debug, Clone)]
pub(crate) struct KnownServer {
    pub(crate) record: ServerRecord,
    /// Since when it has reported no progress, while this server has applied newer changes.
    behind_since: Option<Instant>,
}

/// The state of a cluster, and what is known of its keys in etcd.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) meta: MetaRecord,
    pub(crate) state: State,
    /// The revision of etcd of the newest entry that was read. Older ones are never read again.
    pub(crate) applied: i64,
    /// The entries of the log that etcd has, by their revision.
    pub(crate) log: BTreeMap<i64, KnownEntry>,
    /// The revisions of these entries, by their key.
    log_revisions: HashMap<LogKey, i64>,
    /// The newest snapshot, and the revision of etcd at which its record was written.
    pub(crate) snapshot: Option<(SnapshotRecord, i64)>,
    /// The revision of etcd of the newest reference to a part. Zero if there was none.
    pub(crate) references: i64,
    /// The parts of the files of each generation of the state.
    pub(crate) generation_parts: BTreeMap<GenerationNumber, Vec<Digest>>,
    pub(crate) parts: PartCache,
    /// The running servers.
    pub(crate) servers: BTreeMap<ServerId, KnownServer>,
    /// The server whose turn it is to render.
    pub(crate) turn: Option<ServerId>,
    /// The renders that servers have begun and not ended.
    pub(crate) render_marks: BTreeMap<ServerId, RenderMark>,
    /// The generations that this server has proposed and not yet read in the log.
    own: HashMap<Digest, Arc<Generation>>,
}

impl View {
    /// Returns the view with `state` at the revision `applied` of etcd.
    pub(crate) fn new(meta: MetaRecord, state: State, applied: i64) -> Self {
        Self {
            meta,
            state,
            applied,
            log: BTreeMap::new(),
            log_revisions: HashMap::new(),
            snapshot: None,
            references: 0,
            generation_parts: BTreeMap::new(),
            parts: PartCache::default(),
            servers: BTreeMap::new(),
            turn: None,
            render_marks: BTreeMap::new(),
            own: HashMap::new(),
        }
    }

    /// Returns the revision of this program for a revision of etcd.
    pub(crate) fn revision(&self, etcd_revision: i64) -> Revision {
        Revision(self.meta.revision_base + etcd_revision.unsigned_abs())
    }

    /// Keeps a generation that this server proposes, so that its files need not be read.
    pub(crate) fn keep_own(&mut self, generation: Arc<Generation>) {
        self.own.insert(generation.digest, generation);
    }

    /// Forgets a generation that this server has proposed.
    pub(crate) fn forget_own(&mut self, digest: Digest) {
        self.own.remove(&digest);
    }

    /// Returns the parts that must be read before `proposal` is taken.
    pub(crate) fn missing_parts(&self, proposal: &Proposal) -> Vec<Digest> {
        match proposal {
            Proposal::Seal(seal) if self.is_next(seal) && !self.own.contains_key(&seal.digest) => {
                self.parts.missing(&seal.parts)
            }
            Proposal::Seal(_) | Proposal::Batches(_) => vec![],
        }
    }

    fn is_next(&self, seal: &SealProposal) -> bool {
        let newest = self.state.generation();
        let newest = newest.map_or(GenerationNumber(0), |newest| newest.number);
        seal.number == newest.next()
    }

    /// Whether the entry at this revision of etcd was read before.
    pub(crate) fn has_read(&self, etcd_revision: i64) -> bool {
        etcd_revision <= self.applied
    }

    /// Takes the next entry of the log. All missing parts are there, unless `without_files`: then the files of the
    /// generation are completed later.
    pub(crate) fn take(
        &mut self,
        record: &LogRecord,
        proposal: Proposal,
        without_files: bool,
    ) -> Result<Decision, SharedLogError> {
        let revision = self.revision(record.etcd_revision);
        self.note(record);
        match proposal {
            Proposal::Batches(batches) => {
                let batches = batches.into_iter();
                let results = batches.map(|changes| self.state.apply(changes, revision));
                Ok(Decision::Batches(results.collect()))
            }
            Proposal::Seal(seal) => {
                let own = self.own.get(&seal.digest).cloned();
                let files = match &own {
                    _ if without_files || !self.is_next(&seal) => ProposedFiles::Unread,
                    Some(own) => ProposedFiles::Own(own),
                    None => ProposedFiles::Bytes(self.parts.join(&seal.parts).unwrap_or_default()),
                };
                let is_next = self.is_next(&seal);
                let sealed = self.state.seal_proposed(&seal, files, revision)?;
                if is_next && matches!(sealed, Ok(SealOutcome::Won)) {
                    self.parts.forget(&seal.parts);
                    self.generation_parts.insert(seal.number, seal.parts);
                    self.forget_old_generations();
                }
                Ok(Decision::Seal(sealed))
            }
        }
    }

    /// Notes an entry of the log that is read, or that cannot be decoded and has no effect.
    pub(crate) fn note(&mut self, record: &LogRecord) {
        self.applied = record.etcd_revision;
        self.note_old(record);
    }

    /// Notes an entry of the log that a snapshot includes.
    pub(crate) fn note_old(&mut self, record: &LogRecord) {
        let entry = KnownEntry {
            key: record.key,
            bytes: record.value.len(),
            parts: LogValue::parse(&record.value).map_or(vec![], LogValue::parts),
        };
        self.parts.forget(&entry.parts);
        self.log_revisions.insert(record.key, record.etcd_revision);
        self.log.insert(record.etcd_revision, entry);
    }

    /// Forgets the parts of generations that the state no longer has.
    pub(crate) fn forget_old_generations(&mut self) {
        let oldest = self.state.generations.front();
        let oldest = oldest.map_or(GenerationNumber(0), |oldest| oldest.number);
        self.generation_parts = self.generation_parts.split_off(&oldest);
    }

    /// Replaces the generations of the state, which were taken without their files.
    pub(crate) fn set_generations(&mut self, generations: VecDeque<Arc<Generation>>) {
        self.state.generations = Arc::new(generations);
    }

    /// Notes a new snapshot. This server needs none of its parts.
    pub(crate) fn note_snapshot(&mut self, record: SnapshotRecord, etcd_revision: i64) {
        self.parts.forget(&record.parts);
        self.parts.forget(&record.events);
        self.snapshot = Some((record, etcd_revision));
    }

    /// Notes that an entry of the log was deleted.
    pub(crate) fn forget_entry(&mut self, key: LogKey) {
        if let Some(etcd_revision) = self.log_revisions.remove(&key) {
            self.log.remove(&etcd_revision);
        }
    }

    /// Returns the size of the log, in bytes.
    pub(crate) fn log_bytes(&self) -> usize {
        self.log.values().map(|entry| entry.bytes).sum()
    }

    /// Returns the marks of servers that no longer run. `own` is this server.
    pub(crate) fn left_marks(&self, own: ServerId) -> Vec<(ServerId, RenderMark)> {
        let marks = self.render_marks.iter();
        let left = marks.filter(|(id, _)| **id != own && !self.servers.contains_key(id));
        left.map(|(id, mark)| (*id, mark.clone())).collect()
    }

    /// Notes the record of a server.
    pub(crate) fn note_server(&mut self, id: ServerId, record: ServerRecord, now: Instant) {
        let before = self.servers.get(&id);
        let has_progress = before.is_none_or(|before| before.record.applied < record.applied);
        let is_behind = record.applied < self.state.revision.0;
        let since = before.and_then(|before| before.behind_since);
        let behind_since = if has_progress { Some(now) } else { since };
        let server = KnownServer {
            record,
            behind_since: behind_since.filter(|_| is_behind),
        };
        self.servers.insert(id, server);
    }

    /// Replaces all records of servers.
    pub(crate) fn set_servers(&mut self, servers: BTreeMap<ServerId, ServerRecord>, now: Instant) {
        self.servers.retain(|id, _| servers.contains_key(id));
        for (id, record) in servers {
            self.note_server(id, record, now);
        }
    }

    /// Notes that this server has applied changes, so that each server that does not report them is behind.
    pub(crate) fn note_progress(&mut self, now: Instant) {
        for server in self.servers.values_mut() {
            if server.record.applied < self.state.revision.0 {
                server.behind_since.get_or_insert(now);
            }
        }
    }

    /// Returns what is known of the running servers. `own` is this one.
    pub(crate) fn server_statuses(&self, own: ServerId, now: Instant) -> Vec<ServerStatus> {
        let servers = self.servers.iter();
        let behind = |server: &KnownServer| {
            let since = server.behind_since;
            since.map_or(Duration::ZERO, |since| now.duration_since(since))
        };
        let statuses = servers.map(|(id, server)| (id, &server.record, behind(server)));
        let statuses = statuses.map(|(id, record, behind_for)| ServerStatus {
            description: ServerDescription {
                name: record.name.clone(),
                urls: record.urls.clone(),
                digests: record.digests.clone(),
                since: record.since.clone(),
            },
            version: record.version.clone(),
            applied: Revision(record.applied),
            is_rendering: self.turn == Some(*id),
            is_this: *id == own,
            behind_for: if *id == own {
                Duration::ZERO
            } else {
                behind_for
            },
        });
        statuses.collect()
    }

    /// Returns the name that a key has in messages.
    pub(crate) fn name_of(key: LogKey) -> String {
        Key::Log(key).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cfgsync_model::Instance;
    use cfgsync_store::EventBounds;

    #[test]
    fn server_is_behind_while_it_reports_no_progress() {
        let meta = MetaRecord {
            format: 1,
            created_by: String::new(),
            cluster: "demo".to_owned(),
            instance: Instance::from_bytes([1; 16]),
            revision_base: 0,
            etcd_cluster: 1,
        };
        let state = cfgsync_store::shared_log::new_state(EventBounds::default());
        let mut view = View::new(meta, state, 0);
        let record = |applied| ServerRecord {
            applied,
            ..ServerRecord::default()
        };
        let (id, own, start) = (ServerId(1), ServerId(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let behind = |view: &View, seconds| {
            let statuses = view.server_statuses(own, at(seconds));
            statuses[0].behind_for.as_secs()
        };
        view.note_server(id, record(0), at(0));
        assert_eq!(behind(&view, 5), 0, "it has everything");
        view.state.revision = Revision(3);
        view.note_progress(at(6));
        view.note_progress(at(8));
        assert_eq!(behind(&view, 10), 4);
        view.note_server(id, record(1), at(11));
        assert_eq!(behind(&view, 12), 1, "it makes progress");
        view.note_server(id, record(1), at(13));
        assert_eq!(behind(&view, 14), 3, "it does not");
        view.note_server(id, record(3), at(15));
        assert_eq!(behind(&view, 20), 0);
    }
}
