//! Reads a response body within bounds of size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cfgsync_support::duration;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use super::cause::cause;

/// Longest time without a byte of the body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for the whole body: half a gigabyte at a megabyte a second.
const TOTAL_TIMEOUT: Duration = Duration::from_mins(10);

/// The reason why a body could not be read.
#[derive(Debug, PartialEq)]
pub(super) enum BodyError {
    /// The connection broke or stalled, for this reason.
    Broken(String),
    /// The body is longer than allowed.
    TooLarge,
}

/// Reads a body of at most `max_bytes` bytes. It may arrive slowly, but it must not stall.
pub(super) async fn read_body<B>(mut body: B, max_bytes: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(BodyError::TooLarge);
    }
    let deadline = Instant::now() + TOTAL_TIMEOUT;
    let mut first: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    loop {
        let next_deadline = deadline.min(Instant::now() + IDLE_TIMEOUT);
        let frame = match timeout_at(next_deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(BodyError::Broken(cause(&error))),
            Ok(None) => break,
            Err(_) if Instant::now() >= deadline => {
                let problem = format!(
                    "the response was incomplete after {}",
                    duration::text(TOTAL_TIMEOUT)
                );
                return Err(BodyError::Broken(problem));
            }
            Err(_) => {
                let problem = format!(
                    "no byte of the response arrived for {}",
                    duration::text(IDLE_TIMEOUT)
                );
                return Err(BodyError::Broken(problem));
            }
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = first.as_ref().map_or(0, Bytes::len) + joined.len() + data.len();
        if length > max_bytes {
            return Err(BodyError::TooLarge);
        }
        // Most bodies arrive in one piece. It is returned without a copy.
        if first.is_none() && joined.is_empty() {
            first = Some(data);
            continue;
        }
        if let Some(first) = first.take() {
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&data);
    }
    Ok(first.unwrap_or_else(|| joined.freeze()))
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::Future,
        pin::Pin,
        task::{Context, Poll, ready},
    };

    use hyper::body::Frame;
    use tokio::time::{Sleep, sleep};

    use super::*;

    /// An endless body of one byte per `interval`.
    struct SlowBody {
        interval: Duration,
        pause: Pin<Box<Sleep>>,
    }

    impl SlowBody {
        fn new(interval: Duration) -> Self {
            Self {
                interval,
                pause: Box::pin(sleep(interval)),
            }
        }
    }

    impl Body for SlowBody {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            ready!(self.pause.as_mut().poll(context));
            self.pause = Box::pin(sleep(self.interval));
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_body_is_bounded_in_time_and_size() {
        let started = Instant::now();
        let broken = read_body(SlowBody::new(Duration::from_secs(20)), 1000).await;
        let problem = "the response was incomplete after 10m".to_owned();
        assert_eq!(broken, Err(BodyError::Broken(problem)));
        assert_eq!(started.elapsed(), TOTAL_TIMEOUT);
        let broken = read_body(SlowBody::new(Duration::from_secs(40)), 1000).await;
        let problem = "no byte of the response arrived for 30s".to_owned();
        assert_eq!(broken, Err(BodyError::Broken(problem)));
        let broken = read_body(SlowBody::new(Duration::from_millis(1)), 1000).await;
        assert_eq!(broken, Err(BodyError::TooLarge));
    }
}
