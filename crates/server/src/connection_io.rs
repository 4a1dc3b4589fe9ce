//! The stream of one connection, between hyper and the socket.
//!
//! It does four things that hyper leaves open:
//!
//! - It withholds the end of the stream while a request is being served, see [`PeerLiveness`](super::peer_liveness).
//! - It withholds hyper's own responses. hyper answers a head that it cannot parse by itself, with a status and
//!   nothing else. These are the only bytes that hyper writes while no request is being served. They are dropped here,
//!   the stream is left open, and [`connection`](super::connection) answers in their place, with a body that explains
//!   the error.
//! - It reports a payload as delivered when its last byte has been flushed to the socket.
//! - It keeps the connection's state alive, with its slot in the server's limits. After an upgrade hyper hands over this
//!   stream, so the slot is held until the upgraded connection ends.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::state::Connection;

pub(super) struct ConnectionIo<S> {
    stream: S,
    connection: Arc<Connection>,
    /// Whether a response of hyper's own was dropped.
    has_withheld: bool,
}

impl<S> ConnectionIo<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>) -> Self {
        Self {
            stream,
            connection,
            has_withheld: false,
        }
    }

    /// Returns the stream, on which a response may be written that hyper could not give.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Returns whether bytes that hyper writes now are a response of its own.
    fn withholds(&mut self) -> bool {
        let is_own = self.connection.peer.liveness.is_idle();
        self.has_withheld |= is_own;
        is_own
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ConnectionIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let is_end = match &read {
            Poll::Ready(Ok(())) => buffer.filled().len() == before && buffer.remaining() > 0,
            // A TLS client that closes without `close_notify`.
            Poll::Ready(Err(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
            Poll::Pending => false,
        };
        if is_end && self.connection.peer.liveness.withholds_end(cx) {
            return Poll::Pending;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ConnectionIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.withholds() {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.withholds() {
            let total = pieces.iter().map(|piece| piece.len()).sum();
            return Poll::Ready(Ok(total));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        let connection = &self.connection;
        for sent in connection.peer.liveness.on_flushed() {
            let coordinator = &connection.server.coordinator;
            coordinator.complete_delivery(sent.identifier, sent.generation);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_withheld {
            // The response that takes the place of hyper's own is still to be written.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
