//! The encoding of values and aliases on disk. The order of fields and variants is the format: new variants go to the
//! end.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    error::DecodeError,
    scalar_entry::{BytesEntry, TimestampEntry},
};
use crate::{SetValue, State, ValueBounds, ValueChange, ValueHistory, values::NamespaceValues};
use cfgsync_model::{
    Alias, Codec, Namespace, Revision, ValueKey, ValueType, ValueVersion, WriteMode,
};

/// The encoding of one change of a value or an alias.
#[derive(Serialize, Deserialize)]
pub(crate) enum ValueChangeEntry<'a> {
    Set(
        &'a str,
        &'a str,
        #[serde(borrow)] VersionEntry<'a>,
        BoundsEntry,
    ),
    Delete(&'a str, &'a str),
    SetAlias(&'a str, #[serde(borrow)] AliasEntry<'a>),
    DeleteAlias(&'a str),
}

/// The encoding of one version of a value.
#[derive(Serialize, Deserialize)]
pub(crate) struct VersionEntry<'a> {
    #[serde(borrow)]
    bytes: BytesEntry<'a>,
    codec: &'a str,
    value_type: u8,
    version: u64,
    created_at: TimestampEntry,
    updated_at: TimestampEntry,
    expires_at: Option<TimestampEntry>,
}

/// The encoding of the bounds of a write, which decide about the history of keys.
#[derive(Serialize, Deserialize)]
pub(crate) struct BoundsEntry {
    keys_max: u64,
    total_max_bytes: u64,
    history_max: u64,
}

/// The encoding of an alias.
#[derive(Serialize, Deserialize)]
pub(crate) struct AliasEntry<'a> {
    target: &'a str,
    created_at: TimestampEntry,
}

/// The encoding of the history of a key.
#[derive(Serialize, Deserialize)]
pub(crate) struct HistoryEntry<'a> {
    #[serde(borrow)]
    versions: Vec<VersionEntry<'a>>,
    is_deleted: bool,
    revision: u64,
}

impl<'a> ValueChangeEntry<'a> {
    pub(crate) fn of(change: &'a ValueChange) -> Self {
        match change {
            // Conditions were checked before the change was accepted. The bounds decide what is forgotten.
            ValueChange::Set(set) => Self::Set(
                set.namespace.as_str(),
                set.key.as_str(),
                VersionEntry::of(&set.content),
                BoundsEntry::of(set.within),
            ),
            ValueChange::Delete { namespace, key, .. } => {
                Self::Delete(namespace.as_str(), key.as_str())
            }
            ValueChange::SetAlias { name, alias, .. } => {
                Self::SetAlias(name.as_str(), AliasEntry::of(alias))
            }
            ValueChange::DeleteAlias(alias) => Self::DeleteAlias(alias.as_str()),
        }
    }

    pub(crate) fn change(self) -> Result<ValueChange, DecodeError> {
        Ok(match self {
            Self::Set(namespace, key, content, within) => ValueChange::Set(SetValue {
                namespace: Namespace::new(namespace)?,
                key: ValueKey::new(key)?,
                content: content.version()?,
                mode: WriteMode::Upsert,
                if_version: None,
                within: within.bounds(),
            }),
            Self::Delete(namespace, key) => ValueChange::Delete {
                namespace: Namespace::new(namespace)?,
                key: ValueKey::new(key)?,
                if_version: None,
            },
            Self::SetAlias(name, alias) => ValueChange::SetAlias {
                name: ValueKey::new(name)?,
                alias: alias.alias()?,
                within: ValueBounds::NONE,
            },
            Self::DeleteAlias(alias) => ValueChange::DeleteAlias(ValueKey::new(alias)?),
        })
    }
}

impl<'a> VersionEntry<'a> {
    pub(crate) fn of(version: &'a ValueVersion) -> Self {
        Self {
            bytes: BytesEntry(&version.bytes),
            codec: version.codec.as_str(),
            value_type: version.value_type.code(),
            version: version.version,
            created_at: TimestampEntry::of(version.created_at),
            updated_at: TimestampEntry::of(version.updated_at),
            expires_at: version.expires_at.map(TimestampEntry::of),
        }
    }

    pub(crate) fn version(&self) -> Result<ValueVersion, DecodeError> {
        let code = self.value_type;
        let value_type = ValueType::from_code(code);
        Ok(ValueVersion {
            bytes: Bytes::copy_from_slice(self.bytes.0),
            codec: Codec::new(self.codec)?,
            value_type: value_type
                .ok_or_else(|| DecodeError::Other(format!("{code} is not a type of a value")))?,
            version: self.version,
            created_at: self.created_at.timestamp()?,
            updated_at: self.updated_at.timestamp()?,
            expires_at: self.expires_at.map(TimestampEntry::timestamp).transpose()?,
        })
    }
}

impl BoundsEntry {
    pub(crate) fn of(bounds: ValueBounds) -> Self {
        Self {
            keys_max: bounds.keys_max as u64,
            total_max_bytes: bounds.total_max_bytes as u64,
            history_max: bounds.history_max as u64,
        }
    }

    pub(crate) fn bounds(&self) -> ValueBounds {
        let limit = |number| usize::try_from(number).unwrap_or(usize::MAX);
        ValueBounds {
            keys_max: limit(self.keys_max),
            total_max_bytes: limit(self.total_max_bytes),
            history_max: limit(self.history_max),
        }
    }
}

impl<'a> AliasEntry<'a> {
    pub(crate) fn of(alias: &'a Alias) -> Self {
        Self {
            target: alias.target.as_str(),
            created_at: TimestampEntry::of(alias.created_at),
        }
    }

    pub(crate) fn alias(&self) -> Result<Alias, DecodeError> {
        Ok(Alias {
            target: ValueKey::new(self.target)?,
            created_at: self.created_at.timestamp()?,
        })
    }
}

impl<'a> HistoryEntry<'a> {
    pub(crate) fn of(history: &'a ValueHistory) -> Self {
        let versions = history.versions().iter();
        Self {
            versions: versions.map(|version| VersionEntry::of(version)).collect(),
            is_deleted: history.is_deleted(),
            revision: history.revision().0,
        }
    }

    fn history(&self) -> Result<ValueHistory, DecodeError> {
        let versions: Result<_, _> = self.versions.iter().map(VersionEntry::version).collect();
        let versions: Vec<ValueVersion> = versions?;
        let versions = versions.into_iter().map(Arc::new).collect();
        ValueHistory::recorded(versions, self.is_deleted, Revision(self.revision))
            .ok_or_else(|| DecodeError::Other("a value has no version".to_owned()))
    }

    /// Adds the history of `key` to `state`.
    pub(crate) fn add_to(
        &self,
        state: &mut State,
        namespace: &str,
        key: &str,
    ) -> Result<(), DecodeError> {
        let (namespace, key) = (Namespace::new(namespace)?, ValueKey::new(key)?);
        state.values.insert_history(namespace, key, self.history()?);
        Ok(())
    }
}

/// Adds the revision of a namespace to `state`.
pub(crate) fn add_namespace(
    state: &mut State,
    namespace: &str,
    revision: u64,
) -> Result<(), DecodeError> {
    let namespace = Namespace::new(namespace)?;
    state.values.insert_namespace(namespace, Revision(revision));
    Ok(())
}

/// Returns the entries of all histories of a namespace.
pub(crate) fn histories(
    values: &NamespaceValues,
) -> impl Iterator<Item = (&str, HistoryEntry<'_>)> {
    let histories = values.histories();
    histories.map(|(key, history)| (key.as_str(), HistoryEntry::of(history)))
}
