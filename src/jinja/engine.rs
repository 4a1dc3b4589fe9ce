//! The one environment in which all expressions and templates run.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
};

use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior};

use super::{bounds, error::fault, filters, fragment, network, parsing::syntax, strict};

/// Most instructions that one render or evaluation may take: a loop over 10,000 peers takes some 300,000, an
/// endless loop is stopped in about a second.
pub const STEPS_MAX: u64 = 50_000_000;

/// Longest text that one template may give, in bytes.
pub const OUTPUT_MAX_BYTES: usize = 64 << 20;

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

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax());
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(STEPS_MAX));
    // Lets errors name the undefined expression. The variables that they then hold, too, are left behind
    // where errors are converted.
    environment.set_debug(true);
    environment.set_formatter(fragment::print);
    // These print variables in the engine's own notation, `debug` all of them.
    environment.remove_global("debug");
    environment.remove_filter("pprint");
    filters::register(&mut environment);
    network::register(&mut environment);
    strict::register(&mut environment);
    bounds::register(&mut environment);
    environment
}
