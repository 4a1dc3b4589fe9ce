//! The reasons why operations on operators' values are refused.

use cfgsync_codec::InvalidContent;
use cfgsync_model::{Namespace, VALUE_MAX_BYTES, ValueKey};
use cfgsync_store::{CommitError, State, ValueRejection};
use cfgsync_support::{clock::Timestamp, nearest::nearest};

/// The largest number of values that [`Coordinator::values_snapshot`](crate::Coordinator::values_snapshot) returns.
pub const SNAPSHOT_MAX_ENTRIES: usize = 10_000;

/// The largest number of changes that [`Coordinator::change_values`](crate::Coordinator::change_values) takes.
pub const CHANGES_MAX: usize = 10_000;

/// The number of keys on each side of a missing one that are compared with it. Clients of the existing service read keys
/// that have no value often, so this must cost little.
const NEAREST_MAX_KEYS: usize = 64;

/// The reason why an operation on values was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The content is too long.
    #[error("the value has {bytes} bytes; the limit is {VALUE_MAX_BYTES}")]
    TooLong {
        /// The length of the content, in bytes.
        bytes: usize,
    },
    /// The content does not match its codec.
    #[error(transparent)]
    Content(#[from] InvalidContent),
    /// The time after which the value expires is too short or too long.
    #[error("a value expires after at least one second and at most ten years")]
    Ttl,
    /// The key has no value. If it is the key of a deleted value, its history may still be kept.
    #[error("{key} has no value in the namespace {namespace}{}", question(nearest.as_ref()))]
    NoValue {
        /// The namespace in question.
        namespace: Namespace,
        /// The key that was asked for.
        key: ValueKey,
        /// The nearest key in this namespace, if one is near enough.
        nearest: Option<ValueKey>,
    },
    /// The state of the value or the alias does not allow the change.
    #[error(transparent)]
    Rejected(#[from] ValueRejection),
    /// The value does not have this version, or it is no longer kept.
    #[error("{key} has no version {version}, or it is no longer kept")]
    NoVersion {
        /// The key of the value.
        key: ValueKey,
        /// The version that was asked for.
        version: u64,
    },
    /// A namespace has more values than one answer can have.
    #[error(
        "the namespace {namespace} has more than {SNAPSHOT_MAX_ENTRIES} values; list its keys in pages"
    )]
    TooManyEntries {
        /// The namespace in question.
        namespace: Namespace,
    },
    /// One value of several is refused.
    #[error("{key}: {error}")]
    OfKey {
        /// The key of the value.
        key: ValueKey,
        /// The reason.
        error: Box<ValueError>,
    },
    /// An import has a key twice.
    #[error("the key occurs twice")]
    Twice,
    /// An import has an alias in place of a key.
    #[error("it is an alias of {0}; use that key")]
    IsAlias(ValueKey),
    /// An import has no content for a value, and there is no secret to keep.
    #[error("it has no content, and there is no secret with this key to keep; give it a content")]
    NoContent,
    /// A value would have expired before it is set.
    #[error("it expires at {0}, which is in the past")]
    Expired(Timestamp),
    /// Another client changed a value while it was compared.
    #[error("another client changed the value at the same time; try again")]
    ChangedMeanwhile,
    /// One request has too many changes.
    #[error("one request changes at most {CHANGES_MAX} values")]
    TooManyChanges,
    /// The store did not acknowledge the change.
    #[error(transparent)]
    Store(CommitError),
}

/// Returns the error for a key without a value, with the nearest key of the namespace.
pub(crate) fn no_value(state: &State, namespace: &Namespace, key: &ValueKey) -> ValueError {
    let values = state.values.namespace(namespace.as_str());
    let keys = values.into_iter();
    let keys = keys.flat_map(|values| values.keys_around(key, NEAREST_MAX_KEYS));
    let nearest = nearest(key.as_str(), keys.map(ValueKey::as_str));
    ValueError::NoValue {
        namespace: namespace.clone(),
        key: key.clone(),
        nearest: nearest.and_then(|key| key.parse().ok()),
    }
}

fn question(nearest: Option<&ValueKey>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}
