//! Patterns of names: `web-*`.

use std::{fmt, str::FromStr};

/// A text in which `*` stands for any characters, also none, and `?` for one. It matches whole names, as they are
/// written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// A text that is not a [`Pattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pattern is 1 to 253 of letters, digits, '.', '_', '-', '@', ':', '/', '*' and '?'")]
pub struct InvalidPattern;

/// Longest pattern, in bytes: that of an identifier.
const PATTERN_MAX_BYTES: usize = 253;

impl Pattern {
    /// Whether it matches all of `name`.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut seen) = (0, 0);
        // Where the last `*` stands, and how much it has taken. Going back to that one alone is enough.
        let mut star: Option<(usize, usize)> = None;
        while seen < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, seen));
                    at += 1;
                }
                Some(&expected) if expected == b'?' || expected == name[seen] => {
                    at += 1;
                    seen += 1;
                }
                _ => {
                    let Some((star_at, taken)) = star else {
                        return false;
                    };
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    seen = taken + 1;
                }
            }
        }
        pattern[at..].iter().all(|&left| left == b'*')
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-@:/*?".contains(c);
        let fits = (1..=PATTERN_MAX_BYTES).contains(&text.len());
        match fits && text.chars().all(is_allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidPattern),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, expected) in [
            ("web-1", "web-1", true),
            ("web-1", "web-10", false),
            ("web-*", "web-10", true),
            ("web-*", "web-", true),
            ("web-*", "xweb-1", false),
            ("*", "anything", true),
            ("web-?", "web-1", true),
            ("web-?", "web-10", false),
            ("web-?", "web-", false),
            ("*-a-*b", "x-a-a-cb", true),
            ("*-a-*b", "x-a-a-cbx", false),
            ("a**b", "ab", true),
            // Would take for ever if every star were gone back to.
            ("a*a*a*a*a*a*a*b", &"a".repeat(253), false),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "a b", "[ab]", "é", &"a".repeat(254)] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
    }
}
