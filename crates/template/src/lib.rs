//! The template language of specs: Jinja, as MiniJinja implements it, made strict.
//!
//! A spec contains two kinds of text. An [`Expression`] gives one value (`where`, `when`, `once`), a [`Template`] gives
//! the content of a file, and an [`Iteration`] (`for`) a list of items. All are compiled when the spec is read, and evaluated in a [`RenderContext`] that has the
//! nodes and values of one snapshot. `cfgsync-spec` compiles them, `cfgsync-cluster` and `cfgsync-materialize` evaluate
//! them. [`cfgsync_model`] below has the data types.
//!
//! To add a function, filter or test, write it in a file of `functions/` and add its row to the table in
//! `functions.rs`. A test fails until `docs/src/templates.md` has it as well.
//!
//! Invariants:
//!
//! - Evaluation is pure: it depends on the context alone. Only the functions of `once` read the clock and random
//!   numbers, through the [`OnceSource`] that the caller passes.
//! - Every name in a text is checked when the text is compiled, also in branches that are never taken.
//! - Using an undefined value is an error, also inside list filters.
//! - No error contains the value of a variable, because values may be secret.
//!
//! Limits stop accidents: 50,000,000 instructions for each evaluation, 64 MiB of output, and limits for filters that
//! multiply their input, for what `~` and `+` build, for values that `set` keeps, and for what macros print. Templates
//! are the operator's code and are not sandboxed against their author.

mod limits;
mod error;
mod engine_error;
mod formatter;
mod yaml;
mod nearest;
mod json_value;
mod node_value;
mod functions;
mod fragment;
mod variables;
mod context;
mod culprit;
mod output;
mod engine;
mod parser;
mod syntax_tree;
mod checked_text;
mod declarations;
mod scope;
mod name_check;
mod mentions;
mod expression;
mod iteration;
mod template;
#[cfg(test)]
mod testing;

pub use context::RenderContext;
pub use declarations::Declarations;
pub use engine::Whitespace;
pub use error::{JinjaError, Origin};
pub use expression::Expression;
pub use functions::{BUILTINS, Builtin, BuiltinKind, once::OnceSource};
pub use iteration::Iteration;
pub use mentions::Mentions;
pub use node_value::NodeValue;
pub use scope::Scope;
pub use template::Template;
