//! The JSON of events. Those of values and aliases have the form of an existing config service: snake_case, numbers as
//! numbers, bytes as base64.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::cluster::ClusterState;
use cfgsync_model::{
    Codec, Failure, GenerationNumber, Instance, Namespace, Progress, Revision, ValueKey,
    ValueVersion,
};
use cfgsync_support::clock::Timestamp;

/// The name of the event that tells a watcher to read a snapshot.
pub const RESET_EVENT: &str = "reset";

/// The name of the event with the state of the cluster.
pub const READINESS_EVENT: &str = "readiness";

/// The name of the event with something that happened to the server.
pub const NOTICE_EVENT: &str = "notice";

/// A change of a value or an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueEventBody {
    /// The change: `SET`, `DELETE`, `ALIAS_SET` or `ALIAS_DELETE`.
    #[serde(rename = "type")]
    pub change: ValueEventType,
    /// The namespace of the value. Empty for an alias.
    pub namespace: String,
    /// The key of the value, or the name of the alias.
    pub key: ValueKey,
    /// The content, or the target of the alias, as base64. Absent for a deletion and for a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The encoding of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<Codec>,
    /// The number of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// When the key or the alias was set for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When this version was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// When this version expires. An existing client ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether the content is a secret, which no event shows. An existing client ignores it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// The kind of a change of a value or an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ValueEventType {
    /// A value has a new version.
    Set,
    /// A value was deleted.
    Delete,
    /// An alias was set.
    AliasSet,
    /// An alias was deleted.
    AliasDelete,
}

/// Some events before this one are not sent: the watcher reads a snapshot at this revision or a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetBody {
    /// The instance of the store.
    pub instance: Instance,
    /// The revision after which events follow.
    pub revision: Revision,
    /// The reason, such as `history`.
    pub reason: String,
    /// The reason in words.
    pub message: String,
}

/// The state of the cluster, with the reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadinessBody {
    /// The state.
    pub state: ClusterState,
    /// The state and the reason in words.
    pub message: String,
    /// The progress of the set of nodes towards the rule.
    pub progress: Progress,
    /// The number of the generation that is served, if there is one.
    pub generation: Option<GenerationNumber>,
    /// The failure of the cluster, or of the newest render while an older generation is served.
    pub failure: Option<Failure>,
}

/// Something that happened to the server, and that is no change of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeBody {
    /// The name of the notice, such as `spec_reloaded`.
    pub notice: String,
    /// The same in words.
    pub message: String,
}

impl ValueEventBody {
    /// Returns the event of a new version. The content of a secret is left out.
    pub fn set(namespace: &Namespace, key: &ValueKey, content: &ValueVersion) -> Self {
        let hidden = content.is_secret();
        Self {
            value: (!hidden).then(|| BASE64.encode(&content.bytes)),
            codec: Some(content.codec.clone()),
            version: Some(content.version),
            created_at: Some(content.created_at),
            updated_at: Some(content.updated_at),
            expires_at: content.expires_at,
            hidden,
            ..Self::new(ValueEventType::Set, namespace.to_string(), key)
        }
    }

    /// Returns the event of a deletion.
    pub fn delete(namespace: &Namespace, key: &ValueKey) -> Self {
        Self::new(ValueEventType::Delete, namespace.to_string(), key)
    }

    /// Returns the event of an alias that was set.
    pub fn alias_set(alias: &ValueKey, target: &ValueKey, created_at: Timestamp) -> Self {
        Self {
            value: Some(BASE64.encode(target.as_str().as_bytes())),
            created_at: Some(created_at),
            ..Self::new(ValueEventType::AliasSet, String::new(), alias)
        }
    }

    /// Returns the event of an alias that was deleted.
    pub fn alias_delete(alias: &ValueKey) -> Self {
        Self::new(ValueEventType::AliasDelete, String::new(), alias)
    }

    /// Returns the content, or the target of the alias. `None` if there is none, or if it is not base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        BASE64.decode(self.value.as_ref()?.as_bytes()).ok()
    }

    fn new(change: ValueEventType, namespace: String, key: &ValueKey) -> Self {
        Self {
            change,
            namespace,
            key: key.clone(),
            value: None,
            codec: None,
            version: None,
            created_at: None,
            updated_at: None,
            expires_at: None,
            hidden: false,
        }
    }
}

impl ValueEventType {
    /// Returns the name of the event in the stream.
    pub const fn event(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Delete => "delete",
            Self::AliasSet => "alias_set",
            Self::AliasDelete => "alias_delete",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use cfgsync_model::ValueType;

    fn version(value_type: ValueType) -> ValueVersion {
        ValueVersion {
            bytes: "a\nb".into(),
            codec: "text".parse().unwrap(),
            value_type,
            version: 3,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
        }
    }

    fn json_of(body: &ValueEventBody) -> Value {
        let json = serde_json::to_value(body).unwrap();
        assert_eq!(
            serde_json::from_value::<ValueEventBody>(json.clone()).unwrap(),
            *body
        );
        json
    }

    #[test]
    fn value_events_have_the_form_of_the_existing_service() {
        let (namespace, key): (Namespace, ValueKey) =
            ("prod".parse().unwrap(), "a/b".parse().unwrap());
        let at = "1970-01-01T00:00:00Z";
        let set = ValueEventBody::set(&namespace, &key, &version(ValueType::String));
        let expected = json!({"type": "SET", "namespace": "prod", "key": "a/b", "value": "YQpi", "codec": "text",
            "version": 3, "created_at": at, "updated_at": at});
        assert_eq!(json_of(&set), expected);
        assert_eq!(set.bytes().as_deref(), Some(&b"a\nb"[..]));
        let secret = ValueEventBody::set(&namespace, &key, &version(ValueType::Secret));
        let expected = json!({"type": "SET", "namespace": "prod", "key": "a/b", "codec": "text", "version": 3,
            "created_at": at, "updated_at": at, "hidden": true});
        assert_eq!(json_of(&secret), expected);
        let deleted = json!({"type": "DELETE", "namespace": "prod", "key": "a/b"});
        assert_eq!(json_of(&ValueEventBody::delete(&namespace, &key)), deleted);
        let alias: ValueKey = "old".parse().unwrap();
        let set = ValueEventBody::alias_set(&alias, &key, Timestamp::UNIX_EPOCH);
        let expected = json!({"type": "ALIAS_SET", "namespace": "", "key": "old", "value": "YS9i", "created_at": at});
        assert_eq!(json_of(&set), expected);
        let deleted = json!({"type": "ALIAS_DELETE", "namespace": "", "key": "old"});
        assert_eq!(json_of(&ValueEventBody::alias_delete(&alias)), deleted);
        assert_eq!(ValueEventType::AliasDelete.event(), "alias_delete");
    }
}
