//! Closes a connection so that the client can read the last response.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

/// How many bytes that the client still sends are read and dropped.
const LINGER_MAX_BYTES: u64 = 64 << 10;
/// How long the server reads them.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes `response`, shuts down the write side, then reads and drops what the client still sends, within bounds. A
/// connection that is closed over unread bytes is reset, and the client would lose the response.
pub(super) async fn respond_and_linger(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    response: &[u8],
) {
    let closed = async {
        stream.write_all(response).await?;
        stream.shutdown().await?;
        let mut rest = stream.take(LINGER_MAX_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // The connection ends either way.
    let _ = timeout(LINGER_TIMEOUT, closed).await;
}
