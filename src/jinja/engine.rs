//! The one environment in which all expressions and templates are parsed and run.

use std::sync::LazyLock;

use minijinja::{
    AutoEscape, Environment, Error, UndefinedBehavior,
    machinery::{
        self,
        ast::{Expr, Stmt},
    },
    syntax::SyntaxConfig,
};

use super::{
    bounds,
    error::{JinjaError, from_engine},
    filters, fragment, network, strict,
};

/// Most instructions that one render or evaluation may take: a loop over 10,000 peers takes some 300,000, an
/// endless loop is stopped in about a second.
pub const STEPS_MAX: u64 = 50_000_000;

/// Longest text that one template may give, in bytes.
pub const OUTPUT_MAX_BYTES: usize = 64 << 20;

/// Shared by all: expressions run in it, templates in a copy that holds their text.
pub(super) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// The syntax of all templates: Jinja's, with the final newline kept.
fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .build()
        .expect("the standard delimiters are valid")
}

/// Parses a template, or says where its syntax is wrong.
pub(super) fn parse_template<'a>(name: &'a str, source: &'a str) -> Result<Stmt<'a>, JinjaError> {
    read_all(source, false)
        .and_then(|()| machinery::parse(source, name, syntax()))
        .map_err(|error| syntax_error(&error, source))
}

/// Parses an expression, or says where its syntax is wrong.
pub(super) fn parse_expression(source: &str) -> Result<Expr<'_>, JinjaError> {
    let parsed = read_all(source, true).and_then(|()| machinery::parse_expr(source));
    parsed.map_err(|error| {
        let error = syntax_error(&error, source);
        if source.trim_start().starts_with("{{") {
            return error.with_help("an expression stands without `{{ }}`".to_owned());
        }
        error
    })
}

/// Reads the text to its end. The engine's parser may take a character that it cannot read for the end of
/// the text: of `a == 1 && b` it would silently keep `a == 1`.
fn read_all(source: &str, in_expression: bool) -> Result<(), Error> {
    machinery::tokenize(source, in_expression, syntax())
        .find_map(Result::err)
        .map_or(Ok(()), Err)
}

/// The error, with a way out where an operator of another language stands where the syntax went wrong.
fn syntax_error(error: &Error, source: &str) -> JinjaError {
    let error = from_engine(error, source).error;
    let start = error.range.as_ref().map_or(0, |range| range.start);
    let (before, wrong) = source.split_at_checked(start).unwrap_or_default();
    let help = match wrong.as_bytes() {
        [b'&', b'&', ..] => Some("write `and` for `&&`"),
        [b'|', ..] if before.ends_with('|') => Some("write `or` for `||`"),
        [b'!', ..] => Some("write `not` for `!`"),
        [b'=', after, ..] if *after != b'=' => Some("write `==` for `=`"),
        _ => None,
    };
    error.with_help(help.map(str::to_owned))
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
