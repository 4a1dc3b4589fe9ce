//! Reads files of precomputed artifacts, in one of two formats.
//!
//! - By node: `{nodes: {ID: {files: […]}}, shared: {files: […]}}`. `shared` may be absent.
//! - The bundle: `{nodes: [{identifier, files}], shared_files: […]}`. `shared_files` may be absent.
//!
//! The format is by node if `nodes` is a mapping, and the bundle if it is a list. A file is
//! `{path, content, mode, secret}`. `mode` and `secret` may be absent.
//!
//! Files of the existing protocol's server may have other fields, and nodes without `files`. They are accepted with a
//! warning. A field that looks like a misspelt one is a mistake: without it, a secret file could become readable.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::{
    mistake::{Document, Mistake},
    scalars::{AccountText, Mapped, ModeText},
    source::YamlPath,
    syntax, typed,
    unknown_fields::take_unknown_fields,
};
use cfgsync_model::{
    ArtifactFile, ArtifactPath, ArtifactSet, Identifier, MaterializedArtifacts, Mode, Ownership,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawByNode {
    nodes: Mapping,
    shared: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFiles {
    #[serde(default)]
    files: Vec<Mapped<RawArtifact>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBundle {
    nodes: Vec<Mapped<RawBundleNode>>,
    shared_files: Option<Vec<Mapped<RawArtifact>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBundleNode {
    identifier: String,
    #[serde(default)]
    files: Vec<Mapped<RawArtifact>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArtifact {
    path: String,
    content: String,
    mode: Option<ModeText>,
    secret: Option<bool>,
    owner: Option<AccountText>,
    group: Option<AccountText>,
}

/// Artifacts that were read, and what was ignored in their file.
pub(super) struct ReadArtifacts {
    pub(super) artifacts: MaterializedArtifacts,
    pub(super) warnings: Vec<String>,
}

/// Reads the artifacts in `text`, the content of `file`.
pub(super) fn read_artifacts(file: &Path, text: String) -> Result<ReadArtifacts, Vec<Mistake>> {
    let document = Document::new(file, text);
    let mut value = syntax::parse(&document)?;
    let warnings = take_unknown_fields(&document, &mut value);
    let mut reader = Reader {
        document,
        mistakes: Vec::new(),
        node_paths: BTreeMap::new(),
    };
    match reader.artifacts(&value) {
        Some(artifacts) if reader.mistakes.is_empty() => Ok(ReadArtifacts {
            artifacts,
            warnings,
        }),
        _ => Err(reader.mistakes),
    }
}

struct Reader {
    document: Document,
    mistakes: Vec<Mistake>,
    /// The path of each node's entry.
    node_paths: BTreeMap<Identifier, YamlPath>,
}

impl Reader {
    fn artifacts(&mut self, value: &Value) -> Option<MaterializedArtifacts> {
        let root = YamlPath::default();
        let artifacts = match value.get("nodes") {
            Some(Value::Sequence(_)) => self.bundle(value, &root)?,
            Some(Value::Mapping(_)) => self.by_node(value, &root)?,
            Some(other) => {
                let expected = "a mapping of nodes, or a list of them";
                let mistake =
                    typed::wrong_type(&self.document, &root.key("nodes"), expected, other);
                self.mistakes.push(mistake);
                return None;
            }
            None => {
                let mistake = self.document.value(&root, "missing field `nodes`").help(
                    "write `{nodes: {ID: {files: […]}}, shared: {files: […]}}` \
                     or `{nodes: [{identifier, files}], shared_files: […]}`",
                );
                self.mistakes.push(mistake);
                return None;
            }
        };
        if artifacts.nodes.is_empty() && self.mistakes.is_empty() {
            self.note(
                &root.key("nodes"),
                "`nodes` is empty, so no node would get a file",
            );
        }
        Some(artifacts)
    }

    fn by_node(&mut self, value: &Value, root: &YamlPath) -> Option<MaterializedArtifacts> {
        let raw: RawByNode = self.section(value, root)?;
        let path = root.key("nodes");
        let entries = typed::entries(&self.document, Some(&raw.nodes), &path, &mut self.mistakes);
        let mut artifacts = MaterializedArtifacts::default();
        for (identifier, value) in entries {
            let path = path.key(identifier);
            let Some(RawFiles { files }) = self.section(value, &path) else {
                continue;
            };
            let files = self.artifact_set(files, &path.key("files"));
            match Identifier::new(identifier) {
                Ok(identifier) => {
                    self.node_paths.insert(identifier.clone(), path);
                    artifacts.nodes.insert(identifier, files);
                }
                Err(error) => {
                    let mistake = self.document.key(&path, error.to_string());
                    self.mistakes.push(mistake);
                }
            }
        }
        let path = root.key("shared");
        if let Some(shared) = &raw.shared
            && let Some(RawFiles { files }) = self.section(shared, &path)
        {
            artifacts.shared = self.artifact_set(files, &path.key("files"));
        }
        self.check_collisions(&artifacts);
        Some(artifacts)
    }

    fn bundle(&mut self, value: &Value, root: &YamlPath) -> Option<MaterializedArtifacts> {
        let raw: RawBundle = self.section(value, root)?;
        let mut artifacts = MaterializedArtifacts::default();
        for (at, Mapped(node)) in raw.nodes.into_iter().enumerate() {
            let path = root.key("nodes").index(at);
            let files = self.artifact_set(node.files, &path.key("files"));
            match Identifier::new(&node.identifier) {
                Ok(identifier) => {
                    self.node_paths
                        .insert(identifier.clone(), path.key("identifier"));
                    if artifacts.nodes.insert(identifier, files).is_some() {
                        let title = format!("node `{}` is listed twice", node.identifier);
                        self.note(&path.key("identifier"), title);
                    }
                }
                Err(error) => self.note(&path.key("identifier"), error.to_string()),
            }
        }
        let shared = raw.shared_files.unwrap_or_default();
        artifacts.shared = self.artifact_set(shared, &root.key("shared_files"));
        self.check_collisions(&artifacts);
        Some(artifacts)
    }

    fn artifact_set(&mut self, files: Vec<Mapped<RawArtifact>>, path: &YamlPath) -> ArtifactSet {
        let mut set = ArtifactSet::default();
        for (at, Mapped(raw)) in files.into_iter().enumerate() {
            let place = path.index(at).key("path");
            let secret = raw.secret.unwrap_or(false);
            let mode = Mode::for_file(raw.mode.map(|mode| mode.0), secret);
            let mode = mode.unwrap_or_else(|error| {
                self.note(&path.index(at).key("mode"), error.to_string());
                Mode::default()
            });
            let file = match ArtifactPath::new(&raw.path) {
                Ok(path) => ArtifactFile {
                    mode,
                    secret,
                    ownership: Ownership::of(
                        raw.owner.map(|owner| owner.0),
                        raw.group.map(|group| group.0),
                    ),
                    ..ArtifactFile::new(path, raw.content)
                },
                Err(error) => {
                    self.note(&place, error.to_string());
                    continue;
                }
            };
            if let Err(error) = set.push(file) {
                self.note(&place, format!("two files are called `{}`", error.0));
            }
        }
        set
    }

    /// Refuses a node's file with the name of a shared one: the node would get both.
    fn check_collisions(&mut self, artifacts: &MaterializedArtifacts) {
        for (identifier, own) in &artifacts.nodes {
            for file in artifacts.shared.files() {
                if own.get(&file.path).is_some() {
                    let title = format!(
                        "node `{identifier}` and the shared files both have a file called `{}`",
                        file.path
                    );
                    let path = &self.node_paths[identifier];
                    self.mistakes.push(self.document.key(path, title));
                }
            }
        }
    }

    fn section<T: serde::de::DeserializeOwned>(
        &mut self,
        value: &Value,
        path: &YamlPath,
    ) -> Option<T> {
        typed::read(&self.document, value, path, &mut self.mistakes)
    }

    fn note(&mut self, path: &YamlPath, title: impl Into<String>) {
        let mistake = self.document.value(path, title);
        self.mistakes.push(mistake);
    }
}
