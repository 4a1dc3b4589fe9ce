//! Sockets: how the server listens, and a stream that gives up on a client that reads nothing.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket},
    time::{Instant, Sleep},
};

/// The length of the listen backlog. Connections arrive in bursts, because a whole cluster starts at once.
const BACKLOG: u32 = 4096;

/// After this long without traffic, TCP keepalive probes find out whether the client still exists.
const KEEPALIVE_AFTER: Duration = Duration::from_mins(1);

/// How many bytes the operating system buffers beyond those that are on their way to the client.
#[cfg(target_os = "linux")]
const UNSENT_MAX_BYTES: u32 = 64 << 10;

/// Listens on `address`, IPv4 or IPv6, even if connections of an earlier server are not closed yet.
///
/// # Errors
/// If the address is in use or not this machine's, or the process may open no more descriptors.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    set_options(&SockRef::from(&socket))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Uses a socket that another process has opened and that listens already.
///
/// # Errors
/// If an option of the socket cannot be set.
pub fn adopt(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    set_options(&SockRef::from(&listener))?;
    TcpListener::from_std(listener)
}

/// Sets options that accepted connections inherit. Keepalive finds held requests whose machine has vanished. The bound
/// of unsent bytes keeps a payload in this process until it is nearly sent, so that its write slot is held as long.
fn set_options(listener: &SockRef<'_>) -> io::Result<()> {
    listener.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER))?;
    #[cfg(target_os = "linux")]
    listener.set_tcp_notsent_lowat(UNSENT_MAX_BYTES)?;
    Ok(())
}

/// A stream whose writes fail once the client has read nothing for `limit`.
///
/// The timer exists only while a write is pending, so that an idle or held connection pays one pointer for it.
pub(super) struct StallGuard<S> {
    stream: S,
    limit: Duration,
    stall_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> StallGuard<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            stall_timer: None,
        }
    }

    /// Passes on the result of a write. A pending write is bounded by the limit.
    fn limit_pending<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall_timer = None;
            return written;
        }
        let limit = self.limit;
        let timer = self
            .stall_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limit_pending(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.limit_pending(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.limit_pending(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.limit_pending(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn write_fails_when_the_client_reads_nothing_for_the_limit() {
        let (near, _far) = tokio::io::duplex(4);
        let mut stream = StallGuard::new(near, LIMIT);
        let start = Instant::now();
        let error = stream.write_all(b"more than four").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_client_that_reads_something_is_served() {
        let (near, mut far) = tokio::io::duplex(1);
        let mut stream = StallGuard::new(near, LIMIT);
        let reader = tokio::spawn(async move {
            let mut read = Vec::new();
            for _ in 0..4 {
                tokio::time::sleep(LIMIT * 9 / 10).await;
                read.push(far.read_u8().await.unwrap());
            }
            read
        });
        stream.write_all(b"slow").await.unwrap();
        assert_eq!(reader.await.unwrap(), b"slow");
    }
}
