//! The engine's filters on lists, made strict: an undefined item or attribute is an error, not a member.
//!
//! The engine's own are strict only about the list itself: `map(attribute="zone")` would count all missing
//! zones as one, `selectattr("identifer", …)` would be silently empty.

use minijinja::{
    Environment, Error, State, Value, filters,
    value::{Kwargs, Rest, ValueKind, ValueOrKwargs},
};

use super::{context::identifier_of, error::undefined, nearest::nearest_key};

/// Where a filter takes the attribute that it looks at.
#[derive(Clone, Copy, PartialEq)]
enum Attribute {
    /// Nowhere: it looks at the items themselves.
    None,
    /// `attribute=` only.
    Keyword,
    /// `attribute=` only, a list of names with commas.
    Keywords,
    /// The first argument.
    First,
    /// The first argument or `attribute=`.
    Either,
}

pub(super) fn register(environment: &mut Environment<'_>) {
    let wrapped = [
        (
            "groupby",
            Value::from_function(filters::groupby),
            Attribute::Either,
        ),
        (
            "map",
            Value::from_function(filters::map),
            Attribute::Keyword,
        ),
        (
            "max",
            Value::from_function(filters::max),
            Attribute::Keyword,
        ),
        (
            "min",
            Value::from_function(filters::min),
            Attribute::Keyword,
        ),
        (
            "reject",
            Value::from_function(filters::reject),
            Attribute::None,
        ),
        (
            "rejectattr",
            Value::from_function(filters::rejectattr),
            Attribute::First,
        ),
        (
            "select",
            Value::from_function(filters::select),
            Attribute::None,
        ),
        (
            "selectattr",
            Value::from_function(filters::selectattr),
            Attribute::First,
        ),
        (
            "sort",
            Value::from_function(filters::sort),
            Attribute::Keywords,
        ),
        ("sum", Value::from_function(filters::sum), Attribute::Either),
        (
            "unique",
            Value::from_function(filters::unique),
            Attribute::Keyword,
        ),
    ];
    for (name, filter, attribute) in wrapped {
        environment.add_filter(
            name,
            move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| -> Result<Value, Error> {
                let mut args = args.into_values();
                check(name, attribute, &mut args)?;
                let result = filter.call(state, &args)?;
                if name == "map" {
                    refuse_undefined_items(name, &result)?;
                }
                Ok(result)
            },
        );
    }
}

/// Fails where `value` is undefined. The engine's own error names where it came from, so it is provoked.
pub(super) fn defined(value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        value.get_attr("")?;
    }
    Ok(())
}

/// The attribute `path` (dots nest, numbers index) of the list's item number `at`.
pub(super) fn attribute_of(item: &Value, path: &str, at: usize) -> Result<Value, Error> {
    let mut value = item.clone();
    for part in path.split('.') {
        let next = match part.parse::<usize>() {
            Ok(index) => value.get_item_by_index(index)?,
            Err(_) => value.get_attr(part)?,
        };
        if next.is_undefined() {
            let whose = identifier_of(item).map_or_else(
                || format!("item {at} of the list"),
                |node| format!("node {node}"),
            );
            return Err(undefined(
                format!("`{path}` is undefined for {whose}"),
                nearest_key(&value, part),
            ));
        }
        value = next;
    }
    Ok(value)
}

fn check(name: &str, attribute: Attribute, args: &mut [Value]) -> Result<(), Error> {
    let Some(list) = args.first().cloned() else {
        return Ok(()); // the filter itself says what is missing
    };
    defined(&list)?;
    // Objects that can be iterated over only once are kept for the filter.
    if list.kind() == ValueKind::Iterable {
        args[0] = Value::from(list.try_iter()?.collect::<Vec<_>>());
    }
    if !matches!(args[0].kind(), ValueKind::Seq) {
        return Ok(());
    }
    let options = args
        .last()
        .filter(|last| last.is_kwargs())
        .and_then(|last| Kwargs::try_from(last.clone()).ok());
    let positional = |at: usize| args.get(at).filter(|value| !value.is_kwargs());
    let keyword = |key: &str| {
        options
            .as_ref()
            .and_then(|options| options.peek::<Option<Value>>(key).ok().flatten())
    };
    let path = match attribute {
        Attribute::None => None,
        Attribute::Keyword | Attribute::Keywords => keyword("attribute"),
        Attribute::First => positional(1).cloned(),
        Attribute::Either => positional(1).cloned().or_else(|| keyword("attribute")),
    };
    // What asks for the difference itself may meet undefined items, as may what says what stands for them.
    let test =
        positional(if attribute == Attribute::First { 2 } else { 1 }).and_then(Value::as_str);
    let asks = matches!(name, "select" | "reject" | "selectattr" | "rejectattr")
        && matches!(test, Some("defined" | "undefined"));
    if asks || (matches!(name, "map" | "groupby") && keyword("default").is_some()) {
        return Ok(());
    }
    let Some(path) = path else {
        return refuse_undefined_items(name, &args[0]);
    };
    for (at, item) in args[0].try_iter()?.enumerate() {
        match path.as_str() {
            Some(paths) if attribute == Attribute::Keywords => {
                for path in paths
                    .split(',')
                    .map(str::trim)
                    .filter(|path| !path.is_empty())
                {
                    attribute_of(&item, path, at)?;
                }
            }
            Some(path) => drop(attribute_of(&item, path, at)?),
            None if item.get_item(&path)?.is_undefined() => {
                return Err(undefined(
                    format!("what `{name}` looks up is undefined for item {at} of the list"),
                    None,
                ));
            }
            None => {}
        }
    }
    Ok(())
}

fn refuse_undefined_items(name: &str, list: &Value) -> Result<(), Error> {
    match list.try_iter()?.position(|item| item.is_undefined()) {
        Some(at) => Err(undefined(
            format!("item {at} of the list of `{name}` is undefined"),
            None,
        )),
        None => Ok(()),
    }
}
