//! How a generation came about: its render, the files of its spec, and the changes since the generation before.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{Digest, Identifier, Namespace, SealedReads, ValueKey};
use cfgsync_support::clock::Timestamp;

/// The number of changes that a generation lists. Further ones are counted.
pub const CHANGES_MAX: usize = 200;

/// The number of files of a spec whose digests a generation keeps. Further ones are part of the spec's digest only.
pub const SOURCES_MAX: usize = 1000;

/// How a generation came about. It is stored with the seal, as JSON. Generations of older programs have none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// The render that made the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub render: Option<RenderTime>,
    /// The sources of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<SpecSources>,
    /// The changes since the generation before. `None` for the first generation, and if it was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<GenerationChanges>,
    /// The operators' values that the render has read. `None` if they were not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<SealedReads>,
}

/// The time of a render.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderTime {
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub took_micros: u64,
}

/// The digests of a spec and of the files that it names. Their contents are stored nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecSources {
    /// The digest of the spec's own text.
    pub spec: Digest,
    /// The digests of the files, by the name that the spec gives them; at most [`SOURCES_MAX`].
    #[serde(default)]
    pub files: BTreeMap<String, Digest>,
}

/// The changes from one generation to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GenerationChanges {
    /// The changes, at most [`CHANGES_MAX`]: first those of the spec and its files, then those of nodes, overrides, values.
    pub changes: Vec<InputChange>,
    /// The number of changes that are not listed: those beyond the bound, and those of values that the reader may not see.
    #[serde(default)]
    pub more: usize,
    /// Whether some changes may be missing: the history of events had lost them, or the spec names too many files.
    #[serde(default)]
    pub is_partial: bool,
}

/// One change of an input. It shows no contents: neither those of values and files, nor those of metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum InputChange {
    /// The text of the spec is another one.
    SpecChanged,
    /// A file that the spec names has another content.
    FileChanged {
        /// Its name in the spec. That of a file with `source` may be a template.
        file: String,
    },
    /// The spec names another file.
    FileAdded {
        /// Its name in the spec.
        file: String,
    },
    /// The spec no longer names a file.
    FileRemoved {
        /// Its name in the spec.
        file: String,
    },
    /// A node is new in this generation.
    NodeJoined {
        /// The node.
        identifier: Identifier,
    },
    /// A node is no longer in this generation.
    NodeLeft {
        /// The node.
        identifier: Identifier,
    },
    /// A node has registered with other facts.
    NodeChanged {
        /// The node.
        identifier: Identifier,
        /// The facts that differ: `ip`, and `metadata.NAME`. Empty if the earlier facts are not known.
        fields: Vec<String>,
        /// The number of fields that are not listed.
        #[serde(default)]
        more: usize,
    },
    /// An operator has set the files of a node.
    OverrideSet {
        /// The node.
        identifier: Identifier,
    },
    /// A node has its own files again.
    OverrideRemoved {
        /// The node.
        identifier: Identifier,
    },
    /// A value that the render read has a new version.
    ValueSet {
        /// The namespace.
        namespace: Namespace,
        /// The key.
        key: ValueKey,
        /// The number of the version.
        version: u64,
        /// Whether the value is a secret.
        #[serde(default)]
        is_secret: bool,
    },
    /// A value that the render read was deleted.
    ValueDeleted {
        /// The namespace.
        namespace: Namespace,
        /// The key.
        key: ValueKey,
    },
    /// An alias that the render read stands for another key.
    AliasSet {
        /// The alias.
        alias: ValueKey,
        /// The key.
        target: ValueKey,
    },
    /// An alias that the render read was deleted.
    AliasDeleted {
        /// The alias.
        alias: ValueKey,
    },
    /// An operator requested another value of `once`.
    Redrawn {
        /// The name of the value.
        key: String,
    },
    /// A change of a newer program.
    #[serde(other)]
    Unknown,
}

impl InputChange {
    /// Returns the namespace of the value that has changed, for a change of a value.
    pub fn namespace(&self) -> Option<&Namespace> {
        match self {
            Self::ValueSet { namespace, .. } | Self::ValueDeleted { namespace, .. } => {
                Some(namespace)
            }
            _ => None,
        }
    }

    /// Returns whether an alias has changed.
    pub fn is_of_alias(&self) -> bool {
        matches!(self, Self::AliasSet { .. } | Self::AliasDeleted { .. })
    }
}

impl SpecSources {
    /// Returns the sources of a spec with this text and these files. A name that occurs twice has the last digest.
    pub fn new(spec: Digest, files: impl IntoIterator<Item = (String, Digest)>) -> Self {
        let files = files.into_iter().take(SOURCES_MAX).collect();
        Self { spec, files }
    }

    /// Returns the changes from `before` to these sources.
    pub fn changes_since(&self, before: &Self) -> Vec<InputChange> {
        let text = (self.spec != before.spec).then_some(InputChange::SpecChanged);
        let current = self.files.iter().filter_map(|(file, digest)| {
            let file = file.clone();
            match before.files.get(&file) {
                None => Some(InputChange::FileAdded { file }),
                Some(known) if known != digest => Some(InputChange::FileChanged { file }),
                Some(_) => None,
            }
        });
        let removed = before.files.keys();
        let removed = removed.filter(|file| !self.files.contains_key(*file));
        let removed = removed.map(|file| InputChange::FileRemoved { file: file.clone() });
        text.into_iter().chain(current).chain(removed).collect()
    }
}

impl GenerationChanges {
    /// Returns these changes, of which only the first are listed.
    pub fn new(mut changes: Vec<InputChange>, is_partial: bool) -> Self {
        let more = changes.len().saturating_sub(CHANGES_MAX);
        changes.truncate(CHANGES_MAX);
        Self {
            changes,
            more,
            is_partial,
        }
    }

    /// Leaves out the changes that are not `shown`. They are only counted.
    pub fn retain(&mut self, shown: impl FnMut(&InputChange) -> bool) {
        let before = self.changes.len();
        self.changes.retain(shown);
        self.more += before - self.changes.len();
    }
}

impl fmt::Display for InputChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpecChanged => f.write_str("the text of the spec changed"),
            Self::FileChanged { file } => write!(f, "the file {file} of the spec changed"),
            Self::FileAdded { file } => write!(f, "the spec uses the file {file} now"),
            Self::FileRemoved { file } => write!(f, "the spec no longer uses the file {file}"),
            Self::NodeJoined { identifier } => write!(f, "{identifier} joined"),
            Self::NodeLeft { identifier } => write!(f, "{identifier} left"),
            Self::NodeChanged {
                identifier, fields, ..
            } if fields.is_empty() => {
                write!(f, "{identifier} registered with other facts")
            }
            Self::NodeChanged {
                identifier,
                fields,
                more,
            } => {
                write!(f, "{identifier} changed {}", fields.join(", "))?;
                match more {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::OverrideSet { identifier } => {
                write!(f, "an operator set the files of {identifier}")
            }
            Self::OverrideRemoved { identifier } => {
                write!(f, "the override of {identifier} ended")
            }
            Self::ValueSet {
                namespace,
                key,
                version,
                is_secret,
            } => {
                let secret = if *is_secret { "secret " } else { "" };
                write!(
                    f,
                    "the {secret}value {namespace}/{key} has version {version}"
                )
            }
            Self::ValueDeleted { namespace, key } => {
                write!(f, "the value {namespace}/{key} was deleted")
            }
            Self::AliasSet { alias, target } => {
                write!(f, "the alias {alias} stands for {target}")
            }
            Self::AliasDeleted { alias } => write!(f, "the alias {alias} was deleted"),
            Self::Redrawn { key } => write!(f, "an operator requested another once.{key}"),
            Self::Unknown => f.write_str("a change that a newer cfgsync recorded"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_added_and_removed_files_are_told_apart() {
        let sources = |spec: &str, files: &[(&str, &str)]| {
            let files = files.iter();
            let digest = |text: &str| Digest::of(text.as_bytes());
            let files = files.map(|(name, text)| ((*name).to_owned(), digest(text)));
            SpecSources::new(digest(spec), files)
        };
        let before = sources("1", &[("a", "x"), ("b", "y"), ("c", "z")]);
        let after = sources("2", &[("a", "x"), ("b", "other"), ("d", "")]);
        let changes = after.changes_since(&before);
        let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let expected = [
            "the text of the spec changed",
            "the file b of the spec changed",
            "the spec uses the file d now",
            "the spec no longer uses the file c",
        ];
        assert_eq!(lines, expected);
        assert!(after.changes_since(&after).is_empty());
    }

    #[test]
    fn list_of_changes_is_bounded_and_the_rest_is_counted() {
        let all = vec![InputChange::SpecChanged; CHANGES_MAX + 3];
        let changes = GenerationChanges::new(all, false);
        assert_eq!((changes.changes.len(), changes.more), (CHANGES_MAX, 3));
    }

    #[test]
    fn provenance_of_a_newer_program_is_read() {
        let json =
            r#"{"changes": {"changes": [{"kind": "moon_phase", "phase": "full"}]}, "later": 1}"#;
        let read: Provenance = serde_json::from_str(json).unwrap();
        assert_eq!(read.changes.unwrap().changes, [InputChange::Unknown]);
    }
}
