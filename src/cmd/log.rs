//! Starts the log, which goes to stderr: text on a terminal, lines with priorities in the journal, plain lines with UTC
//! times elsewhere, JSON on request.

use std::{
    io::{self, IsTerminal, Write},
    sync::OnceLock,
};

use cfgsync_model::Identifier;
use cfgsync_support::escape::{escape_for_terminal, escape_json};
use clap::{Args, ValueEnum};
use tracing::{Event, Level, Subscriber, field::Field};
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
    let has_colours = terminal && colours_are_allowed();
    let is_journal = args.is_journal();
    let escapes = match args.log_format {
        LogFormat::Json => Escapes::Json,
        LogFormat::Auto if has_colours => Escapes::TextWithColours,
        LogFormat::Auto | LogFormat::Text => Escapes::Text,
    };
    let lines = || {
        let writer = move || LogWriter {
            output: io::stderr(),
            escapes,
            is_journal,
        };
        fmt::layer().with_writer(writer).with_target(false)
    };
    let text = || lines().fmt_fields(text_fields());
    let layer = match args.log_format {
        LogFormat::Json => lines()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_timer(UtcTime)
            .boxed(),
        LogFormat::Auto if terminal => text().with_ansi(has_colours).with_timer(TimeOfDay).boxed(),
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

/// Writes the message, and the fields that it does not contain, escaped. The default formatter writes some of them as
/// they are, so that their control sequences could not be told from its colours.
fn text_fields() -> impl for<'w> FormatFields<'w> + 'static {
    let format = |writer: &mut Writer<'_>, field: &Field, value: &dyn std::fmt::Debug| {
        let value = escape_for_terminal(&format!("{value:?}"));
        match field.name() {
            "message" => {
                if let Some(node) = NODE.get() {
                    write!(writer, "{node}: ")?;
                }
                write!(writer, "{value}")
            }
            name if JSON_FIELDS.contains(&name) => Ok(()),
            name => write!(writer, " {name}={value}"),
        }
    };
    format::debug_fn(format)
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

/// The rules by which the text of other machines is escaped in an entry.
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
    /// Whether each line begins with the priority of the entry.
    is_journal: bool,
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
        let priority = match text.split_once('>') {
            Some((priority, _)) if self.is_journal => format!("{priority}>"),
            _ => String::new(),
        };
        let indented = escaped.replace(LINE_END, &format!("\n{priority}    ")) + end;
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
            is_journal: false,
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
            .fmt_fields(text_fields())
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

    #[test]
    fn each_line_of_an_entry_has_its_priority_in_the_journal() {
        let mut log = LogWriter {
            output: Vec::new(),
            escapes: Escapes::Text,
            is_journal: true,
        };
        log.write_all(b"<3>the reason is a\n<6>forged\n").unwrap();
        assert_eq!(
            String::from_utf8(log.output).unwrap(),
            "<3>the reason is a\n<3>    <6>forged\n"
        );
    }
}
