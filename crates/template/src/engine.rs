//! The one environment in which all expressions and templates run.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
};

use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, syntax::SyntaxConfig};

use super::{bounded, bounds::STEPS_MAX, error::fault, filters, network, output, strict};

/// Shared by all: expressions run in it, templates in a copy that holds their text.
pub(super) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// Runs the engine. A panic in it, a mistake of its own (`''[::-1]` in this version), becomes an error: what
/// a node brings must not bring down who evaluates it.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(fault(
            "the template engine itself fails at this text; write it in another way",
        ))
    })
}

/// The syntax of all templates: Jinja's, with the final newline kept.
pub(super) fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .build()
        .expect("the standard delimiters are valid")
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax());
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(STEPS_MAX));
    // Lets errors name the undefined expression. The variables that they then hold, too, are left behind
    // where errors are converted.
    environment.set_debug(true);
    environment.set_formatter(output::print);
    // These print variables in the engine's own notation, `debug` all of them.
    environment.remove_global("debug");
    environment.remove_filter("pprint");
    filters::register(&mut environment);
    network::register(&mut environment);
    strict::register(&mut environment);
    bounded::register(&mut environment);
    environment
}
