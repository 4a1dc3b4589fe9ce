//! The engine's list filters, made strict: an undefined item or attribute is an error.
//!
//! The engine itself only checks the list. Without this, `map(attribute="zone")` would count all missing zones as one
//! zone, and a misspelt `selectattr("identifer", …)` would silently select nothing.

use minijinja::{
    Environment, Error, State, Value,
    value::{Kwargs, Rest, ValueKind, ValueOrKwargs},
};

use crate::{engine_error::undefined_value, nearest::nearest_key, node_value::identifier_of};

/// The argument of a list filter that names the attribute of the items.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum AttributeArgument {
    /// The filter has no such argument. It uses the items themselves.
    None,
    /// The option `attribute=NAME`.
    Keyword,
    /// The option `attribute=NAMES`, with commas between the names.
    KeywordList,
    /// The first argument names it.
    First,
    /// The first argument or the option `attribute=NAME`.
    FirstOrKeyword,
}

/// Adds the engine's `filter` to the environment with a check of its list and attribute before it.
pub(super) fn add_strict(
    environment: &mut Environment<'_>,
    name: &'static str,
    filter: Value,
    attribute: AttributeArgument,
) {
    environment.add_filter(
        name,
        move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| -> Result<Value, Error> {
            let mut args = args.into_values();
            require_defined_arguments(&args)?;
            check_items(name, attribute, &mut args)?;
            let result = filter.call(state, &args)?;
            // A filter that `map` applies can also give undefined values.
            if name == "map" {
                require_defined_items(name, &result)?;
            }
            Ok(result)
        },
    );
}

/// Adds `function` to the environment. Its arguments must be defined.
pub(super) fn add_function(environment: &mut Environment<'_>, name: &'static str, function: Value) {
    environment.add_function(
        name,
        move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| -> Result<Value, Error> {
            let args = args.into_values();
            require_defined_arguments(&args)?;
            function.call(state, &args)
        },
    );
}

/// Adds `filter` to the environment. Its value and its arguments must be defined.
pub(super) fn add_filter(environment: &mut Environment<'_>, name: &'static str, filter: Value) {
    environment.add_filter(
        name,
        move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| -> Result<Value, Error> {
            let args = args.into_values();
            require_defined_arguments(&args)?;
            filter.call(state, &args)
        },
    );
}

/// Fails if an argument or an option is undefined.
pub(super) fn require_defined_arguments(args: &[Value]) -> Result<(), Error> {
    for arg in args {
        if !arg.is_kwargs() {
            require_defined(arg)?;
            continue;
        }
        let options = Kwargs::try_from(arg.clone())?;
        for name in options.args() {
            require_defined(&options.peek::<Value>(name)?)?;
        }
    }
    Ok(())
}

/// Fails if `value` is undefined.
pub(super) fn require_defined(value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        // This lookup fails. The engine's error names the expression that is undefined.
        value.get_attr("")?;
    }
    Ok(())
}

/// Returns the attribute `path` of the list item with the index `at`. In the path, dots nest and numbers are indexes.
pub(super) fn attribute_of(item: &Value, path: &str, at: usize) -> Result<Value, Error> {
    let mut value = item.clone();
    for part in path.split('.') {
        let next = match part.parse::<usize>() {
            Ok(index) => value.get_item_by_index(index)?,
            Err(_) => value.get_attr(part)?,
        };
        if next.is_undefined() {
            let owner = identifier_of(item).map_or_else(
                || format!("item {at} of the list"),
                |node| format!("node {node}"),
            );
            return Err(undefined_value(
                format!("`{path}` is undefined for {owner}"),
                nearest_key(&value, part),
            ));
        }
        value = next;
    }
    Ok(value)
}

/// Fails if an item of the list in the first argument, or the attribute of an item, is undefined.
fn check_items(name: &str, attribute: AttributeArgument, args: &mut [Value]) -> Result<(), Error> {
    let Some(list) = args.first().cloned() else {
        return Ok(()); // The filter itself reports the missing argument.
    };
    require_defined(&list)?;
    // Some values can be iterated over only once. A copy is kept for the filter.
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
        AttributeArgument::None => None,
        AttributeArgument::Keyword | AttributeArgument::KeywordList => keyword("attribute"),
        AttributeArgument::First => positional(1).cloned(),
        AttributeArgument::FirstOrKeyword => {
            positional(1).cloned().or_else(|| keyword("attribute"))
        }
    };
    // A filter may receive undefined items if it tests for them, or if the caller gave a default.
    let test_position = if attribute == AttributeArgument::First {
        2
    } else {
        1
    };
    let test = positional(test_position).and_then(Value::as_str);
    let tests_definedness = matches!(name, "select" | "reject" | "selectattr" | "rejectattr")
        && matches!(test, Some("defined" | "undefined"));
    let has_default = matches!(name, "map" | "groupby") && keyword("default").is_some();
    if tests_definedness || has_default {
        return Ok(());
    }
    let Some(path) = path else {
        return require_defined_items(name, &args[0]);
    };
    for (at, item) in args[0].try_iter()?.enumerate() {
        match path.as_str() {
            Some(paths) if attribute == AttributeArgument::KeywordList => {
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
                return Err(undefined_value(
                    format!(
                        "the attribute that `{name}` uses is undefined for item {at} of the list"
                    ),
                    None,
                ));
            }
            None => {}
        }
    }
    Ok(())
}

fn require_defined_items(name: &str, list: &Value) -> Result<(), Error> {
    match list.try_iter()?.position(|item| item.is_undefined()) {
        Some(at) => Err(undefined_value(
            format!("item {at} of the list of `{name}` is undefined"),
            None,
        )),
        None => Ok(()),
    }
}
