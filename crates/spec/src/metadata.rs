//! The rules of the section `metadata`, checked when a node registers.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

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

    /// Returns made-up metadata that the rules accept, for the node number `index` of `plan --fake`. The values differ
    /// from node to node as far as the rules allow.
    ///
    /// # Errors
    /// Fails for the first field for which no value can be made up, such as one with a `pattern`.
    pub fn fake(&self, index: usize) -> Result<Metadata, MetadataError> {
        let mut object = Map::new();
        for (name, rule) in &self.fields {
            let mut value = rule.fake(name, index);
            if rule.check(&value).is_err() {
                value = rule.default.clone().ok_or_else(|| MetadataError {
                    field: format!("metadata.{name}"),
                    problem: format!("no value can be made up for {}", rule.expected()),
                })?;
            }
            object.insert(name.clone(), value);
        }
        Ok(Value::Object(object))
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
        match (self.one_of.first(), self.kind) {
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

    fn fake(&self, name: &str, index: usize) -> Value {
        if !self.one_of.is_empty() {
            return self.one_of[index % self.one_of.len()].clone();
        }
        match self.format {
            Some(FieldFormat::Ip) => return Value::String(fake_address(index)),
            Some(FieldFormat::Hostname) => return Value::String(format!("host-{index}")),
            Some(FieldFormat::Port) => return (index % 65535 + 1).into(),
            None => {}
        }
        match self.kind {
            None | Some(FieldType::String) => {
                let text = format!("{name}-{index}");
                let length = self.min_length.unwrap_or(0);
                Value::String(format!("{text:-<length$}"))
            }
            Some(FieldType::Boolean) => Value::Bool(index.is_multiple_of(2)),
            Some(FieldType::Object) => Value::Object(Map::new()),
            Some(FieldType::Array) => Value::Array(Vec::new()),
            Some(FieldType::Integer | FieldType::Number) => self.fake_number(index),
        }
    }

    /// Counts upwards from the default, the minimum or 1, and continues at the minimum after the maximum.
    fn fake_number(&self, index: usize) -> Value {
        let min = self.min.as_ref().and_then(to_integer);
        let max = self.max.as_ref().and_then(to_integer);
        let is_fraction = |number: &Option<serde_json::Number>| {
            number
                .as_ref()
                .is_some_and(|number| to_integer(number).is_none())
        };
        if is_fraction(&self.min) || is_fraction(&self.max) {
            // Between two fractions there may be no integer. The bound itself is always valid.
            let bound = self.min.clone().or_else(|| self.max.clone());
            return bound.map_or(Value::Null, Value::Number);
        }
        let default = match &self.default {
            Some(Value::Number(number)) => to_integer(number),
            _ => None,
        };
        let base = default
            .or(min)
            .unwrap_or_else(|| max.map_or(1, |max| max.min(1)));
        let first = min.unwrap_or(base);
        let index = i128::try_from(index).unwrap_or(0);
        let number = match max {
            Some(max) => first + (base - first + index) % (max - first + 1),
            None => base + index,
        };
        match (i64::try_from(number), u64::try_from(number)) {
            (Ok(number), _) => number.into(),
            (_, Ok(number)) => number.into(),
            // Only a rule without a maximum whose first number is near the end gets here.
            _ => u64::MAX.into(),
        }
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

fn fake_address(index: usize) -> String {
    let host = u32::try_from(index % (1 << 24)).unwrap_or(0);
    Ipv4Addr::from_bits(0x0a00_0000 | host).to_string()
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::Spec;

    const RULES: &str = r"
port: { type: integer, min: 1, max: 65535 }
role: { one_of: [validator, observer], default: observer }
zone: { type: string }
weight: { type: number, max: 1.5, default: 1 }
";

    fn rules(fields: &str) -> MetadataRules {
        let fields = fields.trim().replace('\n', "\n  ");
        let text = format!(
            "cfgsync: 1\ncluster: c\nready: {{ nodes: 1 }}\nmetadata:\n  {fields}\nmaterializers:\n  \
             - kind: template\n    files:\n      - {{ path: a, template: x }}\n"
        );
        let spec = Spec::parse(&text, "cluster.yaml", Path::new(""));
        spec.unwrap_or_else(|error| panic!("{error}")).metadata
    }

    #[test]
    fn fills_in_defaults_and_keeps_other_fields() {
        let metadata = json!({ "port": 9000, "zone": "a", "rack": [7] });
        assert_eq!(
            rules(RULES).complete(&metadata).unwrap(),
            json!({ "port": 9000, "zone": "a", "rack": [7], "role": "observer", "weight": 1 })
        );
    }

    #[test]
    fn accepts_everything_without_rules() {
        for metadata in [json!({}), json!([1]), json!("text"), json!(null)] {
            let rules = MetadataRules::default();
            assert_eq!(rules.complete(&metadata).unwrap(), metadata);
        }
    }

    #[test]
    fn errors_name_the_field_and_the_expected_value() {
        let cases = [
            json!([1]),
            json!({}),
            json!({ "port": "9000", "zone": "a" }),
            json!({ "port": 0, "zone": "a" }),
            json!({ "port": 70000, "zone": "a" }),
            json!({ "port": 9000.5, "zone": "a" }),
            json!({ "port": null, "zone": "a" }),
            json!({ "port": 1, "zone": "a", "role": "leader" }),
            json!({ "port": 1, "zone": { "name": "a" } }),
            json!({ "port": 1, "zone": 5 }),
            json!({ "port": 1, "zone": "a", "weight": 1.6 }),
            json!({ "port": 1, "zone": "a", "weight": "x".repeat(100) }),
        ];
        let rules = rules(RULES);
        let errors = cases.map(|metadata| rules.complete(&metadata).unwrap_err().to_string());
        insta::assert_snapshot!(errors.join("\n"), @r#"
        metadata: expected an object, found an array
        metadata.port: missing; expected an integer from 1 to 65535 (pass `--meta port:=NUMBER`)
        metadata.port: expected an integer from 1 to 65535, found the string "9000" (pass `--meta port:=9000`)
        metadata.port: expected an integer from 1 to 65535, found the number 0
        metadata.port: expected an integer from 1 to 65535, found the number 70000
        metadata.port: expected an integer from 1 to 65535, found the number 9000.5
        metadata.port: expected an integer from 1 to 65535, found null
        metadata.role: expected one of "validator", "observer", found the string "leader"
        metadata.zone: expected a string, found an object
        metadata.zone: expected a string, found the number 5
        metadata.weight: expected a number of at most 1.5, found the number 1.6
        metadata.weight: expected a number of at most 1.5, found the string "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"…
        "#);
    }

    #[test]
    fn checks_formats_lengths_patterns_and_items() {
        let rules = rules(
            r"
address: { format: ip, default: 10.0.0.1 }
host: { format: hostname, default: localhost }
port: { format: port, default: 80 }
name: { type: string, min_length: 2, max_length: 4, default: ab }
key: { pattern: '[a-z]+', default: a }
disks: { type: array, items: string, min_length: 1, default: [sda] }
",
        );
        for accepted in [
            json!({ "address": "fd00::1", "host": "n-1.example", "port": 65535 }),
            json!({ "name": "äöüß", "key": "xyz", "disks": ["a", "b"] }),
        ] {
            assert_eq!(rules.check(&accepted), Ok(()));
        }
        let refused = [
            json!({ "address": "10.0.0.256" }),
            json!({ "host": "-a" }),
            json!({ "host": "a..b" }),
            json!({ "port": 0 }),
            json!({ "port": "80" }),
            json!({ "name": "a" }),
            json!({ "name": "abcde" }),
            json!({ "key": "a1" }),
            json!({ "disks": [] }),
            json!({ "disks": ["a", 1] }),
        ];
        let errors = refused.map(|metadata| rules.check(&metadata).unwrap_err().to_string());
        insta::assert_snapshot!(errors.join("\n"), @r#"
        metadata.address: expected an IP address, found the string "10.0.0.256"
        metadata.host: expected a host name, found the string "-a"
        metadata.host: expected a host name, found the string "a..b"
        metadata.port: expected a port from 1 to 65535, found the number 0
        metadata.port: expected a port from 1 to 65535, found the string "80" (pass `--meta port:=80`)
        metadata.name: expected a string of 2 to 4 characters, found the string "a"
        metadata.name: expected a string of 2 to 4 characters, found the string "abcde"
        metadata.key: expected a string that matches [a-z]+, found the string "a1"
        metadata.disks: expected an array of at least 1 items, each a string, found an array
        metadata.disks: expected an array of at least 1 items, each a string, found an array
        "#);
    }

    #[test]
    fn fake_values_fit_their_rule_or_are_refused() {
        let accepted =
            rules("a: { format: ip }\nb: { format: port }\nc: { type: string, min_length: 12 }");
        for index in [0, 1, 70_000] {
            assert_eq!(accepted.check(&accepted.fake(index).unwrap()), Ok(()));
        }
        assert_ne!(accepted.fake(0), accepted.fake(1));
        let error = rules("key: { pattern: '[0-9]{4}' }").fake(0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "metadata.key: no value can be made up for a string that matches [0-9]{4}"
        );
        let with_default = rules("key: { pattern: '[0-9]{4}', default: '1234' }");
        assert_eq!(with_default.fake(7).unwrap(), json!({ "key": "1234" }));
    }

    #[test]
    fn compares_integers_beyond_2_pow_53_exactly() {
        let rules = rules("id: { type: integer, max: 9007199254740993 }");
        assert!(
            rules
                .complete(&json!({ "id": 9_007_199_254_740_993_u64 }))
                .is_ok()
        );
        assert!(
            rules
                .complete(&json!({ "id": 9_007_199_254_740_994_u64 }))
                .is_err()
        );
        assert!(rules.complete(&json!({ "id": u64::MAX })).is_err());
        assert!(rules.complete(&json!({ "id": i64::MIN })).is_ok());
    }

    #[test]
    fn fake_nodes_differ_as_far_as_the_rules_allow() {
        let rules = rules(RULES);
        assert_eq!(
            [0, 1, 65535].map(|index| rules.fake(index).unwrap()),
            [
                json!({ "port": 1, "role": "validator", "zone": "zone-0", "weight": 1.5 }),
                json!({ "port": 2, "role": "observer", "zone": "zone-1", "weight": 1.5 }),
                json!({ "port": 1, "role": "observer", "zone": "zone-65535", "weight": 1.5 }),
            ]
        );
    }

    proptest! {
        #[test]
        fn accepts_its_own_fake_metadata(
            min in proptest::option::of(any::<i64>()),
            above in proptest::option::of(any::<u32>()),
            default in any::<bool>(),
            index in 0_usize..100_000,
        ) {
            let max = above.map(|above| min.unwrap_or(-5).saturating_add(above.into()));
            let rule = FieldRule {
                kind: Some(FieldType::Integer),
                min: min.map(Into::into),
                max: max.map(Into::into),
                default: default.then(|| min.or(max).unwrap_or(7).into()),
                ..FieldRule::default()
            };
            let rules = MetadataRules::new([("n".to_owned(), rule)].into());
            let metadata = rules.fake(index).unwrap();
            prop_assert_eq!(rules.complete(&metadata), Ok(metadata));
        }
    }
}
