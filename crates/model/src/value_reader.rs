//! Reads of operators' values at one revision, and the record of these reads. A change of a value causes a render only
//! if the newest render has read that value.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    value::ValueVersion,
    value_names::{InvalidValueName, Namespace, ValueKey, ValueName, ValuePattern},
};

/// Operators' values at one revision.
pub trait ValueSource: Send + Sync {
    /// Returns the current version of a key or an alias.
    fn value(&self, name: &ValueName) -> Option<Arc<ValueVersion>>;

    /// Returns the current versions of all keys of `namespace` that begin with `prefix`, in the order of the keys.
    fn values_under(
        &self,
        namespace: &Namespace,
        prefix: &str,
    ) -> Vec<(ValueKey, Arc<ValueVersion>)>;
}

/// Values that do not change, such as those of a file.
impl ValueSource for BTreeMap<ValueName, Arc<ValueVersion>> {
    fn value(&self, name: &ValueName) -> Option<Arc<ValueVersion>> {
        self.get(name).cloned()
    }

    fn values_under(
        &self,
        namespace: &Namespace,
        prefix: &str,
    ) -> Vec<(ValueKey, Arc<ValueVersion>)> {
        let all = self.iter();
        let found = all.filter(|(name, _)| {
            name.namespace == *namespace && name.key.as_str().starts_with(prefix)
        });
        found
            .map(|(name, version)| (name.key.clone(), version.clone()))
            .collect()
    }
}

/// Reads operators' values, and records each read. Clones share the record.
///
/// Two readers are equal if they read from the same source.
#[derive(Clone, Default)]
pub struct ValueReader {
    /// `None` if there are no values at all.
    source: Option<Arc<dyn ValueSource>>,
    /// The values that may be read. `None` if all of them may.
    allowed: Option<Arc<[ValuePattern]>>,
    reads: Arc<Mutex<ValueReads>>,
}

/// The reason why a value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueReadError {
    /// The namespace or the key is not valid.
    #[error(transparent)]
    Name(#[from] InvalidValueName),
    /// The materializer does not declare that it reads the value.
    #[error("{0} is not one of the values that this materializer declares to read")]
    NotDeclared(String),
}

/// The current versions of several keys, in the order of the keys.
pub(super) type Versions = Vec<(ValueKey, Arc<ValueVersion>)>;

/// The reads of a render or of a rule, and their answers.
#[derive(Debug, Clone, Default)]
pub struct ValueReads {
    keys: BTreeMap<ValueName, Option<Arc<ValueVersion>>>,
    prefixes: BTreeMap<(Namespace, Arc<str>), Versions>,
}

impl ValueReader {
    /// Returns a reader of all values of `source`, with an empty record.
    pub fn new(source: Arc<dyn ValueSource>) -> Self {
        Self {
            source: Some(source),
            ..Self::default()
        }
    }

    /// Returns a reader of only the values that match one of `patterns`, with an empty record.
    #[must_use]
    pub fn limited_to(&self, patterns: &[ValuePattern]) -> Self {
        Self {
            allowed: Some(patterns.into()),
            ..self.with_own_record()
        }
    }

    /// Returns a reader of the same values, with an empty record.
    #[must_use]
    pub fn with_own_record(&self) -> Self {
        Self {
            reads: Arc::default(),
            ..self.clone()
        }
    }

    /// Returns the current version of a key or an alias, or `None` if it has none.
    ///
    /// # Errors
    /// Fails if a name is not valid, or if this reader may not read the value.
    pub fn get(
        &self,
        namespace: &str,
        key: &str,
    ) -> Result<Option<Arc<ValueVersion>>, ValueReadError> {
        let name = ValueName {
            namespace: Namespace::new(namespace)?,
            key: ValueKey::new(key)?,
        };
        self.check(namespace, key, |pattern| pattern.contains(namespace, key))?;
        let source = self.source.as_ref();
        let version = source.and_then(|source| source.value(&name));
        self.record(|reads| {
            reads.keys.insert(name, version.clone());
        });
        Ok(version)
    }

    /// Returns the current versions of all keys of `namespace` that begin with `prefix`, in the order of the keys.
    ///
    /// # Errors
    /// Fails if the namespace is not valid, or if this reader may not read all of these values.
    pub fn under(
        &self,
        namespace: &str,
        prefix: &str,
    ) -> Result<Vec<(ValueKey, Arc<ValueVersion>)>, ValueReadError> {
        let name = Namespace::new(namespace)?;
        self.check(namespace, prefix, |pattern| {
            pattern.contains_all_under(namespace, prefix)
        })?;
        let source = self.source.as_ref();
        let versions = source.map(|source| source.values_under(&name, prefix));
        let versions = versions.unwrap_or_default();
        self.record(|reads| {
            let prefix = (name, prefix.into());
            reads.prefixes.insert(prefix, versions.clone());
        });
        Ok(versions)
    }

    /// Returns all values that match `pattern`.
    ///
    /// # Errors
    /// Fails as [`ValueReader::under`] does.
    pub fn matching(
        &self,
        pattern: &ValuePattern,
    ) -> Result<Vec<(ValueKey, Arc<ValueVersion>)>, ValueReadError> {
        match pattern {
            ValuePattern::Key(ValueName { namespace, key }) => {
                let version = self.get(namespace.as_str(), key.as_str())?;
                Ok(version
                    .map(|version| (key.clone(), version))
                    .into_iter()
                    .collect())
            }
            ValuePattern::Prefix { namespace, prefix } => self.under(namespace.as_str(), prefix),
        }
    }

    /// Returns the record so far.
    pub fn reads(&self) -> ValueReads {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        reads.clone()
    }

    fn check(
        &self,
        namespace: &str,
        start: &str,
        is_in: impl Fn(&ValuePattern) -> bool,
    ) -> Result<(), ValueReadError> {
        match &self.allowed {
            Some(allowed) if !allowed.iter().any(is_in) => {
                Err(ValueReadError::NotDeclared(format!("{namespace}/{start}")))
            }
            _ => Ok(()),
        }
    }

    fn record(&self, note: impl FnOnce(&mut ValueReads)) {
        note(&mut self.reads.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl PartialEq for ValueReader {
    fn eq(&self, other: &Self) -> bool {
        match (&self.source, &other.source) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}
impl Eq for ValueReader {}

impl fmt::Debug for ValueReader {
    /// Prints nothing of the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ValueReader")
    }
}

impl ValueReads {
    /// Returns the keys that were read, with their versions.
    pub(super) fn keys(&self) -> &BTreeMap<ValueName, Option<Arc<ValueVersion>>> {
        &self.keys
    }

    /// Returns the prefixes that were read, with the versions of their keys.
    pub(super) fn prefixes(&self) -> &BTreeMap<(Namespace, Arc<str>), Versions> {
        &self.prefixes
    }

    /// Adds the read of one key.
    pub(super) fn add_key(&mut self, name: ValueName, version: Option<Arc<ValueVersion>>) {
        self.keys.insert(name, version);
    }

    /// Adds the read of all keys with a prefix.
    pub(super) fn add_prefix(&mut self, namespace: Namespace, prefix: &str, versions: Versions) {
        self.prefixes.insert((namespace, prefix.into()), versions);
    }

    /// Adds the reads of another record.
    pub fn add(&mut self, other: Self) {
        self.keys.extend(other.keys);
        self.prefixes.extend(other.prefixes);
    }

    /// Reads everything again from `source`. Returns whether an answer has another content than before.
    pub fn refresh(&mut self, source: &dyn ValueSource) -> bool {
        let mut has_changed = false;
        for (name, before) in &mut self.keys {
            let now = source.value(name);
            has_changed |= !is_same(before.as_ref(), now.as_ref());
            *before = now;
        }
        for ((namespace, prefix), before) in &mut self.prefixes {
            let now = source.values_under(namespace, prefix);
            has_changed |= before.len() != now.len()
                || before
                    .iter()
                    .zip(&now)
                    .any(|((key, before), (other, now))| {
                        key != other || !is_same(Some(before), Some(now))
                    });
            *before = now;
        }
        has_changed
    }

    /// Returns the names that were read, also those without a value.
    pub fn names(&self) -> impl Iterator<Item = &ValueName> {
        self.keys.keys()
    }

    /// Returns whether all keys of `namespace` with a prefix of `key` were read.
    pub fn has_prefix_of(&self, namespace: &str, key: &str) -> bool {
        let mut prefixes = self.prefixes.keys();
        prefixes.any(|(of, prefix)| of.as_str() == namespace && key.starts_with(&**prefix))
    }

    /// Returns the first secret value that was read.
    pub fn secret(&self) -> Option<ValueName> {
        let is_secret = |version: &Arc<ValueVersion>| version.is_secret();
        let key = self
            .keys
            .iter()
            .find(|(_, version)| version.as_ref().is_some_and(is_secret));
        if let Some((name, _)) = key {
            return Some(name.clone());
        }
        self.prefixes.iter().find_map(|((namespace, _), versions)| {
            let (key, _) = versions.iter().find(|(_, version)| is_secret(version))?;
            Some(ValueName {
                namespace: namespace.clone(),
                key: key.clone(),
            })
        })
    }
}

/// Returns whether a template cannot tell the two versions apart.
fn is_same(one: Option<&Arc<ValueVersion>>, other: Option<&Arc<ValueVersion>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            Arc::ptr_eq(one, other)
                || (one.codec == other.codec
                    && one.is_secret() == other.is_secret()
                    && one.bytes == other.bytes)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ValueType;

    fn table(values: &[(&str, &str)]) -> BTreeMap<ValueName, Arc<ValueVersion>> {
        let values = values.iter().map(|(name, text)| {
            let value_type = if name.contains("secret") {
                ValueType::Secret
            } else {
                ValueType::String
            };
            let version = ValueVersion {
                bytes: Bytes::copy_from_slice(text.as_bytes()),
                codec: "text".parse().unwrap(),
                value_type,
                version: 1,
                created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
                updated_at: "2026-01-02T03:04:05Z".parse().unwrap(),
                expires_at: None,
            };
            (name.parse().unwrap(), Arc::new(version))
        });
        values.collect()
    }

    fn reads_of(values: &[(&str, &str)]) -> ValueReads {
        let reader = ValueReader::new(Arc::new(table(values)));
        reader.get("prod", "app/a").unwrap();
        reader.get("prod", "absent").unwrap();
        reader.under("prod", "db/").unwrap();
        reader.reads()
    }

    #[test]
    fn only_a_change_of_what_was_read_counts() {
        let before = [("prod/app/a", "1"), ("prod/db/x", "2"), ("prod/app/b", "3")];
        for (after, counts) in [
            (&before[..], false),
            (
                &[("prod/app/a", "1"), ("prod/db/x", "2"), ("prod/app/b", "4")],
                false,
            ),
            (&[("prod/app/a", "1"), ("prod/db/x", "2")], false),
            (&[("prod/app/a", "5"), ("prod/db/x", "2")], true),
            (&[("prod/db/x", "2")], true),
            (
                &[
                    ("prod/app/a", "1"),
                    ("prod/db/x", "2"),
                    ("prod/absent", "6"),
                ],
                true,
            ),
            (
                &[("prod/app/a", "1"), ("prod/db/x", "2"), ("prod/db/y", "7")],
                true,
            ),
            (&[("prod/app/a", "1")], true),
        ] {
            let mut reads = reads_of(&before);
            let after = table(after);
            assert_eq!(reads.refresh(&after), counts, "{:?}", after.keys());
            assert!(!reads.refresh(&after), "the new answers are kept");
        }
    }

    #[test]
    fn limited_reader_reads_only_what_is_declared() {
        let values = table(&[("prod/app/a", "1"), ("prod/db/x", "2")]);
        let all = ValueReader::new(Arc::new(values));
        let limited = all.limited_to(&["prod/app/a".parse().unwrap(), "prod/db/".parse().unwrap()]);
        assert!(limited.get("prod", "app/a").unwrap().is_some());
        assert!(limited.get("prod", "db/x").unwrap().is_some());
        assert_eq!(limited.under("prod", "db/").unwrap().len(), 1);
        for denied in [
            limited.get("prod", "app/b").map(drop),
            limited.under("prod", "d").map(drop),
            limited.under("prod", "app/a").map(drop),
            limited.get("test", "db/x").map(drop),
        ] {
            assert!(matches!(denied, Err(ValueReadError::NotDeclared(_))));
        }
    }

    #[test]
    fn secret_among_the_reads_is_named() {
        assert_eq!(reads_of(&[("prod/db/x", "2")]).secret(), None);
        let secret = reads_of(&[("prod/db/secret", "2")]).secret();
        assert_eq!(secret.unwrap().to_string(), "prod/db/secret");
    }
}
