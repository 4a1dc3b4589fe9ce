//! From YAML values to typed sections, with every mistake told where it stands.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use serde_path_to_error::Segment;
use serde_yaml::{Mapping, Value};

use super::{
    mistake::{Document, Mistake, did_you_mean, nearest},
    scalars::Mapped,
    source::{DuplicateKey, NESTING_MAX, Step, YamlPath, too_deep},
};

/// Mistakes looked for in one section.
const MISTAKES_MAX: usize = 20;
/// Longest text that a message quotes, in characters.
const QUOTE_MAX_CHARS: usize = 40;

/// Reads the text of `document` as YAML.
pub(super) fn parse(document: &Document) -> Result<Value, Vec<Mistake>> {
    let text = &document.source.text;
    // First: the parser needs the square of the depth, a minute for a file of 100 KB.
    if let Some(place) = too_deep(text) {
        let title = format!("more than {NESTING_MAX} lists and mappings within each other");
        let mistake = Mistake::at(&document.source, place, title);
        return Err(vec![
            mistake.help("is a bracket not closed, or is this no YAML at all?"),
        ]);
    }
    let parsed = serde_yaml::from_str(text).and_then(|mut value: Value| {
        value.apply_merge()?;
        Ok(value)
    });
    parsed.map_err(|error| {
        if error.to_string().contains("duplicate entry") {
            let duplicates = &document.places().duplicates;
            if !duplicates.is_empty() {
                let told = duplicates.iter().map(|again| duplicate(document, again));
                return told.collect();
            }
        }
        vec![syntax(document, &error)]
    })
}

fn duplicate(document: &Document, duplicate: &DuplicateKey) -> Mistake {
    let key = match duplicate.path.steps().last() {
        Some(Step::Key(key)) => key.as_str(),
        _ => "",
    };
    let title = format!("`{key}` is given twice");
    Mistake::at(&document.source, duplicate.second.clone(), title)
        .label("again here")
        .first(duplicate.first.clone(), "first here")
}

fn syntax(document: &Document, error: &serde_yaml::Error) -> Mistake {
    let text = &document.source.text;
    let told = error.to_string();
    if told.contains("more than one document") {
        let second = text.match_indices("\n---").last();
        let range = second.map_or(text.len()..text.len(), |(at, _)| at + 1..at + 4);
        let title = "the file holds more than one YAML document";
        return Mistake::at(&document.source, range, title)
            .help("keep one, and check that all top-level fields have the same indent");
    }
    if told.contains("repetition limit exceeded") {
        // The parser does not say where.
        let first = first_alias(text).unwrap_or(0);
        let title = "the aliases (`*name`) repeat more than is read";
        return Mistake::at(&document.source, first..first + 1, title)
            .label("the first of them")
            .help("write out what is not too much");
    }
    let line = error.location().map_or(1, |location| location.line());
    let column = error.location().map_or(1, |location| location.column());
    let start = byte_of(text, line, column);
    let rest = text[start..].lines().next().unwrap_or_default();
    if let Some(integer) = too_long_integer(&told) {
        let end = rest.find([',', ']', '}', ' ', '#']).unwrap_or(rest.len());
        let title = format!("the integer {integer} needs more than 64 bits");
        return Mistake::at(&document.source, start..start + end, title).help("put it in quotes");
    }
    let range = start..start + rest.chars().next().map_or(0, char::len_utf8);
    // The parser ends its sentence with the place, which is shown beside it.
    let what = told.split(" at line ").next().unwrap_or(&told);
    let what = what.split(", while ").next().unwrap_or(what);
    let mut mistake = Mistake::at(&document.source, range, format!("this is not YAML: {what}"));
    if let Some(begin) = begin_of_context(text, &told) {
        mistake = mistake.first(begin..begin + 1, "what is not finished begins here");
    }
    let whole = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    if whole.trim_start_matches(' ').starts_with('\t') {
        return mistake.help("YAML is indented with spaces, never with tabs");
    }
    if whole.contains(": {{") || whole.contains("- {{") {
        return mistake.help("a text that begins with `{{` must be in quotes");
    }
    if what.contains("unknown anchor") {
        return mistake.help("a text that begins with `*` must be in quotes");
    }
    if what.contains("mapping values are not allowed") {
        return mistake.help("a text that holds `: ` must be in quotes");
    }
    if what.contains("cannot start any token") {
        return mistake.help("a text that begins with this character must be in quotes");
    }
    mistake
}

/// Where in `text` what looks like an alias first stands.
fn first_alias(text: &str) -> Option<usize> {
    let mut before = ' ';
    text.char_indices().find_map(|(at, c)| {
        let is_first = [' ', '[', ','].contains(&before);
        before = c;
        (c == '*' && is_first).then_some(at)
    })
}

/// Of "… integer `18446744073709551616` as u128 …" the integer.
fn too_long_integer(told: &str) -> Option<&str> {
    let (_, integer) = told.split_once(": integer `")?;
    let (integer, kind) = integer.split_once("` as ")?;
    (kind.starts_with("u128") || kind.starts_with("i128")).then_some(integer)
}

/// Where what the parser was in the middle of begins, if it says so and that is on another line.
fn begin_of_context(text: &str, told: &str) -> Option<usize> {
    let (_, context) = told.split_once(", while ")?;
    let (_, place) = context.split_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    let (line, column) = (line.parse().ok()?, column.parse().ok()?);
    let begin = byte_of(text, line, column);
    let differs = !told.contains(&format!(" at line {line} column {column}, while"));
    (differs && !context.contains("block") && begin < text.len()).then_some(begin)
}

fn byte_of(text: &str, line: usize, column: usize) -> usize {
    let lines = text.split_inclusive('\n').take(line.saturating_sub(1));
    let start: usize = lines.map(str::len).sum();
    let characters = text[start..].char_indices().nth(column.saturating_sub(1));
    characters.map_or(text.len(), |(at, _)| start + at)
}

/// Reads `value`, which stands at `path`, as a `T`. On mistakes, all that can be found are noted: each
/// offending entry is left out and the rest read again. What is left is given back, so that the mistakes in
/// it are found as well; whoever takes an absent entry for a mistake must look whether one was noted here.
pub(super) fn read<T: DeserializeOwned>(
    document: &Document,
    value: &Value,
    path: &YamlPath,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    let mut value = Cow::Borrowed(value);
    let mut left_out: Vec<YamlPath> = Vec::new();
    for _ in 0..MISTAKES_MAX {
        let error = match serde_path_to_error::deserialize::<_, Mapped<T>>(&*value) {
            Ok(Mapped(section)) => return Some(section),
            Err(error) => error,
        };
        let within = within(error.path());
        let at = within
            .steps()
            .iter()
            .cloned()
            .fold(path.clone(), |path, step| path.then(step));
        let told = error.inner().to_string();
        if let Some(field) = told.strip_prefix("missing field ").and_then(backticked) {
            // It may be missing because it was left out, under its own name or a misspelled one.
            let is_told = left_out.iter().any(|path| match path.steps().last() {
                Some(Step::Key(key)) => nearest(key, [field]).is_some(),
                _ => false,
            });
            if !is_told {
                mistakes.push(missing(document, &at, field));
            }
            return None;
        }
        mistakes.push(in_words(document, &at, get(&value, &within), &told));
        left_out.push(at);
        if !remove(value.to_mut(), within.steps()) {
            return None;
        }
    }
    None
}

fn missing(document: &Document, at: &YamlPath, field: &str) -> Mistake {
    let title = match at.to_string().as_str() {
        "" => format!("missing field `{field}`"),
        owner => format!("missing field `{field}` in `{owner}`"),
    };
    document.key(at, title)
}

fn in_words(document: &Document, at: &YamlPath, found: Option<&Value>, told: &str) -> Mistake {
    if let Some(field) = told.strip_prefix("unknown field ").and_then(backticked) {
        let names = names(
            told.split_once(", expected ")
                .map_or("", |(_, names)| names),
        );
        let near = did_you_mean(field, names.iter().copied());
        let mistake = document.key(at, format!("unknown field `{field}`{near}"));
        return match names.as_slice() {
            [] => mistake,
            names => mistake.help(one_of(names)),
        };
    }
    if let Some(variant) = told.strip_prefix("unknown variant ").and_then(backticked) {
        let names = names(
            told.split_once(", expected ")
                .map_or("", |(_, names)| names),
        );
        let near = did_you_mean(variant, names.iter().copied());
        let title = format!("unknown value `{variant}`{near}");
        return document.value(at, title).help(one_of(&names));
    }
    let is_type = told.starts_with("invalid type: ") || told.starts_with("invalid value: ");
    match (told.split_once(", expected "), found) {
        (Some((_, expected)), Some(found)) if is_type => wrong(document, at, expected, found),
        _ => document.value(at, told),
    }
}

/// A value of another kind than expected.
pub(super) fn wrong(document: &Document, at: &YamlPath, expected: &str, found: &Value) -> Mistake {
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
            mistake.help(format!("put it in quotes: \"{}\"", plain(found)))
        }
        Value::Mapping(mapping) if mapping.keys().any(Value::is_mapping) => {
            mistake.help("a text that begins with `{{` must be in quotes")
        }
        Value::String(text) if expected == "a list" && !text.contains('\n') => {
            mistake.help(format!("write it as a list: [{text}]"))
        }
        Value::String(text) if expected == "a boolean" && is_yes_or_no(text) => {
            mistake.help("booleans are written `true` and `false`")
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

/// What a value is, in words.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => format!("the boolean {}", plain(value)),
        Value::Number(_) => format!("the number {}", plain(value)),
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

fn plain(value: &Value) -> String {
    match value {
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// ``expected one of `a`, `b` and `c` ``
pub(super) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => format!("expected {last}"),
        Some((last, before)) => format!("expected one of {} and {last}", before.join(", ")),
        None => String::new(),
    }
}

/// What stands between the first backticks.
fn backticked(told: &str) -> Option<&str> {
    told.strip_prefix('`')?.split('`').next()
}

fn names(told: &str) -> Vec<&str> {
    told.split('`').skip(1).step_by(2).collect()
}

fn within(path: &serde_path_to_error::Path) -> YamlPath {
    path.iter()
        .fold(YamlPath::default(), |path, segment| match segment {
            Segment::Seq { index } => path.index(*index),
            Segment::Map { key } => path.key(key),
            Segment::Enum { .. } | Segment::Unknown => path,
        })
}

fn get<'v>(value: &'v Value, path: &YamlPath) -> Option<&'v Value> {
    path.steps()
        .iter()
        .try_fold(value, |value, step| match step {
            Step::Key(key) => value.get(key.as_str()),
            Step::Index(index) => value.get(*index),
        })
}

/// Leaves out the entry at `steps`; `false` where there is none.
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
        // The others must keep their places, so an entry of a list ends the search.
        _ => false,
    }
}

/// The entries of a mapping whose keys are texts.
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
            None => mistakes.push(wrong(document, path, "a string as key", key)),
        }
    }
    entries
}

/// The texts of a mapping.
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
            None => mistakes.push(wrong(document, &path.key(key), "a string", value)),
        }
    }
    texts
}

/// A value as JSON; `None` where it holds what JSON does not know, which is noted.
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
    mistakes.push(wrong(document, path, "a value that JSON can hold", value));
    None
}

fn json_number(number: &serde_yaml::Number) -> Option<Json> {
    if let Some(whole) = number.as_u64() {
        return Some(whole.into());
    }
    if let Some(whole) = number.as_i64() {
        return Some(whole.into());
    }
    serde_json::Number::from_f64(number.as_f64()?).map(Json::Number)
}
