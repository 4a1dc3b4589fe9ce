//! Filters that encode values: `tojson`, `toyaml`, `b64encode`, `b64decode` and `sha256`.

use data_encoding::BASE64;
use minijinja::{
    Error, Value,
    value::{Kwargs, Rest, ValueOrKwargs, from_args},
};

use super::lists::require_defined;
use crate::{
    engine_error::invalid_operation,
    formatter::{to_json, to_text},
    limits::INDENT_MAX,
    yaml::to_yaml,
};
use cfgsync_model::Digest;

/// `VALUE | tojson(indent=SPACES)`: prints the value as JSON.
pub(super) fn tojson(value: &Value, options: Rest<ValueOrKwargs>) -> Result<String, Error> {
    require_defined(value)?;
    let options = options.into_values();
    // The engine allocates several times to read options, and most calls have none.
    if options.is_empty() {
        return to_json(value, None);
    }
    let (indent, options): (Option<usize>, Kwargs) = from_args(&options)?;
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<usize>>("indent")?,
    };
    options.assert_all_used()?;
    if indent.is_some_and(|width| width > INDENT_MAX) {
        return Err(invalid_operation(format!(
            "`tojson` indents by at most {INDENT_MAX} spaces"
        )));
    }
    to_json(value, indent)
}

/// `VALUE | toyaml`: prints the value as block YAML.
pub(super) fn toyaml(value: &Value) -> Result<String, Error> {
    require_defined(value)?;
    to_yaml(value)
}

/// `VALUE | b64encode`: encodes the printed value as base64.
pub(super) fn b64encode(value: &Value) -> Result<String, Error> {
    bytes_of(value).map(|bytes| BASE64.encode(&bytes))
}

/// `VALUE | sha256`: returns the checksum of the printed value.
pub(super) fn sha256(value: &Value) -> Result<String, Error> {
    bytes_of(value).map(|bytes| Digest::of(&bytes).to_string())
}

/// `STRING | b64decode`: decodes base64 to a string.
pub(super) fn b64decode(value: &Value) -> Result<String, Error> {
    require_defined(value)?;
    let Some(encoded) = value.as_str() else {
        return Err(invalid_operation(format!(
            "`b64decode` needs a string, not a value of type {}",
            value.kind()
        )));
    };
    let bytes = BASE64.decode(encoded.trim_end().as_bytes()).map_err(|_| {
        invalid_operation("`b64decode` needs base64 with the standard alphabet and padding")
    })?;
    String::from_utf8(bytes).map_err(|_| {
        invalid_operation("the decoded bytes are not UTF-8 text; deliver such bytes with `source`")
    })
}

/// Returns the bytes of a string, or of the printed form of another value.
fn bytes_of(value: &Value) -> Result<Vec<u8>, Error> {
    require_defined(value)?;
    match value.as_bytes() {
        Some(bytes) => Ok(bytes.to_vec()),
        None => to_text(value).map(String::into_bytes),
    }
}
