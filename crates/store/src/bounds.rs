//! Bounds on the data that nodes and operators can add to a store, and the size of metadata in memory.

use serde_json::Value;

use cfgsync_model::Metadata;

/// Bounds that a registration must fit in. They do not remove data that already exceeds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The number of registered nodes.
    pub nodes_max: usize,
    /// The metadata of all nodes together, in bytes of memory.
    pub metadata_total_max_bytes: usize,
}

impl Bounds {
    /// Bounds that every registration fits in.
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

/// Bounds on values and aliases. They do not remove current values that already exceed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueBounds {
    /// The number of keys in all namespaces, with the deleted ones whose history is kept. Also the number of aliases.
    pub keys_max: usize,
    /// All versions of all values together, in bytes of memory.
    pub total_max_bytes: usize,
    /// The number of versions that are kept for each key, at least one.
    pub history_max: usize,
}

impl ValueBounds {
    /// Bounds that every value fits in.
    pub const NONE: Self = Self {
        keys_max: usize::MAX,
        total_max_bytes: usize::MAX,
        history_max: usize::MAX,
    };
}

impl Default for ValueBounds {
    fn default() -> Self {
        Self {
            keys_max: 100_000,
            total_max_bytes: 256 << 20,
            history_max: 100,
        }
    }
}

/// Bounds on the phases that nodes report. They do not remove reports that already exceed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseBounds {
    /// The number of phases of one node.
    pub per_node_max: usize,
    /// All reports of all nodes together, in bytes of memory.
    pub total_max_bytes: usize,
}

impl PhaseBounds {
    /// Bounds that every report fits in.
    pub const NONE: Self = Self {
        per_node_max: usize::MAX,
        total_max_bytes: usize::MAX,
    };
}

impl Default for PhaseBounds {
    fn default() -> Self {
        Self {
            per_node_max: 32,
            total_max_bytes: 128 << 20,
        }
    }
}

/// A change does not fit in its bounds. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CapacityExceeded {
    /// The maximum number of nodes is registered.
    #[error(
        "the limit of registered nodes ({max}) is reached; remove nodes (cfgsync rm), or raise serve --nodes-max"
    )]
    Nodes {
        /// The maximum that was reached.
        max: usize,
    },
    /// The maximum number of identifiers is owned by keys. It is the same as for nodes.
    #[error(
        "the limit of names with a key ({max}) is reached; release names (cfgsync release), or raise serve --nodes-max"
    )]
    Names {
        /// The maximum that was reached.
        max: usize,
    },
    /// The maximum number of keys or aliases is stored.
    #[error(
        "the limit of keys and of aliases ({max}) is reached; delete values or aliases, or raise serve --values-max"
    )]
    Keys {
        /// The maximum that was reached.
        max: usize,
    },
    /// All versions of all values together would take too much memory.
    #[error(
        "all values with their history would take more than {max_bytes} bytes of memory; delete values, or raise serve \
         --values-total-max"
    )]
    Values {
        /// The maximum, in bytes.
        max_bytes: usize,
    },
    /// The maximum number of phases of one node is stored.
    #[error("the node has reported {max} phases, which is the limit")]
    PhasesOfNode {
        /// The maximum that was reached.
        max: usize,
    },
    /// The phases of all nodes together would take too much memory.
    #[error(
        "the phases of all nodes would take more than {max_bytes} bytes of memory; report fewer phases or shorter reasons"
    )]
    Phases {
        /// The maximum, in bytes.
        max_bytes: usize,
    },
    /// The maximum number of runs is stored.
    #[error("the limit of runs ({max}) is reached; forget some (cfgsync run-once --forget)")]
    Runs {
        /// The maximum that was reached.
        max: usize,
    },
    /// The maximum number of identifiers is banned. It is the same as for nodes.
    #[error(
        "the limit of banned names ({max}) is reached; end bans (cfgsync unban), or raise serve --nodes-max"
    )]
    Bans {
        /// The maximum that was reached.
        max: usize,
    },
    /// The metadata of all nodes together would take too much memory.
    #[error(
        "the metadata of all nodes would take more than {max_bytes} bytes of memory; register with less metadata, remove \
         nodes (cfgsync rm), or raise serve --metadata-total-max"
    )]
    Metadata {
        /// The maximum, in bytes.
        max_bytes: usize,
    },
}

/// The size of a value without its text, in bytes. A member of an object adds this size and the length of its name.
const VALUE_BYTES: usize = 64;

/// The size of a non-empty array without its values, in bytes.
const ARRAY_BYTES: usize = 64;

/// The size of a non-empty object without its members, in bytes.
const OBJECT_BYTES: usize = 512;

/// Estimates the size of `metadata` in memory, in bytes. The result is the same on every machine. The length as JSON
/// would be misleading: a list of small numbers takes sixteen times as much memory. Empty metadata counts as zero.
pub(super) fn bytes_of(metadata: &Metadata) -> usize {
    match metadata {
        Value::Object(members) if members.is_empty() => 0,
        value => bytes_of_value(value),
    }
}

fn bytes_of_value(value: &Value) -> usize {
    let contents = match value {
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
    VALUE_BYTES + contents
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_size_counts_values_and_texts() {
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
