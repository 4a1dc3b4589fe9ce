//! What a service manager is told: systemd's notify protocol, spoken where `$NOTIFY_SOCKET` asks for it.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

/// A manager reads one line, and a list of clauses can be long.
const STATUS_MAX_CHARS: usize = 512;

/// Least time from one status line to the next: thousands of nodes may register in a second.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// Whoever started this process and wants to hear how it fares. Absent, nothing is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manager {
    is_there: bool,
}

impl Manager {
    /// The one that the environment names. Programs that this process becomes or starts find it there as well.
    pub(crate) fn from_environment() -> Self {
        Self {
            is_there: std::env::var_os("NOTIFY_SOCKET").is_some(),
        }
    }

    /// Whether anybody listens.
    pub(crate) fn is_there(self) -> bool {
        self.is_there
    }

    /// The service does what it is there for.
    pub(crate) fn ready(self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// It reads its settings again; [`Self::ready`] ends that.
    pub(crate) fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "no clock to tell the service manager of"),
        }
    }

    /// It ends, and may take `within` for that.
    pub(crate) fn stopping(self, within: Duration) {
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::Status("stopping: nothing new is accepted, requests in flight end"),
            extension(within),
        ]);
    }

    /// What it does now, in a line.
    pub(crate) fn status(self, line: &str) {
        self.tell(&[NotifyState::Status(&one_line(line))]);
    }

    /// It is not ready yet and will not be before `within`: no reason to end it.
    pub(crate) fn wait_for(self, within: Duration) {
        self.tell(&[extension(within)]);
    }

    /// Passes on each `status` and says that the process lives, for as long as it is polled.
    pub(crate) async fn attend(self, mut status: watch::Receiver<String>) {
        let mut alive = self.watchdog();
        let mut next_status = Instant::now();
        loop {
            let news = async {
                tokio::time::sleep_until(next_status).await;
                // The sender goes with the server; then there is no more news.
                if status.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let tick = async {
                match &mut alive {
                    Some(alive) => alive.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = news => {
                    let line = status.borrow_and_update().clone();
                    self.status(&line);
                    next_status = Instant::now() + STATUS_PAUSE;
                }
                _ = tick => self.tell(&[NotifyState::Watchdog]),
            }
        }
    }

    /// Twice as often as the manager wants to hear of us, if it does.
    fn watchdog(self) -> Option<tokio::time::Interval> {
        let period = sd_notify::watchdog_enabled().filter(|_| self.is_there)? / 2;
        let mut ticks = interval(period.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(ticks)
    }

    fn tell(self, words: &[NotifyState<'_>]) {
        if !self.is_there {
            return;
        }
        if let Err(error) = sd_notify::notify(words) {
            tracing::debug!(%error, "the service manager does not listen");
        }
    }
}

fn extension(within: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(within.as_micros()).unwrap_or(u32::MAX))
}

/// A newline would end the line, and begin another word of the protocol.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(STATUS_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(one_line("failed: a\nREADY=1"), "failed: a READY=1");
        assert_eq!(one_line(&"x".repeat(2000)).len(), STATUS_MAX_CHARS);
    }
}
