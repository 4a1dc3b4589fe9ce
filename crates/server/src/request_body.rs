//! Reads the bodies of requests, within bounds of size and time.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};

use super::{peer_liveness::PeerLiveness, rejection::Rejection};

/// How much of a body is read and dropped after a rejection, in bytes. A connection that is closed over unread bytes is
/// reset, and the client would lose the response that explains the rejection.
const DISCARD_MAX_BYTES: usize = 64 << 20;
/// How long the server reads it.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads all of `body`, at most `max_bytes`, and within `limit` from now to the last byte.
pub(super) async fn read_body<B>(
    body: &mut B,
    liveness: &PeerLiveness,
    max_bytes: usize,
    limit: Duration,
) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(Rejection::TooLarge { max_bytes });
    }
    // Nearly always the whole body has arrived together with the head. Then no timer and no copy is needed.
    let mut read = BytesMut::new();
    let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await;
    if let Poll::Ready(frame) = first {
        let bytes = data_of(frame)?.unwrap_or_default();
        if bytes.len() > max_bytes {
            return Err(Rejection::TooLarge { max_bytes });
        }
        if body.is_end_stream() {
            return Ok(bytes);
        }
        read.extend_from_slice(&bytes);
    }
    // Boxed, so that requests whose body has arrived already do not reserve memory for this.
    let rest = Box::pin(tokio::time::timeout(
        limit,
        read_rest(body, liveness, read, max_bytes),
    ));
    rest.await.unwrap_or(Err(Rejection::TooSlow { limit }))
}

/// Reads and drops what is left of `body`, within bounds.
pub(super) async fn discard_body<B>(body: &mut B, liveness: &PeerLiveness)
where
    B: Body<Data = Bytes> + Unpin,
{
    let all = async {
        let mut left = DISCARD_MAX_BYTES;
        while let Ok(Some(bytes)) = next_bytes(body, liveness).await {
            match left.checked_sub(bytes.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // A client that sends more than that loses the response.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
}

async fn read_rest<B>(
    body: &mut B,
    liveness: &PeerLiveness,
    mut read: BytesMut,
    max_bytes: usize,
) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    loop {
        let Some(bytes) = next_bytes(body, liveness).await? else {
            return Ok(read.freeze());
        };
        if read.len() + bytes.len() > max_bytes {
            return Err(Rejection::TooLarge { max_bytes });
        }
        read.extend_from_slice(&bytes);
    }
}

/// Returns the next bytes of `body`; `None` at its end.
async fn next_bytes<B>(body: &mut B, liveness: &PeerLiveness) -> Result<Option<Bytes>, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(data_of(frame)),
        // The end of the stream comes after all of its bytes, so the rest of the body cannot arrive.
        Poll::Pending if liveness.has_ended() => Poll::Ready(Err(Rejection::Cut)),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Returns the bytes of a frame; `None` at the end of the body. Trailers count as no bytes.
fn data_of<E>(frame: Option<Result<Frame<Bytes>, E>>) -> Result<Option<Bytes>, Rejection> {
    match frame {
        None => Ok(None),
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(_)) => Err(Rejection::Cut),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        convert::Infallible,
        task::{Context, Poll},
    };

    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    /// A body of these frames; `None` is a frame that never arrives.
    struct ScriptedBody(VecDeque<Option<&'static str>>);

    impl Body for ScriptedBody {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.front() {
                None => Poll::Ready(None),
                Some(None) => Poll::Pending,
                Some(Some(text)) => {
                    let frame = Frame::data(Bytes::from_static(text.as_bytes()));
                    self.0.pop_front();
                    Poll::Ready(Some(Ok(frame)))
                }
            }
        }
    }

    async fn read(frames: &[Option<&'static str>], max_bytes: usize) -> Result<Bytes, Rejection> {
        let mut body = ScriptedBody(frames.iter().copied().collect());
        read_body(&mut body, &PeerLiveness::default(), max_bytes, LIMIT).await
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_read_up_to_their_bound() {
        assert_eq!(read(&[], 4).await.unwrap(), "");
        assert_eq!(
            read(&[Some("ab"), Some(""), Some("cd")], 4).await.unwrap(),
            "abcd"
        );
        for frames in [&[Some("abcde")][..], &[Some("ab"), Some("cde")]] {
            let rejection = read(frames, 4).await.unwrap_err();
            assert!(matches!(rejection, Rejection::TooLarge { max_bytes: 4 }));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_does_not_arrive_times_out() {
        for frames in [&[None][..], &[Some("a"), None]] {
            let start = Instant::now();
            let rejection = read(frames, 4).await.unwrap_err();
            assert!(matches!(rejection, Rejection::TooSlow { limit: LIMIT }));
            assert_eq!(start.elapsed(), LIMIT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rest_of_a_body_is_dropped_within_bounds() {
        let mut body = ScriptedBody([Some("abc"), Some("d"), None].into());
        let start = Instant::now();
        discard_body(&mut body, &PeerLiveness::default()).await;
        assert_eq!(body.0, [None]);
        assert_eq!(start.elapsed(), DISCARD_TIMEOUT);
    }
}
