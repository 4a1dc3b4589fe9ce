//! MiniJinja made strict: the expressions and templates of a spec, with cfgsync's filters and functions.
//!
//! Everything here is pure but for the draws of `once`, which are passed in.

mod skeleton;

pub use skeleton::{Draw, Expression, JinjaError, NodeValue, Scene, Scope, Template};
