//! Filters that make strings: `string` and `join`. They print values as `{{ }}` does, unlike the engine's own filters.

use minijinja::{
    Error, Value,
    value::{Kwargs, ValueKind},
};

use super::lists::{attribute_of, require_defined};
use crate::{
    engine_error::invalid_operation,
    formatter::{check_size, to_text},
};

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
