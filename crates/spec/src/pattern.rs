//! A regular expression that a whole text must match.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// The largest compiled expression, in bytes. It bounds the memory that a spec can use.
const COMPILED_MAX_BYTES: usize = 1 << 20;

/// A compiled expression. Two are equal if their texts are equal.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: String,
    compiled: Regex,
}

impl Pattern {
    /// Compiles `text`. The error says what is wrong, on one line.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let is_whole = format!(r"\A(?:{text})\z");
        // The expression itself is compiled first: messages must not show the text around it.
        let compiled = RegexBuilder::new(text)
            .size_limit(COMPILED_MAX_BYTES)
            .build()
            .and_then(|_| {
                RegexBuilder::new(&is_whole)
                    .size_limit(COMPILED_MAX_BYTES)
                    .build()
            })
            .map_err(|error| describe(&error))?;
        Ok(Self {
            text: text.to_owned(),
            compiled,
        })
    }

    /// Returns whether the whole of `text` matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }
}

/// The engine's message draws the expression over several lines. The last one has the reason.
fn describe(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "the expression is too large".to_owned(),
        other => {
            let message = other.to_string();
            let last = message.lines().last().unwrap_or_default().trim();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_text_must_match() {
        let pattern = Pattern::new("[a-z]+|x1").unwrap();
        assert!(pattern.matches("abc") && pattern.matches("x1"));
        assert!(!pattern.matches("abc1") && !pattern.matches("abc\n") && !pattern.matches(""));
    }

    #[test]
    fn mistakes_are_one_line() {
        assert_eq!(Pattern::new("a(").unwrap_err(), "unclosed group");
        assert_eq!(Pattern::new("a)|(b").unwrap_err(), "unopened group");
        let huge = Pattern::new("(?:[a-z]{1000}){1000}").unwrap_err();
        assert_eq!(huge, "the expression is too large");
    }
}
