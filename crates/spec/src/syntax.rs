//! Parses YAML or JSON, and explains syntax errors.

use std::ops::Range;

use cfgsync_model::check_integer_range;
use serde_yaml::Value;

use super::{
    indentation::Misindented,
    locations::{DuplicateKey, NESTING_MAX, find_excess_nesting},
    mistake::{Document, Mistake},
    source::Step,
};

/// The fields whose value is a mapping.
const SECTIONS: [&str; 7] = [
    "ready",
    "metadata",
    "once",
    "values",
    "fragments",
    "env",
    "shared",
];

/// Parses the text of `document`, with its merges (`<<: *name`) applied.
///
/// A text that begins with `{` or `[` is read as JSON first. Not all JSON is YAML: the parser rejects surrogate pairs,
/// control characters such as U+007F, and long keys. An integer of more than 64 bits is left to the YAML parser, which
/// refuses it instead of rounding.
pub(super) fn parse(document: &Document) -> Result<Value, Vec<Mistake>> {
    let text = &document.source.text;
    // This check comes first: serde's parser takes quadratic time in the depth, a minute for 100 KB.
    if let Some(range) = find_excess_nesting(text) {
        let title = format!("lists and mappings are nested deeper than {NESTING_MAX} levels");
        let mistake = Mistake::at(&document.source, range, title);
        return Err(vec![mistake.help("check for an unclosed bracket")]);
    }
    if text.trim_start().starts_with(['{', '['])
        && check_integer_range(text).is_ok()
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    let parsed = serde_yaml::from_str(text).and_then(|mut value: Value| {
        value.apply_merge()?;
        Ok(value)
    });
    parsed.map_err(|error| {
        if error.to_string().contains("duplicate entry") {
            let duplicates = &document.locations().duplicates;
            if !duplicates.is_empty() {
                let mistakes = duplicates.iter().map(|key| duplicate_key(document, key));
                return mistakes.collect();
            }
        }
        vec![syntax_error(document, &error)]
    })
}

fn duplicate_key(document: &Document, duplicate: &DuplicateKey) -> Mistake {
    let key = match duplicate.path.steps().last() {
        Some(Step::Key(key)) => key.as_str(),
        _ => "",
    };
    let title = format!("duplicate key `{key}`");
    Mistake::at(&document.source, duplicate.second.clone(), title)
        .label("second occurrence")
        .context(duplicate.first.clone(), "first occurrence")
}

fn syntax_error(document: &Document, error: &serde_yaml::Error) -> Mistake {
    let text = &document.source.text;
    let message = error.to_string();
    if message.contains("more than one document") {
        let second = text.match_indices("\n---").last();
        let range = second.map_or(text.len()..text.len(), |(at, _)| at + 1..at + 4);
        let title = "the file contains more than one YAML document";
        return Mistake::at(&document.source, range, title)
            .help("keep one document, and check that all top-level fields have the same indent");
    }
    if message.contains("repetition limit exceeded") {
        // The parser does not give the position.
        let first = first_alias(text).unwrap_or(0);
        let title = "the aliases (`*name`) expand to too much text";
        return Mistake::at(&document.source, first..first + 1, title)
            .label("the first alias")
            .help("write out the values instead of using aliases");
    }
    let line = error.location().map_or(1, |location| location.line());
    let column = error.location().map_or(1, |location| location.column());
    let start = byte_of(text, line, column);
    let rest = text[start..].lines().next().unwrap_or_default();
    if let Some(integer) = too_long_integer(&message) {
        let end = rest.find([',', ']', '}', ' ', '#']).unwrap_or(rest.len());
        let title = format!("the integer {integer} needs more than 64 bits");
        return Mistake::at(&document.source, start..start + end, title).help("put it in quotes");
    }
    if let Some(wrong) = Misindented::find(text, line)
        && is_about_field(&message, start, &wrong.range)
    {
        let title = format!(
            "invalid YAML: `{}` is indented like no field above it",
            wrong.name
        );
        return Mistake::at(&document.source, wrong.range.clone(), title).help(wrong.help());
    }
    let range = start..start + rest.chars().next().map_or(0, char::len_utf8);
    // The parser ends its message with the position, which is shown anyway.
    let problem = message.split(" at line ").next().unwrap_or(&message);
    let problem = problem.split(", while ").next().unwrap_or(problem);
    let mut mistake = Mistake::at(&document.source, range, format!("invalid YAML: {problem}"));
    if let Some(start) = start_of_context(text, &message) {
        mistake = mistake.context(start..start + 1, "the unfinished part begins here");
    }
    let line_text = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    if line_text.trim_start_matches(' ').starts_with('\t') {
        return mistake.help("indent with spaces: YAML does not allow tabs");
    }
    let value = line_text.split_once(": ").map_or("", |(_, value)| value);
    if value.trim_start().starts_with("{{") || line_text.contains("- {{") {
        return mistake.help("put text that begins with `{{` in quotes");
    }
    if problem.contains("unknown anchor") {
        return mistake.help("put text that begins with `*` in quotes");
    }
    if problem.contains("mapping values are not allowed") {
        return mistake.help(match section_on_one_line(line_text) {
            Some((section, fields)) => {
                format!("write `{section}: {{ {fields} }}`, or put `{fields}` into the next line and indent it")
            }
            None => "put text that contains `: ` in quotes".to_owned(),
        });
    }
    if problem.contains("cannot start any token") {
        return mistake.help("put text that begins with this character in quotes");
    }
    mistake
}

/// Returns whether an error at the byte `at` may be about the indentation of the field with this name.
fn is_about_field(message: &str, at: usize, name: &Range<usize>) -> bool {
    let is_at_colon = message.contains("mapping values are not allowed") && at == name.end;
    let is_at_name = message.contains("did not find expected") && at == name.start;
    is_at_colon || is_at_name
}

/// Returns the section and its field if a line is like `ready: nodes: 3`.
fn section_on_one_line(line: &str) -> Option<(&str, &str)> {
    let (section, fields) = line.split_once(": ")?;
    let section = section.trim_start_matches([' ', '-']);
    SECTIONS
        .contains(&section)
        .then_some((section, fields.trim()))
}

/// Returns the byte of the first `*` in `text` that looks like an alias.
fn first_alias(text: &str) -> Option<usize> {
    let mut before = ' ';
    text.char_indices().find_map(|(at, c)| {
        let is_first = [' ', '[', ','].contains(&before);
        before = c;
        (c == '*' && is_first).then_some(at)
    })
}

/// Returns the integer of a message such as "… integer `18446744073709551616` as u128 …".
fn too_long_integer(message: &str) -> Option<&str> {
    let (_, integer) = message.split_once(": integer `")?;
    let (integer, kind) = integer.split_once("` as ")?;
    (kind.starts_with("u128") || kind.starts_with("i128")).then_some(integer)
}

/// Returns the byte at which the unfinished construct begins, if the parser names it and its position differs from the
/// error's.
fn start_of_context(text: &str, message: &str) -> Option<usize> {
    let (_, context) = message.split_once(", while ")?;
    let (_, place) = context.split_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    let (line, column) = (line.parse().ok()?, column.parse().ok()?);
    let start = byte_of(text, line, column);
    let differs = !message.contains(&format!(" at line {line} column {column}, while"));
    (differs && !context.contains("block") && start < text.len()).then_some(start)
}

/// Returns the byte at a line and a column (in characters), both from 1.
fn byte_of(text: &str, line: usize, column: usize) -> usize {
    let lines = text.split_inclusive('\n').take(line.saturating_sub(1));
    let start: usize = lines.map(str::len).sum();
    let characters = text[start..].char_indices().nth(column.saturating_sub(1));
    characters.map_or(text.len(), |(at, _)| start + at)
}
