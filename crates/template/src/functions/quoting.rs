//! Filters that write a value for another language: `shellquote`, `dotenv` and `urlencode`.

use std::fmt::Write as _;

use minijinja::{Error, Value, value::ValueKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::lists::require_defined;
use crate::{
    engine_error::invalid_operation,
    formatter::{check_size, entries, to_text},
};

/// The characters besides letters and digits that need no quotation marks in a shell.
const SHELL_SAFE: &str = "@%+=:,./_-";

/// The characters that `urlencode` encodes in a text: all but the unreserved ones and `/`.
const URL_TEXT: &AsciiSet = &URL_QUERY.remove(b'/');

/// The characters that `urlencode` encodes in keys and values of a query.
const URL_QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `VALUE | shellquote`: writes the printed value as one word of a POSIX shell.
pub(super) fn shellquote(value: &Value) -> Result<String, Error> {
    require_defined(value)?;
    quote(&to_text(value)?)
}

/// `OBJECT | dotenv`: writes one line `KEY=VALUE` for each entry, as `join --env` and a shell read it.
pub(super) fn dotenv(value: &Value) -> Result<String, Error> {
    require_defined(value)?;
    if value.kind() != ValueKind::Map {
        return Err(invalid_operation(
            "`dotenv` needs an object: `{\"KEY\": VALUE} | dotenv`",
        ));
    }
    let mut out = String::new();
    for (key, item) in entries(value)? {
        let is_name = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name {
            return Err(invalid_operation(
                "a key of `dotenv` consists of letters, digits and `_`, and does not begin with a digit",
            ));
        }
        require_defined(&item)?;
        let text = match item.kind() {
            ValueKind::None => String::new(),
            _ => to_text(&item)?,
        };
        let quoted = if text.is_empty() { text } else { quote(&text)? };
        writeln!(out, "{key}={quoted}").expect("a string accepts every text");
        check_size(0, out.len())?;
    }
    Ok(out)
}

/// `VALUE | urlencode`: encodes a text for a URL, or an object as a query.
pub(super) fn urlencode(value: &Value) -> Result<String, Error> {
    require_defined(value)?;
    if value.kind() != ValueKind::Map {
        let encoded = utf8_percent_encode(&to_text(value)?, URL_TEXT).to_string();
        check_size(0, encoded.len())?;
        return Ok(encoded);
    }
    let mut out = String::new();
    for (key, item) in entries(value)? {
        let separator = if out.is_empty() { "" } else { "&" };
        let key = utf8_percent_encode(&key, URL_QUERY);
        let item = to_text(&item)?;
        let item = utf8_percent_encode(&item, URL_QUERY);
        write!(out, "{separator}{key}={item}").expect("a string accepts every text");
        check_size(0, out.len())?;
    }
    Ok(out)
}

fn quote(text: &str) -> Result<String, Error> {
    if text.contains('\0') {
        return Err(invalid_operation("a word of a shell cannot contain a NUL"));
    }
    let is_safe = |c: char| c.is_ascii_alphanumeric() || SHELL_SAFE.contains(c);
    if !text.is_empty() && text.chars().all(is_safe) {
        return Ok(text.to_owned());
    }
    let quoted = format!("'{}'", text.replace('\'', "'\"'\"'"));
    check_size(0, quoted.len())?;
    Ok(quoted)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::json_value::from_json;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn shell_reads_the_same_word(text in "[^\0]*") {
            let quoted = shellquote(&Value::from(text.as_str())).unwrap();
            let script = format!("printf %s {quoted}");
            let printed = Command::new("sh").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(String::from_utf8(printed.stdout).unwrap(), text);
        }
    }

    #[test]
    fn refuses_what_the_other_language_cannot_represent() {
        let message = |failed: Result<String, Error>| failed.unwrap_err().to_string();
        let key = from_json(&json!({"A-B": 1}));
        assert!(message(shellquote(&"a\0b".into())).contains("cannot contain a NUL"));
        assert!(message(dotenv(&key)).contains("a key of `dotenv`"));
        assert!(message(dotenv(&"a".into())).contains("needs an object"));
    }
}
