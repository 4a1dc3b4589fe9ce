//! The bodies of answers: pieces that are written as they are held, without a copy.

use std::{
    collections::VecDeque,
    convert::Infallible,
    ops::Range,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::line::Answering;
use cfgsync_wire::EncodedPayload;

/// Longest frame, in bytes. Long pieces are cut, so that little of a large payload is on its way at a time and
/// a turn ends when the reader has taken nearly all of it.
pub(super) const FRAME_MAX_BYTES: usize = 64 << 10;

/// The body of an answer. Its length is known, so it is sent with its `content-length`.
pub(super) struct ReplyBody {
    source: Source,
    /// The piece that comes next, and where in it.
    at: usize,
    offset: usize,
    left: usize,
    turn: Option<Turn>,
    answering: Option<Answering>,
}

enum Source {
    Bytes(Bytes),
    Payload(Arc<EncodedPayload>),
}

/// What is written at a time.
#[derive(Debug)]
pub(super) enum Part {
    /// Bytes of this answer's own.
    Own(Bytes),
    /// A part of a payload, where it is held: one reference is counted, whatever it is made of.
    OfPayload {
        /// Whose part.
        payload: Arc<EncodedPayload>,
        /// In which piece.
        piece: usize,
        /// Where in it, what is not written yet.
        range: Range<usize>,
    },
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.len(),
            Self::OfPayload { range, .. } => range.len(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::OfPayload {
                payload,
                piece,
                range,
            } => payload
                .piece(*piece)
                .map_or(&[], |piece| &piece[range.clone()]),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Own(bytes) => bytes.advance(count),
            Self::OfPayload { range, .. } => range.start += count,
        }
    }
}

impl ReplyBody {
    pub(super) fn empty() -> Self {
        Self::of(Bytes::new())
    }

    pub(super) fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::from_source(bytes.len(), Source::Bytes(bytes), None)
    }

    /// A payload, with the turn to write it if it is large.
    pub(super) fn payload(payload: Arc<EncodedPayload>, turn: Option<Turn>) -> Self {
        Self::from_source(payload.len_bytes, Source::Payload(payload), turn)
    }

    fn from_source(left: usize, source: Source, turn: Option<Turn>) -> Self {
        Self {
            source,
            at: 0,
            offset: 0,
            left,
            turn,
            answering: None,
        }
    }

    /// Of the request that is answered when this is sent.
    pub(super) fn ends(&mut self, answering: Answering) {
        self.answering = Some(answering);
    }

    fn next_part(&mut self) -> Option<Part> {
        if self.left == 0 {
            return None;
        }
        let payload = match &mut self.source {
            Source::Bytes(bytes) => {
                self.left = 0;
                return Some(Part::Own(std::mem::take(bytes)));
            }
            Source::Payload(payload) => payload,
        };
        loop {
            let length = payload.piece(self.at)?.len();
            let end = length.min(self.offset + FRAME_MAX_BYTES);
            if self.offset == end {
                (self.at, self.offset) = (self.at + 1, 0);
                continue;
            }
            let range = std::mem::replace(&mut self.offset, end)..end;
            self.left -= range.len();
            return Some(Part::OfPayload {
                payload: Arc::clone(payload),
                piece: self.at,
                range,
            });
        }
    }
}

impl Body for ReplyBody {
    type Data = Part;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Part>, Infallible>>> {
        let part = self.next_part();
        if self.left == 0 {
            self.turn = None;
        }
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

/// Lets a bounded number of large payloads be written at a time: gigabytes to thousands of sockets at once
/// drown each other.
pub(super) struct Turns {
    free: Arc<Semaphore>,
    turn_max: Duration,
    /// The turns that were given, oldest first, and when each is over. No task watches over them: who waits does.
    given: Mutex<VecDeque<(Instant, Weak<Place>)>>,
}

/// What a turn holds until it ends.
type Place = Mutex<Option<OwnedSemaphorePermit>>;

/// The turn of one large payload. Ends when it is dropped, or when others wait and the reader is too slow, who then
/// goes on without one.
pub(super) struct Turn {
    _place: Arc<Place>,
}

impl Turns {
    pub(super) fn new(at_once_max: usize, turn_max: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(at_once_max)),
            turn_max,
            given: Mutex::default(),
        }
    }

    /// Waits for a turn; first come, first served.
    pub(super) async fn take(&self) -> Turn {
        let mut free = pin!(Arc::clone(&self.free).acquire_owned());
        let permit = loop {
            let next_end = self.end_overdue();
            if let Ok(permit) = tokio::time::timeout_at(next_end, free.as_mut()).await {
                break permit.expect("the semaphore is never closed");
            }
        };
        let place = Arc::new(Mutex::new(Some(permit)));
        let over = Instant::now() + self.turn_max;
        self.given().push_back((over, Arc::downgrade(&place)));
        Turn { _place: place }
    }

    /// Ends the turns that have lasted too long; answers when the next one will have.
    fn end_overdue(&self) -> Instant {
        let now = Instant::now();
        let mut given = self.given();
        while let Some((over, place)) = given.front() {
            match place.upgrade() {
                Some(place) if *over <= now => {
                    place.lock().unwrap_or_else(PoisonError::into_inner).take();
                }
                Some(_) => return *over,
                None => {}
            }
            given.pop_front();
        }
        now + self.turn_max
    }

    fn given(&self) -> MutexGuard<'_, VecDeque<(Instant, Weak<Place>)>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use cfgsync_model::Digest;

    fn payload(pieces: &[usize]) -> Arc<EncodedPayload> {
        let pieces = (b'a'..)
            .zip(pieces)
            .map(|(letter, &length)| vec![letter; length].into());
        Arc::new(EncodedPayload::from_pieces(pieces, Digest::of(b"")))
    }

    #[tokio::test]
    async fn long_pieces_are_cut_and_nothing_is_lost() {
        let sent = payload(&[10, FRAME_MAX_BYTES * 2 + 1, 0, 3]);
        let mut body = ReplyBody::payload(sent.clone(), None);
        assert_eq!(body.size_hint().exact(), Some(sent.len_bytes as u64));
        let mut lengths = Vec::new();
        let mut received = Vec::new();
        while let Some(frame) = body.frame().await {
            let mut data = frame.unwrap().into_data().unwrap();
            lengths.push(data.remaining());
            while data.has_remaining() {
                // Sockets take what they like.
                let taken = data.chunk().len().min(1000);
                received.extend_from_slice(&data.chunk()[..taken]);
                data.advance(taken);
            }
            assert_eq!(body.is_end_stream(), received.len() == sent.len_bytes);
        }
        assert_eq!(lengths, [10, FRAME_MAX_BYTES, FRAME_MAX_BYTES, 1, 3]);
        assert_eq!(received, sent.to_bytes());
    }

    #[tokio::test]
    async fn a_turn_ends_with_the_last_frame() {
        let turns = Turns::new(1, Duration::from_hours(1));
        let turn = turns.take().await;
        let mut body = ReplyBody::payload(payload(&[1, 1]), Some(turn));
        body.frame().await;
        assert!(body.turn.is_some());
        body.frame().await;
        turns.take().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_ends_by_itself_when_nobody_reads() {
        let turns = Turns::new(1, Duration::from_secs(5));
        let start = Instant::now();
        let slow = turns.take().await;
        let _next = turns.take().await;
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        drop(slow);
    }

    #[tokio::test(start_paused = true)]
    async fn turns_that_ended_are_forgotten() {
        let turns = Turns::new(2, Duration::from_secs(5));
        let slow = turns.take().await;
        for _ in 0..100 {
            drop(turns.take().await);
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(turns.take().await);
        assert_eq!(turns.given().len(), 1);
        drop(slow);
    }
}
