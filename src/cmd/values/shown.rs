//! How versions of values are printed: as data, and as cells of tables.

use cfgsync_codec::{Content, decode};
use cfgsync_model::{Namespace, ValueKey};
use cfgsync_support::clock::Timestamp;
use cfgsync_wire::EntryBody;
use serde::Serialize;

use super::error::ValuesError;

/// The longest content in a table, in characters.
const CELL_MAX_CHARS: usize = 60;

/// One version of a value, with its decoded content.
#[derive(Debug, Serialize)]
pub(super) struct ShownValue {
    namespace: Namespace,
    key: ValueKey,
    /// The decoded content. Absent if it is hidden, or if only the client knows the codec.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<serde_json::Value>,
    /// The content of a codec that is not decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    codec: String,
    version: u64,
    #[serde(skip_serializing_if = "is_false")]
    secret: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl From<EntryBody> for ShownValue {
    fn from(entry: EntryBody) -> Self {
        let bytes = entry.bytes().filter(|_| !entry.hidden);
        let value = match bytes.map(|bytes| decode(&entry.codec, &bytes)) {
            Some(Ok(Content::Json(value))) => Some(value),
            _ => None,
        };
        let is_encoded = value.is_none() && !entry.hidden;
        Self {
            secret: entry.is_secret(),
            codec: entry.codec.to_string(),
            version: entry.version,
            created_at: entry.created_at,
            updated_at: entry.updated_at,
            expires_at: entry.expires_at,
            base64: is_encoded.then_some(entry.value),
            value,
            namespace: entry.namespace,
            key: entry.key,
        }
    }
}

/// Returns the content of a value, exactly as it was set.
pub(super) fn bytes_of(entry: &EntryBody) -> Result<Vec<u8>, ValuesError> {
    let name = || format!("{}/{}", entry.namespace, entry.key);
    if entry.hidden {
        return Err(ValuesError::Secret { name: name() });
    }
    let bytes = entry.bytes();
    bytes.ok_or_else(|| ValuesError::NotBase64 { name: name() })
}

/// Returns the content of a value as a cell of a table.
pub(super) fn cell_of(entry: &EntryBody) -> String {
    if entry.hidden {
        return "(secret)".to_owned();
    }
    let bytes = entry.bytes().unwrap_or_default();
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return format!("({} bytes)", bytes.len());
    };
    let text = text.trim_end();
    match text.char_indices().nth(CELL_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns a time as a cell of a table, without the fraction of a second.
pub(super) fn time_of(time: Timestamp) -> String {
    let seconds = Timestamp::from_second(time.as_second());
    seconds.unwrap_or(time).to_string()
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}
