//! The spec: YAML in, a valid [`Spec`] out, or errors that say where and how to mend them.
//!
//! YAML is read only here. A `Spec` that exists is valid: its expressions and templates are compiled, its
//! paths are names, its files were found.

mod source;
mod mistake;
mod scalars;
mod raw;
mod metadata;
mod types;
mod remembered;
mod typed;
mod artifacts;
mod files;
mod plain;
mod read;
mod schema;
#[cfg(test)]
mod tests;

pub use metadata::{MetadataError, MetadataRules};
pub use mistake::SpecError;
pub use mistake::did_you_mean;
pub use plain::PlainFile;
pub use scalars::Mapped;
pub use source::Step;
pub use types::{
    ExecSpec, FileContent, FileSpec, FragmentSpec, Group, IdentityMode, Late, MaterializerSpec,
    Members, PrecomputedSpec, ReadyRule, Spec, TemplateSpec,
};
