//! Specs: when a cluster's set of nodes is complete, and what makes its files.
//!
//! A [`Spec`] comes from YAML ([`Spec::load`]) or from a Rust program ([`Spec::rule`]). This is the only place where the
//! YAML of specs is read.
//!
//! **Neighbours.** It builds on `model` (nouns) and `template` (expressions). `materialize` makes files with the
//! materializers of a spec, and `cluster` evaluates its rule.
//!
//! **Invariants.**
//! - A `Spec` that exists is valid: its expressions and templates are compiled, its paths are artifact names, and the
//!   files that it names were found.
//! - Nothing in a spec is ignored: an unknown field or a wrong type is an error. An unknown field of an artifacts
//!   file is ignored with a warning ([`Spec::warnings`]).
//! - An error shows file, line, column, the text and, where there is one, the remedy. All mistakes are reported at once.
//! - Specs with equal digests render equal files.

mod source;
mod locations;
mod mistake;
mod scalars;
mod raw;
mod pattern;
mod metadata;
mod materializer;
mod types;
mod restart;
mod ready_rule;
mod once_name;
mod rule;
mod indentation;
mod syntax;
mod typed;
mod unknown_fields;
mod artifacts;
mod files;
mod yaml_file;
mod server_settings;
mod read;
mod schema;
#[cfg(test)]
mod tests;

pub use materializer::{
    Audience, MaterializationResult, MaterializeError, Materializer, ReadableValues, materializer,
};
pub use metadata::{MetadataError, MetadataRules};
pub use mistake::SpecError;
pub use rule::RuleBuilder;
pub use scalars::{AtOnce, Mapped};
pub use source::Step;
pub use types::{
    EmbeddedMaterializer, ExecSpec, FileContent, FilePath, FileSpec, FragmentSpec, Group,
    IdentityMode, Late, MaterializerSpec, Members, OnConflict, PrecomputedSpec, ReadyRule,
    RolloutRule, Spec, TemplateSpec,
};
pub use yaml_file::YamlFile;
