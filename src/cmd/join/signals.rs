//! The signals that end a join.

use std::{future::poll_fn, io, task::Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cmd::{ignored, signals::catch_all};

/// The signal that ended a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndedBy {
    pub(crate) name: &'static str,
    pub(crate) number: i32,
}

const INTERRUPT: EndedBy = ended_by("SIGINT", libc::SIGINT);
const TERMINATE: EndedBy = ended_by("SIGTERM", libc::SIGTERM);
/// The signals that end a process by default. `nohup` and shells ignore them for processes in the background.
const OF_TERMINALS: [EndedBy; 2] = [
    ended_by("SIGHUP", libc::SIGHUP),
    ended_by("SIGQUIT", libc::SIGQUIT),
];
/// The stop signals of images whose usual PID 1 is another program. The kernel drops them for a PID 1 without a handler.
const OF_CONTAINERS: [EndedBy; 4] = [
    ended_by("SIGUSR1", libc::SIGUSR1),
    ended_by("SIGUSR2", libc::SIGUSR2),
    ended_by("SIGWINCH", libc::SIGWINCH),
    // Container engines send this number, whatever the C library takes for itself.
    ended_by("SIGRTMIN+3", 34 + 3),
];

const fn ended_by(name: &'static str, number: i32) -> EndedBy {
    EndedBy { name, number }
}

impl EndedBy {
    /// Returns the signal with which CMD is asked to end, or `None` if this signal need not end a program.
    pub(super) fn asks_to_end(self) -> Option<rustix::process::Signal> {
        use rustix::process::Signal;
        match self.number {
            libc::SIGHUP | libc::SIGUSR1 | libc::SIGUSR2 | libc::SIGWINCH => None,
            // SIGRTMIN+3 asks only systemd to end.
            number => Some(Signal::from_named_raw(number).unwrap_or(Signal::TERM)),
        }
    }
}

/// Receives the signals that end a join.
pub(crate) struct Signals {
    receivers: Vec<(EndedBy, Signal)>,
}

impl Signals {
    /// Installs the handlers; see [`catch_all`].
    pub(crate) fn catch() -> io::Result<Self> {
        let of_terminals = OF_TERMINALS.into_iter();
        let of_terminals = of_terminals.filter(|signal| !ignored::was_ignored(signal.number));
        let mut all: Vec<EndedBy> = [INTERRUPT, TERMINATE]
            .into_iter()
            .chain(of_terminals)
            .collect();
        if std::process::id() == 1 {
            all.extend(OF_CONTAINERS);
        }
        let kinds = all.iter().map(|signal| SignalKind::from_raw(signal.number));
        let caught = catch_all(&kinds.collect::<Vec<_>>())?;
        Ok(Self {
            receivers: all.into_iter().zip(caught).collect(),
        })
    }

    /// Also receives the signals that only CMD handles, so that they can be forwarded to it.
    pub(super) fn also_forward(&mut self) -> io::Result<()> {
        for ended_by in OF_CONTAINERS {
            let is_known = self.receivers.iter().any(|(known, _)| *known == ended_by);
            if !is_known && !ignored::was_ignored(ended_by.number) {
                let kind = SignalKind::from_raw(ended_by.number);
                self.receivers.push((ended_by, signal(kind)?));
            }
        }
        Ok(())
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> EndedBy {
        poll_fn(|context| {
            for (signal, receiver) in &mut self.receivers {
                if receiver.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
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
