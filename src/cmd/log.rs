//! Starts the log, which goes to stderr: text on a terminal, plain lines with UTC times elsewhere, JSON on request.

use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{self, format::Writer, time::FormatTime},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Format of the log
    #[arg(
        long,
        env = "CFGSYNC_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "auto",
        global = true,
        help_heading = "Log"
    )]
    log_format: LogFormat,
    /// Level of the log: off, error, warn, info, debug or trace; also for single crates, as in
    /// `info,cfgsync_server=debug`
    #[arg(
        long,
        env = "CFGSYNC_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info",
        global = true,
        help_heading = "Log",
        value_parser = level
    )]
    log_level: Targets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Text with colours and short times on a terminal, plain lines with UTC times elsewhere
    Auto,
    /// Plain lines with UTC times, also on a terminal
    Text,
    /// One JSON object per line
    Json,
}

/// Starts logging. Call it once.
pub(crate) fn start(args: &LogArgs) {
    let terminal = io::stderr().is_terminal();
    let lines = fmt::layer()
        .with_writer(|| Indented(io::stderr()))
        .with_target(false);
    let layer = match args.log_format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_timer(UtcTime)
            .boxed(),
        LogFormat::Auto if terminal => lines
            .with_ansi(colours_are_allowed())
            .with_timer(TimeOfDay)
            .boxed(),
        LogFormat::Auto | LogFormat::Text => lines.with_ansi(false).with_timer(UtcTime).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer)
        .with(args.log_level.clone())
        .init();
}

/// A writer that gets whole entries and indents all lines of an entry but the first. Text that an entry quotes then
/// cannot look like an entry of its own.
struct Indented<W>(W);

impl<W: Write> Write for Indented<W> {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        const LINE_END: &str = "\n";
        let text = String::from_utf8_lossy(entry);
        let (lines, end) = match text.strip_suffix(LINE_END) {
            Some(lines) => (lines, LINE_END),
            None => (&*text, ""),
        };
        let indented = lines.replace(LINE_END, "\n    ") + end;
        self.0.write_all(indented.as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether `NO_COLOR` (<https://no-color.org>) is absent or empty.
pub(crate) fn colours_are_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn level(text: &str) -> Result<Targets, String> {
    const WORDS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // `Targets` would take a misspelled level for the name of a crate.
    for part in text.split(',') {
        let level = part.rsplit('=').next().unwrap_or(part).trim();
        if !WORDS.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(format!(
                "{level:?} is not a level; expected one of {}",
                WORDS.join(", ")
            ));
        }
    }
    text.parse::<Targets>().map_err(|error| error.to_string())
}

/// Times in the form `2026-01-31T12:00:00.123Z`.
struct UtcTime;

impl FormatTime for UtcTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:.3}", jiff::Timestamp::now())
    }
}

/// UTC times in the form `12:00:00`, for a terminal: a person who watches it knows the date.
struct TimeOfDay;

impl FormatTime for TimeOfDay {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        let seconds = jiff::Timestamp::now().as_second().rem_euclid(24 * 60 * 60);
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        write!(writer, "{hours:02}:{minutes:02}:{:02}", seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reason that an operator gives for a failure could look like an entry of the server.
    #[test]
    fn quoted_lines_do_not_look_like_entries() {
        let mut log = Indented(Vec::new());
        log.write_all(b"INFO the reason is a\n2026-01-31T12:00:00Z INFO forged\n")
            .unwrap();
        log.write_all(b"INFO next\n").unwrap();
        assert_eq!(
            String::from_utf8(log.0).unwrap(),
            "INFO the reason is a\n    2026-01-31T12:00:00Z INFO forged\nINFO next\n"
        );
    }
}
