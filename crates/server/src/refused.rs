//! Requests that never reach a handler, because they are not HTTP or their head is too long.
//!
//! hyper answers them by itself, with a status and nothing else. Every other answer names the instance, so an
//! answer that does not is hyper's own, and is given its error JSON on the way to the socket. Heads that do not come
//! whole it does not answer at all: [`last_words`] does.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{line::Line, reply::Rejection, state::Server};
use cfgsync_wire::{CLUSTER_HEADER, INSTANCE_HEADER};

/// hyper's own answers are shorter, in bytes: a status line, two headers and the date.
const AUTOMATIC_MAX_BYTES: usize = 256;

/// How a client begins that knows in advance that it speaks to HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2";

const NO_BODY: &str = "content-length: 0\r\n";

/// A stream on which every answer explains itself.
pub(super) struct Explained<S> {
    stream: S,
    server: Arc<Server>,
    line: Arc<Line>,
    /// What stands in place of hyper's own answer and is not written yet.
    answer: Bytes,
}

impl<S> Explained<S> {
    pub(super) fn new(stream: S, server: Arc<Server>, line: Arc<Line>) -> Self {
        Self {
            stream,
            server,
            line,
            answer: Bytes::new(),
        }
    }

    /// Whether `written` was hyper's own answer; if so, ours is what goes out.
    fn takes(&mut self, written: &[u8]) -> bool {
        let Some(answer) = explained(written, &self.server) else {
            return false;
        };
        self.answer = answer.into();
        true
    }
}

impl<S: AsyncWrite + Unpin> Explained<S> {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.answer.has_remaining() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.answer))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.answer.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

/// hyper's own answer with a body and the headers that all answers have; `None` for every other piece of an answer.
fn explained(written: &[u8], server: &Server) -> Option<String> {
    if !written.starts_with(b"HTTP/1.1 4") || written.len() > AUTOMATIC_MAX_BYTES {
        return None;
    }
    let head = std::str::from_utf8(written).ok()?;
    if !head.ends_with("\r\n\r\n") || head.contains(INSTANCE_HEADER) {
        return None;
    }
    let (before, after) = head.split_once(NO_BODY)?;
    let status: u16 = head.get(9..12)?.parse().ok()?;
    let body = String::from_utf8(Rejection::before_the_route(status)?.to_json()).ok()?;
    let (instance, cluster) = (
        server.instance.to_str().ok()?,
        server.cluster.to_str().ok()?,
    );
    Some(format!(
        "{before}content-length: {}\r\ncontent-type: application/json\r\n{INSTANCE_HEADER}: {instance}\r\n\
         {CLUSTER_HEADER}: {cluster}\r\n{after}{body}",
        body.len()
    ))
}

/// The whole answer to a connection whose requests are not read.
pub(super) fn unread(rejection: &Rejection, server: &Server) -> Vec<u8> {
    let (reply, body) = (rejection.reply(), rejection.to_json());
    let mut answer = format!(
        "HTTP/1.1 {}\r\ncontent-length: {}\r\n",
        reply.status(),
        body.len()
    )
    .into_bytes();
    let own = [
        (INSTANCE_HEADER, &server.instance),
        (CLUSTER_HEADER, &server.cluster),
    ];
    let headers = reply.headers().iter();
    for (name, value) in headers
        .map(|(name, value)| (name.as_str(), value))
        .chain(own)
    {
        let line = [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"];
        answer.extend(line.concat());
    }
    answer.extend(b"\r\n");
    answer.extend(body);
    answer
}

/// What is said at the end of a connection that ends with `error`: nothing, unless hyper says nothing, as when the head
/// of which `begun` came is not followed by the rest, or is of HTTP/2.
pub(super) fn last_words(error: &hyper::Error, begun: &[u8], server: &Server) -> Vec<u8> {
    // Ends of lines are passed over before a head (RFC 9112, section 2.2), and begin none.
    let begun = begun.trim_ascii_start();
    let is_broken = error.is_incomplete_message() || begun.starts_with(PREFACE);
    let rejection = match (begun.is_empty(), error.is_timeout(), is_broken) {
        (false, true, _) => Rejection::SlowHead {
            limit: server.config.header_timeout,
        },
        (false, false, true) => Rejection::NotHttp,
        _ => return vec![],
    };
    unread(&rejection, server)
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let is_end = match &read {
            Poll::Ready(Ok(())) => buffer.filled().len() == before && buffer.remaining() > 0,
            // Over TLS, the end of who does not say good-bye.
            Poll::Ready(Err(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
            Poll::Pending => false,
        };
        match is_end && self.line.keeps_the_end(cx) {
            true => Poll::Pending,
            false => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(cx))?;
        if self.takes(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(cx))?;
        if let [only] = pieces
            && self.takes(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(cx))?;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.line.is_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
