//! The body of an event stream. It reads events when the client has taken those before. It ends when the client may no
//! longer watch, or when the server stops.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    peer_liveness::StreamedStage,
    request_metrics::GaugeGuard,
    sender::{ValueRights, may},
    state::Connection,
    watchers::WatcherSlot,
};
use cfgsync_access::{Action, PresentedToken};
use cfgsync_cluster::{EventReader, STOPPING_NOTICE};

/// The first bytes of each stream: the pause before a reconnect, and a comment.
const PREAMBLE: &str = "retry: 5000\n\n: connected\n\n";

const HEARTBEAT: &str = ": heartbeat\n\n";

/// The length of frames that are copied into one piece, in bytes.
const COPIED_MAX_BYTES: usize = 16 << 10;

/// The state of one event stream.
pub(super) struct EventStream {
    connection: Arc<Connection>,
    token: Option<PresentedToken>,
    /// Marked changed when the server has other tokens.
    tokens: watch::Receiver<()>,
    reader: EventReader,
    /// Whether the stream waits for new events. Otherwise it ends with the newest one.
    follows: bool,
    /// Frames that were read and are not sent yet.
    frames: VecDeque<Bytes>,
    next_heartbeat: Instant,
    /// Whether nothing follows `frames`.
    is_ending: bool,
    _slot: WatcherSlot,
    _stage: StreamedStage,
    _open: GaugeGuard,
}

impl EventStream {
    /// Creates the stream of the events of `reader`, for a client that was authorized by `token`.
    pub(super) fn new(
        connection: Arc<Connection>,
        token: Option<PresentedToken>,
        mut reader: EventReader,
        follows: bool,
        slot: WatcherSlot,
    ) -> Self {
        let mut first = PREAMBLE.to_owned();
        add_newest_id(&mut reader, &mut first);
        let server = &connection.server;
        Self {
            token,
            tokens: server.config.access.tokens_changed(),
            reader,
            follows,
            frames: VecDeque::from([first.into()]),
            next_heartbeat: Instant::now() + server.config.watch_heartbeat,
            is_ending: false,
            _slot: slot,
            _stage: connection.peer.liveness.stream(),
            _open: GaugeGuard::increment(&server.coordinator.metrics().watchers),
            connection,
        }
    }

    /// Returns the next bytes of the stream. `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Before each write, because the token may be revoked while the client reads slowly.
            if !may(&self.connection, self.token.as_ref(), Action::Watch) {
                return None;
            }
            if let Some(bytes) = self.take_frames() {
                return Some(bytes);
            }
            if self.is_ending {
                return None;
            }
            self.read_or_wait().await;
        }
    }

    /// Takes the next frame, and the small ones that follow. Each piece of a response costs more than a copy of some small
    /// frames. A frame that is alone or large is not copied.
    fn take_frames(&mut self) -> Option<Bytes> {
        let first = self.frames.pop_front()?;
        let mut length = first.len();
        let is_next = |frame: &&Bytes| {
            length += frame.len();
            length <= COPIED_MAX_BYTES
        };
        let more = self.frames.iter().take_while(is_next).count();
        if more == 0 {
            return Some(first);
        }
        let mut bytes = BytesMut::from(first);
        for frame in self.frames.drain(..more) {
            bytes.extend_from_slice(&frame);
        }
        Some(bytes.freeze())
    }

    /// Reads the events that are due. If there are none, waits for events, for the time of the next heartbeat, or for
    /// the end of the server.
    async fn read_or_wait(&mut self) {
        let connection = Arc::clone(&self.connection);
        let mut stopped = pin!(connection.server.stopped());
        stopped.as_mut().enable();
        if connection.server.is_stopping() {
            self.end();
            return;
        }
        let rights = ValueRights::of(&connection, self.token.as_ref());
        let batch = self.reader.read(|kind| match kind.namespace() {
            Some(namespace) => rights.reads(namespace),
            None => rights.lists_names || !kind.is_of_values(),
        });
        let is_idle = batch.frames.is_empty() && batch.is_complete;
        self.frames.extend(batch.frames);
        if batch.is_complete && !self.follows {
            self.is_ending = true;
            return;
        }
        if !is_idle {
            // A long history without a selected event must not delay other tasks.
            tokio::task::yield_now().await;
            return;
        }
        tokio::select! {
            () = stopped => {}
            _ = self.tokens.changed() => {}
            is_open = self.reader.changed() => self.is_ending = !is_open,
            () = sleep_until(self.next_heartbeat) => {
                let mut heartbeat = HEARTBEAT.to_owned();
                add_newest_id(&mut self.reader, &mut heartbeat);
                self.frames.push_back(heartbeat.into());
                self.next_heartbeat = Instant::now() + connection.server.config.watch_heartbeat;
            }
        }
    }

    /// Ends the stream, because the server stops.
    fn end(&mut self) {
        let message = "this server is stopping; connect again".to_owned();
        self.frames
            .extend(self.reader.notice(STOPPING_NOTICE, message));
        self.is_ending = true;
    }
}

/// Adds the newest id to `text`, if the client does not know it. An event without data is not shown to a program, but
/// its id is kept for the next connection.
fn add_newest_id(reader: &mut EventReader, text: &mut String) {
    if let Some(id) = reader.newest_id() {
        text.push_str("id: ");
        text.push_str(&id.to_string());
        text.push_str("\n\n");
    }
}

/// The future of the next bytes. It owns the stream meanwhile.
type NextBytes = Pin<Box<dyn Future<Output = Option<(EventStream, Bytes)>> + Send>>;

/// The body of a response with an event stream.
pub(super) struct EventBody {
    /// `None` after the end.
    next: Option<NextBytes>,
}

impl EventBody {
    pub(super) fn new(stream: EventStream) -> Self {
        Self {
            next: Some(next_bytes(stream)),
        }
    }
}

fn next_bytes(mut stream: EventStream) -> NextBytes {
    Box::pin(async move {
        let bytes = stream.next().await?;
        Some((stream, bytes))
    })
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(next) = &mut self.next else {
            return Poll::Ready(None);
        };
        let Some((stream, bytes)) = ready!(next.as_mut().poll(cx)) else {
            self.next = None;
            return Poll::Ready(None);
        };
        self.next = Some(next_bytes(stream));
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none()
    }
}
