//! The JSON of an import: the contents that a namespace should have, and the changes that this makes.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::{
    request::{InvalidBody, read},
    values::{Base64Text, is_false},
};
use cfgsync_model::{Codec, ValueKey, ValueType};
use cfgsync_support::clock::Timestamp;

/// The body of a request that imports values into a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportBody {
    /// The values, each key once.
    pub entries: Vec<ImportEntry>,
    /// Whether to delete the values that are not in `entries`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prune: bool,
    /// Whether to change nothing, and only return the changes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// One value of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportEntry {
    /// The key.
    pub key: ValueKey,
    /// The content, as base64. `None` keeps the content of a secret that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Base64Text>,
    /// The codec. `None` stands for `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<Codec>,
    /// The code of a secret's type. The server computes the type of other values.
    #[serde(default, rename = "type", skip_serializing_if = "is_zero")]
    value_type: u8,
    /// When the value expires. `None` if it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// The answer to an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportAnswer {
    /// Whether nothing was changed, because the request asked only for the changes.
    pub dry_run: bool,
    /// The change of each value that differs: first those of the import, then the deleted ones.
    pub changes: Vec<ImportChange>,
    /// The number of values of the import that had their content already.
    pub unchanged: usize,
}

/// The change of one value by an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportChange {
    /// The key of the value.
    pub key: ValueKey,
    /// The kind of the change.
    pub change: ImportChangeKind,
}

/// The kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportChangeKind {
    /// The key had no value.
    Create,
    /// The value differed.
    Update,
    /// The value was not in the import.
    Delete,
}

impl ImportEntry {
    /// Returns an entry with this content.
    pub fn new(key: ValueKey, value: Option<Vec<u8>>) -> Self {
        Self {
            key,
            value: value.map(Base64Text),
            codec: None,
            value_type: 0,
            expires_at: None,
        }
    }

    /// Makes the value a secret, or not.
    #[must_use]
    pub fn with_secret(mut self, secret: bool) -> Self {
        self.value_type = if secret { ValueType::Secret.code() } else { 0 };
        self
    }

    /// Returns whether the value is a secret.
    pub fn is_secret(&self) -> bool {
        self.value_type == ValueType::Secret.code()
    }
}

impl Serialize for Base64Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

/// Reads the body of an import.
///
/// # Errors
/// Fails if the body is not JSON, if a member is unknown, or if one has an invalid value.
pub fn read_import(body: &[u8]) -> Result<ImportBody, InvalidBody> {
    read(body)
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(code: &u8) -> bool {
    *code == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn import_is_read_as_it_was_written() {
        let entry = ImportEntry {
            codec: Some("text".parse().unwrap()),
            expires_at: Some(Timestamp::UNIX_EPOCH),
            ..ImportEntry::new("a/b".parse().unwrap(), Some(b"x".to_vec()))
        };
        let body = ImportBody {
            entries: vec![
                entry.with_secret(true),
                ImportEntry::new("c".parse().unwrap(), None),
            ],
            prune: true,
            dry_run: true,
        };
        let json = serde_json::to_value(&body).unwrap();
        let expected = serde_json::json!({
            "entries": [
                { "key": "a/b", "value": "eA==", "codec": "text", "type": 12, "expiresAt": "1970-01-01T00:00:00Z" },
                { "key": "c" },
            ],
            "prune": true,
            "dryRun": true,
        });
        assert_eq!(json, expected);
        assert_eq!(read_import(json.to_string().as_bytes()), Ok(body));
        for wrong in [
            r#"{"entries":[{"key":"a/"}]}"#,
            r#"{"entries":[{"key":"a","value":"*"}]}"#,
            r#"{"entries":[{"key":"a","valu":"eA=="}]}"#,
            r#"{"entries":[],"prun":true}"#,
            "{}",
        ] {
            assert!(read_import(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
