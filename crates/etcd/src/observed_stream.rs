//! A connection that remembers how it failed. The library for HTTP/2 hides the reason behind a new connection.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{Endpoint, EtcdError, EtcdErrorKind};

/// The number of bytes at the beginning of what the peer sends that are kept.
const BEGINNING_BYTES: usize = 9;

/// The position of the type in the head of an HTTP/2 frame.
const FRAME_TYPE_AT: usize = 3;

/// The type of the first frame that an HTTP/2 server sends.
const SETTINGS: u8 = 4;

/// The traces of a connection's failure.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// The first bytes that the peer sent.
    beginning: Vec<u8>,
    /// The first error.
    error: Option<(EtcdErrorKind, String)>,
}

impl Observed {
    /// Returns why the first call over the connection failed, if the connection shows it.
    pub(crate) fn cause(&self, endpoint: &Endpoint) -> Option<EtcdError> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first_type = seen.beginning.get(FRAME_TYPE_AT);
        if first_type.is_some_and(|first| *first != SETTINGS) {
            let reason = format!("{endpoint} does not speak HTTP/2");
            return Some(EtcdError::new(EtcdErrorKind::NotEtcd, reason));
        }
        let (kind, reason) = seen.error.as_ref()?;
        Some(EtcdError::new(*kind, format!("{endpoint}: {reason}")))
    }

    fn add_error(&self, error: &io::Error) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.error
            .get_or_insert_with(|| (kind_of(error), error.to_string()));
    }

    fn add_bytes(&self, bytes: &[u8]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = BEGINNING_BYTES.saturating_sub(seen.beginning.len());
        seen.beginning.extend(bytes.iter().take(room));
    }
}

/// Returns the kind of an error of the connection.
pub(crate) fn kind_of(error: &io::Error) -> EtcdErrorKind {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)) => {
            EtcdErrorKind::NotTrusted
        }
        Some(_) => EtcdErrorKind::NotEtcd,
        None => EtcdErrorKind::Unreachable,
    }
}

/// A stream that notes what [`Observed`] tells.
pub(crate) struct ObservedStream<S> {
    stream: S,
    observed: Observed,
    /// Whether the beginning is complete.
    is_begun: bool,
}

impl<S> ObservedStream<S> {
    pub(crate) fn new(stream: S, observed: Observed) -> Self {
        Self {
            stream,
            observed,
            is_begun: false,
        }
    }

    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled {
            self.observed.add_error(error);
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ObservedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if !self.is_begun {
            let new = &buffer.filled()[before..];
            self.observed.add_bytes(new);
            self.is_begun = new.len() >= BEGINNING_BYTES;
        }
        self.note(polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ObservedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
