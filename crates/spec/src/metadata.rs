//! The rules of the section `metadata`, checked when a node registers.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Map, Value};

use super::{
    pattern::Pattern,
    raw::{FieldFormat, FieldType},
};
use cfgsync_model::Metadata;

/// The longest value that a message quotes, in characters.
const QUOTE_MAX_CHARS: usize = 40;

/// The rules for the nodes' metadata. A field without a rule is passed on unchanged. Without any rule all metadata is
/// accepted.
#[derive(Debug, Clone, Default)]
pub struct MetadataRules {
    fields: BTreeMap<String, FieldRule>,
}

/// Metadata of a node that does not match the rules. It displays as `FIELD: PROBLEM`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
#[non_exhaustive]
pub struct MetadataError {
    /// The field, such as `metadata.port`, or `metadata` itself.
    pub field: String,
    /// The value that the rule expects and the value of the node.
    pub problem: String,
}

/// The rule for one field.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct FieldRule {
    pub(super) kind: Option<FieldType>,
    pub(super) min: Option<serde_json::Number>,
    pub(super) max: Option<serde_json::Number>,
    pub(super) one_of: Vec<Value>,
    pub(super) default: Option<Value>,
    pub(super) pattern: Option<Pattern>,
    pub(super) format: Option<FieldFormat>,
    pub(super) min_length: Option<usize>,
    pub(super) max_length: Option<usize>,
    pub(super) items: Option<FieldType>,
    pub(super) unique: bool,
    pub(super) secret: bool,
}

impl MetadataRules {
    pub(super) fn new(fields: BTreeMap<String, FieldRule>) -> Self {
        Self { fields }
    }

    /// Returns whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Checks `metadata` and returns it with the defaults of absent fields. `null` is checked as `{}`.
    ///
    /// # Errors
    /// Fails for the first field, in the order of names, that does not match its rule.
    pub fn complete(&self, metadata: &Metadata) -> Result<Metadata, MetadataError> {
        self.check(metadata)?;
        if self.fields.is_empty() {
            return Ok(metadata.clone());
        }
        let mut object = metadata.as_object().cloned().unwrap_or_default();
        for (name, rule) in &self.fields {
            if let Some(default) = &rule.default
                && !object.contains_key(name)
            {
                object.insert(name.clone(), default.clone());
            }
        }
        Ok(Value::Object(object))
    }

    /// Checks `metadata` without copying it, for each registration. `null` is checked as `{}`.
    ///
    /// # Errors
    /// Fails for the first field, in the order of names, that does not match its rule.
    pub fn check(&self, metadata: &Metadata) -> Result<(), MetadataError> {
        let none = Map::new();
        let object = match metadata {
            _ if self.fields.is_empty() => return Ok(()),
            Value::Object(object) => object,
            Value::Null => &none,
            other => {
                return Err(MetadataError {
                    field: "metadata".to_owned(),
                    problem: format!("expected an object, found {}", describe(other)),
                });
            }
        };
        for (name, rule) in &self.fields {
            let problem = match (object.get(name), &rule.default) {
                // Other nodes and viewers may see the message of a refusal.
                (Some(value), _) if rule.secret => (rule.check(value).err()).map(|_| {
                    let expected = rule.expected();
                    format!("expected {expected}, found another value, which is secret")
                }),
                (Some(value), _) => rule.check(value).err().map(|problem| {
                    // The most common mistake: `join --meta port=9000` gives a string.
                    match value.as_str().filter(|text| rule.accepts_json(text)) {
                        Some(text) => format!("{problem} (pass `--meta {name}:={text}`)"),
                        None => problem,
                    }
                }),
                (None, Some(_)) => None,
                (None, None) => {
                    let (expected, flag) = (rule.expected(), rule.flag(name));
                    Some(format!(
                        "missing; expected {expected} (pass `--meta {flag}`)"
                    ))
                }
            };
            if let Some(problem) = problem {
                let field = format!("metadata.{name}");
                return Err(MetadataError { field, problem });
            }
        }
        Ok(())
    }

    /// Returns the names of the fields whose values must differ from node to node.
    pub fn unique_fields(&self) -> impl Iterator<Item = &str> {
        self.fields_where(|rule| rule.unique)
    }

    /// Returns the names of the fields whose values are secret.
    pub fn secret_fields(&self) -> impl Iterator<Item = &str> {
        self.fields_where(|rule| rule.secret)
    }

    fn fields_where(&self, is_meant: fn(&FieldRule) -> bool) -> impl Iterator<Item = &str> {
        let fields = self.fields.iter();
        fields.filter_map(move |(name, rule)| is_meant(rule).then_some(name.as_str()))
    }
}

impl FieldRule {
    /// Checks `value`. The error says what is expected and what was found.
    pub(super) fn check(&self, value: &Value) -> Result<(), String> {
        let wrong = || {
            let found = describe(value);
            Err(format!("expected {}, found {found}", self.expected()))
        };
        if !self.kind.is_none_or(|kind| is_of(kind, value)) {
            return wrong();
        }
        if !self.one_of.is_empty() && !self.one_of.contains(value) {
            return wrong();
        }
        let fits = match value {
            Value::Number(number) => self.is_in_bounds(number),
            Value::String(text) => {
                self.is_length(text.chars().count())
                    && self.pattern.as_ref().is_none_or(|one| one.matches(text))
            }
            Value::Array(list) => {
                let is_item = |item: &Value| self.items.is_none_or(|kind| is_of(kind, item));
                self.is_length(list.len()) && list.iter().all(is_item)
            }
            Value::Null | Value::Bool(_) | Value::Object(_) => true,
        };
        if !fits || !self.format.is_none_or(|format| has_format(format, value)) {
            return wrong();
        }
        Ok(())
    }

    pub(super) fn is_numeric(&self) -> bool {
        matches!(self.kind, Some(FieldType::Integer | FieldType::Number))
    }

    /// Returns whether `text` is JSON that the rule accepts, and not a string.
    fn accepts_json(&self, text: &str) -> bool {
        let value = serde_json::from_str::<Value>(text);
        value.is_ok_and(|value| !value.is_string() && self.check(&value).is_ok())
    }

    /// Returns the argument of `--meta` that sends a value for the field `name`.
    fn flag(&self, name: &str) -> String {
        let shown = self.one_of.first().filter(|_| !self.secret);
        match (shown, self.kind) {
            (Some(Value::String(text)), _) => format!("{name}={text}"),
            (Some(value), _) => format!("{name}:={value}"),
            (None, Some(FieldType::Integer | FieldType::Number)) => format!("{name}:=NUMBER"),
            (None, Some(FieldType::Boolean)) => format!("{name}:=true"),
            (None, Some(FieldType::Object)) => format!("{name}:={{…}}"),
            (None, Some(FieldType::Array)) => format!("{name}:=[…]"),
            (None, None | Some(FieldType::String)) => format!("{name}=TEXT"),
        }
    }

    fn is_length(&self, length: usize) -> bool {
        self.min_length.is_none_or(|min| min <= length)
            && self.max_length.is_none_or(|max| length <= max)
    }

    fn is_in_bounds(&self, number: &serde_json::Number) -> bool {
        let above = self.min.as_ref().is_none_or(|min| is_at_most(min, number));
        above && self.max.as_ref().is_none_or(|max| is_at_most(number, max))
    }

    /// Returns what the rule expects, such as `an integer from 1 to 65535`.
    fn expected(&self) -> String {
        if !self.one_of.is_empty() && self.secret {
            return "one of the values that the spec lists".to_owned();
        }
        if !self.one_of.is_empty() {
            let values: Vec<String> = self.one_of.iter().map(Value::to_string).collect();
            return match values.as_slice() {
                [only] => only.clone(),
                _ => format!("one of {}", values.join(", ")),
            };
        }
        let mut expected = match self.format {
            Some(FieldFormat::Ip) => "an IP address",
            Some(FieldFormat::Hostname) => "a host name",
            Some(FieldFormat::Port) => return "a port from 1 to 65535".to_owned(),
            None => self.kind.map_or("a value", type_name),
        }
        .to_owned();
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => expected.push_str(&format!(" from {min} to {max}")),
            (Some(min), None) => expected.push_str(&format!(" of at least {min}")),
            (None, Some(max)) => expected.push_str(&format!(" of at most {max}")),
            (None, None) => {}
        }
        let unit = match self.kind {
            Some(FieldType::Array) => "items",
            _ => "characters",
        };
        match (self.min_length, self.max_length) {
            (Some(min), Some(max)) => expected.push_str(&format!(" of {min} to {max} {unit}")),
            (Some(min), None) => expected.push_str(&format!(" of at least {min} {unit}")),
            (None, Some(max)) => expected.push_str(&format!(" of at most {max} {unit}")),
            (None, None) => {}
        }
        if let Some(pattern) = &self.pattern {
            expected.push_str(&format!(" that matches {pattern}"));
        }
        if let Some(kind) = self.items {
            expected.push_str(&format!(", each {}", type_name(kind)));
        }
        expected
    }
}

fn to_integer(number: &serde_json::Number) -> Option<i128> {
    let signed = number.as_i64().map(i128::from);
    signed.or(number.as_u64().map(i128::from))
}

/// Compares integers exactly. A float would round them beyond 2^53.
pub(super) fn is_at_most(less: &serde_json::Number, more: &serde_json::Number) -> bool {
    match (to_integer(less), to_integer(more)) {
        (Some(less), Some(more)) => less <= more,
        _ => less.as_f64() <= more.as_f64(),
    }
}

fn is_of(kind: FieldType, value: &Value) -> bool {
    match kind {
        FieldType::String => value.is_string(),
        FieldType::Integer => value.is_i64() || value.is_u64(),
        FieldType::Number => value.is_number(),
        FieldType::Boolean => value.is_boolean(),
        FieldType::Object => value.is_object(),
        FieldType::Array => value.is_array(),
    }
}

/// Returns whether a string or number has the form. Other values are refused by their type.
fn has_format(format: FieldFormat, value: &Value) -> bool {
    match (format, value) {
        (FieldFormat::Ip, Value::String(text)) => text.parse::<IpAddr>().is_ok(),
        (FieldFormat::Hostname, Value::String(text)) => is_host_name(text),
        (FieldFormat::Port, Value::Number(number)) => number
            .as_u64()
            .is_some_and(|port| (1..=65535).contains(&port)),
        _ => false,
    }
}

/// Returns whether `text` is a host name by RFC 1123: labels of at most 63 letters, digits and `-`, at most 253
/// characters together.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn type_name(kind: FieldType) -> &'static str {
    match kind {
        FieldType::String => "a string",
        FieldType::Integer => "an integer",
        FieldType::Number => "a number",
        FieldType::Boolean => "a boolean",
        FieldType::Object => "an object",
        FieldType::Array => "an array",
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => format!("the boolean {truth}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => {
            let short: String = text.chars().take(QUOTE_MAX_CHARS).collect();
            let more = if short.len() < text.len() { "…" } else { "" };
            format!("the string {short:?}{more}")
        }
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

mod fake;
#[cfg(test)]
mod tests;
