//! Patterns of names, such as `web-*`.

use std::{fmt, str::FromStr};

use wildmatch::WildMatch;

/// A pattern in which `*` matches any number of characters and `?` matches one. It must match the whole name, and
/// upper and lower case differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    text: String,
    matcher: WildMatch,
}

impl Eq for Pattern {}

/// A text that is not a [`Pattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pattern has 1 to 253 characters: letters, digits, '.', '_', '-', '@', ':', '/', '*' and '?'"
)]
pub struct InvalidPattern;

/// The longest pattern, in bytes: as long as the longest identifier.
const PATTERN_MAX_BYTES: usize = 253;

impl Pattern {
    /// Returns whether the pattern matches all of `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.matches(name)
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-@:/*?".contains(c);
        let fits = (1..=PATTERN_MAX_BYTES).contains(&text.len());
        if !fits || !text.chars().all(is_allowed) {
            return Err(InvalidPattern);
        }
        Ok(Self {
            text: text.to_owned(),
            matcher: WildMatch::new(text),
        })
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
    fn stars_match_any_text_and_question_marks_one_character() {
        for (pattern, name, expected) in [
            ("web-1", "web-1", true),
            ("web-1", "web-10", false),
            ("web-1", "WEB-1", false),
            ("web-*", "web-10", true),
            ("web-*", "web-", true),
            ("web-*", "xweb-1", false),
            ("*", "anything", true),
            ("*", "", true),
            ("web-?", "web-1", true),
            ("web-?", "web-10", false),
            ("web-?", "web-", false),
            ("*-a-*b", "x-a-a-cb", true),
            ("*-a-*b", "x-a-a-cbx", false),
            ("a**b", "ab", true),
            // A matcher that backtracks over every star would not finish.
            ("a*a*a*a*a*a*a*b", &"a".repeat(253), false),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn rejects_other_characters_and_lengths() {
        for text in ["", "a b", "[ab]", "é", &"a".repeat(254)] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
    }
}
