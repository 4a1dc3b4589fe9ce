//! Parses a dotenv file.
//!
//! - Each assignment is `KEY=VALUE`, optionally after `export`. Blanks around `=` are ignored.
//! - A key consists of ASCII letters, digits, `_` and `.`, and begins with a letter or `_`.
//! - An unquoted value ends at the first blank. `#` begins a comment at the beginning of a line and after a blank.
//! - In single quotes, every character stands for itself. In double quotes, a backslash begins an escape of JSON, as
//!   the filter `tojson` writes them, or precedes one of `'`, `$` and a blank. Outside quotes, it precedes one of `\`,
//!   `'`, `"`, `$`, a blank, or `n` for a line feed. Any other escape is an error.
//! - A quoted part may contain line feeds. Adjacent parts are joined: `a"b c"'d'` is `ab cd`.
//! - A value that begins with `[` or `{` is JSON: it is taken as it is, up to the end of its line.
//! - Nothing is expanded: `$` stands for itself everywhere.
//! - A byte order mark at the beginning of the file is ignored.

use std::str::CharIndices;

const BLANKS: [char; 2] = [' ', '\t'];

/// A mistake in a dotenv file. It does not show the text, which may be secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(super) struct DotenvError {
    /// The first line of the assignment, counted from 1.
    line: usize,
    problem: &'static str,
}

/// Returns the variables in the order of the file.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, DotenvError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if rest.starts_with('#') {
            rest = split_line(rest).1.trim_start();
            continue;
        }
        let mistake = |problem| DotenvError {
            line: 1 + text[..text.len() - rest.len()].matches('\n').count(),
            problem,
        };
        let (key, after) = split_key(rest).map_err(mistake)?;
        let (value, after) = split_value(after).map_err(mistake)?;
        variables.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(variables)
}

/// Returns whether `text` may be a key.
pub(super) fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(is_in_key)
}

fn is_in_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

/// Splits off the key and the `=`.
fn split_key(text: &str) -> Result<(&str, &str), &'static str> {
    let (mut key, mut after) = split_word(text);
    // `export` may be a key itself.
    if key == "export" && !after.starts_with('=') {
        (key, after) = split_word(after);
    }
    match after.strip_prefix('=') {
        Some(value) if is_key(key) => Ok((key, value)),
        Some(_) if key.is_empty() => Err("there is no key before '='"),
        Some(_) => Err("a key begins with a letter or '_'"),
        None if split_line(after).0.contains('=') => {
            Err("a key consists of letters, digits, '_' and '.', without blanks")
        }
        None => Err("there is no '=' after the key"),
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let (word, after) = text.split_at(text.find(|c| !is_in_key(c)).unwrap_or(text.len()));
    (word, after.trim_start_matches(BLANKS))
}

/// Splits off the value and the rest of its line.
fn split_value(text: &str) -> Result<(String, &str), &'static str> {
    let begun = text.trim_start_matches(BLANKS);
    if begun.starts_with('#') && begun.len() < text.len() {
        return Ok((String::new(), split_line(begun).1));
    }
    if begun.starts_with(['[', '{']) {
        let (line, rest) = split_line(begun);
        return Ok((line.trim_end().to_owned(), rest));
    }
    let text = begun;
    let mut value = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => value.push(c),
            (Some(_), '\\') => value.push(quoted_escape(&mut chars)?),
            (_, '\\') => value.push(match chars.next() {
                Some((_, c @ ('\\' | '\'' | '"' | '$' | ' '))) => c,
                Some((_, 'n')) => '\n',
                _ => return Err(UNKNOWN_ESCAPE),
            }),
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ' | '\t' | '\r' | '\n') => return Ok((value, end_line(&text[at..])?)),
            (_, c) => value.push(c),
        }
    }
    if quote.is_some() {
        return Err("the quotation mark is not closed");
    }
    Ok((value, ""))
}

const UNKNOWN_ESCAPE: &str = r"unknown escape after '\'; write '\\' for a backslash";

/// Reads the escape after a backslash in double quotes.
fn quoted_escape(chars: &mut CharIndices<'_>) -> Result<char, &'static str> {
    Ok(match chars.next() {
        Some((_, c @ ('\\' | '\'' | '"' | '$' | ' ' | '/'))) => c,
        Some((_, 'n')) => '\n',
        Some((_, 'r')) => '\r',
        Some((_, 't')) => '\t',
        Some((_, 'b')) => '\u{8}',
        Some((_, 'f')) => '\u{c}',
        Some((_, 'u')) => {
            let first = hexadecimal(chars)?;
            let is_first_of_two = (0xd800..0xdc00).contains(&first);
            // JSON writes a character beyond U+FFFF as two escapes.
            let second = if is_first_of_two {
                let (Some((_, '\\')), Some((_, 'u'))) = (chars.next(), chars.next()) else {
                    return Err(UNKNOWN_ESCAPE);
                };
                Some(hexadecimal(chars)?)
            } else {
                None
            };
            let units = std::iter::once(first).chain(second);
            let decoded = char::decode_utf16(units).next().and_then(Result::ok);
            decoded.ok_or(UNKNOWN_ESCAPE)?
        }
        _ => return Err(UNKNOWN_ESCAPE),
    })
}

/// Reads four hexadecimal digits.
fn hexadecimal(chars: &mut CharIndices<'_>) -> Result<u16, &'static str> {
    let digits: String = chars.take(4).map(|(_, c)| c).collect();
    let is_whole = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_hexdigit());
    let number = u16::from_str_radix(&digits, 16).ok();
    number.filter(|_| is_whole).ok_or(UNKNOWN_ESCAPE)
}

/// Skips blanks and a comment up to the end of the line. Returns the following lines.
fn end_line(text: &str) -> Result<&str, &'static str> {
    let (line, rest) = split_line(text);
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        Ok(rest)
    } else {
        Err("a value with blanks needs quotation marks")
    }
}

fn split_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_documented_syntax() {
        for (text, value) in [
            ("X=1", "1"),
            ("  X = 1  ", "1"),
            ("export X=1\r\n", "1"),
            ("export\tX=1", "1"),
            ("X=", ""),
            ("X= # comment", ""),
            ("X=#no-comment", "#no-comment"),
            ("X=\t#comment\n", ""),
            ("X=a#b", "a#b"),
            ("X=a # b", "a"),
            ("X=a=b", "a=b"),
            ("X='two words' # comment", "two words"),
            ("X=\"two words\"", "two words"),
            ("X='a \\n \"b\"'", "a \\n \"b\""),
            ("X=\"a\\n\\\"b\\\" \\\\\"", "a\n\"b\" \\"),
            ("X=two\\ words", "two words"),
            ("X=\"line 1\nline 2\"", "line 1\nline 2"),
            ("X='line 1\r\nline 2'", "line 1\r\nline 2"),
            ("X=a\"b c\"'d'", "ab cd"),
            ("X='é'", "é"),
            (r#"X="a\tb\r\n\b\f\/""#, "a\tb\r\n\u{8}\u{c}/"),
            (r#"X="\u00e9\u007f\ud83d\ude00""#, "é\u{7f}😀"),
            (r#"X=["a", "b"]"#, r#"["a", "b"]"#),
            ("X= {\"a\": \"b # c\"} \r\n", r#"{"a": "b # c"}"#),
            ("\u{feff}X=1", "1"),
        ] {
            let expected = vec![("X".to_owned(), value.to_owned())];
            assert_eq!(parse(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn keeps_the_order_and_skips_comments_and_empty_lines() {
        let text = "# comment\n\nA=1\n  # B=2\n_b.C9='2'\n\nexport=3\n#";
        let variables = parse(text).unwrap();
        let expected = [("A", "1"), ("_b.C9", "2"), ("export", "3")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(variables, expected);
        assert_eq!(parse(" \n\t\n"), Ok(vec![]));
    }

    /// Metadata of another node could have expanded a variable of this node, and passwords with `$` were cut.
    #[test]
    fn expands_nothing() {
        for (text, value) in [
            ("$HOME", "$HOME"),
            ("\"a ${HOME} b\"", "a ${HOME} b"),
            ("pa$word-1", "pa$word-1"),
            ("$(id)", "$(id)"),
            ("'$HOME \\$'", "$HOME \\$"),
            ("\"\\$HOME\"", "$HOME"),
            ("\"\\\\$HOME\"", "\\$HOME"),
            ("$", "$"),
        ] {
            let variables = parse(&format!("A=1\nX={text}\n")).unwrap();
            assert_eq!(variables[1].1, value, "{text}");
        }
    }

    #[test]
    fn mistakes_have_the_line_of_their_assignment() {
        for (text, message) in [
            ("secret", "line 2: there is no '=' after the key"),
            ("secret words", "line 2: there is no '=' after the key"),
            ("export secret", "line 2: there is no '=' after the key"),
            ("=secret", "line 2: there is no key before '='"),
            ("1A=secret", "line 2: a key begins with a letter or '_'"),
            (
                "A-B=secret",
                "line 2: a key consists of letters, digits, '_' and '.', without blanks",
            ),
            (
                "A B=secret",
                "line 2: a key consists of letters, digits, '_' and '.', without blanks",
            ),
            (
                "A=secret words",
                "line 2: a value with blanks needs quotation marks",
            ),
            (
                "A='x' secret",
                "line 2: a value with blanks needs quotation marks",
            ),
            (
                "A=\"secret\nB=2\n",
                "line 2: the quotation mark is not closed",
            ),
        ] {
            let error = parse(&format!("X=1\n{text}")).unwrap_err();
            assert_eq!(error.to_string(), message, "{text:?}");
        }
    }

    #[test]
    fn unknown_escapes_are_mistakes() {
        for text in [
            r"A=se\cret",
            r"A=secret\",
            "A=\"secret\\\nB\"",
            r#"A="\u12""#,
            r#"A="\u+123""#,
            r#"A="\ud83d""#,
            r#"A="\ud83dx""#,
            r#"A="\ude00""#,
        ] {
            let message = parse(&format!("X=1\n{text}")).unwrap_err().to_string();
            let expected = r"line 2: unknown escape after '\'; write '\\' for a backslash";
            assert_eq!(message, expected, "{text}");
        }
    }
}
