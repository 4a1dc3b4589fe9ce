//! Limits the values that `set` keeps. A value that is kept can grow in each round of a loop.
//!
//! The engine has no hook for assignments. So a filter that checks the value is added to the text of each `set` before
//! the engine compiles it, and positions in errors are converted back.

use minijinja::machinery::{self, Token};

use super::{
    engine::{Whitespace, syntax},
    functions::{ASSIGNED_TEXT_FILTER, ASSIGNED_VALUE_FILTER},
};

/// The text of a template in which each `set` checks its value.
pub(super) struct CheckedText {
    pub(super) text: String,
    /// The ends of the inserted parts in `text`, and their lengths, in bytes.
    inserted: Vec<(usize, usize)>,
}

impl CheckedText {
    /// Adds the checks to `source`, which is a valid template.
    pub(super) fn new(source: &str) -> Self {
        let mut checked = Self {
            text: String::with_capacity(source.len()),
            inserted: Vec::new(),
        };
        let mut copied = 0;
        let mut insert = |at: usize, part: &str| {
            checked.text.push_str(&source[copied..at]);
            checked.text.push_str(part);
            checked.inserted.push((checked.text.len(), part.len()));
            copied = at;
        };
        // The settings of white space do not change where a statement is.
        let syntax = syntax(Whitespace::default());
        let mut tokens = machinery::tokenize(source, false, syntax).map_while(Result::ok);
        while let Some((token, _)) = tokens.next() {
            if !matches!(token, Token::BlockStart)
                || !matches!(tokens.next(), Some((Token::Ident("set"), _)))
            {
                continue;
            }
            let mut filter = ASSIGNED_TEXT_FILTER;
            let mut is_block = true;
            for (token, span) in tokens.by_ref() {
                match token {
                    // The attribute of a namespace keeps its value beyond a round of the loop.
                    Token::Dot if is_block => filter = ASSIGNED_VALUE_FILTER,
                    Token::Assign if is_block => {
                        is_block = false;
                        insert(span.end_offset as usize, "(");
                    }
                    // The filter of `{% set x | filter %}` ends what can be a namespace.
                    Token::BlockEnd => {
                        let end = if is_block { "" } else { ")" };
                        insert(span.start_offset as usize, &format!("{end}|{filter}"));
                        break;
                    }
                    _ => {}
                }
            }
        }
        checked.text.push_str(&source[copied..]);
        checked
    }

    /// Returns the position in the template for a position in the checked text, both in bytes.
    pub(super) fn original_position(&self, at: usize) -> usize {
        let mut added = 0;
        for (end, length) in &self.inserted {
            if at < *end {
                // Within an inserted part, the position is that of the text behind it.
                return (at - added).min(end - length - added);
            }
            added += length;
        }
        at - added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_the_value_of_each_set() {
        for (source, checked) in [
            ("{{ a }} set x = 1", "{{ a }} set x = 1"),
            (
                "{% set a = 1, 2 -%}x",
                "{% set a =( 1, 2 )|cfgsync_text-%}x",
            ),
            (
                "{% set ns.a = b == c.d %}",
                "{% set ns.a =( b == c.d )|cfgsync_value%}",
            ),
            (
                "{% set a | upper %}b{% endset %}",
                "{% set a | upper |cfgsync_text%}b{% endset %}",
            ),
            (
                "{% raw %}{% set a = 1 %}{% endraw %}{# {% set a = 1 %} #}",
                "{% raw %}{% set a = 1 %}{% endraw %}{# {% set a = 1 %} #}",
            ),
        ] {
            assert_eq!(CheckedText::new(source).text, checked);
        }
    }

    #[test]
    fn positions_are_those_of_the_template() {
        let source = "{% set a = b %}{% set c = d %}{{ e }}";
        let checked = CheckedText::new(source);
        for name in ["a", "b", "c", "d", "e }}"] {
            let find = |text: &str| text.find(&format!(" {name}")).unwrap();
            assert_eq!(
                checked.original_position(find(&checked.text)),
                find(source),
                "{name}"
            );
        }
        let length = checked.text.len();
        assert_eq!(checked.original_position(length), source.len());
        let filter = checked.text.find("cfgsync_text").unwrap();
        assert_eq!(
            checked.original_position(filter),
            source.find(" %}").unwrap() + 1
        );
    }
}
