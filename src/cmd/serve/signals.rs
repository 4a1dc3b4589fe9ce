//! The signals that a server heeds.

use std::io;

use tokio::signal::unix::{Signal, SignalKind};

use crate::cmd::signals::catch;

/// A signal that ends the server.
#[derive(Clone, Copy)]
pub(super) struct Stop {
    pub(super) name: &'static str,
    pub(super) signal: rustix::process::Signal,
}

/// What a signal means.
pub(super) enum Told {
    Stop(Stop),
    Reread,
}

/// The signals that a server heeds.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// See [`catch`].
    pub(super) fn catch() -> io::Result<Self> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        let [terminate, interrupt, hangup] = catch([terminate, interrupt, SignalKind::hangup()])?;
        Ok(Self {
            terminate,
            interrupt,
            hangup,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Told {
        let Self {
            terminate,
            interrupt,
            hangup,
        } = self;
        tokio::select! {
            stop = stop(terminate, interrupt) => Told::Stop(stop),
            _ = hangup.recv() => Told::Reread,
        }
    }

    /// The next one that ends the server; others are kept.
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
