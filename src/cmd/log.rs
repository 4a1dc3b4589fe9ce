//! Starts the log, which goes to stderr: text on a terminal, plain lines with UTC times elsewhere, JSON on request.

use std::io::{self, IsTerminal, Write};

use cfgsync_support::escape::{escape_for_terminal, escape_json};
use clap::{Args, ValueEnum};
use tracing::field::Field;
use tracing_subscriber::{
    Layer,
    field::MakeExt as _,
    filter::Targets,
    fmt::{self, FormatFields, format::Writer, time::FormatTime},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// The character that begins the colours of the formatter.
const ESC: &str = "\x1b";

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
    let has_colours = terminal && colours_are_allowed();
    let escapes = match args.log_format {
        LogFormat::Json => Escapes::Json,
        LogFormat::Auto if has_colours => Escapes::TextWithColours,
        LogFormat::Auto | LogFormat::Text => Escapes::Text,
    };
    let lines = fmt::layer()
        .with_writer(move || LogWriter {
            output: io::stderr(),
            escapes,
        })
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
            .with_ansi(has_colours)
            .fmt_fields(escaped_fields())
            .with_timer(TimeOfDay)
            .boxed(),
        LogFormat::Auto | LogFormat::Text => lines.with_ansi(false).with_timer(UtcTime).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer)
        .with(args.log_level.clone())
        .init();
}

/// Returns a formatter that escapes the message and the other fields of an entry. The default one writes some of them as
/// they are, so that their control sequences could not be told from its colours.
fn escaped_fields() -> impl for<'w> FormatFields<'w> + 'static {
    let format = |writer: &mut Writer<'_>, field: &Field, value: &dyn std::fmt::Debug| {
        let value = escape_for_terminal(&format!("{value:?}"));
        match field.name() {
            "message" => write!(writer, "{value}"),
            name => write!(writer, "{name}={value}"),
        }
    };
    fmt::format::debug_fn(format).delimited(" ")
}

/// How the text of other machines is escaped in an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// For a terminal.
    Text,
    /// For a terminal. The colours of the formatter stay, and [`escaped_fields`] has escaped the texts.
    TextWithColours,
    /// By the rules of JSON.
    Json,
}

/// A writer that gets whole entries, escapes what a terminal would obey, and indents all lines of an entry but the first.
/// Text that an entry quotes then cannot look like an entry of its own.
struct LogWriter<W> {
    output: W,
    escapes: Escapes,
}

impl<W: Write> Write for LogWriter<W> {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        const LINE_END: &str = "\n";
        let text = String::from_utf8_lossy(entry);
        let (lines, end) = match text.strip_suffix(LINE_END) {
            Some(lines) => (lines, LINE_END),
            None => (&*text, ""),
        };
        let escaped = match self.escapes {
            Escapes::Text => escape_for_terminal(lines),
            Escapes::Json => escape_json(lines),
            Escapes::TextWithColours => {
                let parts = lines.split(ESC).map(escape_for_terminal);
                parts.collect::<Vec<_>>().join(ESC)
            }
        };
        let indented = escaped.replace(LINE_END, "\n    ") + end;
        self.output.write_all(indented.as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
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
    use std::sync::Mutex;

    use super::*;

    fn written(escapes: Escapes, entries: &[&str]) -> String {
        let mut log = LogWriter {
            output: Vec::new(),
            escapes,
        };
        for entry in entries {
            log.write_all(entry.as_bytes()).unwrap();
        }
        String::from_utf8(log.output).unwrap()
    }

    /// The reason that an operator gives for a failure could look like an entry of the server.
    #[test]
    fn quoted_lines_do_not_look_like_entries() {
        let forged = "INFO the reason is a\n2026-01-31T12:00:00Z INFO forged\n";
        assert_eq!(
            written(Escapes::Text, &[forged, "INFO next\n"]),
            "INFO the reason is a\n    2026-01-31T12:00:00Z INFO forged\nINFO next\n"
        );
    }

    #[test]
    fn entries_do_not_control_the_terminal() {
        let hostile = "wrote \u{1b}[2J\u{202e}\u{9b}x\n";
        assert_eq!(
            written(Escapes::Text, &[hostile]),
            "wrote \\u{1b}[2J\\u{202e}\\u{9b}x\n"
        );
        assert_eq!(
            written(
                Escapes::TextWithColours,
                &["\x1b[32mINFO\x1b[0m \u{202e}\r\n"]
            ),
            "\x1b[32mINFO\x1b[0m \\u{202e}\\r\n"
        );
        assert_eq!(
            written(Escapes::Json, &["{\"a\":\"\u{202e}\"}\n"]),
            "{\"a\":\"\\u202e\"}\n"
        );
    }

    static RECORDED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct Recorder;

    impl Write for Recorder {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            RECORDED.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn messages_and_fields_are_escaped_between_colours() {
        let layer = fmt::layer()
            .with_ansi(true)
            .fmt_fields(escaped_fields())
            .with_writer(|| Recorder);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let hostile = "\u{1b}[2J";
            tracing::warn!(field = %hostile, "message {hostile}");
        });
        let text = String::from_utf8(RECORDED.lock().unwrap().clone()).unwrap();
        let shown = "message \\u{1b}[2J field=\\u{1b}[2J\n";
        assert!(text.ends_with(shown), "{text:?}");
    }
}
