//! How much there may be of nodes: what a registration must find room in.

use serde_json::Value;

use cfgsync_model::Metadata;

/// Bounds on what nodes make a store keep. What is there already stays, also beyond them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How many nodes are registered.
    pub nodes_max: usize,
    /// The metadata of all of them together, in bytes as they take them in memory.
    pub metadata_total_max_bytes: usize,
}

impl Bounds {
    /// Everything finds room.
    pub const NONE: Self = Self {
        nodes_max: usize::MAX,
        metadata_total_max_bytes: usize::MAX,
    };
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            nodes_max: 100_000,
            metadata_total_max_bytes: 256 << 20,
        }
    }
}

/// There is no room for a registration. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CapacityExceeded {
    /// There are as many nodes as there may be.
    #[error(
        "there is no room for another node, there are {max} already; remove some (cfgsync rm), or raise serve --nodes-max"
    )]
    Nodes {
        /// As many as there may be.
        max: usize,
    },
    /// As many names have owners as there may be nodes.
    #[error(
        "there is no room for another name with a key, {max} have one already; release some (cfgsync release), or raise \
         serve --nodes-max"
    )]
    Names {
        /// As many as there may be.
        max: usize,
    },
    /// All metadata together would take more memory than they may.
    #[error(
        "there is no room for so much metadata, those of all nodes may take {max_bytes} bytes of memory together; bring \
         less, remove nodes (cfgsync rm), or raise serve --metadata-total-max"
    )]
    Metadata {
        /// As many as they may.
        max_bytes: usize,
    },
}

/// What a value takes beside its text, in bytes; a member of an object takes as much beside its name.
const VALUE_BYTES: usize = 64;

/// What an array takes that is not empty, beside its values.
const ARRAY_BYTES: usize = 64;

/// What an object takes that is not empty, beside its members.
const OBJECT_BYTES: usize = 512;

/// How many bytes `metadata` take in memory, roughly and on every machine alike. Their length as JSON would say little:
/// a list of small numbers takes sixteen times as much. A node that brings none costs nothing.
pub(super) fn bytes_of(metadata: &Metadata) -> usize {
    match metadata {
        Value::Object(none) if none.is_empty() => 0,
        some => bytes_of_value(some),
    }
}

fn bytes_of_value(value: &Value) -> usize {
    let within = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) if values.is_empty() => 0,
        Value::Array(values) => ARRAY_BYTES + values.iter().map(bytes_of_value).sum::<usize>(),
        Value::Object(members) if members.is_empty() => 0,
        Value::Object(members) => {
            let members = members.iter();
            let member =
                |(name, value): (&String, &Value)| VALUE_BYTES + name.len() + bytes_of_value(value);
            OBJECT_BYTES + members.map(member).sum::<usize>()
        }
    };
    VALUE_BYTES + within
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_take_what_their_values_and_texts_take() {
        for (metadata, bytes) in [
            (json!({}), 0),
            (json!([]), 64),
            (json!(7), 64),
            (json!("seven"), 64 + 5),
            (json!([null, true, {}]), 64 + 64 + 3 * 64),
            (
                json!({ "port": 9000, "name": "é" }),
                64 + 512 + (64 + 4 + 64) + (64 + 4 + 64 + 2),
            ),
        ] {
            assert_eq!(bytes_of(&metadata), bytes, "{metadata}");
        }
    }
}
