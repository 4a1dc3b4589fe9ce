//! The printed form of values: strings as they are, everything else as compact JSON with sorted keys.

use minijinja::{Error, Value, value::ValueKind};

use super::{
    engine_error::{invalid_operation, undefined_value},
    limits::OUTPUT_MAX_BYTES,
};

/// Maximum nesting of a value that is printed. It also stops a `namespace` that contains itself.
const DEPTH_MAX: usize = 160;

/// Returns the text that `{{ value }}` prints.
pub(super) fn to_text(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => to_json(value, None),
    }
}

/// Returns `value` as JSON, compact or indented by `indent` spaces. Nothing is escaped for HTML.
pub(super) fn to_json(value: &Value, indent: Option<usize>) -> Result<String, Error> {
    // A scalar, the most common case, needs no second buffer.
    if let Some(scalar) = scalar_to_json(value)? {
        return Ok(scalar);
    }
    let mut writer = JsonWriter {
        out: String::new(),
        indent,
    };
    writer.value(value, 0)?;
    Ok(writer.out)
}

/// Returns the entries of an object, sorted by key.
pub(super) fn entries(object: &Value) -> Result<Vec<(String, Value)>, Error> {
    let mut entries = object
        .try_iter()?
        .map(|key| Ok((key_text(&key)?, object.get_item(&key)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}

/// Returns a scalar as JSON, or `None` if `value` is a list or an object.
pub(super) fn scalar_to_json(value: &Value) -> Result<Option<String>, Error> {
    Ok(Some(match value.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number => number_to_json(value)?,
        ValueKind::String | ValueKind::Bytes => {
            json_string(value.as_str().ok_or_else(|| {
                invalid_operation("these bytes are not UTF-8 text; use `b64encode`")
            })?)
        }
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => return Ok(None),
        ValueKind::Undefined => {
            return Err(undefined_value(
                "this value contains an undefined item",
                None,
            ));
        }
        _ => {
            return Err(invalid_operation("a function or macro cannot be printed"));
        }
    }))
}

/// Fails if a value has more than 160 levels of nesting, or if its text is longer than [`OUTPUT_MAX_BYTES`].
pub(super) fn check_size(depth: usize, length_bytes: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(invalid_operation(format!(
            "this value has more than {DEPTH_MAX} levels of nesting"
        )));
    }
    if length_bytes > OUTPUT_MAX_BYTES {
        return Err(output_too_long());
    }
    Ok(())
}

/// Returns the error for a text that is longer than [`OUTPUT_MAX_BYTES`].
pub(super) fn output_too_long() -> Error {
    invalid_operation(format!("the output exceeds {} MiB", OUTPUT_MAX_BYTES >> 20))
}

/// Returns `text` as a JSON string, including the quotation marks.
pub(super) fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("every string can be JSON")
}

fn number_to_json(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let float = f64::try_from(value.clone())?;
    serde_json::Number::from_f64(float)
        .map(|number| number.to_string())
        .ok_or_else(|| invalid_operation("this number is infinite or NaN"))
}

fn key_text(key: &Value) -> Result<String, Error> {
    match (key.as_str(), key.kind()) {
        (Some(text), _) => Ok(text.to_owned()),
        (None, ValueKind::None | ValueKind::Bool | ValueKind::Number) => {
            Ok(scalar_to_json(key)?.unwrap_or_default())
        }
        _ => Err(invalid_operation(
            "a key of this object is not a string, number, boolean or none",
        )),
    }
}

struct JsonWriter {
    out: String,
    indent: Option<usize>,
}

impl JsonWriter {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        check_size(depth, self.out.len())?;
        if let Some(scalar) = scalar_to_json(value)? {
            self.out.push_str(&scalar);
            return Ok(());
        }
        let is_object = value.kind() == ValueKind::Map;
        self.out.push(if is_object { '{' } else { '[' });
        let mut has_items = false;
        if is_object {
            for (key, item) in entries(value)? {
                self.separate(&mut has_items, depth);
                self.out.push_str(&json_string(&key));
                self.out
                    .push_str(if self.indent.is_some() { ": " } else { ":" });
                self.value(&item, depth + 1)?;
            }
        } else {
            for item in value.try_iter()? {
                self.separate(&mut has_items, depth);
                self.value(&item, depth + 1)?;
            }
        }
        if has_items {
            self.new_line(depth);
        }
        self.out.push(if is_object { '}' } else { ']' });
        Ok(())
    }

    fn separate(&mut self, has_items: &mut bool, depth: usize) {
        if std::mem::replace(has_items, true) {
            self.out.push(',');
        }
        self.new_line(depth + 1);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json_value::from_json;

    #[test]
    fn values_print_as_serde_json_prints_them() {
        for value in [
            json!(null),
            json!(true),
            json!(9000),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(1.0),
            json!(0.1),
            json!(1e300),
            json!("<a href='&'>\n\u{7f}\u{1}ü"),
            json!([]),
            json!({}),
            json!([1, [2, {"a": {"z": null, "ä": -1}, "b": []}]]),
        ] {
            let jinja = from_json(&value);
            assert_eq!(to_json(&jinja, None).unwrap(), value.to_string());
            assert_eq!(
                to_json(&jinja, Some(2)).unwrap(),
                serde_json::to_string_pretty(&value).unwrap()
            );
        }
    }

    #[test]
    fn rejects_values_that_json_cannot_represent() {
        let deep = (0..200).fold(Value::from(1), |inner, _| Value::from(vec![inner]));
        for value in [
            Value::from(f64::NAN),
            Value::from(f64::INFINITY),
            Value::from(vec![Value::UNDEFINED]),
            Value::from_bytes(vec![0xff]),
            Value::from_function(|| 1),
            deep,
        ] {
            assert!(to_json(&value, None).is_err());
        }
        assert_eq!(
            to_text(&Value::from(i128::MAX)).unwrap(),
            i128::MAX.to_string()
        );
    }
}
