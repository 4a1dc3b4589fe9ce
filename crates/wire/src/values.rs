//! The JSON of values and aliases. Clients of an existing config service read and write it, so names, forms and zero
//! values stay as they are there: camelCase, 64-bit integers as strings, bytes as base64, empty members present.

use bytes::Bytes;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{
    decimal,
    request::{InvalidBody, read},
};
use cfgsync_model::{Alias, Codec, Namespace, ValueKey, ValueType, ValueVersion, WriteMode};
use cfgsync_support::clock::Timestamp;

/// The domain of the reasons in [`StatusBody`], by which existing clients recognize them.
const REASON_DOMAIN: &str = "config.rbaliyan.com";

/// One version of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryBody {
    /// The namespace of the value.
    pub namespace: Namespace,
    /// The key of the value.
    pub key: ValueKey,
    /// The content, as base64. Empty if it is hidden.
    pub value: String,
    /// The encoding of the content.
    pub codec: Codec,
    /// The code of the content's type, see [`ValueType::code`].
    #[serde(rename = "type")]
    pub value_type: u8,
    /// The number of the version.
    #[serde(with = "decimal")]
    pub version: u64,
    /// When the key was set for the first time.
    pub created_at: Timestamp,
    /// When this version was set.
    pub updated_at: Timestamp,
    /// When this version expires. An existing client ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether the content is a secret that was not asked for. An existing client ignores it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hidden: bool,
}

/// The answer to reading or setting one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryAnswer {
    /// The value.
    pub entry: EntryBody,
}

/// One page of values or versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntriesBody {
    /// The entries, in order.
    pub entries: Vec<EntryBody>,
    /// The cursor of the next page. Empty on the last page.
    pub next_cursor: String,
    /// The limit in force, for versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// All values of a namespace at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValuesSnapshotBody {
    /// The values, sorted by key. Empty if the client has them already.
    pub entries: Vec<EntryBody>,
    /// The entity tag of these contents. Other contents never have it.
    pub etag: String,
    /// Whether the client has these contents already.
    pub not_modified: bool,
}

/// One page of namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespacesBody {
    /// The names, in order.
    pub namespaces: Vec<Namespace>,
    /// The cursor of the next page. Empty on the last page.
    pub next_cursor: String,
}

/// The rights of the client in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessBody {
    /// Whether it may read values.
    pub can_read: bool,
    /// Whether it may change values.
    pub can_write: bool,
}

/// The codecs that the server knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecsBody {
    /// Their names, sorted.
    pub codecs: Vec<String>,
}

/// An alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AliasBody {
    /// The second name.
    pub alias: ValueKey,
    /// The key that it stands for.
    pub target: ValueKey,
    /// Always 1: an alias is not changed, only set and deleted.
    #[serde(with = "decimal")]
    pub version: u64,
    /// When the alias was set.
    pub created_at: Timestamp,
}

/// The answer to reading or setting one alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasAnswer {
    /// The alias.
    pub alias: AliasBody,
}

/// All aliases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasesBody {
    /// The aliases, sorted by name.
    pub aliases: Vec<AliasBody>,
}

/// The difference of two versions. Its members have other names than those of the other bodies, as existing clients
/// expect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffBody {
    /// The namespace of the value.
    pub namespace: Namespace,
    /// The key of the value.
    pub key: ValueKey,
    /// The number of the first version.
    pub v1: u64,
    /// The number of the second version.
    pub v2: u64,
    /// The content of the first version, as base64.
    pub v1_value: String,
    /// The codec of the first version.
    pub v1_codec: Codec,
    /// The content of the second version, as base64.
    pub v2_value: String,
    /// The codec of the second version.
    pub v2_codec: Codec,
    /// Whether content or codec differ.
    pub changed: bool,
}

/// The body of an error of the routes of values: a `google.rpc.Status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusBody {
    /// The canonical code, such as 5 for "not found".
    pub code: u8,
    /// The message: what happened, and what to do.
    pub message: String,
    /// The reason, as one `google.rpc.ErrorInfo`.
    pub details: Vec<ErrorInfo>,
}

/// The reason of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    #[serde(rename = "@type")]
    kind: String,
    /// The reason, such as `KEY_EXISTS`.
    pub reason: String,
    domain: String,
    metadata: serde_json::Map<String, serde_json::Value>,
}

/// The body of a request that sets a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetBody {
    /// The content.
    pub bytes: Bytes,
    /// The codec. `None` stands for `json`.
    pub codec: Option<Codec>,
    /// The condition under which it is set.
    pub mode: WriteMode,
    /// Whether the value is a secret.
    pub secret: bool,
    /// The time after which the value expires, in seconds.
    pub ttl_seconds: Option<u64>,
}

impl EntryBody {
    /// Returns the body of one version. The content of a secret is hidden unless `reveal`.
    pub fn new(namespace: Namespace, key: ValueKey, version: &ValueVersion, reveal: bool) -> Self {
        let hidden = version.is_secret() && !reveal;
        let shown = if hidden { &[][..] } else { &version.bytes[..] };
        Self {
            namespace,
            key,
            value: BASE64.encode(shown),
            codec: version.codec.clone(),
            value_type: version.value_type.code(),
            version: version.version,
            created_at: version.created_at,
            updated_at: version.updated_at,
            expires_at: version.expires_at,
            hidden,
        }
    }

    /// Returns the content. `None` if it is no valid base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        decode_base64(&self.value)
    }

    /// Returns whether the value is a secret.
    pub fn is_secret(&self) -> bool {
        self.value_type == ValueType::Secret.code()
    }
}

impl SetBody {
    /// Returns the body as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let mode = match self.mode {
            WriteMode::Upsert => "UPSERT",
            WriteMode::Create => "CREATE",
            WriteMode::Update => "UPDATE",
        };
        let mut json =
            serde_json::json!({ "value": BASE64.encode(&self.bytes), "writeMode": mode });
        if let Some(codec) = &self.codec {
            json["codec"] = codec.as_str().into();
        }
        if self.secret {
            json["type"] = ValueType::Secret.code().into();
        }
        if let Some(seconds) = self.ttl_seconds {
            json["ttlSeconds"] = seconds.into();
        }
        json
    }
}

impl AliasBody {
    /// Returns the body of one alias.
    pub fn new(name: ValueKey, alias: Alias) -> Self {
        Self {
            alias: name,
            target: alias.target,
            version: 1,
            created_at: alias.created_at,
        }
    }
}

impl StatusBody {
    /// Returns an error with a code, a message and a reason, which is written in capital letters.
    pub fn new(code: u8, message: String, reason: &str) -> Self {
        Self {
            code,
            message,
            details: vec![ErrorInfo {
                kind: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
                reason: reason.to_ascii_uppercase(),
                domain: REASON_DOMAIN.to_owned(),
                metadata: serde_json::Map::new(),
            }],
        }
    }

    /// Returns the body as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the body has no map keys but strings")
    }
}

/// Returns the cursor of the page that begins after `name`.
pub fn cursor_after(name: &str) -> String {
    BASE64URL_NOPAD.encode(name.as_bytes())
}

/// Returns the name after which the page of a cursor begins. `None` if it is no cursor of this server.
pub fn read_cursor(cursor: &str) -> Option<String> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
    String::from_utf8(bytes).ok()
}

/// Reads the body of a request that sets a value. Names are accepted in camelCase and snake_case.
///
/// # Errors
/// Fails if the body is not JSON, or if a member has an invalid value.
pub fn read_set(body: &[u8]) -> Result<SetBody, InvalidBody> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Written {
        #[serde(default)]
        value: Base64Text,
        #[serde(default)]
        codec: String,
        #[serde(default, alias = "write_mode")]
        write_mode: Mode,
        #[serde(default, rename = "type")]
        value_type: u8,
        #[serde(default, alias = "ttl_seconds")]
        ttl_seconds: Option<u64>,
    }

    let written: Written = read(body)?;
    let codec = match written.codec.as_str() {
        "" => None,
        name => Some(Codec::new(name).map_err(|e| InvalidBody::field("codec", e.to_string()))?),
    };
    Ok(SetBody {
        bytes: written.value.0.into(),
        codec,
        mode: written.write_mode.0,
        secret: written.value_type == ValueType::Secret.code(),
        ttl_seconds: written.ttl_seconds,
    })
}

/// Reads the body of a request that sets an alias. Returns the target.
///
/// # Errors
/// Fails if the body is not JSON, or if there is no valid target.
pub fn read_alias(body: &[u8]) -> Result<ValueKey, InvalidBody> {
    #[derive(Deserialize)]
    struct Written {
        target: ValueKey,
    }

    read(body).map(|Written { target }| target)
}

/// Decodes base64 with the standard or the URL-safe alphabet, with or without padding. `None` if `text` is no base64.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD]
        .iter()
        .find_map(|encoding| encoding.decode(text).ok())
}

/// Bytes that JSON contains as base64.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Base64Text(pub Vec<u8>);

impl<'de> Deserialize<'de> for Base64Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = decode_base64(&text);
        let bytes = bytes.ok_or_else(|| de::Error::custom("expected bytes as base64"))?;
        Ok(Self(bytes))
    }
}

/// A write mode by its number, its full name or its short name.
#[derive(Default)]
struct Mode(WriteMode);

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `null` is an absent member.
        let written = Option::<serde_json::Value>::deserialize(deserializer)?;
        let mode = match &written {
            None => Some(WriteMode::Upsert),
            Some(serde_json::Value::String(name)) => {
                match name.strip_prefix("WRITE_MODE_").unwrap_or(name) {
                    "" | "UNSPECIFIED" | "UPSERT" => Some(WriteMode::Upsert),
                    "CREATE" => Some(WriteMode::Create),
                    "UPDATE" => Some(WriteMode::Update),
                    _ => None,
                }
            }
            Some(number) => match number.as_u64() {
                Some(0 | 1) => Some(WriteMode::Upsert),
                Some(2) => Some(WriteMode::Create),
                Some(3) => Some(WriteMode::Update),
                _ => None,
            },
        };
        let mode = mode.ok_or_else(|| {
            de::Error::custom("expected UPSERT, CREATE or UPDATE, or a number from 0 to 3")
        })?;
        Ok(Self(mode))
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests;
