//! The rules of the section `metadata`, checked when a node registers.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::raw::FieldType;
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
                    if rule.is_numeric() && is_numeric_text(value) {
                        format!("{problem} (`join --meta {name}:=NUMBER` sends a number)")
                    } else {
                        problem
                    }
                }),
                (None, Some(_)) => None,
                (None, None) => Some(format!("missing; expected {}", rule.expected())),
            };
            if let Some(problem) = problem {
                let field = format!("metadata.{name}");
                return Err(MetadataError { field, problem });
            }
        }
        Ok(())
    }

    /// Returns made-up metadata that the rules accept, for the node number `index` of `plan --fake`. The values differ
    /// from node to node as far as the rules allow.
    pub fn fake(&self, index: usize) -> Metadata {
        let fields = self
            .fields
            .iter()
            .map(|(name, rule)| (name.clone(), rule.fake(name, index)));
        Value::Object(fields.collect())
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
        if let Value::Number(number) = value
            && !self.is_in_bounds(number)
        {
            return wrong();
        }
        Ok(())
    }

    pub(super) fn is_numeric(&self) -> bool {
        matches!(self.kind, Some(FieldType::Integer | FieldType::Number))
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
        let kind = self.kind.map_or("a value", type_name);
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => format!("{kind} from {min} to {max}"),
            (Some(min), None) => format!("{kind} of at least {min}"),
            (None, Some(max)) => format!("{kind} of at most {max}"),
            (None, None) => kind.to_owned(),
        }
    }

    fn fake(&self, name: &str, index: usize) -> Value {
        if !self.one_of.is_empty() {
            return self.one_of[index % self.one_of.len()].clone();
        }
        match self.kind {
            None | Some(FieldType::String) => Value::String(format!("{name}-{index}")),
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

fn is_numeric_text(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.parse::<f64>().is_ok())
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
        metadata.port: missing; expected an integer from 1 to 65535
        metadata.port: expected an integer from 1 to 65535, found the string "9000" (`join --meta port:=NUMBER` sends a number)
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
            [0, 1, 65535].map(|index| rules.fake(index)),
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
            let metadata = rules.fake(index);
            prop_assert_eq!(rules.complete(&metadata), Ok(metadata));
        }
    }
}
