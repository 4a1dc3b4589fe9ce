//! MiniJinja made strict: the expressions and templates of a spec, with cfgsync's filters and functions.
//!
//! Everything here is pure but for the draws of `once`, which are passed in. What a text may name is found
//! when it is compiled (`names`), what is undefined when it runs is an error (`strict`, the engine's strict
//! mode), and no error holds a variable's value (`error`).
//!
//! Bounds stop accidents: [`STEPS_MAX`] instructions a render, [`OUTPUT_MAX_BYTES`] of output, and the filters
//! that multiply are bounded one by one. Not bounded is the memory of values under way: `~` in a loop that
//! doubles a text, captured blocks, lists nested without end. Templates are the operator's own code.

mod bounds;
mod error;
mod printing;
mod yaml;
mod nearest;
mod draw;
mod fragment;
mod context;
mod strict;
mod filters;
mod network;
mod bounded;
mod output;
mod engine;
mod parsing;
mod syntax_tree;
mod declared;
mod names;
mod expression;
mod template;
#[cfg(test)]
mod testing;

pub use bounds::{OUTPUT_MAX_BYTES, STEPS_MAX};
pub use context::{NodeValue, RenderContext};
pub use declared::Declared;
pub use draw::Draw;
pub use error::{JinjaError, Origin};
pub use expression::Expression;
pub use names::Scope;
pub use template::Template;
