//! Makes text that other machines sent safe to print on a terminal.

/// Returns `text` with control characters and bidirectional overrides as escapes such as `\u{1b}`, so that it
/// cannot move a terminal's cursor or reorder a line. Line ends and quotes stay.
///
/// ```
/// use cfgsync_support::escape::escape_for_terminal;
///
/// assert_eq!(escape_for_terminal("a\u{1b}[2J"), "a\\u{1b}[2J");
/// ```
pub fn escape_for_terminal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '"' | '\'' | '\\' => escaped.push(c),
            c => escaped.extend(c.escape_debug()),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_control_characters() {
        // `inspect node` used to print the last two unchanged.
        for (text, escaped) in [
            ("a \"b\" 'c' \\ é\nd", "a \"b\" 'c' \\ é\nd"),
            ("\u{1b}[2J\r\t\u{7f}", "\\u{1b}[2J\\r\\t\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}abc", "\\u{202e}abc"),
        ] {
            assert_eq!(escape_for_terminal(text), escaped);
        }
    }
}
