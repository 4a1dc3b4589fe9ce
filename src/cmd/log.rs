//! Starts the log, which goes to stderr: text on a terminal, lines with priorities in the journal, plain lines with UTC
//! times elsewhere, JSON on request.

use std::{
    io::{self, IsTerminal, Write},
    sync::OnceLock,
};

use cfgsync_model::Identifier;
use clap::{Args, ValueEnum};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{
        self, FmtContext, FormatEvent, FormatFields,
        format::{self, Format, Full, Writer},
        time::FormatTime,
    },
    layer::SubscriberExt,
    registry::LookupSpan,
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
    /// Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times
    /// elsewhere
    Auto,
    /// Plain lines with UTC times, also on a terminal
    Text,
    /// One JSON object per line
    Json,
}

/// The fields that only JSON has, because the message of a text line says the same.
const JSON_FIELDS: [&str; 6] = ["event", "node", "generation", "revision", "reason", "peer"];

/// The node that `join` registers. Text lines name it where stderr may have the lines of several nodes.
static NODE: OnceLock<String> = OnceLock::new();

/// Starts logging. Call it once.
pub(crate) fn start(args: &LogArgs) {
    let terminal = io::stderr().is_terminal();
    let is_journal = args.is_journal();
    let lines = fmt::layer()
        .with_writer(move || Indented {
            to: io::stderr(),
            is_journal,
        })
        .with_target(false);
    let text = || lines.fmt_fields(text_fields());
    let layer = match args.log_format {
        LogFormat::Json => fmt::layer()
            .with_writer(io::stderr)
            .with_target(false)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_timer(UtcTime)
            .boxed(),
        LogFormat::Auto if terminal => text()
            .with_ansi(colours_are_allowed())
            .with_timer(TimeOfDay)
            .boxed(),
        // The journal has the time and the level of each line.
        LogFormat::Auto if is_journal => text()
            .with_ansi(false)
            .event_format(JournalLines(
                fmt::format()
                    .without_time()
                    .with_level(false)
                    .with_target(false),
            ))
            .boxed(),
        LogFormat::Auto | LogFormat::Text => text().with_ansi(false).with_timer(UtcTime).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer)
        .with(args.log_level.clone())
        .init();
}

/// Makes the text lines of `join` begin with the name of its node, unless stderr is a terminal.
pub(crate) fn set_node(node: &Identifier) {
    if !io::stderr().is_terminal() {
        // It is set once, by the only `join` of the process.
        let _ = NODE.set(node.to_string());
    }
}

impl LogArgs {
    /// Returns whether text lines go to the journal, which reads priorities from them.
    pub(crate) fn is_journal(&self) -> bool {
        self.log_format == LogFormat::Auto
            && is_stderr(std::env::var("JOURNAL_STREAM").unwrap_or_default().as_str())
    }
}

/// Returns whether stderr is the stream that systemd names in `JOURNAL_STREAM`, as `DEVICE:INODE`. A redirected stderr
/// is another one.
fn is_stderr(stream: &str) -> bool {
    let stderr = rustix::fs::fstat(io::stderr());
    stderr.is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
}

/// Returns the priority of a line for the journal, as in syslog.
pub(crate) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Writes the message, and the fields that it does not contain.
fn text_fields() -> impl for<'w> FormatFields<'w> + 'static {
    format::debug_fn(|writer, field, value| match field.name() {
        "message" => {
            if let Some(node) = NODE.get() {
                write!(writer, "{node}: ")?;
            }
            write!(writer, "{value:?}")
        }
        name if JSON_FIELDS.contains(&name) => Ok(()),
        name => write!(writer, " {name}={value:?}"),
    })
}

/// Lines that begin with their priority, in the form `<6>`.
struct JournalLines(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for JournalLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// A writer that gets whole entries and indents all lines of an entry but the first. Text that an entry quotes then
/// cannot look like an entry of its own.
struct Indented<W> {
    to: W,
    /// Whether each line begins with the priority of the entry.
    is_journal: bool,
}

impl<W: Write> Write for Indented<W> {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        const LINE_END: &str = "\n";
        let text = String::from_utf8_lossy(entry);
        let (lines, end) = match text.strip_suffix(LINE_END) {
            Some(lines) => (lines, LINE_END),
            None => (&*text, ""),
        };
        let priority = match text.split_once('>') {
            Some((priority, _)) if self.is_journal => format!("{priority}>"),
            _ => String::new(),
        };
        let indented = lines.replace(LINE_END, &format!("\n{priority}    ")) + end;
        self.to.write_all(indented.as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
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
        let mut log = Indented {
            to: Vec::new(),
            is_journal: false,
        };
        log.write_all(b"INFO the reason is a\n2026-01-31T12:00:00Z INFO forged\n")
            .unwrap();
        log.write_all(b"INFO next\n").unwrap();
        assert_eq!(
            String::from_utf8(log.to).unwrap(),
            "INFO the reason is a\n    2026-01-31T12:00:00Z INFO forged\nINFO next\n"
        );
    }

    #[test]
    fn each_line_of_an_entry_has_its_priority_in_the_journal() {
        let mut log = Indented {
            to: Vec::new(),
            is_journal: true,
        };
        log.write_all(b"<3>the reason is a\n<6>forged\n").unwrap();
        assert_eq!(
            String::from_utf8(log.to).unwrap(),
            "<3>the reason is a\n<3>    <6>forged\n"
        );
    }
}
