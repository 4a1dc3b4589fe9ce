//! The spec: YAML in, a valid [`Spec`] out, or errors that say where and how to mend them.
//!
//! YAML is read only here. A `Spec` that exists is valid: its expressions and templates are compiled, its
//! paths are names, its files were found.

mod skeleton;
mod types;

pub use skeleton::SpecError;
pub use skeleton::{MetadataError, MetadataRules};
pub use types::{
    ExecSpec, FileContent, FileSpec, FragmentSpec, Group, Late, MaterializerSpec, Members,
    PrecomputedSpec, ReadyRule, Spec, TemplateSpec,
};
