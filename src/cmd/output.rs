//! Prints data to stdout, as JSON, as YAML or as a table.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

/// The format of printed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table, for people
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

/// Writes `bytes` to stdout.
pub(crate) fn print(bytes: impl AsRef<[u8]>) -> Result<(), OutputError> {
    write(bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => OutputError::Closed,
        _ => OutputError::Broken(error),
    })
}

/// Like [`print()`], for data that must arrive: a closed pipe is an error like any other.
pub(crate) fn write(bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes.as_ref())?;
    stdout.flush()
}

/// Prints `value` as JSON or YAML, or the table that `table` makes of it.
pub(crate) fn print_as<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), OutputError> {
    print(render(format, value, table))
}

/// Returns the text that [`print_as`] prints.
pub(crate) fn render<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> String {
    match format {
        Format::Table => table(value),
        Format::Json => {
            let json = serde_json::to_string_pretty(value);
            json.expect("map keys are strings") + "\n"
        }
        Format::Yaml => serde_yaml::to_string(value).expect("map keys are strings"),
    }
}

/// Whether output to stdout is coloured: it is a terminal, and `NO_COLOR` is not set.
pub(crate) fn stdout_has_colours() -> bool {
    std::io::stdout().is_terminal() && super::log::colours_are_allowed()
}

/// Returns the number of columns of the terminal that stdout is; `None` if it is not a terminal.
pub(crate) fn terminal_columns() -> Option<usize> {
    let stdout = console::Term::stdout();
    let size = stdout.is_term().then(|| stdout.size_checked()).flatten();
    size.map(|(_, columns)| columns.into())
}

/// Returns rows with aligned columns. The last column is not padded.
pub(crate) fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = header.iter().map(|title| width(title)).collect();
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let mut text = String::new();
    let titles = header.iter().map(|title| (*title).to_owned()).collect();
    for row in std::iter::once(&titles).chain(rows) {
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
}
