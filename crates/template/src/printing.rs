//! How values are printed: text as it is, everything else as compact JSON with sorted keys.

use minijinja::{Error, Value, value::ValueKind};

use super::{
    bounds::OUTPUT_MAX_BYTES,
    error::{fault, undefined},
};

/// Deepest nesting of a value that is printed.
const DEPTH_MAX: usize = 160;

/// The text of `value` as `{{ value }}` prints it.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => json(value, None),
    }
}

/// `value` as JSON: compact, or indented by so many spaces. Not escaped for HTML.
pub(super) fn json(value: &Value, indent: Option<usize>) -> Result<String, Error> {
    // The commonest case needs no second buffer.
    if let Some(scalar) = scalar(value)? {
        return Ok(scalar);
    }
    let mut writer = Writer {
        out: String::new(),
        indent,
    };
    writer.value(value, 0)?;
    Ok(writer.out)
}

/// The entries of an object, sorted by key.
pub(super) fn entries(object: &Value) -> Result<Vec<(String, Value)>, Error> {
    let mut entries = object
        .try_iter()?
        .map(|key| Ok((key_text(&key)?, object.get_item(&key)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}

/// A scalar as JSON, `None` when `value` is a list or an object.
pub(super) fn scalar(value: &Value) -> Result<Option<String>, Error> {
    Ok(Some(match value.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number => number(value)?,
        ValueKind::String | ValueKind::Bytes => quoted(
            value
                .as_str()
                .ok_or_else(|| fault("these bytes are not UTF-8 text; use b64encode"))?,
        ),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => return Ok(None),
        ValueKind::Undefined => {
            return Err(undefined("something undefined stands in this value", None));
        }
        _ => {
            return Err(fault(
                "a function or macro is not a value that can be printed",
            ));
        }
    }))
}

/// Fails when a value is nested too deeply, or its text has grown too long.
pub(super) fn within_bounds(depth: usize, length_bytes: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(fault(format!(
            "this value is nested more than {DEPTH_MAX} deep"
        )));
    }
    if length_bytes > OUTPUT_MAX_BYTES {
        return Err(too_long());
    }
    Ok(())
}

/// The error for a text beyond [`OUTPUT_MAX_BYTES`].
pub(super) fn too_long() -> Error {
    fault(format!(
        "the text grows beyond {} MiB",
        OUTPUT_MAX_BYTES >> 20
    ))
}

/// A JSON string, quotes included.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let float = f64::try_from(value.clone())?;
    serde_json::Number::from_f64(float)
        .map(|number| number.to_string())
        .ok_or_else(|| fault("this number is infinite or not a number"))
}

fn key_text(key: &Value) -> Result<String, Error> {
    match (key.as_str(), key.kind()) {
        (Some(text), _) => Ok(text.to_owned()),
        (None, ValueKind::None | ValueKind::Bool | ValueKind::Number) => {
            Ok(scalar(key)?.unwrap_or_default())
        }
        _ => Err(fault(
            "a key of this object is not a text, number, boolean or none",
        )),
    }
}

struct Writer {
    out: String,
    indent: Option<usize>,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        within_bounds(depth, self.out.len())?;
        if let Some(scalar) = scalar(value)? {
            self.out.push_str(&scalar);
            return Ok(());
        }
        let is_object = value.kind() == ValueKind::Map;
        self.out.push(if is_object { '{' } else { '[' });
        let mut any = false;
        if is_object {
            for (key, item) in entries(value)? {
                self.separate(&mut any, depth);
                self.out.push_str(&quoted(&key));
                self.out
                    .push_str(if self.indent.is_some() { ": " } else { ":" });
                self.value(&item, depth + 1)?;
            }
        } else {
            for item in value.try_iter()? {
                self.separate(&mut any, depth);
                self.value(&item, depth + 1)?;
            }
        }
        if any {
            self.line(depth);
        }
        self.out.push(if is_object { '}' } else { ']' });
        Ok(())
    }

    fn separate(&mut self, any: &mut bool, depth: usize) {
        if std::mem::replace(any, true) {
            self.out.push(',');
        }
        self.line(depth + 1);
    }

    fn line(&mut self, depth: usize) {
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
    use crate::context::from_json;

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
            let ours = from_json(&value);
            assert_eq!(json(&ours, None).unwrap(), value.to_string());
            assert_eq!(
                json(&ours, Some(2)).unwrap(),
                serde_json::to_string_pretty(&value).unwrap()
            );
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = (0..200).fold(Value::from(1), |inner, _| Value::from(vec![inner]));
        for value in [
            Value::from(f64::NAN),
            Value::from(f64::INFINITY),
            Value::from(vec![Value::UNDEFINED]),
            Value::from_bytes(vec![0xff]),
            Value::from_function(|| 1),
            deep,
        ] {
            assert!(json(&value, None).is_err());
        }
        assert_eq!(
            text(&Value::from(i128::MAX)).unwrap(),
            i128::MAX.to_string()
        );
    }
}
