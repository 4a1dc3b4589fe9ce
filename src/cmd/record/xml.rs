//! Text of other machines in XML.

use std::fmt::Write as _;

/// Returns `text` for an attribute or the content of an element. Characters that XML cannot have are written as `\u{…}`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // A parser would turn them into blanks in an attribute.
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            _ if is_unsafe(character) => {
                // Writing to a string does not fail.
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Returns whether XML cannot have `character`, or whether it could reorder or hide other text.
fn is_unsafe(character: char) -> bool {
    matches!(character, '\u{fffe}' | '\u{ffff}') || cfgsync_support::escape::is_unsafe(character)
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn foreign_text_cannot_leave_its_place() {
        let text = "]]> <a href=\"x\" b='y'>&amp;\u{0}\u{1b}[2J\u{fffe}\u{202e}\n\té";
        let expected = "]]&gt; &lt;a href=&quot;x&quot; b=&apos;y&apos;&gt;&amp;amp;\\u{0}\\u{1b}[2J\\u{fffe}\\u{202e}&#10;&#9;é";
        assert_eq!(escape(text), expected);
    }
}
