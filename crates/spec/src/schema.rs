//! The JSON Schema of the format, so that editors complete it.

use serde_json::Value;

use super::{Spec, raw::RawSpec};

impl Spec {
    /// The JSON Schema of the format.
    pub fn json_schema() -> Value {
        let mut schema = schemars::schema_for!(RawSpec).to_value();
        join_lines(&mut schema);
        schema
    }
}

/// Descriptions come from doc comments, whose lines end where the source's do.
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
