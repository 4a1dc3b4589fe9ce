//! `toyaml`: block YAML in which every scalar stands on one line.
//!
//! Texts are quoted as JSON (which is YAML) unless they are plain words, so no text can become another type
//! in YAML 1.1 or 1.2, and no newline can become a new key.

use minijinja::{Error, Value, value::ValueKind};

use super::printing::{entries, quoted, scalar, within_bounds};

/// Words that some YAML reads as something else than text.
const RESERVED: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// `value` as YAML without a final newline: lists and objects in block style, to be placed with `indent`.
pub(super) fn yaml(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write(&mut out, value, 0, Place::Start)?;
    Ok(out)
}

/// What stands before a value on its line.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Start,
    AfterKey,
    AfterDash,
}

fn write(out: &mut String, value: &Value, depth: usize, place: Place) -> Result<(), Error> {
    within_bounds(depth, out.len())?;
    if let Some(scalar) = scalar(value)? {
        if place != Place::Start {
            out.push(' ');
        }
        match value.as_str() {
            Some(text) => out.push_str(&word(text)),
            None => out.push_str(&scalar),
        }
        return Ok(());
    }
    // A block may begin on the line of its dash, but not on that of its key.
    let mut fresh = match place {
        Place::Start => true,
        Place::AfterDash => {
            out.push(' ');
            true
        }
        Place::AfterKey => false,
    };
    let mut line = |out: &mut String| {
        if !std::mem::replace(&mut fresh, false) {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        }
    };
    let before = out.len();
    if value.kind() == ValueKind::Map {
        for (key, item) in entries(value)? {
            line(out);
            out.push_str(&word(&key));
            out.push(':');
            write(out, &item, depth + 1, Place::AfterKey)?;
        }
    } else {
        for item in value.try_iter()? {
            line(out);
            out.push('-');
            write(out, &item, depth + 1, Place::AfterDash)?;
        }
    }
    if out.len() == before {
        let empty = if value.kind() == ValueKind::Map {
            "{}"
        } else {
            "[]"
        };
        out.push_str(if place == Place::AfterKey { " " } else { "" });
        out.push_str(empty);
    }
    Ok(())
}

fn word(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_./-".contains(&b))
        && !RESERVED.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_plain {
        return text.to_owned();
    }
    // JSON lets through some characters that YAML does not count as printable.
    quoted(text)
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
    use crate::context::from_json;

    #[test]
    fn blocks_are_readable_and_scalars_stay_on_one_line() {
        let value = json!({
            "name": "a", "port": 9000, "tls": true, "none": null, "empty": {}, "also": [],
            "peers": [{"id": "n-1", "tags": ["x", "yes"]}, [1, 2], "two\nlines"],
        });
        insta::assert_snapshot!(yaml(&from_json(&value)).unwrap(), @r#"
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
        fn a_yaml_parser_reads_back_the_same_value(value in any_json()) {
            let text = yaml(&from_json(&value)).unwrap();
            let read: serde_json::Value = serde_yaml::from_str(&text).unwrap();
            prop_assert_eq!(read, value);
        }
    }
}
