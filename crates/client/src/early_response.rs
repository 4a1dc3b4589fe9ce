//! A stream whose write errors wait for the reads: a server may respond and close before it has read the whole request.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};

/// A stream to a server.
///
/// A server that refuses a long body responds and closes the connection while the client still writes. The HTTP library
/// treats the failed write as the result of the request, and the response would be lost. After such an error, this
/// stream drops what is written. The reads then give the response, or the end of the stream.
#[derive(Debug)]
pub(crate) struct EarlyResponse<S> {
    inner: S,
    /// Whether the server accepts no more bytes.
    is_closed: bool,
}

impl<S> EarlyResponse<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            is_closed: false,
        }
    }

    /// Returns `result`, or `instead` if the server has closed the connection.
    fn check<T>(&mut self, result: Poll<io::Result<T>>, instead: T) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(Err(error)) if self.is_closed || is_closed_by_peer(&error) => {
                self.is_closed = true;
                Poll::Ready(Ok(instead))
            }
            result => result,
        }
    }
}

fn is_closed_by_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset
    )
}

impl<S: Read + Unpin> Read for EarlyResponse<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for EarlyResponse<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_closed {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.check(written, bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.check(flushed, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(context);
        self.check(shut, ())
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = buffers.iter().map(|buffer| buffer.len()).sum();
        if self.is_closed {
            return Poll::Ready(Ok(all));
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, buffers);
        self.check(written, all)
    }
}

impl<S: Connection> Connection for EarlyResponse<S> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn response_is_read_although_the_server_reads_no_further() {
        // The pipe is much smaller than the request, so the client still writes when the server closes.
        let (client, mut server) = tokio::io::duplex(256);
        let request = hyper::Request::post("/node/replace")
            .header("host", "boot")
            .body(Full::new(bytes::Bytes::from(vec![b'x'; 1 << 20])))
            .unwrap();
        let serve = async move {
            let mut head = [0; 64];
            server.read_exact(&mut head).await.unwrap();
            let response = b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 4\r\n\r\nlong";
            server.write_all(response).await.unwrap();
        };
        let ((), call) = tokio::join!(serve, async {
            let stream = EarlyResponse::new(TokioIo::new(client));
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(stream).await.unwrap();
            let (response, _) = tokio::join!(sender.send_request(request), connection);
            response
        });
        let response = call.unwrap();
        assert_eq!(response.status(), 413);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "long");
    }
}
