//! Last words to a peer that is not served.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

/// How much of what a refused peer still sends is taken, so that it reads why before the connection is reset.
const FAREWELL_MAX_BYTES: u64 = 64 << 10;
/// And for how long.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Says the last words, and takes what the peer still sends, within bounds: closed over unread bytes, a
/// connection is reset, and then the peer never reads why.
pub(super) async fn farewell(mut stream: impl AsyncRead + AsyncWrite + Unpin, words: &[u8]) {
    let done = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut rest = stream.take(FAREWELL_MAX_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // A peer that does not listen has lost nothing.
    let _ = timeout(FAREWELL_TIMEOUT, done).await;
}
