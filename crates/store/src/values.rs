//! Operators' values and aliases at one revision, and the effect of every change on them.

use std::{ops::Bound, sync::Arc};

use imbl::{OrdMap, OrdSet};

use crate::{
    CapacityExceeded, SetValue, ValueBounds, ValueChange, ValueHistory, ValueRejection,
    event::EventKind, value_history::bytes_of,
};
use cfgsync_model::{
    Alias, Namespace, Revision, ValueKey, ValueName, ValuePattern, ValueSource, ValueType,
    ValueVersion, WriteMode,
};
use cfgsync_support::clock::Timestamp;

/// All values and aliases. Cloning is cheap, because clones share unchanged data.
#[derive(Debug, Clone, Default)]
pub struct Values {
    namespaces: OrdMap<Namespace, NamespaceValues>,
    aliases: OrdMap<ValueKey, Alias>,
    /// The revision of the newest change of an alias. If a snapshot has aliases, that of the newest change in it.
    aliases_revision: Revision,
    /// The number of keys, with the deleted ones whose history is kept.
    keys_count: usize,
    /// The size of all versions, in bytes of memory.
    total_bytes: usize,
    /// The current versions that expire, by their time.
    expiries: OrdSet<(Timestamp, Namespace, ValueKey)>,
}

/// The values of one namespace.
#[derive(Debug, Clone, Default)]
pub struct NamespaceValues {
    /// The revision of the newest change of a value in this namespace.
    pub revision: Revision,
    keys: OrdMap<ValueKey, ValueHistory>,
}

impl Values {
    /// Returns the namespaces that have a value, in order.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        let namespaces = self.namespaces.iter();
        let namespaces = namespaces.filter(|(_, values)| values.entries("").next().is_some());
        namespaces.map(|(name, _)| name)
    }

    /// Returns the values of a namespace, also if all of them are deleted.
    pub fn namespace(&self, namespace: &str) -> Option<&NamespaceValues> {
        self.namespaces.get(namespace)
    }

    /// Returns the number of keys, with the deleted ones whose history is kept.
    pub fn keys_count(&self) -> usize {
        self.keys_count
    }

    /// Returns the size of all versions, in bytes of memory.
    pub fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// Returns the current version of a key or an alias, and the key that it stands for.
    pub fn get<'a>(
        &'a self,
        namespace: &str,
        key: &'a ValueKey,
    ) -> Option<(&'a ValueKey, &'a Arc<ValueVersion>)> {
        let key = self.resolve(namespace, key);
        let history = self.namespaces.get(namespace)?.keys.get(key)?;
        Some((key, history.current()?))
    }

    /// Returns all kept versions of a key or an alias, also if it is deleted.
    pub fn history(&self, namespace: &str, key: &ValueKey) -> Option<&ValueHistory> {
        let key = self.resolve(namespace, key);
        self.namespaces.get(namespace)?.keys.get(key)
    }

    /// Returns the key that `key` stands for in `namespace`. A key with a value stands for itself.
    pub fn resolve<'a>(&'a self, namespace: &str, key: &'a ValueKey) -> &'a ValueKey {
        match self.aliases.get(key) {
            Some(alias) if !self.has_value(namespace, key) => &alias.target,
            _ => key,
        }
    }

    /// Returns the newest change of a value that matches one of `patterns`. A change of any alias counts if an alias could
    /// match.
    pub fn revision_of(&self, patterns: &[ValuePattern]) -> Revision {
        let of_pattern = |pattern: &ValuePattern| match pattern {
            ValuePattern::Key(ValueName { namespace, key }) => {
                let history = self.history(namespace.as_str(), key);
                let revision = history.map(ValueHistory::revision).unwrap_or_default();
                revision.max(self.aliases_revision)
            }
            ValuePattern::Prefix { namespace, prefix } => {
                let values = self.namespace(namespace.as_str()).into_iter();
                let histories = values.flat_map(|values| values.histories_under(prefix));
                histories
                    .map(ValueHistory::revision)
                    .max()
                    .unwrap_or_default()
            }
        };
        patterns.iter().map(of_pattern).max().unwrap_or_default()
    }

    /// Returns all aliases, in order.
    pub fn aliases(&self) -> &OrdMap<ValueKey, Alias> {
        &self.aliases
    }

    /// Returns the time at which the next value expires.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.get_min().map(|(at, ..)| *at)
    }

    /// Returns the values that expire at `now` or before, the first one first.
    pub fn expired(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (&Namespace, &ValueKey, &Arc<ValueVersion>)> {
        let expired = self.expiries.iter().take_while(move |(at, ..)| *at <= now);
        expired.filter_map(|(_, namespace, key)| {
            let (_, current) = self.get(namespace.as_str(), key)?;
            Some((namespace, key, current))
        })
    }

    fn has_value(&self, namespace: &str, key: &ValueKey) -> bool {
        let values = self.namespaces.get(namespace);
        let history = values.and_then(|values| values.keys.get(key));
        history.is_some_and(|history| !history.is_deleted())
    }

    /// Applies one change at `revision`.
    pub(crate) fn apply(
        &mut self,
        change: ValueChange,
        revision: Revision,
    ) -> Result<EventKind, ValueRejection> {
        match change {
            ValueChange::Set(set) => self.set(set, revision),
            ValueChange::Delete {
                namespace,
                key,
                if_version,
            } => self.delete(namespace, &key, if_version, revision),
            ValueChange::SetAlias {
                name,
                alias,
                within,
            } => self.set_alias(name, alias, within, revision),
            ValueChange::DeleteAlias(alias) => self.delete_alias(alias, revision),
        }
    }

    /// Stores a new version. Each accepted write makes one, also with the same content.
    fn set(&mut self, set: SetValue, revision: Revision) -> Result<EventKind, ValueRejection> {
        let SetValue {
            namespace,
            key,
            mut content,
            mode,
            if_version,
            within,
        } = set;
        let key = self.resolve(namespace.as_str(), &key).clone();
        let history = self.history(namespace.as_str(), &key);
        let current = history.and_then(ValueHistory::current).cloned();
        check_version(&key, current.as_deref(), if_version)?;
        match (mode, &current) {
            (WriteMode::Create, Some(_)) => return Err(ValueRejection::Exists(key)),
            (WriteMode::Update, None) => return Err(ValueRejection::NoValue(key)),
            _ => {}
        }
        content.version = history.map_or(1, |history| history.newest().version + 1);
        if let Some(current) = &current {
            content.created_at = current.created_at;
            // A client that does not know secrets must not publish one by changing it.
            if current.is_secret() {
                content.value_type = ValueType::Secret;
            }
        }
        let is_new = history.is_none();
        self.make_room(is_new, bytes_of(&content), within, (&namespace, &key))?;
        self.move_expiry(&namespace, &key, current.as_deref(), Some(&content));
        let content = Arc::new(content);
        let values = self.namespaces.entry(namespace.clone()).or_default();
        values.revision = revision;
        let history = values
            .keys
            .entry(key.clone())
            .or_insert_with(ValueHistory::empty);
        let dropped_bytes = history.push(content.clone(), revision, within.history_max);
        self.total_bytes = self.total_bytes + bytes_of(&content) - dropped_bytes;
        self.keys_count += usize::from(is_new);
        Ok(EventKind::ValueSet {
            namespace,
            key,
            content,
        })
    }

    /// Deletes the current version. The history of the key stays.
    fn delete(
        &mut self,
        namespace: Namespace,
        key: &ValueKey,
        if_version: Option<u64>,
        revision: Revision,
    ) -> Result<EventKind, ValueRejection> {
        let key = self.resolve(namespace.as_str(), key).clone();
        let Some((_, current)) = self.get(namespace.as_str(), &key) else {
            return Err(match if_version {
                Some(_) => ValueRejection::OtherVersion { key, found: None },
                None => ValueRejection::NoValue(key),
            });
        };
        check_version(&key, Some(current), if_version)?;
        let current = current.clone();
        self.move_expiry(&namespace, &key, Some(&current), None);
        if let Some(values) = self.namespaces.get_mut(&namespace)
            && let Some(history) = values.keys.get_mut(&key)
        {
            values.revision = revision;
            history.delete(revision);
        }
        Ok(EventKind::ValueDeleted { namespace, key })
    }

    fn set_alias(
        &mut self,
        name: ValueKey,
        alias: Alias,
        within: ValueBounds,
        revision: Revision,
    ) -> Result<EventKind, ValueRejection> {
        let is_key = |namespace: &Namespace| self.has_value(namespace.as_str(), &name);
        if name == alias.target {
            return Err(ValueRejection::AliasOfItself(name));
        }
        if self.aliases.contains_key(&name) || self.namespaces.keys().any(is_key) {
            return Err(ValueRejection::AliasExists(name));
        }
        let is_target = self.aliases.values().any(|other| other.target == name);
        if is_target || self.aliases.contains_key(&alias.target) {
            return Err(ValueRejection::AliasChain(name));
        }
        if self.aliases.len() >= within.keys_max {
            let max = within.keys_max;
            return Err(CapacityExceeded::Keys { max }.into());
        }
        self.aliases.insert(name.clone(), alias.clone());
        self.aliases_revision = revision;
        Ok(EventKind::AliasSet {
            alias: name,
            target: alias.target,
            created_at: alias.created_at,
        })
    }

    fn delete_alias(
        &mut self,
        alias: ValueKey,
        revision: Revision,
    ) -> Result<EventKind, ValueRejection> {
        match self.aliases.remove(&alias) {
            Some(_) => {
                self.aliases_revision = revision;
                Ok(EventKind::AliasDeleted { alias })
            }
            None => Err(ValueRejection::NoAlias(alias)),
        }
    }

    /// Checks that a version of `bytes` fits in `within`. If it does not, forgets the histories of deleted keys, the
    /// longest deleted first, until it fits. `kept` is the key of the version.
    fn make_room(
        &mut self,
        is_new_key: bool,
        bytes: usize,
        within: ValueBounds,
        kept: (&Namespace, &ValueKey),
    ) -> Result<(), CapacityExceeded> {
        let fits = |values: &Self| {
            let keys = values.keys_count + usize::from(is_new_key);
            (
                keys <= within.keys_max,
                values.total_bytes.saturating_add(bytes) <= within.total_max_bytes,
            )
        };
        if fits(self) == (true, true) {
            return Ok(());
        }
        let mut deleted: Vec<(Revision, Namespace, ValueKey)> = Vec::new();
        for (namespace, values) in &self.namespaces {
            for (key, history) in &values.keys {
                if history.is_deleted() && (namespace, key) != kept {
                    deleted.push((history.revision(), namespace.clone(), key.clone()));
                }
            }
        }
        deleted.sort_unstable();
        let mut after = self.clone();
        for (_, namespace, key) in deleted {
            after.forget(&namespace, &key);
            if fits(&after) == (true, true) {
                *self = after;
                return Ok(());
            }
        }
        Err(match fits(&after) {
            (false, _) => CapacityExceeded::Keys {
                max: within.keys_max,
            },
            _ => CapacityExceeded::Values {
                max_bytes: within.total_max_bytes,
            },
        })
    }

    /// Replaces the expiry of the version `old` of a key by that of the version `new`.
    fn move_expiry(
        &mut self,
        namespace: &Namespace,
        key: &ValueKey,
        old: Option<&ValueVersion>,
        new: Option<&ValueVersion>,
    ) {
        let entry = |at| (at, namespace.clone(), key.clone());
        if let Some(at) = old.and_then(|old| old.expires_at) {
            self.expiries.remove(&entry(at));
        }
        if let Some(at) = new.and_then(|new| new.expires_at) {
            self.expiries.insert(entry(at));
        }
    }

    fn forget(&mut self, namespace: &Namespace, key: &ValueKey) {
        let values = self.namespaces.get_mut(namespace);
        if let Some(history) = values.and_then(|values| values.keys.remove(key)) {
            self.keys_count -= 1;
            self.total_bytes -= history.bytes();
        }
    }

    /// Returns everything that a snapshot of the state holds: each namespace with its revision and its keys.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Namespace, &NamespaceValues)> {
        self.namespaces.iter()
    }

    /// Sets the revision of a namespace, as a snapshot of the state recorded it.
    pub(crate) fn insert_namespace(&mut self, namespace: Namespace, revision: Revision) {
        self.namespaces.entry(namespace).or_default().revision = revision;
    }

    /// Inserts the history of a key, as a snapshot of the state recorded it.
    pub(crate) fn insert_history(
        &mut self,
        namespace: Namespace,
        key: ValueKey,
        history: ValueHistory,
    ) {
        self.keys_count += 1;
        self.total_bytes += history.bytes();
        let current = history.current().map(|current| &**current);
        self.move_expiry(&namespace, &key, None, current);
        let values = self.namespaces.entry(namespace).or_default();
        values.keys.insert(key, history);
    }

    /// Inserts an alias, as a snapshot of the state recorded it. `newest` is the newest change in the snapshot.
    pub(crate) fn insert_alias(&mut self, name: ValueKey, alias: Alias, newest: Revision) {
        self.aliases.insert(name, alias);
        self.aliases_revision = newest;
    }
}

impl ValueSource for Values {
    fn value(&self, name: &ValueName) -> Option<Arc<ValueVersion>> {
        let (_, version) = self.get(name.namespace.as_str(), &name.key)?;
        Some(version.clone())
    }

    fn values_under(
        &self,
        namespace: &Namespace,
        prefix: &str,
    ) -> Vec<(ValueKey, Arc<ValueVersion>)> {
        let values = self.namespace(namespace.as_str()).into_iter();
        let entries = values.flat_map(|values| values.entries(prefix));
        entries
            .map(|(key, version)| (key.clone(), version.clone()))
            .collect()
    }
}

impl NamespaceValues {
    /// Returns the current values whose key begins with `prefix`, in the order of their keys.
    pub fn entries<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a ValueKey, &'a Arc<ValueVersion>)> {
        self.entries_after(prefix, None)
    }

    /// Like [`NamespaceValues::entries`], from the first key after `after`.
    pub fn entries_after<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a ValueKey, &'a Arc<ValueVersion>)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let from = (self.keys).range::<_, str>((start, Bound::Unbounded));
        let with_prefix = from.take_while(move |(key, _)| key.as_str().starts_with(prefix));
        with_prefix.filter_map(|(key, history)| Some((key, history.current()?)))
    }

    /// Returns the histories of the keys that begin with `prefix`.
    fn histories_under(&self, prefix: &str) -> impl Iterator<Item = &ValueHistory> {
        let from = (self.keys).range::<_, str>((Bound::Included(prefix), Bound::Unbounded));
        let with_prefix = from.take_while(move |(key, _)| key.as_str().starts_with(prefix));
        with_prefix.map(|(_, history)| history)
    }

    /// Returns keys with a value: at most `max` before `key` in their order, the nearest first, and at most `max` from it
    /// on.
    pub fn keys_around<'a>(
        &'a self,
        key: &'a ValueKey,
        max: usize,
    ) -> impl Iterator<Item = &'a ValueKey> {
        let has_value = |(key, history): (&'a ValueKey, &'a ValueHistory)| {
            history.current().is_some().then_some(key)
        };
        let before = self.keys.range::<_, ValueKey>(..key).rev().take(max);
        let from = self.keys.range::<_, ValueKey>(key..).take(max);
        before.chain(from).filter_map(has_value)
    }

    /// Returns the history of each key, in the order of the keys.
    pub(crate) fn histories(&self) -> impl Iterator<Item = (&ValueKey, &ValueHistory)> {
        self.keys.iter()
    }
}

fn check_version(
    key: &ValueKey,
    current: Option<&ValueVersion>,
    required: Option<u64>,
) -> Result<(), ValueRejection> {
    let found = current.map(|current| current.version);
    match required {
        Some(required) if found != Some(required) => Err(ValueRejection::OtherVersion {
            key: key.clone(),
            found,
        }),
        _ => Ok(()),
    }
}
