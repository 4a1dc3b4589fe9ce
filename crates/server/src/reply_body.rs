//! The bodies of responses: bytes, payloads written as they are held without a copy, and streams.

use std::{
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};

use super::{
    peer_liveness::{PendingDelivery, RequestInProgress},
    write_slots::WriteSlot,
};
use cfgsync_wire::EncodedPayload;

/// The longest frame, in bytes. Longer pieces are cut, so that little of a large payload is in flight at a time. Its
/// write slot is then released when the client has received nearly all of it.
pub(super) const FRAME_MAX_BYTES: usize = 64 << 10;

/// The body of a response.
pub(super) struct ReplyBody {
    source: Source,
    /// Released with the last frame.
    slot: Option<WriteSlot>,
    /// The request whose response ends with this body.
    request: Option<RequestInProgress>,
    /// The delivery that is complete when the last frame has been sent. Boxed, because most responses have none.
    delivery: Option<Box<PendingDelivery>>,
}

enum Source {
    /// Bytes of this response's own.
    Bytes(Bytes),
    /// A payload, which many responses share.
    Payload(PayloadReader),
    /// A body that a handler behind the router produces. It may have no end.
    Stream(axum::body::Body),
}

/// How far a payload has been read.
struct PayloadReader {
    payload: Arc<EncodedPayload>,
    /// The piece that comes next, and the position in it.
    piece: usize,
    offset: usize,
    /// The bytes that are left in all pieces.
    left: usize,
}

/// The data of one frame.
#[derive(Debug)]
pub(super) enum Part {
    /// Bytes of this response's own.
    Own(Bytes),
    /// A part of a payload where it is held. Only the payload's reference count changes, however many pieces it has.
    OfPayload {
        /// The payload.
        payload: Arc<EncodedPayload>,
        /// The index of the piece.
        piece: usize,
        /// The part of the piece that is not written yet.
        range: Range<usize>,
    },
}

impl Part {
    fn into_bytes(self) -> Bytes {
        match self {
            Self::Own(bytes) => bytes,
            Self::OfPayload {
                payload,
                piece,
                range,
            } => payload
                .piece(piece)
                .map_or_else(Bytes::new, |piece| piece.slice(range)),
        }
    }
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

impl PayloadReader {
    fn next_part(&mut self) -> Option<Part> {
        if self.left == 0 {
            return None;
        }
        loop {
            let length = self.payload.piece(self.piece)?.len();
            let end = length.min(self.offset + FRAME_MAX_BYTES);
            if self.offset == end {
                (self.piece, self.offset) = (self.piece + 1, 0);
                continue;
            }
            let range = std::mem::replace(&mut self.offset, end)..end;
            self.left -= range.len();
            return Some(Part::OfPayload {
                payload: Arc::clone(&self.payload),
                piece: self.piece,
                range,
            });
        }
    }
}

impl ReplyBody {
    /// Creates a body without bytes.
    pub(super) fn empty() -> Self {
        Self::from_bytes(Bytes::new())
    }

    /// Creates a body of these bytes.
    pub(super) fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self::from_source(Source::Bytes(bytes.into()), None)
    }

    /// Creates the body of a payload. A large one comes with the slot in which it is written.
    pub(super) fn payload(payload: Arc<EncodedPayload>, slot: Option<WriteSlot>) -> Self {
        let reader = PayloadReader {
            left: payload.len_bytes,
            payload,
            piece: 0,
            offset: 0,
        };
        Self::from_source(Source::Payload(reader), slot)
    }

    /// Creates a body from the stream of a handler behind the router.
    pub(super) fn stream(body: axum::body::Body) -> Self {
        Self::from_source(Source::Stream(body), None)
    }

    fn from_source(source: Source, slot: Option<WriteSlot>) -> Self {
        Self {
            source,
            slot,
            request: None,
            delivery: None,
        }
    }

    /// Reports the payload as delivered when its last byte has been sent.
    pub(super) fn deliver(&mut self, delivery: PendingDelivery) {
        self.delivery = Some(Box::new(delivery));
    }

    /// Ends `request` when this body is sent.
    pub(super) fn complete(&mut self, request: RequestInProgress) {
        self.request = Some(request);
    }
}

impl Body for ReplyBody {
    type Data = Part;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Part>, axum::Error>>> {
        let part = match &mut self.source {
            Source::Bytes(bytes) if bytes.is_empty() => None,
            Source::Bytes(bytes) => Some(Part::Own(std::mem::take(bytes))),
            Source::Payload(reader) => reader.next_part(),
            Source::Stream(body) => {
                let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
                return Poll::Ready(frame.map(|frame| Ok(frame?.map_data(Part::Own))));
            }
        };
        if self.is_end_stream() {
            self.slot = None;
            if let Some(delivery) = self.delivery.take()
                && let Some(request) = &self.request
            {
                request.payload_buffered(*delivery);
            }
        }
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Bytes(bytes) => bytes.is_empty(),
            Source::Payload(reader) => reader.left == 0,
            Source::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Payload(reader) => SizeHint::with_exact(reader.left as u64),
            Source::Stream(body) => body.size_hint(),
        }
    }
}

/// The same body with plain bytes as data, as axum demands it of the handlers behind the router.
pub(super) struct BytesBody(pub(super) ReplyBody);

impl Body for BytesBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.map(|frame| Ok(frame?.map_data(Part::into_bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::write_slots::WriteSlots;
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
                // A socket may take fewer bytes than it is offered.
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
    async fn payload_through_the_router_is_the_same() {
        let sent = payload(&[10, FRAME_MAX_BYTES + 1, 3]);
        let routed = axum::body::Body::new(BytesBody(ReplyBody::payload(sent.clone(), None)));
        let body = ReplyBody::stream(routed);
        assert_eq!(body.size_hint().exact(), Some(sent.len_bytes as u64));
        let received = body.collect().await.unwrap().to_bytes();
        assert_eq!(received, sent.to_bytes());
    }

    #[tokio::test]
    async fn write_slot_is_released_with_the_last_frame() {
        let slots = WriteSlots::new(1, Duration::from_hours(1));
        let slot = slots.take().await;
        let mut body = ReplyBody::payload(payload(&[1, 1]), Some(slot));
        body.frame().await;
        assert!(body.slot.is_some());
        body.frame().await;
        slots.take().await;
    }
}
