//! The operators' values that a plan reads: from files as `values export` writes them, or from a server.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use cfgsync_client::Client;
use cfgsync_codec::{DEFAULT_CODEC, decode};
use cfgsync_model::{Codec, Namespace, ValueKey, ValueName, ValueSource, ValueType, ValueVersion};
use cfgsync_support::{bounded_file, clock::Timestamp};
use cfgsync_wire::{EntryBody, ImportEntry};

use crate::cmd::{
    error::CommandError,
    values::{FILE_MAX_BYTES, ValueFile, ValuesError},
};

/// Values and aliases that do not change.
#[derive(Default)]
pub(super) struct PlannedValues {
    values: BTreeMap<ValueName, Arc<ValueVersion>>,
    /// The key that each alias stands for.
    aliases: BTreeMap<ValueKey, ValueKey>,
}

impl ValueSource for PlannedValues {
    fn value(&self, name: &ValueName) -> Option<Arc<ValueVersion>> {
        let of_alias = || {
            self.values.value(&ValueName {
                namespace: name.namespace.clone(),
                key: self.aliases.get(&name.key)?.clone(),
            })
        };
        self.values.value(name).or_else(of_alias)
    }

    fn values_under(
        &self,
        namespace: &Namespace,
        prefix: &str,
    ) -> Vec<(ValueKey, Arc<ValueVersion>)> {
        self.values.values_under(namespace, prefix)
    }
}

impl PlannedValues {
    /// Reads one file for each namespace.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, CommandError> {
        let mut all = Self::default();
        for path in files {
            let invalid = |problem| ValuesError::File {
                path: path.clone(),
                problem,
            };
            let text = bounded_file::read_text(path, FILE_MAX_BYTES);
            let text = text.map_err(|problem| ValuesError::Read {
                path: path.clone(),
                problem,
            })?;
            let file = ValueFile::parse(&text).map_err(invalid)?;
            let namespace = file.namespace.ok_or_else(|| {
                invalid("it names no namespace; add `namespace: NAME`".to_owned())
            })?;
            for entry in file.entries {
                let version = planned(&entry);
                let version =
                    version.map_err(|problem| invalid(format!("{}: {problem}", entry.key)))?;
                all.insert(&namespace, entry.key, version);
            }
        }
        Ok(all)
    }

    /// Reads all values and aliases of a server, also the contents of secrets.
    pub(super) async fn fetch(client: &Client) -> Result<Self, CommandError> {
        let mut all = Self::default();
        for alias in client.aliases().await?.value.aliases {
            all.aliases.insert(alias.alias, alias.target);
        }
        let mut cursor = String::new();
        loop {
            let page = client.namespaces(&cursor).await?.value;
            for namespace in &page.namespaces {
                let snapshot = client.values_snapshot(namespace, true).await?.value;
                for entry in snapshot.entries {
                    let version = served(&entry).ok_or_else(|| ValuesError::NotBase64 {
                        name: format!("{namespace}/{}", entry.key),
                    })?;
                    all.insert(namespace, entry.key, version);
                }
            }
            cursor = page.next_cursor;
            if cursor.is_empty() {
                return Ok(all);
            }
        }
    }

    fn insert(&mut self, namespace: &Namespace, key: ValueKey, version: ValueVersion) {
        let namespace = namespace.clone();
        let name = ValueName { namespace, key };
        self.values.insert(name, Arc::new(version));
    }
}

/// Returns the value that the import of `entry` would make, or the reason why the server would refuse it.
fn planned(entry: &ImportEntry) -> Result<ValueVersion, String> {
    let codec = match &entry.codec {
        Some(codec) => codec.clone(),
        None => Codec::new(DEFAULT_CODEC).map_err(|error| error.to_string())?,
    };
    let bytes = entry.value.as_ref().map(|value| value.0.clone());
    let bytes = bytes.ok_or("the file has no content for it; export it with --reveal")?;
    let content = decode(&codec, &bytes).map_err(|error| error.to_string())?;
    Ok(ValueVersion {
        bytes: bytes.into(),
        codec,
        value_type: if entry.is_secret() {
            ValueType::Secret
        } else {
            content.value_type()
        },
        version: 1,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        expires_at: entry.expires_at,
    })
}

/// Returns the value that a server shows. `None` if its content is not base64.
fn served(entry: &EntryBody) -> Option<ValueVersion> {
    Some(ValueVersion {
        bytes: entry.bytes()?.into(),
        codec: entry.codec.clone(),
        value_type: ValueType::from_code(entry.value_type).unwrap_or(ValueType::Unknown),
        version: entry.version,
        created_at: entry.created_at,
        updated_at: entry.updated_at,
        expires_at: entry.expires_at,
    })
}
