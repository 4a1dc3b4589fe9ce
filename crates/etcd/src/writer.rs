//! Appends entries to the log, one after the other. Requests that come while an entry is written share the next one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    EtcdError, EtcdErrorKind,
    api::{PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse, request_op, response_op},
    keys::{Key, LogKey},
    log_value::{INLINE_MAX_BYTES, LogValue},
    part_writer, parts,
    session::Session,
    shared::{BatchAnswer, SealAnswer, Shared, Waiting},
    transaction::{exists, is_absent, is_at_revision, put_op},
};
use cfgsync_model::Digest;
use cfgsync_store::{CommitError, shared_log};

/// The number of requests that wait to be written.
pub(crate) const JOBS_MAX: usize = 4096;

/// The number of batches that share an entry.
const BATCHES_MAX: usize = 1024;

/// The wait before an entry is written again.
const RETRY_WAIT: Duration = Duration::from_millis(100);

/// A request to write something.
pub(crate) struct Job {
    pub(crate) request: Request,
    /// The time after which the caller has its answer already, so that the request must not be written.
    pub(crate) deadline: Instant,
}

/// The content of a request.
pub(crate) enum Request {
    /// A batch of changes, encoded.
    Batch(Vec<u8>, BatchAnswer),
    /// The entry of a seal, and the parts that must exist.
    Seal(Vec<u8>, Vec<Digest>, SealAnswer),
}

/// The result of writing an entry.
enum Written {
    /// It is in the log.
    Appended,
    /// It is not in the log, and never will be.
    Failed(EtcdError),
    /// It may be in the log, or may come there.
    Unknown(EtcdError),
    /// It was in the log, or never was and never will be.
    Lost(EtcdError),
}

/// The state that a transaction found.
enum Found {
    /// The entry is there, now or since an earlier try.
    Entry,
    /// The entry is not there. This is the revision of etcd of the newest snapshot, or zero.
    Snapshot(i64),
}

impl Found {
    fn of(response: &TxnResponse) -> Self {
        if response.succeeded {
            return Self::Entry;
        }
        let mut revisions = response
            .responses
            .iter()
            .map(|response| match &response.response {
                Some(response_op::Response::ResponseRange(range)) => {
                    range.kvs.first().map(|kv| kv.mod_revision)
                }
                _ => None,
            });
        match (revisions.next().flatten(), revisions.next().flatten()) {
            (Some(_), _) => Self::Entry,
            (None, snapshot) => Self::Snapshot(snapshot.unwrap_or(0)),
        }
    }
}

/// Writes the log.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    session: watch::Receiver<Option<Arc<Session>>>,
    /// The newest entry of this writer.
    newest: LogKey,
    /// A job that did not fit in the last entry.
    left_over: Option<Job>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, jobs: mpsc::Receiver<Job>) -> Self {
        Self {
            session: shared.session.subscribe(),
            newest: LogKey {
                writer: shared.id,
                entry: 0,
            },
            shared,
            jobs,
            left_over: None,
        }
    }

    /// Writes until all senders of jobs are gone, or until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { while self.write_next().await {} } => {}
        }
    }

    /// Writes the next entry. Returns false if there is none and never will be.
    async fn write_next(&mut self) -> bool {
        let job = match self.left_over.take() {
            Some(job) => job,
            None => match self.jobs.recv().await {
                Some(job) => job,
                None => return false,
            },
        };
        let deadline = job.deadline;
        if deadline <= Instant::now() {
            return true;
        }
        match job.request {
            Request::Seal(entry, parts, answer) => {
                self.write(entry, parts, Waiting::Seal(answer), deadline)
                    .await;
            }
            Request::Batch(first, answer) => {
                let (entry, answers) = self.gather(first, answer);
                self.write(entry, vec![], Waiting::Batches(answers), deadline)
                    .await;
            }
        }
        true
    }

    /// Joins the batches that wait already with the first one.
    fn gather(&mut self, first: Vec<u8>, answer: BatchAnswer) -> (Vec<u8>, Vec<BatchAnswer>) {
        let (mut bytes, now) = (first.len(), Instant::now());
        let (mut batches, mut answers) = (vec![first], vec![answer]);
        while batches.len() < BATCHES_MAX {
            let Ok(job) = self.jobs.try_recv() else { break };
            match job.request {
                _ if job.deadline <= now => {}
                Request::Batch(batch, answer) if bytes + batch.len() <= INLINE_MAX_BYTES => {
                    bytes += batch.len();
                    batches.push(batch);
                    answers.push(answer);
                }
                _ => {
                    self.left_over = Some(job);
                    break;
                }
            }
        }
        (shared_log::join_batches(&batches), answers)
    }

    /// Writes one entry. The callers in `waiting` get their answer when the entry is read, or if it cannot be written.
    async fn write(
        &mut self,
        entry: Vec<u8>,
        needed_parts: Vec<Digest>,
        waiting: Waiting,
        deadline: Instant,
    ) {
        self.newest.entry += 1;
        let key = self.newest;
        self.shared.wait_for(key, waiting);
        let written = match self.prepare(entry, needed_parts, deadline).await {
            Ok((value, parts)) => self.append(key, &value, &parts, deadline).await,
            Err(error) => Written::Failed(error),
        };
        match written {
            Written::Appended => {}
            Written::Failed(error) => {
                let error = CommitError::Unavailable(error.reason);
                self.shared.answer_error(key, &error);
            }
            Written::Lost(error) => {
                let error = CommitError::Unknown(error.reason);
                self.shared.answer_error(key, &error);
            }
            Written::Unknown(error) => {
                let error = CommitError::Unknown(error.reason);
                self.shared.answer_error(key, &error);
                self.settle(key).await;
            }
        }
    }

    /// Returns the value for an entry, and the parts that it needs. Writes the parts of a long entry.
    async fn prepare(
        &mut self,
        entry: Vec<u8>,
        mut needed_parts: Vec<Digest>,
        deadline: Instant,
    ) -> Result<(LogValue, Vec<Digest>), EtcdError> {
        if entry.len() <= INLINE_MAX_BYTES {
            return Ok((LogValue::Inline(entry.into()), needed_parts));
        }
        let parts = parts::divide(entry);
        let digests: Vec<Digest> = parts.iter().map(|(digest, _)| *digest).collect();
        let session = self.session(deadline).await?;
        part_writer::write(&session, &self.shared.keys, &parts).await?;
        needed_parts.extend(&digests);
        Ok((LogValue::Parts(digests), needed_parts))
    }

    /// Returns the connection, once there is one.
    async fn session(&mut self, deadline: Instant) -> Result<Arc<Session>, EtcdError> {
        let open = timeout_at(deadline, self.session.wait_for(Option::is_some)).await;
        let session = open.ok().and_then(Result::ok).and_then(|open| open.clone());
        session.ok_or_else(|| {
            EtcdError::new(EtcdErrorKind::Unreachable, "there is no connection to etcd")
        })
    }

    /// Appends an entry. An entry that may have been appended is tried again under the same key, so that it is never
    /// there twice.
    async fn append(
        &mut self,
        key: LogKey,
        value: &LogValue,
        parts: &[Digest],
        deadline: Instant,
    ) -> Written {
        let mut snapshot = self.snapshot_revision();
        let mut ambiguous = None;
        loop {
            let request = self.request(key, value, parts, snapshot);
            let error = match self.session(deadline).await {
                Err(error) => {
                    return match ambiguous {
                        None => Written::Failed(error),
                        Some(error) => Written::Unknown(error),
                    };
                }
                Ok(session) => match session.txn(request).await {
                    Ok(response) => match Found::of(&response) {
                        Found::Entry => return Written::Appended,
                        Found::Snapshot(found) if found == snapshot => {
                            let reason = "a part of the files is no longer in etcd";
                            return Written::Failed(EtcdError::new(
                                EtcdErrorKind::Ambiguous,
                                reason,
                            ));
                        }
                        Found::Snapshot(found) => match ambiguous {
                            None => {
                                snapshot = found;
                                continue;
                            }
                            // The entry may have been appended and deleted, or can no longer be appended.
                            Some(error) => return Written::Lost(error),
                        },
                    },
                    Err(error) => {
                        match error.kind {
                            EtcdErrorKind::NoSpace
                            | EtcdErrorKind::TooLarge
                            | EtcdErrorKind::NotPermitted
                                if ambiguous.is_none() =>
                            {
                                return Written::Failed(error);
                            }
                            EtcdErrorKind::Ambiguous => ambiguous = Some(error.clone()),
                            _ => {}
                        }
                        session.mark_broken();
                        error
                    }
                },
            };
            if Instant::now() + RETRY_WAIT >= deadline {
                return match ambiguous {
                    None => Written::Failed(error),
                    Some(error) => Written::Unknown(error),
                };
            }
            sleep(RETRY_WAIT).await;
        }
    }

    /// Returns the revision of etcd of the newest snapshot that is known. Zero if there is none.
    fn snapshot_revision(&self) -> i64 {
        let view = self.shared.view();
        view.snapshot.as_ref().map_or(0, |(_, at)| *at)
    }

    /// Returns the transaction that appends an entry, unless there is one at its key. It fails if a part is missing. It
    /// also fails if there is another snapshot, because the housekeeper may have deleted an entry that the snapshot
    /// includes, and then it would be appended a second time.
    fn request(
        &self,
        key: LogKey,
        value: &LogValue,
        parts: &[Digest],
        snapshot: i64,
    ) -> TxnRequest {
        let keys = &self.shared.keys;
        let (key, snapshot_key) = (keys.full(&Key::Log(key)), keys.full(&Key::Snapshot));
        let parts_exist = parts
            .iter()
            .map(|part| exists(keys.full(&Key::Part(*part))));
        let conditions = [
            is_absent(key.clone()),
            is_at_revision(snapshot_key.clone(), snapshot),
        ];
        let mut success = vec![put_op(PutRequest {
            key: key.clone(),
            value: value.to_bytes(),
            lease: 0,
        })];
        if !parts.is_empty() {
            success.push(put_op(PutRequest {
                key: keys.full(&Key::References),
                ..PutRequest::default()
            }));
        }
        TxnRequest {
            compare: conditions.into_iter().chain(parts_exist).collect(),
            success,
            failure: [key, snapshot_key].map(find_op).into(),
        }
    }

    /// Makes sure that an entry whose fate is unknown is either in the log or never comes there, by an empty entry at its
    /// key, or because there is another snapshot. No later entry is written before, so this writer's entries are never in another order.
    async fn settle(&mut self, key: LogKey) {
        let empty = LogValue::Inline(Bytes::from(shared_log::join_batches(&[])));
        let request = self.request(key, &empty, &[], self.snapshot_revision());
        loop {
            // The sender is in the shared part, so it is never gone.
            let open = self.session.wait_for(Option::is_some).await;
            let session = open.ok().and_then(|open| open.clone());
            if let Some(session) = session {
                match session.txn(request.clone()).await {
                    Ok(_) => return,
                    Err(error) => {
                        tracing::debug!(event = "etcd_unsettled", "{error}");
                        session.mark_broken();
                    }
                }
            }
            sleep(RETRY_WAIT).await;
        }
    }
}

/// Returns the operation that finds the revision of a key.
fn find_op(key: Vec<u8>) -> RequestOp {
    RequestOp {
        request: Some(request_op::Request::RequestRange(RangeRequest {
            key,
            keys_only: true,
            ..RangeRequest::default()
        })),
    }
}
