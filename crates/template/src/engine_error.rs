//! Converts errors of the template engine into [`JinjaError`], and creates errors for our own functions.
//!
//! An error of the engine can print every variable. So it is converted at once, and only its message and position are
//! kept.

use std::{error::Error as _, fmt, ops::Range};

use minijinja::{Error, ErrorKind};

use super::{
    error::JinjaError,
    limits::{OUTPUT_MAX_BYTES, STEPS_MAX},
};

/// A converted error of the engine.
pub(super) struct EngineFailure {
    pub(super) error: JinjaError,
    /// Whether the cause is the use of an undefined value.
    pub(super) is_undefined: bool,
    /// The undefined expression such as `node.metadata.prot`, if the engine knows it.
    pub(super) expression: Option<String>,
}

impl EngineFailure {
    /// Returns the error. If it has no help, `suggest` is asked for help with the undefined expression.
    pub(super) fn with_suggestion(
        self,
        suggest: impl FnOnce(&str) -> Option<String>,
    ) -> JinjaError {
        let Self {
            mut error,
            expression,
            ..
        } = self;
        if error.help.is_none() {
            error.help = expression.and_then(|expression| suggest(&expression));
        }
        error
    }
}

/// Converts an error that the engine gave for `source`.
pub(super) fn from_engine(error: &Error, source: &str) -> EngineFailure {
    from_engine_at(error, source, |position| position)
}

/// Converts an error that the engine gave for a changed form of `source`. `original` converts a position in it, in bytes,
/// to one in `source`.
pub(super) fn from_engine_at(
    error: &Error,
    source: &str,
    original: impl Fn(usize) -> usize,
) -> EngineFailure {
    // The engine wraps errors, for example in blocks and in `sort`. The innermost error has the cause and, in most
    // cases, the position.
    let mut innermost = error;
    let mut located = error;
    let mut help = None;
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(cause) = cause.downcast_ref::<Error>() {
            innermost = cause;
            if cause.line().is_some() {
                located = cause;
            }
        } else if let Some(Help(text)) = cause.downcast_ref::<Help>() {
            help = Some(text.clone());
        }
        next = cause.source();
    }
    let is_undefined = innermost.kind() == ErrorKind::UndefinedError;
    let detail = innermost.detail().map(without_inner_position);
    let expression = detail
        .as_deref()
        .filter(|_| is_undefined)
        .and_then(|text| text.split('`').nth(1))
        .map(str::to_owned);
    let (message, default_help) = message(innermost.kind(), detail);
    let error = match located.range() {
        Some(range) => {
            let range = original(range.start)..original(range.end);
            let range = expression
                .as_deref()
                .and_then(|expression| range_of_expression(source, &range, expression))
                .unwrap_or(range);
            JinjaError::at(source, range, message)
        }
        None => at_line(source, located.line().unwrap_or(1), message),
    };
    EngineFailure {
        error: error.with_help(help.or(default_help)),
        is_undefined,
        expression,
    }
}

/// Returns the range of the whole undefined `expression`.
///
/// The engine's range is that of the call that received the expression, or it only begins at the last dot of the
/// expression, or at the filter that received it. So this searches for the text of the expression within the range, and
/// then before it on the same line.
fn range_of_expression(
    source: &str,
    range: &Range<usize>,
    expression: &str,
) -> Option<Range<usize>> {
    if let Some(at) = source.get(range.clone())?.find(expression) {
        let start = range.start + at;
        return Some(start..start + expression.len());
    }
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

/// Returns an error of which only the line is known. Its column is that of the first character that is not a space.
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
            format!("evaluation takes more than {STEPS_MAX} steps"),
            Some("look for an endless loop, or move what all nodes share into a fragment".into()),
        ),
        (ErrorKind::WriteFailure, _) => (
            format!("the output exceeds {} MiB", OUTPUT_MAX_BYTES >> 20),
            Some("look for an endless loop".into()),
        ),
        (ErrorKind::InvalidOperation | ErrorKind::UndefinedError, Some(detail)) => {
            // This is the only message of the engine that contains values.
            if detail.starts_with("unable to calculate") {
                return (
                    "the result of this calculation is out of range or not a number".into(),
                    None,
                );
            }
            (detail, None)
        }
        (kind, Some(detail)) => (format!("{kind}: {detail}"), None),
        (ErrorKind::UndefinedError, None) => ("this value is undefined".into(), None),
        (kind, None) => (kind.to_string(), None),
    }
}

/// Removes the line from which an undefined value came. The engine counts it within the text, but a reader would take
/// it for a line of the file.
fn without_inner_position(detail: &str) -> String {
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

/// Returns the error of one of our own filters or functions. `message` must not contain the value of a variable.
pub(super) fn invalid_operation(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Returns the error for the use of an undefined value. `message` must not contain the value of a variable.
pub(super) fn undefined_value(message: impl Into<String>, help: Option<String>) -> Error {
    let error = Error::new(ErrorKind::UndefinedError, message.into());
    match help {
        Some(help) => error.with_source(Help(help)),
        None => error,
    }
}

/// A help text. It passes through the engine as the source of an error.
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
    fn removes_the_position_where_an_undefined_value_came_from() {
        for (message, kept) in [
            ("`x` is undefined", "`x` is undefined"),
            ("`x` is undefined (from line 3)", "`x` is undefined"),
            (
                "no (`x` is undefined, from line 3)",
                "no (`x` is undefined)",
            ),
        ] {
            assert_eq!(without_inner_position(message), kept);
        }
    }
}
