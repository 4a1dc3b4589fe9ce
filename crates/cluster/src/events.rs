//! Events for watchers. A watcher has no queue: it reads from the history of the store at its own pace. It gets each
//! selected event once and in order, or a reset where the history no longer has them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use crate::{
    Coordinator, Shared,
    event_filter::EventFilter,
    inspect::{failure, newest_failure, status_of},
    notes::NoteKind,
    view::View,
};
use cfgsync_model::{EventId, EventPosition, Revision, Unmet};
use cfgsync_store::{EventKind, State};
use cfgsync_wire::{
    ClusterState, NOTICE_EVENT, NoticeBody, READINESS_EVENT, RESET_EVENT, ReadinessBody, ResetBody,
    event_frame,
};

/// The number of notices that wait for a watcher. One that is further behind gets a reset.
pub(crate) const NOTICES_MAX: usize = 64;

/// The notice that the server stops.
pub const STOPPING_NOTICE: &str = "server_stopping";

/// The size of the frames of one read, in bytes. It ends with the frame that reaches it.
const READ_MAX_BYTES: usize = 16 << 10;

/// The number of events that one read looks at.
const READ_MAX_EVENTS: usize = 1024;

/// Where a watcher begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchStart {
    /// With the next event.
    Now,
    /// With the oldest event that the store has.
    Oldest,
    /// Behind the event with this id.
    After(EventId),
    /// With a reset, because the client gave an id that is not one of this service.
    UnknownId,
}

/// The state of the cluster as an event. The frame is encoded once for all watchers.
pub(crate) struct ReadinessNews {
    body: ReadinessBody,
    frame: OnceLock<Bytes>,
}

/// Reads the events of one watcher.
pub struct EventReader {
    shared: Arc<Shared>,
    filter: EventFilter,
    at: EventPosition,
    /// The position that the watcher knows as its newest one.
    told: Option<EventPosition>,
    /// The reason of a reset that is due.
    reset: Option<ResetReason>,
    changes: watch::Receiver<Revision>,
    /// `None` if the watcher has not selected it.
    readiness: Option<watch::Receiver<Arc<ReadinessNews>>>,
    /// `None` if the watcher has not selected them.
    notices: Option<broadcast::Receiver<Bytes>>,
    /// A notice that was received while the reader waited.
    notice: Option<Bytes>,
}

/// The frames of one read.
#[derive(Debug, Default)]
pub struct EventBatch {
    /// The frames, in order.
    pub frames: Vec<Bytes>,
    /// Whether no more frames are due.
    pub is_complete: bool,
}

#[derive(Debug, Clone, Copy)]
enum ResetReason {
    UnknownId,
    OtherInstance,
    Ahead,
    History,
    Notices,
}

impl ResetReason {
    fn code(self) -> &'static str {
        match self {
            Self::UnknownId => "unknown_id",
            Self::OtherInstance => "other_instance",
            Self::Ahead => "ahead",
            Self::History => "history",
            Self::Notices => "notices",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::UnknownId => "the id is not one of this service",
            Self::OtherInstance => "the id is one of another instance of the store",
            Self::Ahead => {
                "the id is newer than the state of the server, which may come from an older copy"
            }
            Self::History => {
                "the history of events does not reach back to the position of the watcher"
            }
            Self::Notices => "the watcher read too slowly, and missed notices",
        }
    }
}

impl ReadinessNews {
    /// Returns the state that `view` and `state` show.
    pub(crate) fn new(view: &View, state: &State) -> Self {
        let generation = view.served.as_ref().map(|served| served.generation.number);
        let failed = failure(view, state);
        let body = ReadinessBody {
            state: match (failed, generation) {
                (Some(_), _) => ClusterState::Failed,
                (None, Some(_)) => ClusterState::Ready,
                (None, None) => ClusterState::Waiting,
            },
            message: status_of(view, state),
            progress: view.progress.clone(),
            generation,
            failure: failed.or(newest_failure(view, state)).cloned(),
        };
        Self {
            body,
            frame: OnceLock::new(),
        }
    }

    /// Returns the note for the flight record. `refused` are the clauses about refused nodes.
    pub(crate) fn note(&self, refused: &[Unmet]) -> NoteKind {
        if let Some(failure) = &self.body.failure {
            let failure = failure.clone();
            return NoteKind::Failed { failure };
        }
        let progress = &self.body.progress;
        let is_met = progress.unmet.is_empty() && progress.missing_count == 0;
        if is_met && progress.registered >= progress.needed && refused.is_empty() {
            return NoteKind::Ready;
        }
        let mut progress = progress.clone();
        progress.unmet.extend(refused.iter().cloned());
        NoteKind::Waiting { progress }
    }

    /// Makes this the newest state, if it differs from the one before.
    pub(crate) fn publish(self, newest: &watch::Sender<Arc<Self>>) {
        newest.send_if_modified(|current| {
            let is_news = current.body != self.body;
            if is_news {
                *current = Arc::new(self);
            }
            is_news
        });
    }

    fn frame(&self) -> Bytes {
        let frame = || event_frame(None, READINESS_EVENT, &self.body);
        self.frame.get_or_init(frame).clone()
    }
}

/// Tells all watchers of something that happened to the server.
pub(crate) fn send_notice(notices: &broadcast::Sender<Bytes>, notice: &str, message: String) {
    // It fails if there is no watcher.
    let _ = notices.send(notice_frame(notice, message));
}

/// Returns the frame of a notice.
fn notice_frame(notice: &str, message: String) -> Bytes {
    let notice = notice.to_owned();
    event_frame(None, NOTICE_EVENT, &NoticeBody { notice, message })
}

impl Coordinator {
    /// Returns a reader of the events that `filter` selects.
    pub fn watch(&self, filter: EventFilter, start: WatchStart) -> EventReader {
        let shared = self.shared.clone();
        let changes = shared.store.follow();
        let revision = shared.store.state().revision;
        let now = EventPosition::after(revision);
        let (at, reset) = match start {
            WatchStart::Now => (now, None),
            WatchStart::Oldest => (shared.store.state().oldest_event_position(), None),
            WatchStart::UnknownId => (now, Some(ResetReason::UnknownId)),
            WatchStart::After(id) if id.instance != shared.store.instance() => {
                (now, Some(ResetReason::OtherInstance))
            }
            WatchStart::After(id) if id.position.revision > revision => {
                (now, Some(ResetReason::Ahead))
            }
            WatchStart::After(id) => (id.position, None),
        };
        let selects = |event| filter.selects_of_cluster(event);
        EventReader {
            readiness: selects(READINESS_EVENT).then(|| {
                let mut readiness = shared.readiness.subscribe();
                readiness.mark_changed();
                readiness
            }),
            notices: selects(NOTICE_EVENT).then(|| shared.notices.subscribe()),
            notice: None,
            told: None,
            at,
            reset,
            changes,
            filter,
            shared,
        }
    }
}

impl EventReader {
    /// Returns the frames that are due, in order. `may_see` decides about the events that the filter selects.
    pub fn read(&mut self, mut may_see: impl FnMut(&EventKind) -> bool) -> EventBatch {
        let mut read = EventBatch::default();
        // Before the state is read, so that a change in between is not lost.
        self.changes.mark_unchanged();
        let state = self.shared.store.state().into_arc();
        if let Some(reason) = self.reset.take() {
            read.frames.push(self.reset_to(state.revision, reason));
        }
        if let Some(events) = state.events_behind(self.at) {
            let view = self.shared.view.load();
            let instance = self.shared.store.instance();
            let mut bytes = 0;
            for (index, event) in events.enumerate() {
                if bytes >= READ_MAX_BYTES || index >= READ_MAX_EVENTS {
                    return read;
                }
                self.at = event.position;
                if self.filter.selects(&event.kind) && may_see(&event.kind) {
                    let spec = &view.pipeline.spec;
                    let frame = self.shared.event_frames.frame(instance, &event, spec);
                    bytes += frame.len();
                    read.frames.push(frame);
                    self.told = Some(self.at);
                }
            }
            self.at = EventPosition::after(state.revision);
        } else {
            let frame = self.reset_to(state.revision, ResetReason::History);
            read.frames.push(frame);
        }
        self.read_cluster(&mut read.frames, state.revision);
        read.is_complete = true;
        read
    }

    /// Reads the state of the cluster, if it has changed, and the notices.
    fn read_cluster(&mut self, frames: &mut Vec<Bytes>, revision: Revision) {
        if let Some(readiness) = &mut self.readiness
            && readiness.has_changed().unwrap_or(false)
        {
            frames.push(readiness.borrow_and_update().frame());
        }
        frames.extend(self.notice.take());
        let Some(notices) = &mut self.notices else {
            return;
        };
        loop {
            match notices.try_recv() {
                Ok(frame) => frames.push(frame),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {
                    frames.push(self.reset_to(revision, ResetReason::Notices));
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn reset_to(&mut self, revision: Revision, reason: ResetReason) -> Bytes {
        self.at = EventPosition::after(revision);
        self.told = Some(self.at);
        let instance = self.shared.store.instance();
        let id = EventId {
            instance,
            position: self.at,
        };
        let body = ResetBody {
            instance,
            revision,
            reason: reason.code().to_owned(),
            message: format!(
                "{}; read a snapshot at revision {revision} or newer, the events after {revision} follow",
                reason.message()
            ),
        };
        event_frame(Some(&id.to_string()), RESET_EVENT, &body)
    }

    /// Returns the id up to which the watcher has everything that it selected, if that is news for it. A watcher whose
    /// filter selects little can then still resume after a long time.
    pub fn newest_id(&mut self) -> Option<EventId> {
        if self.told == Some(self.at) || self.reset.is_some() {
            return None;
        }
        self.told = Some(self.at);
        Some(EventId {
            instance: self.shared.store.instance(),
            position: self.at,
        })
    }

    /// Returns the frame of a notice for this watcher alone, if it has selected notices.
    pub fn notice(&self, notice: &str, message: String) -> Option<Bytes> {
        let selects = self.notices.is_some();
        selects.then(|| notice_frame(notice, message))
    }

    /// Waits until frames may be due. Returns `false` once the store is closed.
    pub async fn changed(&mut self) -> bool {
        let (readiness, notices) = (&mut self.readiness, &mut self.notices);
        let readiness = async {
            match readiness {
                Some(readiness) => readiness.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        let received = async {
            match notices {
                Some(notices) => notices.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.changes.changed() => changed.is_ok(),
            is_open = readiness => {
                if let Some(readiness) = &mut self.readiness {
                    readiness.mark_changed();
                }
                is_open
            }
            notice = received => {
                match notice {
                    Ok(frame) => self.notice = Some(frame),
                    Err(_) => self.reset = Some(ResetReason::Notices),
                }
                true
            }
        }
    }
}
