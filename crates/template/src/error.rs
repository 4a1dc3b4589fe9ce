//! What went wrong in an expression or template, and where.

use std::{error::Error as _, fmt, ops::Range};

use minijinja::{Error, ErrorKind};

use super::bounds::{OUTPUT_MAX_BYTES, STEPS_MAX};

/// A mistake in an expression or template, or a failure while it ran. Never holds a variable's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JinjaError {
    /// What is wrong, in words.
    pub message: String,
    /// 1-based line within the text itself.
    pub line: usize,
    /// 1-based column within that line, in characters.
    pub column: usize,
    /// Bytes within the text that the message is about.
    pub range: Option<Range<usize>>,
    /// The way out: the nearest name, what was expected.
    pub help: Option<String>,
}

/// Where a text stands in a file, so that messages can point there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, as messages call it.
    pub file: String,
    /// 1-based line of the text's first line.
    pub line: usize,
    /// 1-based column at which each line of the text starts: 1 for a file of its own, one more than the
    /// indentation for a literal block.
    pub column: usize,
    /// Whether the text's lines are the file's lines. Where they are not (folded or escaped scalars), all
    /// errors are said to be at `line` and `column`.
    pub exact: bool,
}

impl Origin {
    /// The text is the whole of `file`.
    pub fn file(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: 1,
            column: 1,
            exact: true,
        }
    }

    /// The place of `error` in the file: 1-based line and column.
    pub fn place(&self, error: &JinjaError) -> (usize, usize) {
        if !self.exact {
            return (self.line, self.column);
        }
        (self.line + error.line - 1, self.column + error.column - 1)
    }
}

/// Message and way out in one line.
impl JinjaError {
    /// `file:line:column: message; help`, for where one line must do. Without an origin the place is within
    /// the text.
    pub fn describe(&self, origin: Option<&Origin>) -> String {
        let mut text = match origin {
            Some(origin) => {
                let (line, column) = origin.place(self);
                format!("{}:{line}:{column}: {}", origin.file, self.message)
            }
            None => format!(
                "line {}, column {}: {}",
                self.line, self.column, self.message
            ),
        };
        if let Some(help) = &self.help {
            text.push_str("; ");
            text.push_str(help);
        }
        text
    }

    /// An error about `range` of `source`.
    pub(super) fn at(source: &str, range: Range<usize>, message: impl Into<String>) -> Self {
        // At the end of the text the engine points behind it.
        let range = source.floor_char_boundary(range.start)..source.floor_char_boundary(range.end);
        let (line, column) = position(source, range.start);
        Self {
            message: message.into(),
            line,
            column,
            range: Some(range),
            help: None,
        }
    }

    #[must_use]
    pub(super) fn with_help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }
}

/// 1-based line and column (in characters) of the byte at `offset`.
fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.bytes().filter(|&b| b == b'\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// What the engine said, stripped of everything that could hold a value.
pub(super) struct Failure {
    pub(super) error: JinjaError,
    /// Whether something undefined was used.
    pub(super) undefined: bool,
    /// The undefined expression, where the engine knows it: `node.metadata.prot`.
    pub(super) expression: Option<String>,
}

impl Failure {
    /// The error, with what `nearest` offers for the undefined expression as its way out.
    pub(super) fn with_nearest(self, nearest: impl FnOnce(&str) -> Option<String>) -> JinjaError {
        let Self {
            mut error,
            expression,
            ..
        } = self;
        if error.help.is_none() {
            error.help = expression.and_then(|path| nearest(&path));
        }
        error
    }
}

/// Converts the engine's error. The engine's own must not be kept: with its debug information it can print
/// every variable.
pub(super) fn from_engine(error: &Error, source: &str) -> Failure {
    // The engine wraps errors (blocks, sorting): the innermost says what happened and where.
    let mut innermost = error;
    let mut placed = error;
    let mut help = None;
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(cause) = cause.downcast_ref::<Error>() {
            innermost = cause;
            if cause.line().is_some() {
                placed = cause;
            }
        } else if let Some(Help(text)) = cause.downcast_ref::<Help>() {
            help = Some(text.clone());
        }
        next = cause.source();
    }
    let undefined = innermost.kind() == ErrorKind::UndefinedError;
    let detail = innermost.detail().map(without_inner_place);
    let expression = detail
        .as_deref()
        .filter(|_| undefined)
        .and_then(|text| text.split('`').nth(1))
        .map(str::to_owned);
    let (message, default_help) = message(innermost.kind(), detail);
    let error = match placed.range() {
        Some(range) => {
            let range = expression
                .as_deref()
                .and_then(|expression| widened(source, &range, expression))
                .unwrap_or(range);
            JinjaError::at(source, range, message)
        }
        None => at_line(source, placed.line().unwrap_or(1), message),
    };
    Failure {
        error: error.with_help(help.or(default_help)),
        undefined,
        expression,
    }
}

/// The engine's range begins at the last dot of `expression`, or at the filter that met it: this one at its
/// first letter, where it stands before on the same line.
fn widened(source: &str, range: &Range<usize>, expression: &str) -> Option<Range<usize>> {
    let line = source
        .get(..range.start)?
        .rfind('\n')
        .map_or(0, |at| at + 1);
    let (start, _) = source[line..]
        .match_indices(expression)
        .map(|(start, text)| (line + start, text))
        .take_while(|(start, _)| *start <= range.start)
        .last()?;
    Some(start..start + expression.len())
}

/// An error of which only the line is known: it points at the line's first character that is not blank.
fn at_line(source: &str, line: usize, message: String) -> JinjaError {
    let text = source.lines().nth(line - 1).unwrap_or_default();
    let blank = text.chars().take_while(|c| c.is_whitespace()).count();
    JinjaError {
        message,
        line,
        column: blank + 1,
        range: None,
        help: None,
    }
}

fn message(kind: ErrorKind, detail: Option<String>) -> (String, Option<String>) {
    match (kind, detail) {
        (ErrorKind::OutOfFuel, _) => (
            format!("it takes more than {STEPS_MAX} steps"),
            Some(
                "look for a loop without end, or render what all nodes share once, as a fragment"
                    .into(),
            ),
        ),
        (ErrorKind::WriteFailure, _) => (
            format!("the text grows beyond {} MiB", OUTPUT_MAX_BYTES >> 20),
            Some("look for a loop without end".into()),
        ),
        (ErrorKind::InvalidOperation | ErrorKind::UndefinedError, Some(detail)) => {
            // This one detail of the engine holds values.
            if detail.starts_with("unable to calculate") {
                return (
                    "the result of this calculation is out of range or not a number".into(),
                    None,
                );
            }
            (detail, None)
        }
        (kind, Some(detail)) => (format!("{kind}: {detail}"), None),
        (ErrorKind::UndefinedError, None) => ("this is undefined".into(), None),
        (kind, None) => (kind.to_string(), None),
    }
}

/// The engine adds the line where an undefined value came from, within the text: it would be read as a line
/// of the file.
fn without_inner_place(detail: &str) -> String {
    let Some(start) = detail.find(" (from ").or_else(|| detail.find(", from ")) else {
        return detail.to_owned();
    };
    let end = detail[start..]
        .find(')')
        .map_or(detail.len(), |at| start + at);
    let keep = if detail[start..].starts_with(',') {
        end
    } else {
        (end + 1).min(detail.len())
    };
    format!("{}{}", &detail[..start], &detail[keep..])
}

/// A failure of one of our own filters and functions. `message` must not hold a value.
pub(super) fn fault(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Something undefined was used.
pub(super) fn undefined(message: impl Into<String>, help: Option<String>) -> Error {
    let error = Error::new(ErrorKind::UndefinedError, message.into());
    match help {
        Some(help) => error.with_source(Help(help)),
        None => error,
    }
}

/// A way out that travels through the engine as the error's source.
#[derive(Debug)]
struct Help(String);

impl fmt::Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Help {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_places_errors_in_its_file() {
        let error = JinjaError::at("a\n  {{ ü }}{{ x }}\n", 15..16, "m").with_help("h".to_owned());
        assert_eq!((error.line, error.column), (2, 13));
        let block = Origin {
            file: "c.yaml".into(),
            line: 31,
            column: 11,
            exact: true,
        };
        assert_eq!(error.describe(Some(&block)), "c.yaml:32:23: m; h");
        let folded = Origin {
            exact: false,
            ..block
        };
        assert_eq!(error.describe(Some(&folded)), "c.yaml:31:11: m; h");
        assert_eq!(error.describe(None), "line 2, column 13: m; h");
        assert_eq!(
            error.describe(Some(&Origin::file("t.j2"))),
            "t.j2:2:13: m; h"
        );
    }

    #[test]
    fn the_inner_place_of_an_undefined_value_is_not_shown() {
        for (said, kept) in [
            ("`x` is undefined", "`x` is undefined"),
            ("`x` is undefined (from line 3)", "`x` is undefined"),
            (
                "no (`x` is undefined, from line 3)",
                "no (`x` is undefined)",
            ),
        ] {
            assert_eq!(without_inner_place(said), kept);
        }
    }
}
