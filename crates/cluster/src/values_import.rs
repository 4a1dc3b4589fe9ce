//! Imports: sets and deletes values of one namespace, so that it has the given contents, all at one revision or not at all.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{
    Coordinator,
    value_error::{CHANGES_MAX, ValueError},
    values::{NewValue, default_codec},
};
use cfgsync_codec::{DEFAULT_CODEC, decode};
use cfgsync_model::{Codec, Namespace, ValueKey, ValueVersion, WriteMode};
use cfgsync_store::{Change, State, ValueChange, ValueRejection};
use cfgsync_support::clock::Timestamp;

/// The contents that a namespace should have.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// The namespace.
    pub namespace: Namespace,
    /// The values, each key once.
    pub values: Vec<ImportedValue>,
    /// Whether to delete the values that are not in `values`.
    pub prune: bool,
}

/// A value of an [`Import`].
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedValue {
    /// The key.
    pub key: ValueKey,
    /// The content. `None` keeps the content of a secret that exists.
    pub bytes: Option<Bytes>,
    /// The codec. `None` stands for `json`.
    pub codec: Option<Codec>,
    /// Whether the value is a secret. A secret that exists stays one.
    pub secret: bool,
    /// When the value expires. `None` if it stays.
    pub expires_at: Option<Timestamp>,
}

/// The effect of an import on one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedChange {
    /// The key of the value.
    pub key: ValueKey,
    /// The kind of the change.
    pub kind: ImportedChangeKind,
}

/// The kinds of changes of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportedChangeKind {
    /// The key had no value.
    Create,
    /// The value differs.
    Update,
    /// The value is not in the import.
    Delete,
}

/// The changes that an import makes, before they are made.
#[derive(Debug)]
pub struct ImportPlan {
    /// The effect on each value that changes.
    pub changes: Vec<ImportedChange>,
    /// The number of values of the import that have their content already.
    pub unchanged_count: usize,
    /// The same changes for the store. Each has a condition, so that a change of another client refuses all of them.
    commands: Vec<Change>,
}

impl Coordinator {
    /// Compares an import with the current values. A JSON value with the same decoded content counts as unchanged.
    ///
    /// # Errors
    /// Fails with the first value that is refused, or if there are more than [`CHANGES_MAX`] changes.
    pub fn plan_import(&self, import: Import) -> Result<ImportPlan, ValueError> {
        let Import {
            namespace,
            values,
            prune,
        } = import;
        let state = self.shared.store.state();
        let mut plan = ImportPlan {
            changes: vec![],
            unchanged_count: 0,
            commands: vec![],
        };
        let mut seen = BTreeSet::new();
        for value in values {
            let key = value.key.clone();
            let of_key = |error| ValueError::OfKey {
                key: key.clone(),
                error: Box::new(error),
            };
            if !seen.insert(key.clone()) {
                return Err(of_key(ValueError::Twice));
            }
            let change = self.import_change(&state, &namespace, value);
            match change.map_err(of_key)? {
                Some((kind, change)) => {
                    plan.commands.push(Change::Value(change));
                    plan.changes.push(ImportedChange { key, kind });
                }
                None => plan.unchanged_count += 1,
            }
        }
        let present = state.values.namespace(namespace.as_str());
        let present = present.into_iter().flat_map(|values| values.entries(""));
        for (key, current) in present.filter(|(key, _)| prune && !seen.contains(*key)) {
            plan.commands.push(Change::Value(ValueChange::Delete {
                namespace: namespace.clone(),
                key: key.clone(),
                if_version: Some(current.version),
            }));
            plan.changes.push(ImportedChange {
                key: key.clone(),
                kind: ImportedChangeKind::Delete,
            });
        }
        if plan.commands.len() > CHANGES_MAX {
            return Err(ValueError::TooManyChanges);
        }
        Ok(plan)
    }

    /// Makes the changes of an import at one revision.
    ///
    /// # Errors
    /// Fails if another client has changed one of the values since the plan was made, if a bound refuses the changes,
    /// or if the store does not acknowledge them. Then nothing has changed.
    pub async fn commit_import(&self, plan: ImportPlan) -> Result<(), ValueError> {
        if plan.commands.is_empty() {
            return Ok(());
        }
        let applied = self.apply_values(plan.commands).await;
        applied.map(drop).map_err(changed_meanwhile)
    }

    /// Returns the change for one value of an import. `None` if the value has this content already.
    fn import_change(
        &self,
        state: &State,
        namespace: &Namespace,
        value: ImportedValue,
    ) -> Result<Option<(ImportedChangeKind, ValueChange)>, ValueError> {
        let key = &value.key;
        let target = state.values.resolve(namespace.as_str(), key);
        if target != key {
            return Err(ValueError::IsAlias(target.clone()));
        }
        let current = state.values.get(namespace.as_str(), key);
        let current = current.map(|(_, current)| &**current);
        let Some(bytes) = value.bytes else {
            return match current {
                Some(current) if current.is_secret() => Ok(None),
                _ => Err(ValueError::NoContent),
            };
        };
        let codec = value.codec.unwrap_or_else(default_codec);
        if let Some(current) = current
            && current.expires_at == value.expires_at
            && (current.is_secret() || !value.secret)
            && current.codec == codec
            && is_same_content(current, &bytes)
        {
            return Ok(None);
        }
        if let Some(at) = value.expires_at
            && at <= self.shared.clock.now()
        {
            return Err(ValueError::Expired(at));
        }
        let new = NewValue {
            namespace: namespace.clone(),
            key: key.clone(),
            bytes,
            codec: Some(codec),
            secret: value.secret,
            mode: match current {
                Some(_) => WriteMode::Update,
                None => WriteMode::Create,
            },
            if_version: current.map(|current| current.version),
            ttl: None,
        };
        let change = self.set_change(new, value.expires_at)?;
        let kind = match current {
            Some(_) => ImportedChangeKind::Update,
            None => ImportedChangeKind::Create,
        };
        Ok(Some((kind, change)))
    }
}

/// Returns whether a value has this content. JSON is compared after decoding, because an export writes it in another form.
fn is_same_content(current: &ValueVersion, bytes: &Bytes) -> bool {
    let decoded = |bytes| decode(&current.codec, bytes).ok();
    current.bytes == *bytes
        || (current.codec.as_str() == DEFAULT_CODEC
            && decoded(bytes).is_some_and(|content| decoded(&current.bytes) == Some(content)))
}

/// Explains the rejections that only a change of another client can cause.
fn changed_meanwhile(error: ValueError) -> ValueError {
    match error {
        ValueError::Rejected(
            ValueRejection::OtherVersion { key, .. }
            | ValueRejection::Exists(key)
            | ValueRejection::NoValue(key),
        ) => ValueError::OfKey {
            key,
            error: Box::new(ValueError::ChangedMeanwhile),
        },
        error => error,
    }
}
