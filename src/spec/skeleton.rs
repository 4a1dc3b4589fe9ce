//! Placeholder of the interface, replaced by the real parts.
#![allow(missing_docs, unused_variables, clippy::todo)]
use std::path::Path;

use super::Spec;
use crate::model::Metadata;

/// All mistakes found, rendered like a compiler's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(pub String);

/// What the facts of one node lack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metadata.{field}: {problem}")]
pub struct MetadataError {
    pub field: String,
    pub problem: String,
}

#[derive(Debug, Clone, Default)]
pub struct MetadataRules(());
impl MetadataRules {
    /// The metadata with the spec's defaults filled in, or what is wrong with it.
    pub fn complete(&self, metadata: &Metadata) -> Result<Metadata, MetadataError> {
        todo!()
    }
    /// Metadata that the rules accept, invented for the node at `index` (`plan --fake`).
    pub fn invent(&self, index: usize) -> Metadata {
        todo!()
    }
}

impl Spec {
    /// Reads the file at `path` and every file that it names.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        todo!()
    }
    /// Reads `text`; relative paths in it are relative to `directory`; `name` is for messages.
    pub fn parse(text: &str, name: &str, directory: &Path) -> Result<Self, SpecError> {
        todo!()
    }
    /// The JSON Schema of the format.
    pub fn json_schema() -> serde_json::Value {
        todo!()
    }
}
