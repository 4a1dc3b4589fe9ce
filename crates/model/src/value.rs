//! Values: what operators put in under a namespace and a key, and templates read.

use std::fmt;

use bytes::Bytes;

use super::value_names::{Codec, ValueKey};
use cfgsync_support::clock::Timestamp;

/// The longest value, in bytes.
pub const VALUE_MAX_BYTES: usize = 1 << 20;

/// One version of a value.
#[derive(Clone, PartialEq, Eq)]
pub struct ValueVersion {
    /// The content, encoded by `codec`.
    pub bytes: Bytes,
    /// The encoding of `bytes`.
    pub codec: Codec,
    /// The type of the decoded content.
    pub value_type: ValueType,
    /// The number of this version. The first version of a key has number 1. A key that is deleted and set again goes on
    /// from its last number.
    pub version: u64,
    /// When the key was set for the first time, or for the first time after it was deleted.
    pub created_at: Timestamp,
    /// When this version was set.
    pub updated_at: Timestamp,
    /// When this version expires. `None` if it stays until it is replaced or deleted.
    pub expires_at: Option<Timestamp>,
}

/// The type of a value's content. Its code is a stable number, which existing clients know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// Nothing is known of the content.
    Unknown = 0,
    /// A whole number.
    Integer = 1,
    /// A number with a fraction.
    Float = 2,
    /// A text.
    String = 3,
    /// `true` or `false`.
    Bool = 4,
    /// An object whose members are whole numbers.
    IntegerMap = 5,
    /// An object whose members are numbers.
    FloatMap = 6,
    /// An object whose members are texts.
    StringMap = 7,
    /// A list of whole numbers.
    IntegerList = 8,
    /// A list of numbers.
    FloatList = 9,
    /// A list of texts.
    StringList = 10,
    /// Any other content, also of a codec that the server does not know.
    Custom = 11,
    /// A secret. Its content is shown only on request.
    Secret = 12,
}

/// The condition under which a write takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteMode {
    /// Always.
    #[default]
    Upsert,
    /// If the key has no value yet.
    Create,
    /// If the key has a value already.
    Update,
}

/// A second name for a key, in every namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The key that the alias stands for.
    pub target: ValueKey,
    /// When the alias was set.
    pub created_at: Timestamp,
}

impl ValueVersion {
    /// Returns whether the content is a secret.
    pub fn is_secret(&self) -> bool {
        self.value_type == ValueType::Secret
    }
}

impl fmt::Debug for ValueVersion {
    /// Prints the length of the content, not the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueVersion")
            .field("version", &self.version)
            .field("codec", &self.codec)
            .field("value_type", &self.value_type)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl ValueType {
    /// All types, in the order of their codes.
    const ALL: [Self; 13] = [
        Self::Unknown,
        Self::Integer,
        Self::Float,
        Self::String,
        Self::Bool,
        Self::IntegerMap,
        Self::FloatMap,
        Self::StringMap,
        Self::IntegerList,
        Self::FloatList,
        Self::StringList,
        Self::Custom,
        Self::Secret,
    ];

    /// Returns the code of this type.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Returns the type with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Returns the type of decoded content.
    pub fn of(content: &serde_json::Value) -> Self {
        use serde_json::Value;

        match content {
            Value::Null => Self::Custom,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) | Value::String(_) => match Scalar::of(content) {
                Some(Scalar::Integer) => Self::Integer,
                Some(Scalar::Float) => Self::Float,
                _ => Self::String,
            },
            Value::Array(items) => match Scalar::of_all(items.iter()) {
                Some(Scalar::Integer) => Self::IntegerList,
                Some(Scalar::Float) => Self::FloatList,
                Some(Scalar::String) => Self::StringList,
                None => Self::Custom,
            },
            Value::Object(members) => match Scalar::of_all(members.values()) {
                Some(Scalar::Integer) => Self::IntegerMap,
                Some(Scalar::Float) => Self::FloatMap,
                Some(Scalar::String) => Self::StringMap,
                None => Self::Custom,
            },
        }
    }
}

/// The types that a list or a map can have for all its items.
#[derive(Clone, Copy, PartialEq)]
enum Scalar {
    Integer,
    Float,
    String,
}

impl Scalar {
    fn of(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::String(_) => Some(Self::String),
            value if value.is_i64() || value.is_u64() => Some(Self::Integer),
            value if value.is_number() => Some(Self::Float),
            _ => None,
        }
    }

    /// Returns the type of all `values`. Whole numbers among numbers with a fraction are such numbers too.
    fn of_all<'a>(mut values: impl Iterator<Item = &'a serde_json::Value>) -> Option<Self> {
        let first = Self::of(values.next()?)?;
        values.try_fold(first, |all, value| match (all, Self::of(value)?) {
            (all, one) if all == one => Some(all),
            (Self::Integer, Self::Float) | (Self::Float, Self::Integer) => Some(Self::Float),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn type_follows_from_the_content() {
        for (content, code) in [
            (json!(null), 11),
            (json!(3), 1),
            (json!(u64::MAX), 1),
            (json!(3.5), 2),
            (json!("3"), 3),
            (json!(true), 4),
            (json!({ "a": 1 }), 5),
            (json!({ "a": 1, "b": 1.5 }), 6),
            (json!({ "a": "x" }), 7),
            (json!([1, 2]), 8),
            (json!([1.5, 2]), 9),
            (json!(["a"]), 10),
            (json!(["a", 1]), 11),
            (json!([]), 11),
            (json!({}), 11),
            (json!([[1]]), 11),
        ] {
            assert_eq!(ValueType::of(&content).code(), code, "{content}");
        }
    }

    #[test]
    fn codes_are_stable() {
        for code in 0..13 {
            assert_eq!(ValueType::from_code(code).unwrap().code(), code);
        }
        assert_eq!(ValueType::from_code(13), None);
    }
}
