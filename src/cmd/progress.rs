//! Shows the progress of a join: a bar on a terminal; elsewhere a log line when the reason changes, and every 30 s. A
//! service manager gets the same reason, and a request to extend its start timeout.

use std::time::{Duration, Instant};

use cfgsync_client::Event;
use cfgsync_model::Identifier;
use cfgsync_support::duration;
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::{debug, info, warn};

use super::{credentials, manager::Manager, output, reason::Reason};

/// How often a reason that has not changed is repeated.
const REPEAT_INTERVAL: Duration = Duration::from_secs(30);
/// Interval of [`Progress::tick`] on a terminal.
const TERMINAL_TICK: Duration = Duration::from_millis(120);
/// Interval of [`Progress::tick`] elsewhere.
const LINES_TICK: Duration = Duration::from_secs(1);

/// How far each request extends the start timeout of the service manager: waiting is not a failure to start.
const EXTENSION: Duration = Duration::from_mins(1);
/// How often the start timeout is extended.
const EXTEND_INTERVAL: Duration = Duration::from_secs(10);

/// Number of columns before the message of the bar.
const BEFORE_MESSAGE_COLUMNS: usize = "* 10s [========================] ".len();

/// Shows the events of a session.
pub(crate) struct Progress {
    /// The node that joins, once it is known.
    node: String,
    started: Instant,
    bar: Option<ProgressBar>,
    manager: Manager,
    extended_at: Option<Instant>,
    reason: Option<Reason>,
    logged_at: Instant,
    /// When a repeated registration was last logged.
    repeat_logged_at: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let mut progress = Self::without_bar();
        progress.bar = output::may_draw().then(bar);
        progress
    }

    /// Shows log lines only.
    pub(crate) fn without_bar() -> Self {
        Self {
            node: String::new(),
            started: Instant::now(),
            bar: None,
            manager: Manager::from_environment(),
            extended_at: None,
            reason: None,
            logged_at: Instant::now(),
            repeat_logged_at: None,
        }
    }

    /// Names the node that joins.
    pub(crate) fn set_node(&mut self, node: &Identifier) {
        super::log::set_node(node);
        self.node = node.to_string();
    }

    /// Returns whether a bar shows the progress.
    pub(crate) fn is_interactive(&self) -> bool {
        self.bar.is_some()
    }

    /// Returns how often to call [`Self::tick`].
    pub(crate) fn tick_every(&self) -> Duration {
        match self.bar {
            Some(_) => TERMINAL_TICK,
            None => LINES_TICK,
        }
    }

    /// Redraws the bar, or repeats the reason if it is time.
    pub(crate) fn tick(&mut self) {
        if self
            .extended_at
            .is_none_or(|at| at.elapsed() >= EXTEND_INTERVAL)
        {
            self.extended_at = Some(Instant::now());
            self.manager.wait_for(EXTENSION);
        }
        if self.bar.is_some() && !output::may_draw() {
            // The job was moved to the background.
            self.finish();
        }
        if let Some(bar) = &self.bar {
            // The width of the terminal may have changed.
            self.show_reason(bar);
            bar.tick();
            return;
        }
        if self.logged_at.elapsed() >= REPEAT_INTERVAL {
            self.log_reason();
        }
    }

    /// Shows an event.
    pub(crate) fn event(&mut self, event: Event) {
        match event {
            Event::Address(ip) => self.line(|| debug!("this node's address is {ip}")),
            // A server that accepts registrations and then fails would fill the log.
            Event::Registered { again: true, .. } if self.has_logged_repeat() => {}
            Event::Registered { server, ip, again } => {
                if again {
                    self.repeat_logged_at = Some(Instant::now());
                }
                let again = if again { " again" } else { "" };
                self.line(|| {
                    info!(
                        event = "registered",
                        node = self.node,
                        peer = %server,
                        "registered{again} with {server} as {ip}"
                    );
                });
                // An earlier problem is over. The next response says what is missing.
                self.reason = None;
                self.logged_at = Instant::now();
                if let Some(bar) = &self.bar {
                    bar.set_message("waiting for the other nodes");
                }
            }
            Event::KeySentUnencrypted { server } => self.line(|| {
                credentials::warn_unencrypted("this node's own key", &server.to_string());
            }),
            Event::Waiting { message, progress } => {
                let progress = progress.map(|progress| progress.progress);
                if let (Some(bar), Some(progress)) = (&self.bar, &progress) {
                    bar.set_length(progress.needed as u64);
                    bar.set_position(progress.registered as u64);
                }
                let message = progress.as_ref().map_or(message, ToString::to_string);
                self.set_reason(Reason::waiting(&message, progress));
            }
            Event::Unreachable { server, problem } => self.set_reason(Reason::problem(format!(
                "trying again: {server} is not reachable: {problem}"
            ))),
            Event::ServerFault { problem } => {
                self.set_reason(Reason::problem(format!("trying again: {problem}")));
            }
            Event::Outdated { reason } => self.line(|| {
                warn!(
                    event = "outdated",
                    node = self.node,
                    reason,
                    "the files are those of an older generation, because the newest render failed: {reason}"
                );
            }),
            Event::Received { files, bytes } => {
                let files = counted(files, "file");
                self.line(|| {
                    let bytes = counted(bytes, "byte");
                    info!(
                        event = "received",
                        node = self.node,
                        "received {files}, {bytes}"
                    );
                });
            }
            Event::UpToDate if self.reason.take().is_some() => {
                self.manager.status("following");
                self.line(|| info!(event = "following", node = self.node, "following again"));
            }
            // The enum may get more variants; they are shown once they have a text here.
            _ => {}
        }
    }

    /// Removes the bar. Log lines may follow.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn has_logged_repeat(&self) -> bool {
        self.repeat_logged_at
            .is_some_and(|at| at.elapsed() < REPEAT_INTERVAL)
    }

    fn set_reason(&mut self, reason: Reason) {
        if self.reason.as_ref() == Some(&reason) {
            return;
        }
        self.manager.status(&reason.text);
        self.reason = Some(reason);
        match &self.bar {
            Some(bar) => self.show_reason(bar),
            None => self.log_reason(),
        }
    }

    /// Shows the reason in the bar, if there is one.
    fn show_reason(&self, bar: &ProgressBar) {
        if let Some(reason) = &self.reason {
            let (_, columns) = Term::stderr().size();
            let room = usize::from(columns).saturating_sub(BEFORE_MESSAGE_COLUMNS);
            bar.set_message(reason.within(room));
        }
    }

    fn log_reason(&mut self) {
        let Some(Reason {
            text, is_problem, ..
        }) = &self.reason
        else {
            return;
        };
        self.logged_at = Instant::now();
        let elapsed = match self.started.elapsed().as_secs() {
            0 => String::new(),
            seconds => format!(" ({})", duration::text(Duration::from_secs(seconds))),
        };
        if *is_problem {
            warn!(
                event = "problem",
                node = self.node,
                reason = text,
                "{text}{elapsed}"
            );
        } else {
            info!(
                event = "waiting",
                node = self.node,
                reason = text,
                "{text}{elapsed}"
            );
        }
    }

    /// Calls `write`, which logs a line. The line appears above the bar, if there is one.
    pub(crate) fn line(&self, write: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Returns for example `1 file` or `2 files`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

fn bar() -> ProgressBar {
    bar_on(ProgressDrawTarget::stderr())
}

fn bar_on(terminal: ProgressDrawTarget) -> ProgressBar {
    // `wide_msg` cuts a long message without a sign, so it is cut before, with an ellipsis.
    let style = ProgressStyle::with_template("{spinner} {elapsed:3} [{bar:24}] {wide_msg}")
        .expect("a valid template")
        .progress_chars("=> ");
    let bar = ProgressBar::with_draw_target(Some(1), terminal);
    bar.set_style(style);
    bar.set_message("connecting");
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_that_fits_is_not_cut_by_the_bar() {
        let terminal = Columns::default();
        let written = std::sync::Arc::clone(&terminal.written);
        let bar = bar_on(ProgressDrawTarget::term_like(Box::new(terminal)));
        let message = "m".repeat(Columns::COUNT - BEFORE_MESSAGE_COLUMNS);
        bar.set_message(message.clone() + "?");
        bar.tick();
        let written = written.lock().unwrap();
        assert!(written.contains(&message), "{written}");
        assert!(!written.contains('?'), "{written}");
    }

    /// A server that accepted registrations and then failed used to fill the log with two lines for each attempt.
    #[test]
    fn repeated_registration_is_logged_once() {
        let mut progress = Progress::new();
        let server: cfgsync_client::ServerUrl = "http://127.0.0.1:1".parse().unwrap();
        let registered = |again| Event::Registered {
            server: server.clone(),
            ip: [10, 0, 0, 1].into(),
            again,
        };
        let unreachable = || Event::Unreachable {
            server: server.clone(),
            problem: "half an answer".to_owned(),
        };
        progress.event(registered(false));
        progress.event(unreachable());
        progress.event(registered(true));
        assert!(
            progress.reason.is_none(),
            "it is logged and clears the reason"
        );
        progress.event(unreachable());
        progress.event(registered(true));
        assert!(
            progress.reason.is_some(),
            "it is not logged and keeps the reason"
        );
    }

    /// A terminal that records what is written.
    #[derive(Debug, Default)]
    struct Columns {
        written: std::sync::Arc<std::sync::Mutex<String>>,
    }

    impl Columns {
        const COUNT: usize = 60;
    }

    impl indicatif::TermLike for Columns {
        fn width(&self) -> u16 {
            60
        }
        fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> std::io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.written.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
