//! The engine's filters that multiply their input, with limits: an accident must not use up all memory.
//!
//! The engine itself limits `range`, and `*` for strings and lists.

use minijinja::{
    Environment, Error, State, Value,
    value::{Kwargs, Rest, ValueOrKwargs},
};

use crate::{
    engine_error::invalid_operation,
    formatter::output_too_long,
    limits::{INDENT_MAX, OUTPUT_MAX_BYTES},
};

/// Maximum number of parts that `batch` and `slice` make or fill.
const PARTS_MAX: i64 = 100_000;

/// Maximum length of a string that `list` splits, in bytes. Each character becomes a value of many times its size.
const LIST_TEXT_MAX_BYTES: usize = 64 << 10;

/// Maximum width of a field of `format`, in characters.
const FIELD_WIDTH_MAX: usize = 1000;

/// Checks the arguments of a filter before it runs. The first argument is the value on the left of `|`.
type Check = fn(&[Value]) -> Result<(), Error>;

/// Adds the engine's `filter` to the environment with `check` before it.
pub(super) fn add_bounded(
    environment: &mut Environment<'_>,
    name: &'static str,
    filter: Value,
    check: Check,
) {
    environment.add_filter(
        name,
        move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| -> Result<Value, Error> {
            let args = args.into_values();
            check(&args)?;
            filter.call(state, &args)
        },
    );
}

/// Limits the number of parts of `batch` and `slice`.
pub(super) fn check_parts(args: &[Value]) -> Result<(), Error> {
    match integer_argument(args, "count") {
        Some(count) if count > PARTS_MAX => Err(invalid_operation(format!(
            "`batch` and `slice` make at most {PARTS_MAX} parts"
        ))),
        _ => Ok(()),
    }
}

/// Limits the length of a string that `list` splits.
pub(super) fn check_list_text(args: &[Value]) -> Result<(), Error> {
    match args.first().and_then(Value::as_str) {
        Some(text) if text.len() > LIST_TEXT_MAX_BYTES => Err(invalid_operation(format!(
            "`list` splits a string of at most {LIST_TEXT_MAX_BYTES} bytes, and this one has {}",
            text.len()
        ))),
        _ => Ok(()),
    }
}

/// Limits the width and the result of `indent`.
pub(super) fn check_indent(args: &[Value]) -> Result<(), Error> {
    let width = integer_argument(args, "width").unwrap_or(4);
    let width = usize::try_from(width).unwrap_or(0);
    if width > INDENT_MAX {
        return Err(invalid_operation(format!(
            "`indent` indents by at most {INDENT_MAX} spaces"
        )));
    }
    let Some(text) = args.first().and_then(Value::as_str) else {
        return Ok(());
    };
    let lines = text.bytes().filter(|&b| b == b'\n').count() + 1;
    check_length(text.len() + lines * width)
}

/// Limits the result of `replace`.
pub(super) fn check_replace(args: &[Value]) -> Result<(), Error> {
    let [text, from, to, ..] = args else {
        return Ok(());
    };
    let (Some(text), Some(from), Some(to)) = (text.as_str(), from.as_str(), to.as_str()) else {
        return Ok(());
    };
    check_length(
        text.len()
            .saturating_add(text.matches(from).count().saturating_mul(to.len())),
    )
}

/// Limits the width of the fields of `format`, and refuses widths that come from its arguments.
pub(super) fn check_format(args: &[Value]) -> Result<(), Error> {
    let Some(text) = args.first().and_then(Value::as_str) else {
        return Ok(());
    };
    for field in text.split('%').skip(1) {
        let numbers = field
            .split(|c: char| c.is_ascii_alphabetic())
            .next()
            .unwrap_or_default();
        if numbers.contains('*') {
            return Err(invalid_operation(
                "`format` does not take a width from its arguments (`*`); write the width as a number",
            ));
        }
        let is_wide = numbers.split(|c: char| !c.is_ascii_digit()).any(|digits| {
            digits.trim_start_matches('0').len() > 9
                || digits
                    .parse::<usize>()
                    .is_ok_and(|width| width > FIELD_WIDTH_MAX)
        });
        // Numbers in the text after a field are not widths. Only a number directly after `%` and its flags is one.
        let is_field = field.starts_with(|c: char| c.is_ascii_digit() || "-+ #0.".contains(c));
        if is_field && is_wide {
            return Err(invalid_operation(format!(
                "a field of `format` is at most {FIELD_WIDTH_MAX} characters wide"
            )));
        }
    }
    Ok(())
}

/// Returns the integer in the second argument, or in the option `keyword`.
fn integer_argument(args: &[Value], keyword: &str) -> Option<i64> {
    match args.get(1) {
        Some(value) if !value.is_kwargs() => value.as_i64(),
        _ => args
            .last()
            .filter(|last| last.is_kwargs())
            .and_then(|last| Kwargs::try_from(last.clone()).ok())
            .and_then(|options| options.peek::<Option<i64>>(keyword).ok().flatten()),
    }
}

fn check_length(length_bytes: usize) -> Result<(), Error> {
    if length_bytes > OUTPUT_MAX_BYTES {
        return Err(output_too_long());
    }
    Ok(())
}
