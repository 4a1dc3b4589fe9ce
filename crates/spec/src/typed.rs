//! Reads YAML values as typed sections and explains what does not fit.

use std::borrow::Cow;

use cfgsync_support::nearest::{did_you_mean_suffix, nearest};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use serde_path_to_error::Segment;
use serde_yaml::{Mapping, Value};

use super::{
    mistake::{Document, Mistake},
    scalars::Mapped,
    source::{Step, YamlPath},
};

/// The number of mistakes that are searched in one section.
const MISTAKES_MAX: usize = 20;
/// The longest text that a message quotes, in characters.
const QUOTE_MAX_CHARS: usize = 40;

/// Reads `value`, which is at `path`, as a `T`.
///
/// It adds every mistake that it finds to `mistakes`: it removes the wrong entry and reads the rest again. It returns
/// what remains, so that the caller can check that as well. A caller that requires an entry must therefore compare the
/// number of mistakes first: the entry may have been removed.
pub(super) fn read<T: DeserializeOwned>(
    document: &Document,
    value: &Value,
    path: &YamlPath,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    let original = value;
    let mut value = Cow::Borrowed(original);
    let mut removed: Vec<YamlPath> = Vec::new();
    for _ in 0..MISTAKES_MAX {
        let error = match serde_path_to_error::deserialize::<_, Mapped<T>>(&*value) {
            Ok(Mapped(section)) => return Some(section),
            Err(error) => error,
        };
        let within = yaml_path(error.path());
        let at = within
            .steps()
            .iter()
            .cloned()
            .fold(path.clone(), |path, step| path.then(step));
        let message = error.inner().to_string();
        if let Some(field) = message
            .strip_prefix("missing field ")
            .and_then(first_quoted)
        {
            // The field may be missing because it was removed above, under its own name or a misspelt one.
            let is_reported = removed.iter().any(|path| match path.steps().last() {
                Some(Step::Key(key)) => key == field || nearest(key, [field]).is_some(),
                _ => false,
            });
            if !is_reported {
                mistakes.push(missing_field(document, &at, field));
            }
            return None;
        }
        let mistake = explain(document, &at, get(&value, within.steps()), &message);
        mistakes.push(if message.starts_with("unknown field ") {
            with_nesting_help(mistake, original, &within, &removed)
        } else {
            mistake
        });
        removed.push(at);
        if !remove(value.to_mut(), within.steps()) {
            return None;
        }
    }
    None
}

fn missing_field(document: &Document, at: &YamlPath, field: &str) -> Mistake {
    let title = match at.to_string().as_str() {
        "" => format!("missing field `{field}`"),
        owner => format!("missing field `{field}` in `{owner}`"),
    };
    document.key(at, title)
}

/// Adds a hint to the mistake of an unknown field at `within` of `section`, if the field above it has no value: then the
/// field may belong to that one. Fields that are reported already count as not there.
fn with_nesting_help(
    mistake: Mistake,
    section: &Value,
    within: &YamlPath,
    reported: &[YamlPath],
) -> Mistake {
    let Some((Step::Key(name), before)) = within.steps().split_last() else {
        return mistake;
    };
    let Some(Value::Mapping(mapping)) = get(section, before) else {
        return mistake;
    };
    let is_reported = |key: &Value| {
        let last = |path: &YamlPath| path.steps().last().cloned();
        let step = key.as_str().map(|key| Step::Key(key.to_owned()));
        reported.iter().any(|path| last(path) == step)
    };
    let above = mapping
        .iter()
        .take_while(|(key, _)| key.as_str() != Some(name))
        .filter(|(key, _)| !is_reported(key))
        .last();
    match above {
        Some((Value::String(above), Value::Null)) => {
            mistake.help(format!("if `{name}` belongs to `{above}`, indent it"))
        }
        Some((Value::String(above), Value::String(text))) if text.is_empty() => mistake.help(
            format!("if this line belongs to the text of `{above}`, indent it"),
        ),
        _ => mistake,
    }
}

/// Returns the mistake that serde reports with `message` for the value `found` at `at`.
fn explain(document: &Document, at: &YamlPath, found: Option<&Value>, message: &str) -> Mistake {
    if let Some(field) = message
        .strip_prefix("unknown field ")
        .and_then(first_quoted)
    {
        let names = expected_names(message);
        let near = did_you_mean_suffix(field, names.iter().copied());
        let mistake = document.key(at, format!("unknown field `{field}`{near}"));
        return match names.as_slice() {
            [] => mistake,
            names => mistake.help(one_of(names)),
        };
    }
    if let Some(variant) = message
        .strip_prefix("unknown variant ")
        .and_then(first_quoted)
    {
        let names = expected_names(message);
        let near = did_you_mean_suffix(variant, names.iter().copied());
        let title = format!("unknown value `{variant}`{near}");
        return document.value(at, title).help(one_of(&names));
    }
    let is_type = message.starts_with("invalid type: ") || message.starts_with("invalid value: ");
    match (message.split_once(", expected "), found) {
        (Some((_, expected)), Some(found)) if is_type => wrong_type(document, at, expected, found),
        _ => document.value(at, message),
    }
}

/// Returns the mistake of a value of another type than `expected`.
pub(super) fn wrong_type(
    document: &Document,
    at: &YamlPath,
    expected: &str,
    found: &Value,
) -> Mistake {
    let expected = match expected {
        "a sequence" | "a YAML sequence" => "a list",
        "a map" | "a YAML mapping" => "a mapping",
        "u64" => "a whole number",
        "string or map" | "variant identifier" => "a string",
        other => other,
    };
    let title = format!("expected {expected}, found {}", describe(found));
    let mistake = document.value(at, title);
    match found {
        Value::Number(_) | Value::Bool(_) if expected.starts_with("a string") => {
            mistake.help(format!("put it in quotes: \"{}\"", scalar_text(found)))
        }
        Value::Mapping(mapping) if mapping.keys().any(Value::is_mapping) => {
            mistake.help("put text that begins with `{{` in quotes")
        }
        Value::Mapping(_) if expected == "a list" => {
            mistake.help("put `- ` before the first field of each item")
        }
        Value::String(text) if expected == "a list" && !text.contains('\n') => {
            mistake.help(format!("write it as a list: [{text}]"))
        }
        Value::String(text) if expected == "a boolean" && is_yes_or_no(text) => {
            mistake.help("write `true` or `false` without quotes")
        }
        _ => mistake,
    }
}

fn is_yes_or_no(text: &str) -> bool {
    matches!(
        text.to_lowercase().as_str(),
        "yes" | "no" | "on" | "off" | "true" | "false"
    )
}

/// Returns the type of a value, with the value of a scalar: `the number 7`.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => format!("the boolean {}", scalar_text(value)),
        Value::Number(_) => format!("the number {}", scalar_text(value)),
        Value::String(text) => {
            let short: String = text.chars().take(QUOTE_MAX_CHARS).collect();
            let more = if short.len() < text.len() { "…" } else { "" };
            format!("the string {short:?}{more}")
        }
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
        Value::Tagged(tagged) => format!("a value with the tag {}", tagged.tag),
    }
}

fn scalar_text(value: &Value) -> String {
    match value {
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// Returns the hint ``expected one of `a`, `b` and `c` ``.
pub(super) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => format!("expected {last}"),
        Some((last, before)) => format!("expected one of {} and {last}", before.join(", ")),
        None => String::new(),
    }
}

/// Returns the text between backticks with which `message` begins.
fn first_quoted(message: &str) -> Option<&str> {
    message.strip_prefix('`')?.split('`').next()
}

/// Returns the names in backticks that follow "expected" in serde's `message`.
fn expected_names(message: &str) -> Vec<&str> {
    let names = message.split_once(", expected ");
    let names = names.map_or("", |(_, names)| names);
    names.split('`').skip(1).step_by(2).collect()
}

fn yaml_path(path: &serde_path_to_error::Path) -> YamlPath {
    path.iter()
        .fold(YamlPath::default(), |path, segment| match segment {
            Segment::Seq { index } => path.index(*index),
            Segment::Map { key } => path.key(key),
            Segment::Enum { .. } | Segment::Unknown => path,
        })
}

fn get<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key.as_str()),
        Step::Index(index) => value.get(*index),
    })
}

/// Removes the entry at `steps` and returns whether there was one.
fn remove(value: &mut Value, steps: &[Step]) -> bool {
    let Some((last, before)) = steps.split_last() else {
        return false;
    };
    let owner = before.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key.as_str()),
        Step::Index(index) => value.get_mut(*index),
    });
    match (owner, last) {
        (Some(Value::Mapping(mapping)), Step::Key(key)) => mapping.remove(key.as_str()).is_some(),
        // Removing an item of a list would shift the indices of the others.
        _ => false,
    }
}

/// Returns the entries of a mapping. Each key that is not a text is a mistake.
pub(super) fn entries<'v>(
    document: &Document,
    mapping: Option<&'v Mapping>,
    path: &YamlPath,
    mistakes: &mut Vec<Mistake>,
) -> Vec<(&'v str, &'v Value)> {
    let mut entries = Vec::new();
    for (key, value) in mapping.into_iter().flatten() {
        match key.as_str() {
            Some(key) => entries.push((key, value)),
            None => mistakes.push(wrong_type(document, path, "a string as key", key)),
        }
    }
    entries
}

/// Returns the entries of a mapping whose values are texts. Each other value is a mistake.
pub(super) fn texts<'v>(
    document: &Document,
    mapping: Option<&'v Mapping>,
    path: &YamlPath,
    mistakes: &mut Vec<Mistake>,
) -> Vec<(&'v str, &'v str)> {
    let mut texts = Vec::new();
    for (key, value) in entries(document, mapping, path, mistakes) {
        match value.as_str() {
            Some(text) => texts.push((key, text)),
            None => mistakes.push(wrong_type(document, &path.key(key), "a string", value)),
        }
    }
    texts
}

/// Returns a value as JSON. A part that JSON cannot represent is a mistake: then it returns `None`.
pub(super) fn json(
    document: &Document,
    value: &Value,
    path: &YamlPath,
    mistakes: &mut Vec<Mistake>,
) -> Option<Json> {
    match value {
        Value::Null => return Some(Json::Null),
        Value::Bool(truth) => return Some(Json::Bool(*truth)),
        Value::String(text) => return Some(Json::String(text.clone())),
        Value::Number(number) => {
            if let Some(number) = json_number(number) {
                return Some(number);
            }
        }
        Value::Sequence(list) => {
            let items = list.iter().enumerate();
            return items
                .map(|(at, item)| json(document, item, &path.index(at), mistakes))
                .collect();
        }
        Value::Mapping(mapping) => {
            let entries = entries(document, Some(mapping), path, mistakes);
            return entries
                .into_iter()
                .map(|(key, value)| {
                    let value = json(document, value, &path.key(key), mistakes)?;
                    Some((key.to_owned(), value))
                })
                .collect::<Option<Map<String, Json>>>()
                .map(Json::Object);
        }
        Value::Tagged(_) => {}
    }
    mistakes.push(wrong_type(
        document,
        path,
        "a value that JSON can represent",
        value,
    ));
    None
}

fn json_number(number: &serde_yaml::Number) -> Option<Json> {
    if let Some(integer) = number.as_u64() {
        return Some(integer.into());
    }
    if let Some(integer) = number.as_i64() {
        return Some(integer.into());
    }
    serde_json::Number::from_f64(number.as_f64()?).map(Json::Number)
}
