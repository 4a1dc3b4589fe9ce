//! The JSON Schema of the format, so that editors complete it.

use super::{Spec, raw::RawSpec};

impl Spec {
    /// The JSON Schema of the format.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(RawSpec).to_value()
    }
}
