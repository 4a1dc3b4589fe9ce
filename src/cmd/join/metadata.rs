//! `--meta`: what a node brings, put together from single facts.

use std::path::Path;

use clap::Args;
use serde_json::{Map, Value};

use crate::cmd::values;

/// What the node brings.
#[derive(Debug, Args)]
pub(crate) struct FactArgs {
    /// A fact about it: KEY=TEXT, KEY:=JSON or KEY=@FILE; dots in the key nest
    #[arg(
        long,
        env = "CFGSYNC_META",
        value_name = "FACT",
        help_heading = "This node"
    )]
    pub(super) meta: Vec<Fact>,
    /// Its facts as one JSON value, below those of --meta
    #[arg(
        long,
        env = "CFGSYNC_META_JSON",
        value_name = "JSON",
        value_parser = values::json,
        help_heading = "This node"
    )]
    pub(super) meta_json: Option<Value>,
}

/// Facts that cannot be had, or not together.
#[derive(Debug, thiserror::Error)]
pub(super) enum FactsError {
    /// A file that is to be one.
    #[error("--meta {key}=@{path}: cannot read {path}: {error}")]
    Unreadable {
        /// What the fact is called.
        key: String,
        /// The file.
        path: String,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// One would lie within another that is no object.
    #[error("{outer} is {kind}, so --meta can put nothing into it")]
    Misplaced {
        /// The other.
        outer: String,
        /// What it is.
        kind: &'static str,
    },
}

/// One `--meta`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fact {
    /// The key's parts, between the dots.
    keys: Vec<String>,
    value: FactValue,
}

#[derive(Debug, Clone, PartialEq)]
enum FactValue {
    Known(Value),
    /// The text of a file.
    File(String),
}

impl std::str::FromStr for Fact {
    type Err = String;

    /// Reads `key=value` (always a string), `key:=JSON` and `key=@FILE`; dots in the key nest.
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or("expected key=value, key:=JSON or key=@FILE")?;
        let (key, value) = match (key.strip_suffix(':'), value.strip_prefix('@')) {
            (Some(key), _) => {
                let json = values::json(value);
                let json = json.map_err(|error| format!("what follows `:=`: {error}"))?;
                (key, FactValue::Known(json))
            }
            (None, Some(file)) => (key, FactValue::File(file.to_owned())),
            (None, None) => (key, FactValue::Known(value.into())),
        };
        let keys: Vec<String> = key.split('.').map(str::to_owned).collect();
        if keys.iter().any(String::is_empty) {
            return Err("the key, or a part of it between dots, is empty".to_owned());
        }
        Ok(Self { keys, value })
    }
}

/// `facts` over `base`, the later over the earlier.
pub(super) fn merge(base: Option<Value>, facts: &[Fact]) -> Result<Value, FactsError> {
    let mut whole = match base {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(base) => base,
    };
    for fact in facts {
        let value = match &fact.value {
            FactValue::Known(value) => value.clone(),
            FactValue::File(path) => read(Path::new(path))
                .map_err(|error| FactsError::Unreadable {
                    key: fact.keys.join("."),
                    path: path.clone(),
                    error,
                })?
                .into(),
        };
        put(&mut whole, &fact.keys, value)?;
    }
    Ok(whole)
}

fn put(whole: &mut Value, keys: &[String], value: Value) -> Result<(), FactsError> {
    let (last, path) = keys.split_last().expect("a key has a part");
    let mut inner = whole;
    for (depth, key) in path.iter().enumerate() {
        let object = object(inner, &keys[..depth])?;
        inner = object
            .entry(key.as_str())
            .or_insert_with(|| Value::Object(Map::new()));
    }
    object(inner, path)?.insert(last.clone(), value);
    Ok(())
}

fn object<'a>(
    value: &'a mut Value,
    keys: &[String],
) -> Result<&'a mut Map<String, Value>, FactsError> {
    let outer = match keys {
        [] => "the metadata".to_owned(),
        keys => format!("the metadata's {}", keys.join(".")),
    };
    let kind = match value {
        Value::Object(object) => return Ok(object),
        Value::Array(_) => "a list",
        Value::String(_) => "a string",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::Null => "null",
    };
    Err(FactsError::Misplaced { outer, kind })
}

/// A file's text without its last newline.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = std::fs::read_to_string(path)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(base: Option<Value>, facts: &[&str]) -> Result<Value, String> {
        let facts: Result<Vec<Fact>, _> = facts.iter().map(|fact| fact.parse()).collect();
        merge(base, &facts?).map_err(|error| error.to_string())
    }

    #[test]
    fn facts_are_strings_json_or_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "line 1\nline 2\n").unwrap();
        let from_file = format!("note=@{}", file.path().display());
        let facts = [
            "port=9000",
            "n:=9000",
            "a.b.c=x=y",
            "a.b.d:=[1]",
            "empty=",
            &from_file,
        ];
        let expected = json!({
            "port": "9000", "n": 9000, "a": {"b": {"c": "x=y", "d": [1]}}, "empty": "",
            "note": "line 1\nline 2",
        });
        assert_eq!(merged(None, &facts).unwrap(), expected);
    }

    #[test]
    fn facts_stand_over_the_json() {
        let base = json!({"role": "observer", "deep": {"a": 1}});
        let expected = json!({"role": "validator", "deep": {"a": 1, "b": "2"}});
        assert_eq!(
            merged(Some(base), &["role=validator", "deep.b=2"]).unwrap(),
            expected
        );
        assert_eq!(merged(Some(json!([1])), &[]).unwrap(), json!([1]));
        assert_eq!(merged(Some(Value::Null), &[]).unwrap(), json!({}));
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (facts, message) in [
            (&["port"][..], "expected key=value, key:=JSON or key=@FILE"),
            (&["=x"], "the key, or a part of it between dots, is empty"),
            (
                &["a..b=x"],
                "the key, or a part of it between dots, is empty",
            ),
            (
                &["n:=nine"],
                "what follows `:=`: not JSON: expected ident at line 1 column 2",
            ),
            (
                &["n:=-9223372036854775809"],
                "what follows `:=`: the integer -9223372036854775809 needs more than 64 bits and would be \
                 rounded; write it as a string",
            ),
            (
                &["a=1", "a.b=2"],
                "the metadata's a is a string, so --meta can put nothing into it",
            ),
            (
                &["a=@/nonexistent"],
                "--meta a=@/nonexistent: cannot read /nonexistent: No such file or directory (os error 2)",
            ),
        ] {
            assert_eq!(merged(None, facts).unwrap_err(), message);
        }
        let message = merged(Some(json!([1])), &["a=1"]).unwrap_err();
        assert_eq!(
            message,
            "the metadata is a list, so --meta can put nothing into it"
        );
    }
}
