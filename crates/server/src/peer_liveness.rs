//! The activity of a connection, as far as the client's end of the stream is concerned.
//!
//! A client may shut down its write side once its request is sent, and still read the response. hyper takes that end
//! for a closed connection and drops the request: a change that is already made, or the rest of a payload. So the end
//! is kept from hyper from a request's head to the last byte of its response. It is not kept while a request is held.
//! Most clients that disconnect then were killed, and a restarted node must not find its quota used by its previous
//! connections.
//!
//! The same places know when a payload has been sent completely: hyper flushes only when its buffer is empty. A payload
//! counts as delivered then.
//!
//! A body that is being read asks [`PeerLiveness::has_ended`] whether its rest can still arrive.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Waker},
};

use cfgsync_model::{GenerationNumber, Identifier};

/// No request is being served.
const IDLE: u8 = 0;
/// A request has arrived, and its response is not complete.
const IN_PROGRESS: u8 = 1;
/// A request is held until there is something to respond.
const HELD: u8 = 2;
/// The response is complete, but may not be written yet.
const ANSWERED: u8 = 3;
/// The connection speaks another protocol from now on.
const UPGRADED: u8 = 4;

/// The state of one connection, shared by the part that reads it and the part that responds.
#[derive(Debug, Default)]
pub(super) struct PeerLiveness {
    /// One of the constants above.
    stage: AtomicU8,
    /// The reader that saw the end of the stream and was not told, to be woken when it may be.
    withheld_from: Mutex<Option<Waker>>,
    /// Payloads whose last bytes are buffered. The next flush sends them.
    buffered: Mutex<Vec<PendingDelivery>>,
}

/// A payload on its way to a node, which counts as delivered when its last byte was sent.
#[derive(Debug)]
pub(super) struct PendingDelivery {
    pub(super) identifier: Identifier,
    pub(super) generation: GenerationNumber,
}

/// A request, from its head to the last byte of its response.
pub(super) struct RequestInProgress(Arc<PeerLiveness>);

/// A held request, until this is dropped.
pub(super) struct HeldStage<'a>(&'a PeerLiveness);

/// A streamed response, until this is dropped.
pub(super) struct StreamedStage(Arc<PeerLiveness>);

impl PeerLiveness {
    /// Records that a request has arrived.
    pub(super) fn begin_request(self: &Arc<Self>) -> RequestInProgress {
        self.stage.store(IN_PROGRESS, Ordering::Relaxed);
        RequestInProgress(Arc::clone(self))
    }

    /// Records that the request is held, until the returned value is dropped.
    pub(super) fn hold(&self) -> HeldStage<'_> {
        self.stage.store(HELD, Ordering::Relaxed);
        self.release_end();
        HeldStage(self)
    }

    /// Records that the response is a stream without an end, until the returned value is dropped. Its client has gone
    /// when the stream from it ends.
    pub(super) fn stream(self: &Arc<Self>) -> StreamedStage {
        self.stage.store(HELD, Ordering::Relaxed);
        self.release_end();
        StreamedStage(Arc::clone(self))
    }

    /// Records that the connection speaks another protocol after the response to this request.
    pub(super) fn upgrade(&self) {
        self.stage.store(UPGRADED, Ordering::Relaxed);
        self.release_end();
    }

    /// Returns whether the end of the stream was read, so that nothing more arrives.
    pub(super) fn has_ended(&self) -> bool {
        self.withheld_from().is_some()
    }

    /// Returns whether no request is being served, and every response is written.
    pub(super) fn is_idle(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == IDLE
    }

    /// Records that the end of the stream was read. Returns whether the reader must not be told yet; it is woken when it
    /// may be.
    pub(super) fn withholds_end(&self, cx: &Context<'_>) -> bool {
        let stage = self.stage.load(Ordering::Relaxed);
        let is_withheld = stage == IN_PROGRESS || stage == ANSWERED;
        if is_withheld {
            *self.withheld_from() = Some(cx.waker().clone());
        }
        is_withheld
    }

    /// Records that everything written so far has been flushed. Returns the payloads whose last bytes that sent.
    pub(super) fn on_flushed(&self) -> Vec<PendingDelivery> {
        if self.stage.load(Ordering::Relaxed) == ANSWERED {
            self.stage.store(IDLE, Ordering::Relaxed);
            self.release_end();
        }
        let mut buffered = self.buffered.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *buffered)
    }

    fn release_end(&self) {
        if let Some(waker) = self.withheld_from().take() {
            waker.wake();
        }
    }

    fn withheld_from(&self) -> MutexGuard<'_, Option<Waker>> {
        (self.withheld_from.lock()).unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestInProgress {
    /// Records that the last bytes of a payload are buffered.
    pub(super) fn payload_buffered(&self, delivery: PendingDelivery) {
        let mut buffered = (self.0.buffered.lock()).unwrap_or_else(PoisonError::into_inner);
        buffered.push(delivery);
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        if self.0.stage.load(Ordering::Relaxed) != UPGRADED {
            self.0.stage.store(ANSWERED, Ordering::Relaxed);
        }
    }
}

impl Drop for StreamedStage {
    fn drop(&mut self) {
        self.0.stage.store(IN_PROGRESS, Ordering::Relaxed);
    }
}

impl Drop for HeldStage<'_> {
    fn drop(&mut self) {
        self.0.stage.store(IN_PROGRESS, Ordering::Relaxed);
    }
}
