//! The engine's filters that multiply their input, with limits: an accident must not use up all memory.
//!
//! The engine itself limits `range`, and `*` for strings and lists.

use minijinja::{
    Environment, Error, State, Value,
    value::{Kwargs, Rest, ValueKind, ValueOrKwargs},
};

use super::lists::{require_defined, require_defined_arguments};
use crate::{
    engine_error::invalid_operation,
    formatter::{check_size, output_too_long, to_text},
    limits::{INDENT_MAX, OUTPUT_MAX_BYTES},
};

/// Maximum number of parts that `batch` and `slice` make or fill.
const PARTS_MAX: i64 = 100_000;

/// Maximum length of a string that `list` splits, in bytes. Each character becomes a value of many times its size.
const LIST_TEXT_MAX_BYTES: usize = 64 << 10;

/// Maximum number of items that are checked in a value which a namespace keeps. A list of many nodes would otherwise be
/// read again for each node that is appended to it.
const ASSIGNED_ITEMS_CHECKED_MAX: usize = 1000;

/// Maximum number of items of a list that `+` makes.
const SUM_ITEMS_MAX: usize = 1_000_000;

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
            require_defined_arguments(&args)?;
            check(&args)?;
            filter.call(state, &args)
        },
    );
}

/// Adds the engine's `filter` for strings to the environment, with `check` before it if its result can be much longer than its
/// input. A list or object is printed as
/// `{{ }}` prints it. The engine would print it in its own notation, and without a limit.
pub(super) fn add_text(
    environment: &mut Environment<'_>,
    name: &'static str,
    filter: Value,
    check: Option<Check>,
) {
    environment.add_filter(
        name,
        move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| -> Result<Value, Error> {
            let mut args = args.into_values();
            require_defined_arguments(&args)?;
            for arg in args.iter_mut().filter(|arg| !arg.is_kwargs()) {
                if matches!(
                    arg.kind(),
                    ValueKind::Seq | ValueKind::Iterable | ValueKind::Map
                ) {
                    *arg = Value::from(to_text(arg)?);
                }
            }
            if let Some(check) = check {
                check(&args)?;
            }
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

/// Returns `value`, which `set` keeps in a variable. Limits the length of a string.
pub(super) fn check_assigned_text(value: &Value) -> Result<Value, Error> {
    check_length(value.as_str().map_or(0, str::len))?;
    Ok(value.clone())
}

/// Returns `value`, which `set` keeps in a namespace. Limits its nesting and the length of its strings, so that it cannot
/// grow without end in a loop.
pub(super) fn check_assigned_value(value: &Value) -> Result<Value, Error> {
    let mut length_bytes = 0;
    check_nested(
        value,
        0,
        &mut { ASSIGNED_ITEMS_CHECKED_MAX },
        &mut length_bytes,
    )?;
    Ok(value.clone())
}

/// Returns `left ~ right`. Limits the length of the result before it is built. A list or object is printed as `{{ }}` prints
/// it. The engine would print it in its own notation, and without a limit.
pub(super) fn concat(left: &Value, right: &Value) -> Result<String, Error> {
    let mut text = operand_text(left)?;
    let right = operand_text(right)?;
    check_length(text.len() + right.len())?;
    text.push_str(&right);
    Ok(text)
}

fn operand_text(value: &Value) -> Result<String, Error> {
    require_defined(value)?;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => to_text(value),
        _ => Ok(value.to_string()),
    }
}

/// Returns `value`, the result of `+`. Limits the length of a string or list.
pub(super) fn check_sum(value: &Value) -> Result<Value, Error> {
    check_length(value.as_str().map_or(0, str::len))?;
    let is_list = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    if is_list && value.len().is_some_and(|items| items > SUM_ITEMS_MAX) {
        return Err(invalid_operation(format!(
            "a list that `+` makes has at most {SUM_ITEMS_MAX} items"
        )));
    }
    Ok(value.clone())
}

fn check_nested(
    value: &Value,
    depth: usize,
    items_left: &mut usize,
    length_bytes: &mut usize,
) -> Result<(), Error> {
    *length_bytes += value.as_str().map_or(0, str::len);
    check_size(depth, *length_bytes)?;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()? {
                if !take_one(items_left) {
                    break;
                }
                check_nested(&item, depth + 1, items_left, length_bytes)?;
            }
        }
        ValueKind::Map => {
            for key in value.try_iter()? {
                if !take_one(items_left) {
                    break;
                }
                check_nested(&value.get_item(&key)?, depth + 1, items_left, length_bytes)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn take_one(left: &mut usize) -> bool {
    *left = left.saturating_sub(1);
    *left > 0
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
