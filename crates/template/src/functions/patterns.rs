//! Filters with regular expressions: `regex_match` and `regex_replace`.

use std::cell::RefCell;

use minijinja::{Error, Value};
use regex::{Regex, RegexBuilder};

use super::lists::require_defined;
use crate::{
    engine_error::invalid_operation,
    formatter::{check_size, to_text},
};

/// Maximum length of a text, in bytes.
const TEXT_MAX_BYTES: usize = 1 << 20;

/// Maximum length of a pattern and of a replacement, in bytes.
const PATTERN_MAX_BYTES: usize = 1000;

/// Maximum size of a compiled pattern, in bytes.
const COMPILED_MAX_BYTES: usize = 1 << 20;

/// Number of compiled patterns that each thread keeps.
const KEPT_PATTERNS_MAX: usize = 16;

thread_local! {
    /// The patterns that this thread used last. A template uses the same few for all nodes.
    static COMPILED: RefCell<Vec<(String, Regex)>> = const { RefCell::new(Vec::new()) };
}

/// `VALUE | regex_match(PATTERN)`: returns whether the pattern matches a part of the printed value.
pub(super) fn regex_match(value: &Value, pattern: &Value) -> Result<bool, Error> {
    let text = bounded_text(value)?;
    Ok(compile(pattern)?.is_match(&text))
}

/// `VALUE | regex_replace(PATTERN, REPLACEMENT)`: replaces all matches. `$1` in the replacement is the first group.
pub(super) fn regex_replace(
    value: &Value,
    pattern: &Value,
    replacement: &Value,
) -> Result<String, Error> {
    let text = bounded_text(value)?;
    let regex = compile(pattern)?;
    let replacement = short_text(replacement, "replacement")?;
    let mut out = String::new();
    let mut copied = 0;
    for captures in regex.captures_iter(&text) {
        let whole = captures.get_match();
        out.push_str(&text[copied..whole.start()]);
        captures.expand(&replacement, &mut out);
        copied = whole.end();
        check_size(0, out.len())?;
    }
    out.push_str(&text[copied..]);
    Ok(out)
}

fn bounded_text(value: &Value) -> Result<String, Error> {
    require_defined(value)?;
    let text = to_text(value)?;
    if text.len() > TEXT_MAX_BYTES {
        return Err(invalid_operation(format!(
            "a regular expression reads a text of at most {} KiB",
            TEXT_MAX_BYTES >> 10
        )));
    }
    Ok(text)
}

fn short_text(value: &Value, what: &str) -> Result<String, Error> {
    require_defined(value)?;
    match value.as_str() {
        Some(text) if text.len() <= PATTERN_MAX_BYTES => Ok(text.to_owned()),
        Some(_) => Err(invalid_operation(format!(
            "a {what} has at most {PATTERN_MAX_BYTES} bytes"
        ))),
        None => Err(invalid_operation(format!("the {what} must be a string"))),
    }
}

fn compile(pattern: &Value) -> Result<Regex, Error> {
    let pattern = short_text(pattern, "pattern")?;
    COMPILED.with_borrow_mut(|compiled| {
        if let Some((_, regex)) = compiled.iter().find(|(known, _)| *known == pattern) {
            return Ok(regex.clone());
        }
        let regex = RegexBuilder::new(&pattern)
            .size_limit(COMPILED_MAX_BYTES)
            .build()
            // The error of the library quotes the pattern, which may come from a variable.
            .map_err(|_| {
                invalid_operation(
                    "the pattern is not a valid regular expression, or it is too large; look-around and \
                     backreferences do not exist",
                )
            })?;
        if compiled.len() == KEPT_PATTERNS_MAX {
            compiled.remove(0);
        }
        compiled.push((pattern, regex.clone()));
        Ok(regex)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_texts_and_results_are_limited() {
        let long = Value::from("x".repeat(TEXT_MAX_BYTES + 1));
        let whole = Value::from("x".repeat(TEXT_MAX_BYTES));
        let groups = Value::from("$0".repeat(PATTERN_MAX_BYTES / 2));
        for (failed, expected) in [
            (
                regex_match(&long, &"x".into()).map(drop),
                "at most 1024 KiB",
            ),
            (
                regex_match(&"x".into(), &long).map(drop),
                "at most 1000 bytes",
            ),
            (
                regex_match(&"x".into(), &"(".into()).map(drop),
                "not a valid",
            ),
            (
                regex_match(&"x".into(), &r"(\w{500}){500}".into()).map(drop),
                "too large",
            ),
            (
                regex_match(&"x".into(), &1.into()).map(drop),
                "must be a string",
            ),
            (
                regex_replace(&whole, &".*".into(), &groups).map(drop),
                "exceeds 64 MiB",
            ),
        ] {
            let error = failed.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
