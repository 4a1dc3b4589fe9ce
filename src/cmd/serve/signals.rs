//! The signals that a server heeds.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

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
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Told {
        let stop = |name, signal| Told::Stop(Stop { name, signal });
        tokio::select! {
            _ = self.terminate.recv() => stop("SIGTERM", rustix::process::Signal::TERM),
            _ = self.interrupt.recv() => stop("SIGINT", rustix::process::Signal::INT),
            _ = self.hangup.recv() => Told::Reread,
        }
    }

    /// The next one that ends the server.
    pub(super) async fn stop(&mut self) -> Stop {
        loop {
            if let Told::Stop(stop) = self.next().await {
                return stop;
            }
        }
    }
}
