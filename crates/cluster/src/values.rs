//! Operators' values and aliases: their commands and queries. The store decides each change and keeps it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    Coordinator,
    value_error::{CHANGES_MAX, SNAPSHOT_MAX_ENTRIES, ValueError, no_value},
};
use cfgsync_codec::{DEFAULT_CODEC, KNOWN_CODECS, decode};
use cfgsync_model::{
    Alias, Codec, Namespace, Revision, VALUE_MAX_BYTES, ValueKey, ValueType, ValueVersion,
    WriteMode,
};
use cfgsync_store::{
    Change, CommitError, EventKind, RejectionReason, SetValue, State, ValueChange, ValueRejection,
};
use cfgsync_support::clock::Timestamp;

/// The largest page of values, versions or aliases.
pub const PAGE_MAX_ENTRIES: usize = 1000;

/// The number of entries of a page for which no limit is given.
pub const PAGE_DEFAULT_ENTRIES: usize = 100;

/// The contents of a page of values or versions, in bytes. A page with more ends there, but has at least one entry.
const PAGE_MAX_BYTES: usize = 16 << 20;

/// The largest page of namespaces.
pub const NAMESPACES_PAGE_MAX_ENTRIES: usize = 500;

/// The number of namespaces of a page for which no limit is given.
pub const NAMESPACES_PAGE_DEFAULT_ENTRIES: usize = 50;

/// The longest time after which a value can expire.
const TTL_MAX: Duration = Duration::from_hours(24 * 3660);

/// One version of a value, with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The namespace of the value.
    pub namespace: Namespace,
    /// The key of the value. If an alias was asked for, the key that it stands for.
    pub key: ValueKey,
    /// The version.
    pub content: Arc<ValueVersion>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The entries, in order.
    pub items: Vec<T>,
    /// The name after which the next page begins. `None` on the last page.
    pub next_after: Option<String>,
}

/// One change of a value or an alias that an operator asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueCommand {
    /// Sets a value.
    Set(NewValue),
    /// Deletes a value.
    Delete {
        /// The namespace of the value.
        namespace: Namespace,
        /// The key of the value, or an alias of it.
        key: ValueKey,
        /// If given, the value must have this version now.
        if_version: Option<u64>,
    },
}

/// A value that an operator sets.
#[derive(Debug, Clone, PartialEq)]
pub struct NewValue {
    /// The namespace of the value.
    pub namespace: Namespace,
    /// The key of the value, or an alias of it.
    pub key: ValueKey,
    /// The content, encoded by `codec`. At most [`VALUE_MAX_BYTES`].
    pub bytes: Bytes,
    /// The codec. `None` stands for `json`.
    pub codec: Option<Codec>,
    /// Whether the value is a secret.
    pub secret: bool,
    /// The condition under which it is set.
    pub mode: WriteMode,
    /// If given, the value must have this version now.
    pub if_version: Option<u64>,
    /// The time after which it expires. `None` if it stays.
    pub ttl: Option<Duration>,
}

/// All values of one namespace at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct ValuesSnapshot {
    /// The values, sorted by key.
    pub entries: Vec<Entry>,
    /// The revision of the newest change in the namespace. Within an instance, another content has another revision.
    pub revision: Revision,
}

impl Coordinator {
    /// Sets one value. Each accepted write makes a new version, also with the same content.
    ///
    /// # Errors
    /// Fails if the content, the condition or a bound refuses it, or if the store does not acknowledge the change.
    pub async fn set_value(&self, value: NewValue) -> Result<Entry, ValueError> {
        let commit = self.change_values(vec![ValueCommand::Set(value)]).await?;
        let entry = commit.into_iter().flatten().next();
        Ok(entry.expect("a write that was accepted made a version"))
    }

    /// Deletes one value. Its history stays.
    ///
    /// # Errors
    /// Fails if there is no value, if it has another version than required, or if the store does not acknowledge the
    /// change.
    pub async fn delete_value(
        &self,
        namespace: Namespace,
        key: ValueKey,
        if_version: Option<u64>,
    ) -> Result<(), ValueError> {
        let delete = ValueCommand::Delete {
            namespace: namespace.clone(),
            key: key.clone(),
            if_version,
        };
        match self.change_values(vec![delete]).await {
            Ok(_) => Ok(()),
            Err(ValueError::Rejected(ValueRejection::NoValue(_))) => {
                let state = self.shared.store.state();
                Err(no_value(&state, &namespace, &key))
            }
            Err(error) => Err(error),
        }
    }

    /// Changes several values at one revision, all or none. Returns for each change the new version, or `None` for a
    /// deletion.
    ///
    /// # Errors
    /// Fails with the first change that is refused, or if the store does not acknowledge the changes.
    pub async fn change_values(
        &self,
        commands: Vec<ValueCommand>,
    ) -> Result<Vec<Option<Entry>>, ValueError> {
        if commands.len() > CHANGES_MAX {
            return Err(ValueError::TooManyChanges);
        }
        let changes: Result<Vec<Change>, ValueError> = (commands.into_iter())
            .map(|command| self.value_change(command).map(Change::Value))
            .collect();
        let events = self.apply_values(changes?).await?;
        let entry = |kind| match kind {
            EventKind::ValueSet {
                namespace,
                key,
                content,
            } => Some(Entry {
                namespace,
                key,
                content,
            }),
            _ => None,
        };
        Ok(events.into_iter().map(entry).collect())
    }

    /// Checks a change and completes it with this server's time and bounds.
    fn value_change(&self, command: ValueCommand) -> Result<ValueChange, ValueError> {
        match command {
            ValueCommand::Set(value) => {
                let expires_at = match value.ttl {
                    None => None,
                    Some(ttl) if ttl >= Duration::from_secs(1) && ttl <= TTL_MAX => {
                        let at = self.shared.clock.now().checked_add(ttl);
                        Some(at.map_err(|_| ValueError::Ttl)?)
                    }
                    Some(_) => return Err(ValueError::Ttl),
                };
                self.set_change(value, expires_at)
            }
            ValueCommand::Delete {
                namespace,
                key,
                if_version,
            } => Ok(ValueChange::Delete {
                namespace,
                key,
                if_version,
            }),
        }
    }

    /// Checks the content of a value, which expires at `expires_at` whatever its `ttl`.
    pub(crate) fn set_change(
        &self,
        value: NewValue,
        expires_at: Option<Timestamp>,
    ) -> Result<ValueChange, ValueError> {
        let bytes = value.bytes.len();
        if bytes > VALUE_MAX_BYTES {
            return Err(ValueError::TooLong { bytes });
        }
        let codec = value.codec.unwrap_or_else(default_codec);
        let value_type = match decode(&codec, &value.bytes)?.value_type() {
            _ if value.secret => ValueType::Secret,
            value_type => value_type,
        };
        let now = self.shared.clock.now();
        Ok(ValueChange::Set(SetValue {
            namespace: value.namespace,
            key: value.key,
            content: ValueVersion {
                bytes: value.bytes,
                codec,
                value_type,
                version: 0,
                created_at: now,
                updated_at: now,
                expires_at,
            },
            mode: value.mode,
            if_version: value.if_version,
            within: self.shared.value_bounds,
        }))
    }

    /// Sets a second name for a key, in every namespace.
    ///
    /// # Errors
    /// Fails if the name is an alias or a key already, if it would stand for itself or for another alias, or if the
    /// store does not acknowledge the change.
    pub async fn set_alias(&self, name: ValueKey, target: ValueKey) -> Result<Alias, ValueError> {
        let alias = Alias {
            target,
            created_at: self.shared.clock.now(),
        };
        let change = ValueChange::SetAlias {
            name,
            alias: alias.clone(),
            within: self.shared.value_bounds,
        };
        self.apply_values(vec![Change::Value(change)]).await?;
        Ok(alias)
    }

    /// Deletes an alias.
    ///
    /// # Errors
    /// Fails if there is no such alias, or if the store does not acknowledge the change.
    pub async fn delete_alias(&self, name: ValueKey) -> Result<(), ValueError> {
        let change = Change::Value(ValueChange::DeleteAlias(name));
        self.apply_values(vec![change]).await?;
        Ok(())
    }

    /// Applies changes at one revision, all or none, and counts them.
    pub(crate) async fn apply_values(
        &self,
        changes: Vec<Change>,
    ) -> Result<Vec<EventKind>, ValueError> {
        match self.shared.store.apply(changes).await {
            Ok(commit) => {
                let events = commit.events.iter().map(|event| event.kind.clone());
                let events: Vec<EventKind> = events.collect();
                let counter = &self.shared.metrics.changes.values;
                counter.inc_by(events.len() as u64);
                Ok(events)
            }
            Err(CommitError::Rejected(rejection)) => match rejection.reason {
                RejectionReason::Value(reason) => Err(ValueError::Rejected(reason)),
                _ => Err(ValueError::Store(CommitError::Rejected(rejection))),
            },
            Err(error) => Err(ValueError::Store(error)),
        }
    }

    /// Returns the current version of a key, or of the key that an alias stands for.
    ///
    /// # Errors
    /// Fails if there is no value.
    pub fn value(&self, namespace: &Namespace, key: &ValueKey) -> Result<Entry, ValueError> {
        let state = self.shared.store.state();
        match state.values.get(namespace.as_str(), key) {
            Some((key, content)) => Ok(entry(namespace, key, content)),
            None => Err(no_value(&state, namespace, key)),
        }
    }

    /// Returns whether a key, or the key that an alias stands for, has a secret value.
    pub fn is_secret_value(&self, namespace: &Namespace, key: &ValueKey) -> bool {
        let state = self.shared.store.state();
        let found = state.values.get(namespace.as_str(), key);
        found.is_some_and(|(_, content)| content.is_secret())
    }

    /// Returns the values of a namespace whose key begins with `prefix`, sorted by key, from the first key after
    /// `after`.
    pub fn list_values(
        &self,
        namespace: &Namespace,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Page<Entry> {
        let state = self.shared.store.state();
        let values = state.values.namespace(namespace.as_str());
        let entries = values.into_iter();
        let entries = entries.flat_map(|values| values.entries_after(prefix, after));
        let entries = entries.map(|(key, content)| (key, entry(namespace, key, content)));
        let (items, last) = page(entries, limit, |entry| entry.content.bytes.len());
        Page {
            items,
            next_after: last.map(ToString::to_string),
        }
    }

    /// Returns kept versions of a value, newest first, from the first one older than `before`. They stay when the value
    /// is deleted.
    ///
    /// # Errors
    /// Fails if the key has never had a value.
    pub fn value_versions(
        &self,
        namespace: &Namespace,
        key: &ValueKey,
        before: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<u64>), ValueError> {
        let state = self.shared.store.state();
        let history = state.values.history(namespace.as_str(), key);
        let history = history.ok_or_else(|| no_value(&state, namespace, key))?;
        let key = state.values.resolve(namespace.as_str(), key);
        let older = (history.versions().iter().rev())
            .filter(|one| before.is_none_or(|before| one.version < before));
        let older = older.map(|content| (content.version, entry(namespace, key, content)));
        Ok(page(older, limit, |entry| entry.content.bytes.len()))
    }

    /// Returns one kept version of a value.
    ///
    /// # Errors
    /// Fails if the key has never had a value, or if the version is not kept.
    pub fn value_version(
        &self,
        namespace: &Namespace,
        key: &ValueKey,
        version: u64,
    ) -> Result<Entry, ValueError> {
        let state = self.shared.store.state();
        let history = state.values.history(namespace.as_str(), key);
        let history = history.ok_or_else(|| no_value(&state, namespace, key))?;
        let mut versions = history.versions().iter();
        let found = versions.find(|one| one.version == version);
        let key = state.values.resolve(namespace.as_str(), key);
        match found {
            Some(content) => Ok(entry(namespace, key, content)),
            None => Err(ValueError::NoVersion {
                key: key.clone(),
                version,
            }),
        }
    }

    /// Returns all values of a namespace at one revision.
    ///
    /// # Errors
    /// Fails if there are more than [`SNAPSHOT_MAX_ENTRIES`].
    pub fn values_snapshot(&self, namespace: &Namespace) -> Result<ValuesSnapshot, ValueError> {
        let state = self.shared.store.state();
        let Some(values) = state.values.namespace(namespace.as_str()) else {
            return Ok(ValuesSnapshot {
                entries: vec![],
                revision: Revision::default(),
            });
        };
        let entries: Vec<Entry> = (values.entries(""))
            .take(SNAPSHOT_MAX_ENTRIES + 1)
            .map(|(key, content)| entry(namespace, key, content))
            .collect();
        if entries.len() > SNAPSHOT_MAX_ENTRIES {
            let namespace = namespace.clone();
            return Err(ValueError::TooManyEntries { namespace });
        }
        Ok(ValuesSnapshot {
            entries,
            revision: values.revision,
        })
    }

    /// Returns the revision of the newest change in a namespace.
    pub fn values_revision(&self, namespace: &Namespace) -> Revision {
        let state = self.shared.store.state();
        let values = state.values.namespace(namespace.as_str());
        values.map_or_else(Revision::default, |values| values.revision)
    }

    /// Returns the namespaces with a value whose name begins with `prefix` and that `is_shown`, in order, from the first
    /// one after `after`.
    pub fn list_namespaces(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        is_shown: impl Fn(&Namespace) -> bool,
    ) -> Page<Namespace> {
        let state = self.shared.store.state();
        let namespaces = state.values.namespaces().filter(|name| is_shown(name));
        let namespaces = namespaces.filter(|name| name.as_str().starts_with(prefix));
        let namespaces = namespaces.filter(|name| after.is_none_or(|after| name.as_str() > after));
        let namespaces = namespaces.map(|name| (name, name.clone()));
        let (items, last) = page(namespaces, limit, |_| 0);
        Page {
            items,
            next_after: last.map(ToString::to_string),
        }
    }

    /// Returns the alias with this name.
    ///
    /// # Errors
    /// Fails if there is no such alias.
    pub fn alias(&self, name: &ValueKey) -> Result<Alias, ValueError> {
        let state = self.shared.store.state();
        let alias = state.values.aliases().get(name).cloned();
        alias.ok_or_else(|| ValueRejection::NoAlias(name.clone()).into())
    }

    /// Returns all aliases, sorted by name.
    pub fn aliases(&self) -> Vec<(ValueKey, Alias)> {
        let state = self.shared.store.state();
        let aliases = state.values.aliases().iter();
        aliases
            .map(|(name, alias)| (name.clone(), alias.clone()))
            .collect()
    }
}

/// Returns the codec of a value for which none is given.
pub(crate) fn default_codec() -> Codec {
    Codec::new(DEFAULT_CODEC).expect("the name is valid")
}

/// Returns the names of the codecs that the server checks, sorted.
pub fn known_codecs() -> [&'static str; 5] {
    KNOWN_CODECS
}

/// Returns the changes that delete the values which have expired at `now`. Each deletes only the version that expired.
pub(crate) fn expired(state: &State, now: Timestamp) -> Vec<Change> {
    let expired = state.values.expired(now);
    let delete = |(namespace, key, value): (&Namespace, &ValueKey, &Arc<ValueVersion>)| {
        Change::Value(ValueChange::Delete {
            namespace: namespace.clone(),
            key: key.clone(),
            if_version: Some(value.version),
        })
    };
    expired.take(CHANGES_MAX).map(delete).collect()
}

fn entry(namespace: &Namespace, key: &ValueKey, content: &Arc<ValueVersion>) -> Entry {
    Entry {
        namespace: namespace.clone(),
        key: key.clone(),
        content: content.clone(),
    }
}

/// Returns the first `limit` of `entries`, and the name of the last one if more follow. A page ends earlier if the next
/// entry would exceed [`PAGE_MAX_BYTES`].
fn page<N, T>(
    entries: impl Iterator<Item = (N, T)>,
    limit: usize,
    bytes_of: impl Fn(&T) -> usize,
) -> (Vec<T>, Option<N>) {
    let mut items = Vec::new();
    let mut bytes = 0;
    let mut last = None;
    for (name, item) in entries {
        bytes += bytes_of(&item);
        let is_full = bytes > PAGE_MAX_BYTES && !items.is_empty();
        if is_full || items.len() == limit {
            return (items, last);
        }
        last = Some(name);
        items.push(item);
    }
    (items, None)
}
