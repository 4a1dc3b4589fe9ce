//! Makes text that other machines sent safe to print on a terminal.

use std::fmt::Write as _;

/// Returns `text` with escapes such as `\u{1b}` in place of all characters that [`is_unsafe`] names, so that it cannot
/// move a terminal's cursor, reorder a line or hide a part of it. Line ends, tabs and quotes stay.
///
/// ```
/// use cfgsync_support::escape::escape_for_terminal;
///
/// assert_eq!(escape_for_terminal("a\u{1b}[2J"), "a\\u{1b}[2J");
/// ```
pub fn escape_for_terminal(text: &str) -> String {
    escape_with(text, |escaped, c| {
        if c.is_control() {
            escaped.extend(c.escape_debug());
        } else {
            escaped.extend(c.escape_unicode());
        }
    })
}

/// Returns `text` as [`escape_for_terminal`] does, on one line: line ends and tabs are escaped too.
pub fn escape_line(text: &str) -> String {
    let escaped = escape_for_terminal(text);
    escaped.replace('\n', "\\n").replace('\t', "\\t")
}

/// Returns the same JSON with escapes in place of all unsafe characters. In JSON, they occur only in texts.
pub fn escape_json(json: &str) -> String {
    escape_with(json, |escaped, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    })
}

/// Returns JSON as YAML that has escapes in place of all unsafe characters. YAML has no surrogate pairs.
pub fn escape_json_as_yaml(json: &str) -> String {
    escape_with(json, |escaped, c| {
        let _ = write!(escaped, "\\U{:08x}", u32::from(c));
    })
}

/// Returns whether a terminal may obey `c` instead of showing it: control characters (C0 and C1) except line ends and
/// tabs, bidirectional controls, characters without a width, and all others that cannot be printed.
pub fn is_unsafe(c: char) -> bool {
    match c {
        ' '..='~' | '\n' | '\t' => false,
        // These are shown as nothing, although they count as letters or marks.
        '\u{34f}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}' => true,
        // After a letter, `escape_debug` keeps combining marks and escapes what is not printable.
        c => {
            let mut pair = [b'a'; 5];
            let length = c.encode_utf8(&mut pair[1..]).len();
            let pair = std::str::from_utf8(&pair[..=length]).expect("two characters");
            pair.escape_debug().nth(1) == Some('\\')
        }
    }
}

fn escape_with(text: &str, escape: impl Fn(&mut String, char)) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            escape(&mut escaped, c);
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_obeys_or_hides() {
        for (text, escaped) in [
            ("a \"b\" 'c' \\ é e\u{301} 語\tx\nd", None),
            (
                "\u{1b}[2J\r\u{7f}\0\u{8}",
                Some("\\u{1b}[2J\\r\\u{7f}\\0\\u{8}"),
            ),
            ("\u{9b}31m", Some("\\u{9b}31m")),
            ("\u{202e}abc\u{2066}", Some("\\u{202e}abc\\u{2066}")),
            (
                "a\u{200b}\u{200d}\u{feff}\u{2060}",
                Some("a\\u{200b}\\u{200d}\\u{feff}\\u{2060}"),
            ),
            (
                "\u{3164}\u{e0041}\u{2028}\u{ad}",
                Some("\\u{3164}\\u{e0041}\\u{2028}\\u{ad}"),
            ),
        ] {
            let expected = escaped.unwrap_or(text);
            assert_eq!(escape_for_terminal(text), expected);
            assert_eq!(escape_for_terminal(expected), expected, "an escape stays");
        }
        assert_eq!(escape_line("a\n\tb\u{1b}"), "a\\n\\tb\\u{1b}");
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let json = "{\n  \"a\u{9b}\": \"\u{202e}\u{e0041}é\"\n}\n";
        let escaped = escape_json(json);
        assert_eq!(
            escaped,
            "{\n  \"a\\u009b\": \"\\u202e\\udb40\\udc41é\"\n}\n"
        );
        let yaml = escape_json_as_yaml(json);
        assert_eq!(
            yaml,
            "{\n  \"a\\U0000009b\": \"\\U0000202e\\U000e0041é\"\n}\n"
        );
    }
}
