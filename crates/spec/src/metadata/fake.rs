//! Made-up metadata that the rules accept, for `plan --fake`.

use std::{iter, net::Ipv4Addr};

use serde_json::{Map, Number, Value};

use super::{FieldFormat, FieldRule, FieldType, MetadataError, MetadataRules, to_integer};
use cfgsync_model::Metadata;

/// The digits of short texts.
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The largest difference between a number in an expression and a value that is made up from it.
const NEARBY: i64 = 1;

impl MetadataRules {
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

    /// Returns other values that the rules accept for the field `name`. An expression about the field has these
    /// `constants`. A field that must be unique has none, because its made-up values already differ.
    pub fn fake_alternatives(&self, name: &str, constants: &[Value]) -> Vec<Value> {
        let any = FieldRule::default();
        let rule = self.fields.get(name).unwrap_or(&any);
        if rule.unique {
            return Vec::new();
        }
        let bounds = [&rule.min, &rule.max].into_iter().flatten();
        let booleans = [true, false].map(Value::Bool);
        let mut values: Vec<Value> = rule.one_of.clone();
        values.extend(rule.default.clone());
        values.extend(constants.iter().flat_map(nearby));
        values.extend(bounds.cloned().map(Value::Number));
        values.extend(booleans);
        let mut accepted: Vec<Value> = Vec::new();
        for value in values {
            if rule.check(&value).is_ok() && !accepted.contains(&value) {
                accepted.push(value);
            }
        }
        accepted
    }
}

/// Returns a constant, and with an integer also those next to it: `> 3` needs another value than 3.
fn nearby(constant: &Value) -> Vec<Value> {
    match constant.as_i64() {
        Some(number) => [0, NEARBY, -NEARBY]
            .into_iter()
            .filter_map(|by| number.checked_add(by).map(Value::from))
            .collect(),
        None => vec![constant.clone()],
    }
}

impl FieldRule {
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
            None | Some(FieldType::String) => Value::String(self.fake_text(name, index)),
            Some(FieldType::Boolean) => Value::Bool(index.is_multiple_of(2)),
            Some(FieldType::Object) if self.unique => {
                Value::Object(iter::once(("number".to_owned(), index.into())).collect())
            }
            Some(FieldType::Object) => Value::Object(Map::new()),
            Some(FieldType::Array) => self.fake_array(name, index),
            Some(FieldType::Integer | FieldType::Number) => self.fake_number(index),
        }
    }

    /// Returns `name-index`, or the shorter number alone if it would be too long.
    fn fake_text(&self, name: &str, index: usize) -> String {
        let min = self.min_length.unwrap_or(0);
        let text = format!("{name}-{index}");
        match self.max_length {
            Some(max) if max < text.chars().count() => {
                let width = min.max(1);
                format!("{:0>width$}", short_number(index))
            }
            _ => format!("{text:-<min$}"),
        }
    }

    fn fake_array(&self, name: &str, index: usize) -> Value {
        let least = self.min_length.unwrap_or(0);
        let length = least.max(usize::from(self.unique));
        let item = match self.items {
            Some(FieldType::Integer | FieldType::Number) => index.into(),
            Some(FieldType::Boolean) => Value::Bool(index.is_multiple_of(2)),
            Some(FieldType::Object) => {
                Value::Object(iter::once(("number".to_owned(), index.into())).collect())
            }
            Some(FieldType::Array) => Value::Array(vec![index.into()]),
            None | Some(FieldType::String) => Value::String(format!("{name}-{index}")),
        };
        Value::Array(vec![item; length])
    }

    /// Counts upwards from the default, the minimum or 1, and continues at the minimum after the maximum.
    fn fake_number(&self, index: usize) -> Value {
        let is_fraction = |number: &&Number| to_integer(number).is_none();
        let bounds = [&self.min, &self.max];
        if bounds
            .into_iter()
            .flatten()
            .any(|bound| is_fraction(&bound))
        {
            return self.fake_fraction(index);
        }
        let min = self.min.as_ref().and_then(to_integer);
        let max = self.max.as_ref().and_then(to_integer);
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

    /// Returns a number between bounds of which one is a fraction. Between two fractions there may be no integer.
    #[expect(
        clippy::cast_precision_loss,
        reason = "any number between the bounds will do"
    )]
    fn fake_fraction(&self, index: usize) -> Value {
        let of = |bound: &Option<Number>| bound.as_ref().and_then(Number::as_f64);
        let at = if self.unique { index as f64 } else { 0.0 };
        let number = match (of(&self.min), of(&self.max)) {
            (Some(min), Some(max)) => min + (max - min) * (at / (at + 1.0)),
            (Some(min), None) => min + at,
            (None, Some(max)) => max - at,
            (None, None) => at,
        };
        let whole = number.ceil();
        if self.kind == Some(FieldType::Integer) && whole.abs() < 1e15 {
            #[expect(clippy::cast_possible_truncation, reason = "checked just above")]
            return Value::from(whole as i64);
        }
        Value::from(number)
    }
}

fn short_number(index: usize) -> String {
    let mut digits = Vec::new();
    let mut rest = index;
    loop {
        digits.push(char::from(DIGITS[rest % DIGITS.len()]));
        rest /= DIGITS.len();
        if rest == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

fn fake_address(index: usize) -> String {
    let host = u32::try_from(index % (1 << 24)).unwrap_or(0);
    Ipv4Addr::from_bits(0x0a00_0000 | host).to_string()
}
