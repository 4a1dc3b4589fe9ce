//! Parses a dotenv file.
//!
//! - Each assignment is `KEY=VALUE`, optionally after `export`. Blanks around `=` are ignored.
//! - A key consists of ASCII letters, digits, `_` and `.`, and begins with a letter or `_`.
//! - An unquoted value ends at the first blank. `#` after a blank, or in place of a value, begins a comment. So does
//!   `#` at the beginning of a line.
//! - In single quotes, every character stands for itself. In double quotes and outside quotes, a backslash precedes
//!   one of `\`, `'`, `"`, `$`, a blank, or `n` for a line feed. Any other escape is an error.
//! - A quoted part may contain line feeds. Adjacent parts are joined: `a"b c"'d'` is `ab cd`.
//! - Nothing is expanded: `$` stands for itself everywhere.

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
        let (key, after) = split_key(rest).ok_or_else(|| mistake("expected KEY=VALUE"))?;
        let (value, after) = split_value(after).map_err(mistake)?;
        variables.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(variables)
}

/// Splits off the key and the `=`.
fn split_key(text: &str) -> Option<(&str, &str)> {
    let (mut key, mut after) = split_word(text);
    // `export` may be a key itself.
    if key == "export" && !after.starts_with('=') {
        (key, after) = split_word(after);
    }
    let is_key = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let value = after.strip_prefix('=')?;
    is_key.then(|| (key, value.trim_start_matches(BLANKS)))
}

fn split_word(text: &str) -> (&str, &str) {
    let is_outside = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.');
    let (word, after) = text.split_at(text.find(is_outside).unwrap_or(text.len()));
    (word, after.trim_start_matches(BLANKS))
}

/// Splits off the value and the rest of its line.
fn split_value(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => value.push(c),
            (_, '\\') => value.push(match chars.next() {
                Some((_, c @ ('\\' | '\'' | '"' | '$' | ' '))) => c,
                Some((_, 'n')) => '\n',
                _ => return Err("unknown escape after '\\'"),
            }),
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ' | '\t' | '\r' | '\n') => return Ok((value, end_line(&text[at..])?)),
            (None, '#') if at == 0 => return Ok((value, end_line(text)?)),
            (_, c) => value.push(c),
        }
    }
    if quote.is_some() {
        return Err("the quotation mark is not closed");
    }
    Ok((value, ""))
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
            ("X=#comment", ""),
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
            ("secret", "line 2: expected KEY=VALUE"),
            ("secret words", "line 2: expected KEY=VALUE"),
            ("export secret", "line 2: expected KEY=VALUE"),
            ("=secret", "line 2: expected KEY=VALUE"),
            ("1A=secret", "line 2: expected KEY=VALUE"),
            ("A-B=secret", "line 2: expected KEY=VALUE"),
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
            ("A=se\\cret", "line 2: unknown escape after '\\'"),
            ("A=secret\\", "line 2: unknown escape after '\\'"),
            ("A=\"secret\\\nB\"", "line 2: unknown escape after '\\'"),
            ("\u{feff}A=secret", "line 2: expected KEY=VALUE"),
        ] {
            let error = parse(&format!("X=1\n{text}")).unwrap_err();
            assert_eq!(error.to_string(), message, "{text:?}");
        }
    }
}
