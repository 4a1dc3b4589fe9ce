//! Converts JSON into values of the template engine.

use std::{collections::BTreeMap, sync::Arc};

use minijinja::Value as Jinja;
use serde_json::{Map, Value};

/// Converts a JSON value. Integers stay exact up to 64 bits, and the keys of objects are sorted.
pub(super) fn from_json(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(boolean) => Jinja::from(*boolean),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(integer), ..) => Jinja::from(integer),
            (_, Some(integer), _) => Jinja::from(integer),
            (.., float) => Jinja::from(float.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Jinja::from(text.as_str()),
        Value::Array(items) => items.iter().map(from_json).collect(),
        Value::Object(entries) => from_object(entries),
    }
}

/// Converts a JSON object, see [`from_json`].
pub(super) fn from_object(entries: &Map<String, Value>) -> Jinja {
    let entries: BTreeMap<Arc<str>, Jinja> = entries
        .iter()
        .map(|(key, value)| (key.as_str().into(), from_json(value)))
        .collect();
    Jinja::from_object(entries)
}
