//! Makes the JSON Schema of the format, with which editors complete and check a spec.

use serde_json::Value;

use super::{Spec, raw::RawSpec};

impl Spec {
    /// Returns the JSON Schema of the format. Its descriptions are the doc comments of the types in `raw`.
    pub fn json_schema() -> Value {
        let mut schema = schemars::schema_for!(RawSpec).to_value();
        join_lines(&mut schema);
        schema
    }
}

/// Joins the lines of descriptions, which are wrapped like the source.
fn join_lines(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "description" => *text = text.replace('\n', " "),
                    value => join_lines(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(join_lines),
        _ => {}
    }
}
