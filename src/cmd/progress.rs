//! What a waiting person sees: a bar on a terminal; elsewhere a line when the reason changes, and every 30 s. A
//! service manager hears the same reason, and that it shall go on waiting.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use cfgsync_client::Event;
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::{debug, info, warn};

use super::{credentials, manager::Manager, reason::Reason};

/// A reason that stays the same is repeated so often.
const REPEAT_EVERY: Duration = Duration::from_secs(30);
/// How often [`Progress::tick`] wants to be called on a terminal.
const TERMINAL_TICK: Duration = Duration::from_millis(120);
/// And elsewhere.
const LINES_TICK: Duration = Duration::from_secs(1);

/// How long a service manager is asked to wait each time, and how often: a wait that goes on is no failure to start.
const EXTENSION: Duration = Duration::from_mins(1);
const EXTEND_EVERY: Duration = Duration::from_secs(10);

/// Columns of [`bar`] before its message.
const BEFORE_MESSAGE_COLUMNS: usize = "* 10s [========================] ".len();

/// Shows events to whoever watches.
pub(crate) struct Progress {
    started: Instant,
    bar: Option<ProgressBar>,
    manager: Manager,
    extended_at: Option<Instant>,
    reason: Option<Reason>,
    said_at: Instant,
    /// When a registration that was not the first was last told.
    told_again_at: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            bar: std::io::stderr().is_terminal().then(bar),
            manager: Manager::from_environment(),
            extended_at: None,
            reason: None,
            said_at: Instant::now(),
            told_again_at: None,
        }
    }

    /// Whether somebody looks on, who wants to see changes soon.
    pub(crate) fn is_interactive(&self) -> bool {
        self.bar.is_some()
    }

    /// How often [`Self::tick`] is to be called.
    pub(crate) fn tick_every(&self) -> Duration {
        match self.bar {
            Some(_) => TERMINAL_TICK,
            None => LINES_TICK,
        }
    }

    /// Moves the bar, or repeats a reason that has stood for long.
    pub(crate) fn tick(&mut self) {
        if self
            .extended_at
            .is_none_or(|at| at.elapsed() >= EXTEND_EVERY)
        {
            self.extended_at = Some(Instant::now());
            self.manager.wait_for(EXTENSION);
        }
        if let Some(bar) = &self.bar {
            // The terminal may have another width now.
            self.show(bar);
            bar.tick();
            return;
        }
        if self.said_at.elapsed() >= REPEAT_EVERY {
            self.say();
        }
    }

    /// Shows what happened.
    pub(crate) fn event(&mut self, event: Event) {
        match event {
            Event::Address(ip) => self.line(|| debug!("this node's address is {ip}")),
            // A server that takes registrations and then breaks off would fill the log with both.
            Event::Registered { again: true, .. } if self.told_again_lately() => {}
            Event::Registered { server, ip, again } => {
                if again {
                    self.told_again_at = Some(Instant::now());
                }
                let again = if again { " again" } else { "" };
                self.line(|| info!("registered{again} with {server} as {ip}"));
                // Whatever was wrong is over; what is still missing comes with the next answer.
                self.reason = None;
                self.said_at = Instant::now();
                if let Some(bar) = &self.bar {
                    bar.set_message("waiting for the others");
                }
            }
            Event::KeyInTheClear { server } => self.line(|| {
                credentials::warn_unencrypted("this node's own key", &server.to_string());
            }),
            Event::Waiting { message, progress } => {
                let progress = progress.map(|progress| progress.progress);
                if let (Some(bar), Some(progress)) = (&self.bar, &progress) {
                    bar.set_length(progress.needed as u64);
                    bar.set_position(progress.registered as u64);
                }
                let message = progress.as_ref().map_or(message, ToString::to_string);
                self.reason(Reason::waiting(&message, progress));
            }
            Event::Unreachable { server, problem } => self.reason(Reason::trouble(format!(
                "{server} is not reachable: {problem}; trying again"
            ))),
            Event::Troubled { problem } => {
                self.reason(Reason::trouble(format!("{problem}; trying again")));
            }
            Event::Received { files, bytes } => {
                let files = counted(files, "file");
                self.line(|| info!("received {files}, {}", counted(bytes, "byte")));
            }
        }
    }

    /// Takes the bar away; lines follow.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn told_again_lately(&self) -> bool {
        self.told_again_at
            .is_some_and(|at| at.elapsed() < REPEAT_EVERY)
    }

    fn reason(&mut self, reason: Reason) {
        if self.reason.as_ref() == Some(&reason) {
            return;
        }
        self.manager.status(&reason.text);
        self.reason = Some(reason);
        match &self.bar {
            Some(bar) => self.show(bar),
            None => self.say(),
        }
    }

    /// Shows the reason, if there is one, beside the bar.
    fn show(&self, bar: &ProgressBar) {
        if let Some(reason) = &self.reason {
            let (_, columns) = Term::stderr().size();
            let room = usize::from(columns).saturating_sub(BEFORE_MESSAGE_COLUMNS);
            bar.set_message(reason.within(room));
        }
    }

    fn say(&mut self) {
        let Some(Reason {
            text, is_trouble, ..
        }) = &self.reason
        else {
            return;
        };
        self.said_at = Instant::now();
        let seconds = self.started.elapsed().as_secs();
        let elapsed = match (seconds / 60, seconds % 60) {
            (0, 0) => String::new(),
            (0, seconds) => format!(" ({seconds} s)"),
            (minutes, seconds) => format!(" ({minutes} min {seconds} s)"),
        };
        if *is_trouble {
            warn!("{text}{elapsed}");
        } else {
            info!("{text}{elapsed}");
        }
    }

    /// Writes a line, above the bar if there is one.
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

/// `1 file`, `2 files`.
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
    // What does not fit is cut before, with a sign: `wide_msg` would do it without.
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

    /// As much room as the bar leaves.
    #[test]
    fn a_message_that_fits_is_not_cut_by_the_bar() {
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

    /// A server that accepts registrations and then breaks off filled the log with two lines a try.
    #[test]
    fn registering_again_and_again_is_told_once() {
        let mut progress = Progress::new();
        let server: cfgsync_client::ServerUrl = "http://127.0.0.1:1".parse().unwrap();
        let registered = |again| Event::Registered {
            server: server.clone(),
            ip: [10, 0, 0, 1].into(),
            again,
        };
        let broken = || Event::Unreachable {
            server: server.clone(),
            problem: "half an answer".to_owned(),
        };
        progress.event(registered(false));
        progress.event(broken());
        progress.event(registered(true));
        assert!(progress.reason.is_none(), "told, and the trouble is over");
        progress.event(broken());
        progress.event(registered(true));
        assert!(progress.reason.is_some(), "not told: the trouble stands");
    }

    /// A terminal that keeps what is written.
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
