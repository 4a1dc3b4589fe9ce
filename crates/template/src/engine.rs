//! The engine's environment, in which all expressions and templates run.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
};

use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, syntax::SyntaxConfig};

use super::{engine_error::invalid_operation, functions, limits::STEPS_MAX, output};

/// The environment that all texts share. Expressions run in it; each template runs in a copy that has its text.
pub(super) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// Runs the engine and converts a panic into an error. The engine has bugs that panic (`''[::-1]` in this version),
/// and metadata of a node must not be able to stop the server.
pub(super) fn catch_panic<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(invalid_operation(
            "the template engine has a bug that this text triggers; write it in another way",
        ))
    })
}

/// The white space around statements that a template leaves out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Whitespace {
    /// Whether the newline after a statement or comment is left out.
    pub trim_blocks: bool,
    /// Whether the blanks before a statement or comment are left out, if nothing else is before it on its line.
    pub lstrip_blocks: bool,
}

/// Returns the syntax of a template: Jinja's. A newline at the end of the template is kept.
pub(super) fn syntax(whitespace: Whitespace) -> SyntaxConfig {
    SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .trim_blocks(whitespace.trim_blocks)
        .lstrip_blocks(whitespace.lstrip_blocks)
        .build()
        .expect("the standard delimiters are valid")
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax(Whitespace::default()));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(STEPS_MAX));
    // Debug information lets errors name the undefined expression. It includes all variables, so `engine_error`
    // never keeps an error of the engine.
    environment.set_debug(true);
    environment.set_formatter(output::print);
    // Both print values in the engine's own notation, and `debug` prints every variable.
    environment.remove_global("debug");
    environment.remove_filter("pprint");
    functions::register(&mut environment);
    environment
}
