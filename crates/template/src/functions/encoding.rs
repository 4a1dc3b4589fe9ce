//! Filters that encode and decode values: JSON, YAML, base64, hexadecimal digits, checksums and UUIDs.

use data_encoding::{BASE64, HEXLOWER};
use minijinja::{
    Error, Value,
    value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args},
};
use uuid::Uuid;

use super::lists::require_defined;
use crate::{
    engine_error::invalid_operation,
    formatter::{to_json, to_text},
    json_value::from_json,
    limits::INDENT_MAX,
    yaml::to_yaml,
};
use cfgsync_model::{Digest, check_integer_range};

/// Maximum length of a text that `fromyaml` reads, in bytes. The parser needs more than linear time for nested texts.
const YAML_MAX_BYTES: usize = 64 << 10;

/// Maximum length of a text that `fromjson` reads, in bytes. The value takes many times as much memory.
const JSON_MAX_BYTES: usize = 4 << 20;

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

/// `VALUE | hex`: returns the bytes of the printed value as hexadecimal digits.
pub(super) fn hex(value: &Value) -> Result<String, Error> {
    bytes_of(value).map(|bytes| HEXLOWER.encode(&bytes))
}

/// `uuid5(NAMESPACE, NAME)`: returns the UUID (version 5) of a name.
pub(super) fn uuid5(namespace: &Value, name: &Value) -> Result<String, Error> {
    let namespace = match text_of("uuid5", namespace)? {
        "dns" => Uuid::NAMESPACE_DNS,
        "url" => Uuid::NAMESPACE_URL,
        "oid" => Uuid::NAMESPACE_OID,
        "x500" => Uuid::NAMESPACE_X500,
        uuid => Uuid::try_parse(uuid).map_err(|_| {
            invalid_operation("the namespace of `uuid5` is dns, url, oid, x500 or a UUID")
        })?,
    };
    Ok(Uuid::new_v5(&namespace, &bytes_of(name)?).to_string())
}

/// `STRING | fromjson`: returns the value of a JSON text.
pub(super) fn fromjson(value: &Value) -> Result<Value, Error> {
    let text = bounded_text_of("fromjson", value, JSON_MAX_BYTES)?;
    check_integer_range(text).map_err(|error| invalid_operation(error.to_string()))?;
    let parsed: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        // The words of the library may quote the text.
        let (line, column) = (error.line(), error.column());
        invalid_operation(format!(
            "the text is not JSON: mistake in its line {line}, column {column}"
        ))
    })?;
    Ok(from_json(&parsed))
}

/// `STRING | fromyaml`: returns the value of a YAML text.
pub(super) fn fromyaml(value: &Value) -> Result<Value, Error> {
    let text = bounded_text_of("fromyaml", value, YAML_MAX_BYTES)?;
    let parsed: serde_json::Value = serde_yaml::from_str(text).map_err(|error| {
        // The words of the library may quote the text.
        invalid_operation(match error.location() {
            Some(at) => format!(
                "the text is not YAML, or has a key that is not a string: mistake in its line {}, column {}",
                at.line(),
                at.column()
            ),
            None => "the text is not YAML, or has a key that is not a string".to_owned(),
        })
    })?;
    Ok(from_json(&parsed))
}

/// `STRING | b64decode`: decodes base64 to a string, or to bytes if they are not UTF-8 text.
pub(super) fn b64decode(value: &Value) -> Result<Value, Error> {
    let encoded = text_of("b64decode", value)?;
    let bytes = BASE64.decode(encoded.trim_end().as_bytes()).map_err(|_| {
        invalid_operation("`b64decode` needs base64 with the standard alphabet and padding")
    })?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(error) => Value::from_bytes(error.into_bytes()),
    })
}

/// Returns the string in `value`, for the filter or function `name`.
fn text_of<'a>(name: &str, value: &'a Value) -> Result<&'a str, Error> {
    require_defined(value)?;
    if value.kind() == ValueKind::String
        && let Some(text) = value.as_str()
    {
        return Ok(text);
    }
    Err(invalid_operation(format!(
        "`{name}` needs a string, not a value of type {}",
        value.kind()
    )))
}

fn bounded_text_of<'a>(name: &str, value: &'a Value, max_bytes: usize) -> Result<&'a str, Error> {
    let text = text_of(name, value)?;
    if text.len() > max_bytes {
        return Err(invalid_operation(format!(
            "`{name}` reads a text of at most {} KiB",
            max_bytes >> 10
        )));
    }
    Ok(text)
}

/// Returns the bytes of a string, or of the printed form of another value.
fn bytes_of(value: &Value) -> Result<Vec<u8>, Error> {
    require_defined(value)?;
    match value.as_bytes() {
        Some(bytes) => Ok(bytes.to_vec()),
        None => to_text(value).map(String::into_bytes),
    }
}
