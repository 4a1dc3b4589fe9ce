//! Data goes to stdout: as JSON, as YAML, or as a table for people.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For scripts.
    Json,
    /// For scripts and people.
    Yaml,
}

/// Standard output that cannot be written to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Whoever read it has gone, as `head` does: no failure.
    #[error("standard output was closed")]
    Closed,
    /// Anything else.
    #[error("cannot write to standard output: {0}")]
    Broken(std::io::Error),
}

/// Writes `bytes` to stdout as they are.
pub(crate) fn print(bytes: impl AsRef<[u8]>) -> Result<(), OutputError> {
    write(bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => OutputError::Closed,
        _ => OutputError::Broken(error),
    })
}

/// As [`print`], for what must arrive: also a closed pipe is an error.
pub(crate) fn write(bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes.as_ref())?;
    stdout.flush()
}

/// Prints `value` in a script's format, or `table` of it.
pub(crate) fn print_as<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), OutputError> {
    print(render(format, value, table))
}

/// The text of [`print_as`].
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

/// Whether stdout takes colours: a terminal, and no `NO_COLOR`.
pub(crate) fn stdout_is_colourful() -> bool {
    std::io::stdout().is_terminal() && super::log::colours_are_welcome()
}

/// Rows with aligned columns; the last column is not padded.
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
