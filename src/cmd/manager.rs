//! Notifies the service manager of the state of the process, with systemd's protocol, if `$NOTIFY_SOCKET` is set.

use std::time::Duration;

use cfgsync_support::escape::is_unsafe;
use sd_notify::NotifyState;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

/// Longest status, in characters: `systemctl status` shows one line, and a list of unmet clauses can be long.
const STATUS_MAX_CHARS: usize = 512;

/// Shortest time between two status messages, because thousands of nodes may register within a second.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// The service manager that started this process. If there is none, all notifications do nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manager {
    is_present: bool,
}

impl Manager {
    /// The service manager that the environment names. The variable stays set for CMD.
    pub(crate) fn from_environment() -> Self {
        Self {
            is_present: std::env::var_os("NOTIFY_SOCKET").is_some(),
        }
    }

    /// Whether there is a service manager.
    pub(crate) fn is_present(self) -> bool {
        self.is_present
    }

    /// Notifies that the service is ready.
    pub(crate) fn ready(self) {
        self.notify(&[NotifyState::Ready]);
    }

    /// Notifies that the service reloads its configuration, until [`Self::ready`].
    pub(crate) fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.notify(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "cannot read the clock for the service manager"),
        }
    }

    /// Notifies that the service stops, which may take as long as `within`.
    pub(crate) fn stopping(self, within: Duration) {
        self.notify(&[
            NotifyState::Stopping,
            NotifyState::Status("stopping: no new connections; waiting for requests in flight"),
            extension(within),
        ]);
    }

    /// Sends a one-line status.
    pub(crate) fn status(self, line: &str) {
        self.notify(&[NotifyState::Status(&one_line(line))]);
    }

    /// Extends the start timeout: the service manager waits for at least `within` from now on.
    pub(crate) fn wait_for(self, within: Duration) {
        self.notify(&[extension(within)]);
    }

    /// Forwards each `status` and feeds the watchdog. Never completes.
    pub(crate) async fn run(self, mut status: watch::Receiver<String>) {
        let mut watchdog = self.watchdog();
        let mut next_status = Instant::now();
        loop {
            let changed = async {
                tokio::time::sleep_until(next_status).await;
                // The sender is dropped with the server. No status follows.
                if status.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let tick = async {
                match &mut watchdog {
                    Some(watchdog) => watchdog.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {
                    let line = status.borrow_and_update().clone();
                    self.status(&line);
                    next_status = Instant::now() + STATUS_PAUSE;
                }
                _ = tick => self.notify(&[NotifyState::Watchdog]),
            }
        }
    }

    /// Ticks twice in each watchdog period, if the service manager has a watchdog for this process.
    fn watchdog(self) -> Option<tokio::time::Interval> {
        let period = sd_notify::watchdog_enabled().filter(|_| self.is_present)? / 2;
        let mut ticks = interval(period.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(ticks)
    }

    fn notify(self, states: &[NotifyState<'_>]) {
        if !self.is_present {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(%error, "cannot notify the service manager");
        }
    }
}

fn extension(within: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(within.as_micros()).unwrap_or(u32::MAX))
}

/// Replaces control characters: a newline would start another field of the protocol, and others would reach the terminal
/// of `systemctl status`.
fn one_line(text: &str) -> String {
    let is_unsafe = |c: char| c.is_control() || is_unsafe(c);
    let plain = text.chars().map(|c| if is_unsafe(c) { ' ' } else { c });
    plain.take(STATUS_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_one_line_of_bounded_length() {
        assert_eq!(one_line("failed: a\nREADY=1"), "failed: a READY=1");
        assert_eq!(one_line(&"x".repeat(2000)).len(), STATUS_MAX_CHARS);
    }
}
