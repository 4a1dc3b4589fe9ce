//! Reads the section `metadata`.

use std::collections::BTreeMap;

use serde_yaml::{Mapping, Value};

use super::Reader;
use crate::{
    MetadataRules,
    metadata::{FieldRule, is_at_most},
    pattern::Pattern,
    raw::{FieldFormat, FieldType, RawField},
    source::YamlPath,
    typed,
};

/// Returns the rules, or `None` if a mistake leaves out one of them.
pub(super) fn read_metadata(
    reader: &mut Reader,
    mapping: Option<&Mapping>,
    path: &YamlPath,
) -> Option<MetadataRules> {
    let entries = typed::entries(&reader.document, mapping, path, &mut reader.mistakes);
    let mut fields = BTreeMap::new();
    let mut all_read = true;
    for (name, value) in entries {
        let rule = read_field(reader, value, &path.key(name));
        all_read &= rule.is_some();
        fields.extend(rule.map(|rule| (name.to_owned(), rule)));
    }
    all_read.then(|| MetadataRules::new(fields))
}

fn read_field(reader: &mut Reader, value: &Value, path: &YamlPath) -> Option<FieldRule> {
    if let Value::String(kind) = value {
        let title = format!("expected a rule, found the string \"{kind}\"");
        let mistake = reader.document.value(path, title);
        reader
            .mistakes
            .push(mistake.help(format!("write `{{ type: {kind} }}`")));
        return None;
    }
    let mistakes_before = reader.mistakes.len();
    let raw: RawField = reader.section(value, path)?;
    if reader.mistakes.len() > mistakes_before {
        // A part of the rule was removed, so the rest could give false mistakes.
        return None;
    }
    let mut rule = FieldRule {
        kind: raw.r#type.or_else(|| implied_kind(&raw)),
        format: raw.format,
        min_length: raw.min_length,
        max_length: raw.max_length,
        items: raw.items,
        unique: raw.unique,
        secret: raw.secret,
        min: bound(reader, raw.min.as_ref(), &path.key("min")),
        max: bound(reader, raw.max.as_ref(), &path.key("max")),
        ..FieldRule::default()
    };
    for (name, is_given) in [("min", raw.min.is_some()), ("max", raw.max.is_some())] {
        if is_given && !rule.is_numeric() {
            let title = format!("`{name}` needs `type: integer` or `type: number`");
            let mistake = reader.document.key(&path.key(name), title);
            reader.mistakes.push(mistake);
        }
    }
    if let (Some(min), Some(max)) = (&rule.min, &rule.max)
        && !is_at_most(min, max)
    {
        let title = format!("`max` is less than `min` ({max} is less than {min})");
        reader.report(&path.key("max"), title);
        return None;
    }
    check_kinds(reader, &raw, &rule, path);
    if let (Some(min), Some(max)) = (rule.min_length, rule.max_length)
        && min > max
    {
        let title = format!("`max_length` is less than `min_length` ({max} is less than {min})");
        reader.report(&path.key("max_length"), title);
    }
    if let Some(text) = &raw.pattern {
        match Pattern::new(text) {
            Ok(pattern) => rule.pattern = Some(pattern),
            Err(problem) => {
                let title = format!("`pattern` is not a regular expression: {problem}");
                reader.report(&path.key("pattern"), title);
            }
        }
    }
    if rule.unique && raw.default.is_some() {
        let title = "a field with `unique` cannot have a default, which would be the same for several nodes";
        reader.report(&path.key("default"), title);
    }
    if reader.mistakes.len() > mistakes_before {
        return None;
    }
    rule.one_of = one_of(reader, raw.one_of, &rule, &path.key("one_of"))?;
    rule.default = match raw.default {
        Some(value) => Some(valid(reader, &value, &rule, &path.key("default"))?),
        None => None,
    };
    Some(rule)
}

/// Returns the only type that the other fields of a rule allow.
fn implied_kind(raw: &RawField) -> Option<FieldType> {
    match raw.format {
        Some(FieldFormat::Port) => Some(FieldType::Integer),
        Some(FieldFormat::Ip | FieldFormat::Hostname) => Some(FieldType::String),
        None if raw.pattern.is_some() => Some(FieldType::String),
        None => raw.items.map(|_| FieldType::Array),
    }
}

/// Reports each field that does not fit the type of the rule.
fn check_kinds(reader: &mut Reader, raw: &RawField, rule: &FieldRule, path: &YamlPath) {
    let is = |kind| rule.kind == Some(kind);
    let (is_text, is_list) = (is(FieldType::String), is(FieldType::Array));
    let format = match raw.format {
        Some(FieldFormat::Port) => (
            is(FieldType::Integer),
            "`format: port` needs `type: integer`",
        ),
        _ => (is_text, "this `format` needs `type: string`"),
    };
    let is_measured = is_text || is_list;
    let needs = [
        ("format", raw.format.is_some(), format.0, format.1),
        (
            "pattern",
            raw.pattern.is_some(),
            is_text,
            "`pattern` needs `type: string`",
        ),
        (
            "items",
            raw.items.is_some(),
            is_list,
            "`items` needs `type: array`",
        ),
        (
            "min_length",
            raw.min_length.is_some(),
            is_measured,
            "`min_length` needs `type: string` or `type: array`",
        ),
        (
            "max_length",
            raw.max_length.is_some(),
            is_measured,
            "`max_length` needs `type: string` or `type: array`",
        ),
    ];
    for (name, is_given, fits, title) in needs {
        if is_given && !fits {
            let mistake = reader.document.key(&path.key(name), title);
            reader.mistakes.push(mistake);
        }
    }
}

fn bound(
    reader: &mut Reader,
    value: Option<&Value>,
    path: &YamlPath,
) -> Option<serde_json::Number> {
    let value = value?;
    let read = typed::json(&reader.document, value, path, &mut reader.mistakes)?;
    if let serde_json::Value::Number(number) = read {
        return Some(number);
    }
    let mistake = typed::wrong_type(&reader.document, path, "a number", value);
    reader.mistakes.push(mistake);
    None
}

fn one_of(
    reader: &mut Reader,
    list: Option<Vec<Value>>,
    rule: &FieldRule,
    path: &YamlPath,
) -> Option<Vec<serde_json::Value>> {
    let Some(list) = list else {
        return Some(Vec::new());
    };
    if list.is_empty() {
        reader.report(path, "`one_of` is empty, so no value would be accepted");
        return None;
    }
    let mut allowed = Vec::new();
    for (at, value) in list.iter().enumerate() {
        let place = path.index(at);
        let value = valid(reader, value, rule, &place)?;
        if allowed.contains(&value) {
            reader.report(&place, format!("{value} is listed twice"));
        }
        allowed.push(value);
    }
    Some(allowed)
}

/// Returns a value if the parts of the rule that were read accept it.
fn valid(
    reader: &mut Reader,
    value: &Value,
    rule: &FieldRule,
    path: &YamlPath,
) -> Option<serde_json::Value> {
    let value = typed::json(&reader.document, value, path, &mut reader.mistakes)?;
    if let Err(problem) = rule.check(&value) {
        reader.report(
            path,
            format!("the value does not match the rule of its field: {problem}"),
        );
        return None;
    }
    Some(value)
}
