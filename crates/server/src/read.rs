//! Reads the bodies of requests, within bounds.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming};

use super::{line::Line, peer::Peer, reply::Rejection, state::Server};

/// After a rejection the rest of the body is read and dropped up to here, in bytes, and so long: closing a
/// connection with unread bytes would reset it, and the sender would never read what was wrong.
const DISCARD_MAX_BYTES: usize = 64 << 20;
const DISCARD_MAX: Duration = Duration::from_secs(5);

/// Reads the body of a route that takes no files.
pub(super) async fn small_body(
    server: &Server,
    peer: &Peer,
    body: &mut Incoming,
) -> Result<Bytes, Rejection> {
    let config = &server.config;
    let (max_bytes, limit) = (config.register_body_max_bytes, config.body_timeout);
    read_body(body, &peer.line, max_bytes, limit).await
}

/// Reads all of `body`, at most `max_bytes` and within `limit`.
pub(super) async fn read_body<B>(
    body: &mut B,
    line: &Line,
    max_bytes: usize,
    limit: Duration,
) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(Rejection::TooLarge { max_bytes });
    }
    // Nearly always the whole body has come together with the head: no timer, no copy.
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
    // Boxed, so that the many requests that do not come here are not as large as this.
    let rest = Box::pin(tokio::time::timeout(
        limit,
        read_rest(body, line, read, max_bytes),
    ));
    rest.await.unwrap_or(Err(Rejection::TooSlow { limit }))
}

/// Reads and drops what is left of `body`, within bounds.
pub(super) async fn discard_body<B>(body: &mut B, line: &Line)
where
    B: Body<Data = Bytes> + Unpin,
{
    let all = async {
        let mut left = DISCARD_MAX_BYTES;
        while let Ok(Some(bytes)) = next_bytes(body, line).await {
            match left.checked_sub(bytes.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whatever is left then is the sender's to lose.
    let _ = tokio::time::timeout(DISCARD_MAX, all).await;
}

async fn read_rest<B>(
    body: &mut B,
    line: &Line,
    mut read: BytesMut,
    max_bytes: usize,
) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    loop {
        let Some(bytes) = next_bytes(body, line).await? else {
            return Ok(read.freeze());
        };
        if read.len() + bytes.len() > max_bytes {
            return Err(Rejection::TooLarge { max_bytes });
        }
        read.extend_from_slice(&bytes);
    }
}

/// The next bytes of `body`; `None` at its end.
async fn next_bytes<B>(body: &mut B, line: &Line) -> Result<Option<Bytes>, Rejection>
where
    B: Body<Data = Bytes> + Unpin,
{
    poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(data_of(frame)),
        // What has come was handed on before the end was read.
        Poll::Pending if line.has_ended() => Poll::Ready(Err(Rejection::Cut)),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// The bytes of a frame (trailers are none); `None` at the end.
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

    /// Frames that come as told; `None` is a frame that never comes.
    struct Script(VecDeque<Option<&'static str>>);

    impl Body for Script {
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
        let mut body = Script(frames.iter().copied().collect());
        read_body(&mut body, &Line::default(), max_bytes, LIMIT).await
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
    async fn a_body_that_does_not_come_is_not_waited_for() {
        for frames in [&[None][..], &[Some("a"), None]] {
            let start = Instant::now();
            let rejection = read(frames, 4).await.unwrap_err();
            assert!(matches!(rejection, Rejection::TooSlow { limit: LIMIT }));
            assert_eq!(start.elapsed(), LIMIT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_a_body_is_dropped_within_bounds() {
        let mut body = Script([Some("abc"), Some("d"), None].into());
        let start = Instant::now();
        discard_body(&mut body, &Line::default()).await;
        assert_eq!(body.0, [None]);
        assert_eq!(start.elapsed(), DISCARD_MAX);
    }
}
