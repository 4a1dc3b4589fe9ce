//! The engine's filters that multiply, with bounds: an accident must not take all memory.
//!
//! The engine itself bounds `*` on texts and lists and `range`.

use minijinja::{
    Environment, Error, State, Value, filters,
    value::{Kwargs, Rest, ValueOrKwargs},
};

use super::{
    bounds::{INDENT_MAX, OUTPUT_MAX_BYTES},
    error::fault,
    printing::too_long,
};

/// Most parts that `batch` and `slice` make or fill.
const PARTS_MAX: i64 = 100_000;

/// Longest text that `list` takes apart, in bytes: each letter becomes a value of many times its size.
const LETTERS_MAX_BYTES: usize = 64 << 10;

/// Widest field of `format`.
const FIELD_MAX: usize = 1000;

type Check = fn(&[Value]) -> Result<(), Error>;

pub(super) fn register(environment: &mut Environment<'_>) {
    let wrapped: [(&'static str, Value, Check); 6] = [
        ("batch", Value::from_function(filters::batch), parts),
        ("slice", Value::from_function(filters::slice), parts),
        ("indent", Value::from_function(filters::indent), indent),
        ("list", Value::from_function(filters::list), letters),
        ("replace", Value::from_function(filters::replace), replace),
        (
            "format",
            Value::from_function(filters::format),
            format_fields,
        ),
    ];
    for (name, filter, check) in wrapped {
        environment.add_filter(
            name,
            move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| -> Result<Value, Error> {
                let args = args.into_values();
                check(&args)?;
                filter.call(state, &args)
            },
        );
    }
}

fn parts(args: &[Value]) -> Result<(), Error> {
    match number(args, "count") {
        Some(count) if count > PARTS_MAX => {
            Err(fault(format!("there can be at most {PARTS_MAX} parts")))
        }
        _ => Ok(()),
    }
}

fn letters(args: &[Value]) -> Result<(), Error> {
    match args.first().and_then(Value::as_str) {
        Some(text) if text.len() > LETTERS_MAX_BYTES => Err(fault(format!(
            "`list` takes texts of at most {LETTERS_MAX_BYTES} bytes apart, and this one has {}",
            text.len()
        ))),
        _ => Ok(()),
    }
}

fn indent(args: &[Value]) -> Result<(), Error> {
    let width = number(args, "width").unwrap_or(4);
    let width = usize::try_from(width).unwrap_or(0);
    if width > INDENT_MAX {
        return Err(fault(format!("`indent` is at most {INDENT_MAX}")));
    }
    let Some(text) = args.first().and_then(Value::as_str) else {
        return Ok(());
    };
    let lines = text.bytes().filter(|&b| b == b'\n').count() + 1;
    bounded(text.len() + lines * width)
}

fn replace(args: &[Value]) -> Result<(), Error> {
    let [text, from, to, ..] = args else {
        return Ok(());
    };
    let (Some(text), Some(from), Some(to)) = (text.as_str(), from.as_str(), to.as_str()) else {
        return Ok(());
    };
    bounded(
        text.len()
            .saturating_add(text.matches(from).count().saturating_mul(to.len())),
    )
}

/// Refuses fields wider than [`FIELD_MAX`], and widths that stand in the arguments.
fn format_fields(args: &[Value]) -> Result<(), Error> {
    let Some(text) = args.first().and_then(Value::as_str) else {
        return Ok(());
    };
    for field in text.split('%').skip(1) {
        let numbers = field
            .split(|c: char| c.is_ascii_alphabetic())
            .next()
            .unwrap_or_default();
        if numbers.contains('*') {
            return Err(fault("`format` takes no width from its arguments (`*`)"));
        }
        let is_wide = numbers.split(|c: char| !c.is_ascii_digit()).any(|digits| {
            digits.trim_start_matches('0').len() > 9
                || digits.parse::<usize>().is_ok_and(|width| width > FIELD_MAX)
        });
        // A number after the text of a field is text, too: only what directly follows `%` is a width.
        let is_field = field.starts_with(|c: char| c.is_ascii_digit() || "-+ #0.".contains(c));
        if is_field && is_wide {
            return Err(fault(format!(
                "a field of `format` is at most {FIELD_MAX} wide"
            )));
        }
    }
    Ok(())
}

fn number(args: &[Value], keyword: &str) -> Option<i64> {
    match args.get(1) {
        Some(value) if !value.is_kwargs() => value.as_i64(),
        _ => args
            .last()
            .filter(|last| last.is_kwargs())
            .and_then(|last| Kwargs::try_from(last.clone()).ok())
            .and_then(|options| options.peek::<Option<i64>>(keyword).ok().flatten()),
    }
}

fn bounded(length_bytes: usize) -> Result<(), Error> {
    if length_bytes > OUTPUT_MAX_BYTES {
        return Err(too_long());
    }
    Ok(())
}
