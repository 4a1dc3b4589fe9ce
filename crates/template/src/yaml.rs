//! The YAML that the filter `toyaml` prints: block style, with every scalar on one line.
//!
//! A string is quoted as in JSON (which is valid YAML) unless it is a plain word. So no string becomes another type in
//! YAML 1.1 or 1.2, and no newline in a string can add a key.

use minijinja::{Error, Value, value::ValueKind};

use super::formatter::{check_size, entries, json_string, scalar_to_json};

/// Words that a YAML parser may read as a boolean or null.
const RESERVED: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// Returns `value` as YAML without a final newline. Lists and objects are in block style, to be indented with `indent`.
pub(super) fn to_yaml(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write(&mut out, value, 0, Position::Start)?;
    Ok(out)
}

/// The text before a value on its line.
#[derive(Clone, Copy, PartialEq)]
enum Position {
    Start,
    AfterKey,
    AfterDash,
}

fn write(out: &mut String, value: &Value, depth: usize, position: Position) -> Result<(), Error> {
    check_size(depth, out.len())?;
    if let Some(scalar) = scalar_to_json(value)? {
        if position != Position::Start {
            out.push(' ');
        }
        match value.as_str() {
            Some(text) => out.push_str(&plain_or_quoted(text)),
            None => out.push_str(&float_of_yaml_1_1(scalar)),
        }
        return Ok(());
    }
    // The first item of a block can follow a dash on the same line, but not a key.
    let mut can_use_this_line = match position {
        Position::Start => true,
        Position::AfterDash => {
            out.push(' ');
            true
        }
        Position::AfterKey => false,
    };
    let mut start_line = |out: &mut String| {
        if !std::mem::replace(&mut can_use_this_line, false) {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
    };
    let before = out.len();
    if value.kind() == ValueKind::Map {
        for (key, item) in entries(value)? {
            start_line(out);
            out.push_str(&plain_or_quoted(&key));
            out.push(':');
            write(out, &item, depth + 1, Position::AfterKey)?;
        }
    } else {
        for item in value.try_iter()? {
            start_line(out);
            out.push('-');
            write(out, &item, depth + 1, Position::AfterDash)?;
        }
    }
    if out.len() == before {
        let empty = if value.kind() == ValueKind::Map {
            "{}"
        } else {
            "[]"
        };
        out.push_str(if position == Position::AfterKey {
            " "
        } else {
            ""
        });
        out.push_str(empty);
    }
    Ok(())
}

/// Returns a scalar with the dot and the sign that YAML 1.1 requires in a number with an exponent: `1e300` is a string
/// there, and `1.0e+300` is a number in YAML 1.1 and 1.2.
fn float_of_yaml_1_1(scalar: String) -> String {
    match scalar.split_once('e') {
        Some((mantissa, exponent)) if exponent.ends_with(|c: char| c.is_ascii_digit()) => {
            let fraction = if mantissa.contains('.') { "" } else { ".0" };
            let sign = if exponent.starts_with(['-', '+']) {
                ""
            } else {
                "+"
            };
            format!("{mantissa}{fraction}e{sign}{exponent}")
        }
        _ => scalar,
    }
}

fn plain_or_quoted(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_./-".contains(&b))
        && !RESERVED.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_plain {
        return text.to_owned();
    }
    // JSON strings may contain some characters that YAML requires to be escaped.
    json_string(text)
        .chars()
        .flat_map(|c| match c {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => format!("\\u{:04x}", c as u32).chars().collect::<Vec<_>>(),
            c => vec![c],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::json_value::from_json;

    #[test]
    fn prints_blocks_with_each_scalar_on_one_line() {
        let value = json!({
            "name": "a", "port": 9000, "tls": true, "none": null, "empty": {}, "also": [],
            "peers": [{"id": "n-1", "tags": ["x", "yes"]}, [1, 2], "two\nlines"],
        });
        insta::assert_snapshot!(to_yaml(&from_json(&value)).unwrap(), @r#"
        also: []
        empty: {}
        name: a
        none: null
        peers:
          - id: n-1
            tags:
              - x
              - "yes"
          - - 1
            - 2
          - "two\nlines"
        port: 9000
        tls: true
        "#);
    }

    #[test]
    fn floats_are_numbers_in_yaml_1_1() {
        for (float, printed) in [
            (1e300, "1.0e+300"),
            (-1e300, "-1.0e+300"),
            (1.5e-10, "1.5e-10"),
            (1e-10, "1.0e-10"),
            (2.0, "2.0"),
            (0.25, "0.25"),
        ] {
            let text = to_yaml(&from_json(&json!([float]))).unwrap();
            assert_eq!(text, format!("- {printed}"));
            let read: serde_json::Value = serde_yaml::from_str(&text).unwrap();
            assert_eq!(read, json!([float]));
        }
        // The only other scalars with an `e`.
        for word in [json!(true), json!(false)] {
            assert_eq!(to_yaml(&from_json(&word)).unwrap(), word.to_string());
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|b| json!(b)),
            any::<i64>().prop_map(|n| json!(n)),
            any::<String>().prop_map(|s| json!(s)),
            prop::sample::select(vec![
                "yes", "012", "0x1", "1e3", "~", "null", "- a", "a: b", ""
            ])
            .prop_map(|s| json!(s)),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|v| json!(v)),
                prop::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|m| json!(m)),
            ]
        })
    }

    proptest! {
        #[test]
        fn yaml_parser_reads_the_same_value(value in any_json()) {
            let text = to_yaml(&from_json(&value)).unwrap();
            let read: serde_json::Value = serde_yaml::from_str(&text).unwrap();
            prop_assert_eq!(read, value);
        }
    }
}
