//! The changes of operators' values and aliases, and the reasons to reject them.

use crate::{CapacityExceeded, ValueBounds};
use cfgsync_model::{Alias, Namespace, ValueKey, ValueVersion, WriteMode};
use cfgsync_support::clock::Timestamp;

/// One change of a value or an alias.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueChange {
    /// Stores a new version of a value.
    Set(SetValue),
    /// Deletes the current version of a value. Its history stays.
    Delete {
        /// The namespace of the value.
        namespace: Namespace,
        /// The key of the value, or an alias of it.
        key: ValueKey,
        /// If given, the key must have this version now.
        if_version: Option<u64>,
    },
    /// Sets a second name for a key.
    SetAlias {
        /// The second name.
        name: ValueKey,
        /// The key that it stands for.
        alias: Alias,
        /// The bounds for the number of aliases, the same as for keys.
        within: ValueBounds,
    },
    /// Deletes an alias.
    DeleteAlias(ValueKey),
}

impl ValueChange {
    /// Returns the time of this change, if it has one.
    pub(crate) fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Set(set) => Some(set.content.updated_at),
            Self::SetAlias { alias, .. } => Some(alias.created_at),
            Self::Delete { .. } | Self::DeleteAlias(_) => None,
        }
    }
}

/// A new version of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct SetValue {
    /// The namespace of the value.
    pub namespace: Namespace,
    /// The key of the value, or an alias of it.
    pub key: ValueKey,
    /// The new version. Its number is decided when it is stored, and so is the time of its creation if the key has a
    /// value already.
    pub content: ValueVersion,
    /// The condition under which it is stored.
    pub mode: WriteMode,
    /// If given, the key must have this version now.
    pub if_version: Option<u64>,
    /// The bounds that the value must fit in.
    pub within: ValueBounds,
}

/// The reason why a change of a value or an alias was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueRejection {
    /// The key has no value.
    #[error("{0} has no value")]
    NoValue(ValueKey),
    /// The key has a value already.
    #[error("{0} has a value already")]
    Exists(ValueKey),
    /// The key has another version than required.
    #[error("{key} has {}, not the required version", match found {
        Some(found) => format!("version {found}"),
        None => "no value".to_owned(),
    })]
    OtherVersion {
        /// The key in question.
        key: ValueKey,
        /// Its version. `None` if it has no value.
        found: Option<u64>,
    },
    /// There is no such alias.
    #[error("there is no alias {0}")]
    NoAlias(ValueKey),
    /// There is such an alias already, or a value with this key.
    #[error("{0} is an alias already, or the key of a value")]
    AliasExists(ValueKey),
    /// An alias cannot stand for itself.
    #[error("the alias {0} cannot stand for itself")]
    AliasOfItself(ValueKey),
    /// An alias cannot stand for an alias.
    #[error("the alias {0} cannot stand for an alias, or be the target of one")]
    AliasChain(ValueKey),
    /// The change does not fit in its bounds.
    #[error(transparent)]
    CapacityExceeded(#[from] CapacityExceeded),
}
