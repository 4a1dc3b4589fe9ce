//! Prints data to stdout, as JSON, as YAML or as a table. Text of other machines is escaped here and nowhere else, so that
//! no command can forget it.

use std::io::{IsTerminal, Write};

use cfgsync_support::escape::{
    escape_for_terminal, escape_json, escape_json_as_yaml, escape_line, is_unsafe,
};
use clap::ValueEnum;
use serde::Serialize;

/// The format of printed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table, for people
    #[value(alias = "text")]
    Table,
    /// JSON, for scripts
    Json,
    /// YAML, for scripts and people
    Yaml,
}

/// The reason why nothing could be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// The reader of standard output has gone, as `head` does. That is no failure.
    #[error("standard output was closed")]
    Closed,
    /// Standard output cannot be written to.
    #[error("cannot write to standard output: {0}")]
    Broken(std::io::Error),
}

impl From<std::io::Error> for OutputError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Broken(error),
        }
    }
}

/// A text for people that is safe to print on a terminal: [`Text::push_str`] escapes what it appends. Only texts of this
/// program can be styled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text(String);

impl Text {
    /// Appends `text`, which may come from another machine.
    pub(crate) fn push_str(&mut self, text: &str) {
        self.0.push_str(&escape_for_terminal(text));
    }

    /// Appends `text` in `style`, if output to stdout is coloured.
    pub(crate) fn push_styled(&mut self, style: anstyle::Style, text: &'static str) {
        if stdout_has_colours() {
            self.0.push_str(&format!("{style}{text}{style:#}"));
        } else {
            self.0.push_str(text);
        }
    }

    /// Appends a control sequence of this program.
    pub(crate) fn push_control(&mut self, sequence: &'static str) {
        self.0.push_str(sequence);
    }

    /// Returns the text.
    #[cfg(test)]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text, for a file.
    pub(crate) fn into_string(self) -> String {
        self.0
    }

    /// Appends another text.
    pub(crate) fn push(&mut self, text: impl Into<Self>) {
        self.0.push_str(&text.into().0);
    }
}

impl<S: AsRef<str>> From<S> for Text {
    fn from(text: S) -> Self {
        let mut safe = Self::default();
        safe.push_str(text.as_ref());
        safe
    }
}

/// Prints `text` to stdout.
pub(crate) fn print(text: impl Into<Text>) -> Result<(), OutputError> {
    write(text).map_err(OutputError::from)
}

/// Like [`print()`], for data that must arrive: a closed pipe is an error like any other.
pub(crate) fn write(text: impl Into<Text>) -> std::io::Result<()> {
    write_all(text.into().0.as_bytes())
}

/// Writes `text` to stderr, for a text that `--log-level` must not suppress.
pub(crate) fn write_to_stderr(text: impl Into<Text>) -> std::io::Result<()> {
    std::io::stderr().write_all(text.into().0.as_bytes())
}

/// Passes what a program of this machine has written to its standard error on to that of this process, as it is.
pub(crate) fn pass_to_stderr(bytes: &[u8]) -> std::io::Result<()> {
    std::io::stderr().write_all(bytes)
}

/// Prints the content of a file or a diff to stdout. A terminal gets it escaped, any other reader as it is.
pub(crate) fn print_document(bytes: impl AsRef<[u8]>) -> Result<(), OutputError> {
    write_document(bytes).map_err(OutputError::from)
}

/// Like [`print_document`], for data that must arrive: a closed pipe is an error like any other.
pub(crate) fn write_document(bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
    if std::io::stdout().is_terminal() {
        write_all(document_for_terminal(bytes.as_ref()).as_bytes())
    } else {
        write_all(bytes.as_ref())
    }
}

fn document_for_terminal(bytes: &[u8]) -> String {
    escape_for_terminal(&String::from_utf8_lossy(bytes))
}

fn write_all(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Prints `value` as JSON or YAML, or the table that `table` makes of it.
pub(crate) fn print_as<T: Serialize, X: Into<Text>>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> X,
) -> Result<(), OutputError> {
    print(render(format, value, table))
}

/// Prints `value` as JSON or YAML, or the diff that `document` makes of it.
pub(crate) fn print_as_document<T: Serialize>(
    format: Format,
    value: &T,
    document: impl FnOnce(&T) -> String,
) -> Result<(), OutputError> {
    match format {
        Format::Table => print_document(document(value)),
        Format::Json => print(json(value)),
        Format::Yaml => print(yaml(value)),
    }
}

/// Returns the text that [`print_as`] prints.
pub(crate) fn render<T: Serialize, X: Into<Text>>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> X,
) -> Text {
    match format {
        Format::Table => table(value).into(),
        Format::Json => json(value),
        Format::Yaml => yaml(value),
    }
}

/// Returns `value` as indented JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Text {
    let json = serde_json::to_string_pretty(value);
    Text(escape_json(&json.expect("map keys are strings")) + "\n")
}

/// Returns `value` as JSON on one line.
pub(crate) fn json_line<T: Serialize>(value: &T) -> Text {
    let json = serde_json::to_string(value);
    Text(escape_json(&json.expect("map keys are strings")) + "\n")
}

/// Returns `value` as YAML. Plain YAML texts have no escapes, so a value that needs some is written in the JSON form of
/// YAML.
fn yaml<T: Serialize>(value: &T) -> Text {
    let yaml = serde_yaml::to_string(value).expect("map keys are strings");
    if !yaml.contains(is_unsafe) {
        return Text(yaml);
    }
    let json = serde_json::to_string_pretty(value);
    Text(escape_json_as_yaml(&json.expect("map keys are strings")) + "\n")
}

/// Returns `text`, which may have several lines, as part of a line: the further lines are indented, so that they do not
/// look like lines of this program.
pub(crate) fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

/// Whether output to stdout is coloured: it is a terminal, and `NO_COLOR` is not set.
pub(crate) fn stdout_has_colours() -> bool {
    std::io::stdout().is_terminal() && super::log::colours_are_allowed()
}

/// Returns whether stderr is a terminal, and this process may draw on it. A background job would draw over the prompt of
/// the shell.
pub(crate) fn may_draw() -> bool {
    // Without job control the process group is that of the terminal, or unknown.
    let is_foreground = |group| group == rustix::process::getpgrp();
    std::io::stderr().is_terminal()
        && rustix::termios::tcgetpgrp(rustix::stdio::stderr()).map_or(true, is_foreground)
}

/// Returns the number of columns of the terminal that stdout is; `None` if it is not a terminal.
pub(crate) fn terminal_columns() -> Option<usize> {
    let stdout = console::Term::stdout();
    let size = stdout.is_term().then(|| stdout.size_checked()).flatten();
    size.map(|(_, columns)| columns.into())
}

/// Returns rows with aligned columns. The last column is not padded. Cells are escaped before they are measured.
pub(crate) fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let escaped = |row: &Vec<String>| row.iter().map(|cell| escape_line(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(escaped).collect();
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = header.iter().map(|title| width(title)).collect();
    for row in &rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let mut text = String::new();
    let titles = header.iter().map(|title| (*title).to_owned()).collect();
    for row in std::iter::once(&titles).chain(&rows) {
        let mut line = String::new();
        for (cell, widest) in row.iter().zip(&widths) {
            let padding = widest - width(cell) + 2;
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', padding));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["a".into(), "1".into()],
            vec!["node-10".into(), String::new()],
        ];
        assert_eq!(
            columns(&["NODE", "SEAT"], &rows),
            "NODE     SEAT\na        1\nnode-10\n"
        );
    }

    #[test]
    fn text_of_other_machines_is_escaped() {
        let mut text = Text::from("a\u{1b}[2J\n");
        text.push_control("\x1b[H");
        text.push("\u{202e}b");
        assert_eq!(text.0, "a\\u{1b}[2J\n\x1b[H\\u{202e}b");
        let table = columns(&["N"], &[vec!["a\nb\u{9b}".to_owned()]]);
        assert_eq!(table, "N\na\\nb\\u{9b}\n");
        assert_eq!(
            document_for_terminal(b"\ta\x1b\xff\n"),
            "\ta\\u{1b}\u{fffd}\n"
        );
    }

    #[test]
    fn json_and_yaml_keep_their_value() {
        let value = serde_json::json!({"a\u{9b}": ["\u{202e}\u{e0041}", "\u{1b}é"]});
        let Text(json) = json(&value);
        assert!(!json.contains(is_unsafe), "{json:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            value
        );
        let Text(text) = yaml(&value);
        assert!(!text.contains(is_unsafe), "{text:?}");
        assert_eq!(
            serde_yaml::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
        assert_eq!(yaml(&serde_json::json!({"a": "é"})).0, "a: é\n");
    }
}
