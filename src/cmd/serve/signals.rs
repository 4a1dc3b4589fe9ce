//! The signals that `serve` handles.

use std::io;

use tokio::signal::unix::{Signal, SignalKind};

use crate::cmd::signals::catch;

/// A signal that stops the server.
#[derive(Clone, Copy)]
pub(super) struct Stop {
    pub(super) name: &'static str,
    pub(super) signal: rustix::process::Signal,
}

/// The action that a signal requests.
pub(super) enum Request {
    Stop(Stop),
    Reload,
}

/// Receives SIGTERM, SIGINT and SIGHUP.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Installs the handlers; see [`catch`].
    pub(super) fn catch() -> io::Result<Self> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        let [terminate, interrupt, hangup] = catch([terminate, interrupt, SignalKind::hangup()])?;
        Ok(Self {
            terminate,
            interrupt,
            hangup,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Request {
        let Self {
            terminate,
            interrupt,
            hangup,
        } = self;
        tokio::select! {
            stop = stop(terminate, interrupt) => Request::Stop(stop),
            _ = hangup.recv() => Request::Reload,
        }
    }

    /// Waits for the next signal that stops the server. A SIGHUP in between is kept for [`Self::next`].
    pub(super) async fn stop(&mut self) -> Stop {
        stop(&mut self.terminate, &mut self.interrupt).await
    }
}

async fn stop(terminate: &mut Signal, interrupt: &mut Signal) -> Stop {
    let (name, signal) = tokio::select! {
        _ = terminate.recv() => ("SIGTERM", rustix::process::Signal::TERM),
        _ = interrupt.recv() => ("SIGINT", rustix::process::Signal::INT),
    };
    Stop { name, signal }
}
