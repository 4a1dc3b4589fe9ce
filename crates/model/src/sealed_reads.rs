//! The operators' values that the render of a generation has read, in the form that is stored with its seal. After a
//! restart they show whether a value has changed since.

use serde::{Deserialize, Serialize};

use super::{
    Digest,
    value::ValueVersion,
    value_names::{Namespace, ValueKey, ValueName},
    value_reader::{ValueReads, ValueSource},
};

/// The number of reads that a generation keeps. With more of them, it keeps none.
pub const SEALED_READS_MAX: usize = 1000;

/// The reads of a render, with digests of the contents. None of these is secret: the digest of a short secret would tell
/// it to a reader of the state directory's copies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SealedReads {
    /// The keys and aliases that were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<SealedKey>,
    /// The beginnings of keys of which all values were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    prefixes: Vec<SealedPrefix>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SealedKey {
    namespace: Namespace,
    key: ValueKey,
    /// `None` if it had no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Digest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SealedPrefix {
    namespace: Namespace,
    prefix: String,
    /// The digest of all keys with their contents.
    contents: Digest,
}

impl SealedReads {
    /// Returns the form of `reads` for a seal. `None` if there are too many, or if a secret value is among them.
    pub fn of(reads: &ValueReads) -> Option<Self> {
        let (keys, prefixes) = (reads.keys(), reads.prefixes());
        if keys.len() + prefixes.len() > SEALED_READS_MAX || reads.secret().is_some() {
            return None;
        }
        let keys = keys.iter().map(|(name, version)| SealedKey {
            namespace: name.namespace.clone(),
            key: name.key.clone(),
            content: version.as_deref().map(digest_of),
        });
        let prefixes = (prefixes.iter()).map(|((namespace, prefix), versions)| SealedPrefix {
            namespace: namespace.clone(),
            prefix: prefix.to_string(),
            contents: digest_of_all(versions),
        });
        Some(Self {
            keys: keys.collect(),
            prefixes: prefixes.collect(),
        })
    }

    /// Reads everything again from `source`. Returns the reads if all contents are those of the render, and `None` if one
    /// has changed.
    pub fn read_again(&self, source: &dyn ValueSource) -> Option<ValueReads> {
        let mut reads = ValueReads::default();
        for read in &self.keys {
            let name = ValueName {
                namespace: read.namespace.clone(),
                key: read.key.clone(),
            };
            let version = source.value(&name);
            if version.as_deref().map(digest_of) != read.content {
                return None;
            }
            reads.add_key(name, version);
        }
        for read in &self.prefixes {
            let versions = source.values_under(&read.namespace, &read.prefix);
            if digest_of_all(&versions) != read.contents {
                return None;
            }
            reads.add_prefix(read.namespace.clone(), &read.prefix, versions);
        }
        Some(reads)
    }
}

/// Returns the digest of all that a template can see of a version.
fn digest_of(version: &ValueVersion) -> Digest {
    let kind: &[u8] = if version.is_secret() { b"secret" } else { b"" };
    Digest::of_parts([version.codec.as_str().as_bytes(), kind, &version.bytes])
}

fn digest_of_all(versions: &super::value_reader::Versions) -> Digest {
    let digests = versions
        .iter()
        .map(|(key, version)| (key, digest_of(version)));
    let digests: Vec<_> = digests.collect();
    Digest::of_parts(
        digests
            .iter()
            .flat_map(|(key, digest)| [key.as_str().as_bytes(), digest.as_bytes().as_slice()]),
    )
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::{ValueReader, ValueType};

    type Table = BTreeMap<ValueName, Arc<ValueVersion>>;

    fn table(values: &[(&str, &str)]) -> Table {
        let values = values.iter().map(|(name, text)| {
            let is_secret = name.contains("secret");
            let version = ValueVersion {
                bytes: text.to_string().into(),
                codec: "text".parse().unwrap(),
                value_type: if is_secret {
                    ValueType::Secret
                } else {
                    ValueType::String
                },
                version: 1,
                created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
                updated_at: "2026-01-02T03:04:05Z".parse().unwrap(),
                expires_at: None,
            };
            (name.parse().unwrap(), Arc::new(version))
        });
        values.collect()
    }

    /// Returns the reads of `prod/app/a`, of an absent key and of all keys that begin with `prod/db/`, as stored.
    fn sealed(values: &[(&str, &str)]) -> Option<SealedReads> {
        let reader = ValueReader::new(Arc::new(table(values)));
        reader.get("prod", "app/a").unwrap();
        reader.get("prod", "absent").unwrap();
        reader.under("prod", "db/").unwrap();
        let sealed = SealedReads::of(&reader.reads())?;
        let stored = serde_json::to_string(&sealed).unwrap();
        Some(serde_json::from_str(&stored).unwrap())
    }

    #[test]
    fn reads_are_valid_while_their_contents_are_the_same() {
        let before = [("prod/app/a", "1"), ("prod/db/x", "2"), ("prod/other", "3")];
        let sealed = sealed(&before).unwrap();
        for (after, is_same) in [
            (&before[..], true),
            (&[("prod/app/a", "1"), ("prod/db/x", "2")], true),
            (&[("prod/app/a", "5"), ("prod/db/x", "2")], false),
            (&[("prod/db/x", "2")], false),
            (&[("prod/app/a", "1")], false),
            (&[("prod/app/a", "1"), ("prod/db/y", "2")], false),
            (
                &[("prod/app/a", "1"), ("prod/db/x", "2"), ("prod/absent", "")],
                false,
            ),
            (
                &[("prod/app/a", "1"), ("prod/db/x", "2"), ("prod/db/y", "")],
                false,
            ),
        ] {
            let again = sealed.read_again(&table(after));
            assert_eq!(again.is_some(), is_same, "{after:?}");
            let changed = table(&[("prod/app/a", "9"), ("prod/db/x", "2")]);
            if let Some(mut again) = again {
                assert!(again.refresh(&changed), "the reads are complete");
            }
        }
    }

    #[test]
    fn secrets_and_too_many_reads_are_not_stored() {
        assert_eq!(sealed(&[("prod/db/secret", "2")]), None);
        let reader = ValueReader::new(Arc::new(Table::new()));
        for at in 0..SEALED_READS_MAX {
            reader.get("prod", &format!("key-{at}")).unwrap();
        }
        assert!(SealedReads::of(&reader.reads()).is_some());
        reader.under("prod", "db/").unwrap();
        assert_eq!(SealedReads::of(&reader.reads()), None);
    }
}
