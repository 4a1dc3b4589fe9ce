//! Filters that make strings: `string`, `join`, `center` and `truncate`. They print values as `{{ }}` does, unlike the engine's own filters.

use minijinja::{
    Error, Value,
    value::{Kwargs, ValueKind},
};

use super::lists::{attribute_of, require_defined};
use crate::{
    engine_error::invalid_operation,
    formatter::{check_size, to_text},
};

/// Maximum width of `center`, in characters.
const WIDTH_MAX: usize = 1000;

/// `VALUE | string`: converts the value to a string.
pub(super) fn string(value: &Value) -> Result<String, Error> {
    require_defined(value)?;
    to_text(value)
}

/// `LIST | join(SEPARATOR, attribute=PATH)`: joins the printed items.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the engine passes the options by value"
)]
pub(super) fn join(
    value: &Value,
    separator: Option<&str>,
    attribute: Option<&str>,
    options: Kwargs,
) -> Result<String, Error> {
    let separator = match separator {
        Some(separator) => separator,
        None => options.get::<Option<&str>>("d")?.unwrap_or_default(),
    };
    let attribute = match attribute {
        Some(attribute) => Some(attribute),
        None => options.get::<Option<&str>>("attribute")?,
    };
    options.assert_all_used()?;
    require_defined(value)?;
    if value.kind() == ValueKind::Map {
        return Err(invalid_operation(
            "`join` needs a list, not an object; use `OBJECT | list` for its keys, or `OBJECT | items`",
        ));
    }
    let mut out = String::new();
    for (at, item) in value.try_iter()?.enumerate() {
        let item = match attribute {
            Some(path) => attribute_of(&item, path, at)?,
            None => item,
        };
        if at > 0 {
            out.push_str(separator);
        }
        out.push_str(&to_text(&item)?);
        check_size(0, out.len())?;
    }
    Ok(out)
}

/// `VALUE | center(WIDTH)`: pads the printed value with spaces on both sides.
pub(super) fn center(value: &Value, width: Option<usize>) -> Result<String, Error> {
    let text = string(value)?;
    let width = width.unwrap_or(80);
    if width > WIDTH_MAX {
        return Err(invalid_operation(format!(
            "`center` gives at most {WIDTH_MAX} characters"
        )));
    }
    Ok(format!("{text:^width$}"))
}

/// `VALUE | truncate(LENGTH, KILLWORDS, END, leeway=NUMBER)`: shortens the printed value to a number of characters.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the engine passes the options by value"
)]
pub(super) fn truncate(
    value: &Value,
    length: Option<usize>,
    killwords: Option<bool>,
    end: Option<&str>,
    options: Kwargs,
) -> Result<String, Error> {
    let text = string(value)?;
    let length = length.or(options.get("length")?).unwrap_or(255);
    let killwords = killwords.or(options.get("killwords")?).unwrap_or(false);
    let end = end.or(options.get("end")?).unwrap_or("...");
    let leeway = options.get::<Option<usize>>("leeway")?.unwrap_or(5);
    options.assert_all_used()?;
    let Some(kept) = length.checked_sub(end.chars().count()) else {
        return Err(invalid_operation(
            "the length of `truncate` includes its `end`, so it must not be shorter",
        ));
    };
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let kept: String = text.chars().take(kept).collect();
    let kept = match kept.rsplit_once(' ') {
        Some((words, _)) if !killwords => words,
        _ => &kept,
    };
    Ok(format!("{kept}{end}"))
}
