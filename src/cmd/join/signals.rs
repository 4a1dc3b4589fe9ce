//! The signals that end a join: SIGINT and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind};

use crate::cmd::signals::catch;

/// The signal that ended a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndedBy {
    Interrupt,
    Terminate,
}

impl EndedBy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// Receives SIGINT and SIGTERM.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Installs the handlers; see [`catch`].
    pub(super) fn catch() -> std::io::Result<Self> {
        let [interrupt, terminate] = catch([SignalKind::interrupt(), SignalKind::terminate()])?;
        Ok(Self {
            interrupt,
            terminate,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> EndedBy {
        tokio::select! {
            _ = self.interrupt.recv() => EndedBy::Interrupt,
            _ = self.terminate.recv() => EndedBy::Terminate,
        }
    }

    /// Returns a signal that has already arrived.
    pub(super) async fn pending(&mut self) -> Option<EndedBy> {
        // The runtime reads the signal pipe only when this task yields.
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            ended_by = self.next() => Some(ended_by),
            () = std::future::ready(()) => None,
        }
    }
}
