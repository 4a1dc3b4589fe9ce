//! Errors in expressions and templates, with their positions.

use std::ops::Range;

/// An error in an expression or template, found when it was compiled or evaluated. It never contains the value of a
/// variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JinjaError {
    /// The error in words, without position and help.
    pub message: String,
    /// The line within the text, counted from 1.
    pub line: usize,
    /// The column within that line in characters, counted from 1.
    pub column: usize,
    /// The bytes of the text that the error is about, if they are known. The range is on character boundaries.
    pub range: Option<Range<usize>>,
    /// A suggestion for how to fix the error.
    pub help: Option<String>,
}

/// The position of a text in a file. It turns positions within the text into positions within the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The name of the file in messages.
    pub file: String,
    /// The line of the file on which the text starts, counted from 1.
    pub line: usize,
    /// The column of the file at which every line of the text starts, counted from 1. It is 1 if the text is the whole
    /// file, and one more than the indentation for a literal block.
    pub column: usize,
    /// Whether the lines of the text are lines of the file. If not, as in folded or escaped scalars, every error is
    /// reported at `line` and `column`.
    pub exact: bool,
}

impl Origin {
    /// Returns the origin of a text that is the whole file.
    pub fn file(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: 1,
            column: 1,
            exact: true,
        }
    }

    /// Returns the line and column of `error` in the file, both counted from 1.
    pub(super) fn position_of(&self, error: &JinjaError) -> (usize, usize) {
        if !self.exact {
            return (self.line, self.column);
        }
        (self.line + error.line - 1, self.column + error.column - 1)
    }
}

impl JinjaError {
    /// Returns the error as one line: `FILE:LINE:COLUMN: MESSAGE; HELP`. Without an origin, the position is that
    /// within the text.
    pub fn describe(&self, origin: Option<&Origin>) -> String {
        let mut text = match origin {
            Some(origin) => {
                let (line, column) = origin.position_of(self);
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

    /// Returns an error about `range` of `source`.
    pub(super) fn at(source: &str, range: Range<usize>, message: impl Into<String>) -> Self {
        // For an error at the end of the text, the engine gives a position behind it.
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

    /// Returns whether the message is about a node or an item of a list.
    pub(super) fn names_node(&self) -> bool {
        self.message.contains(" for node ") || self.message.contains("of the list")
    }

    /// Adds a note in brackets to the message.
    #[must_use]
    pub(super) fn with_note(mut self, note: &str) -> Self {
        self.message.push_str(&format!(" ({note})"));
        self
    }

    #[must_use]
    pub(super) fn with_help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }
}

/// Returns the line and column (in characters) of the byte at `offset`, both counted from 1.
fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.bytes().filter(|&b| b == b'\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_gives_positions_in_the_file() {
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
}
