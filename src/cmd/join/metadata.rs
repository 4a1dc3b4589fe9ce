//! `--meta` and `--meta-json`: the node's metadata, merged from single values.

use std::path::Path;

use cfgsync_support::bounded_file::{self, ReadError};
use clap::Args;
use serde_json::{Map, Value};

use crate::cmd::parsers;

/// The largest file that `--meta` reads, in bytes. By default, a server accepts much smaller registrations.
const FILE_MAX_BYTES: u64 = 16 << 20;

#[derive(Debug, Args)]
pub(crate) struct MetadataArgs {
    /// A value of the metadata: KEY=TEXT, KEY:=JSON, KEY=@FILE or KEY:=@FILE (JSON from a file); dots in the key
    /// nest objects; repeatable
    #[arg(
        long,
        env = "CFGSYNC_META",
        value_name = "KEY=VALUE",
        help_heading = "This node"
    )]
    pub(super) meta: Vec<Entry>,
    /// The metadata as one JSON value; --meta overrides single values of it
    #[arg(
        long,
        env = "CFGSYNC_META_JSON",
        value_name = "JSON",
        value_parser = parsers::json,
        help_heading = "This node"
    )]
    pub(super) meta_json: Option<Value>,
}

/// The reason why the metadata cannot be read or merged.
#[derive(Debug, thiserror::Error)]
pub(super) enum MetadataError {
    /// The file of a value cannot be read.
    #[error("--meta {key}{operator}@{path}: cannot read {path}: {error}")]
    Unreadable {
        /// The key of the value.
        key: String,
        /// `=` or `:=`.
        operator: &'static str,
        /// The file.
        path: String,
        /// The cause.
        error: ReadError,
    },
    /// The file of a JSON value contains something else.
    #[error("--meta {key}:=@{path}: {path}: {problem}")]
    NotJson {
        /// The key of the value.
        key: String,
        /// The file.
        path: String,
        /// The mistake in its text.
        problem: String,
    },
    /// A value would be inside another value that is not an object.
    #[error("{outer} is {kind}, so --meta cannot add a value to it")]
    NotAnObject {
        /// The other value.
        outer: String,
        /// The type of the other value.
        kind: &'static str,
    },
}

/// One `--meta`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The parts of the key between the dots.
    keys: Vec<String>,
    value: Source,
}

#[derive(Debug, Clone, PartialEq)]
enum Source {
    Json(Value),
    /// The text of a file.
    TextFile(String),
    /// The JSON value in a file.
    JsonFile(String),
}

impl std::str::FromStr for Entry {
    type Err = String;

    /// Reads `key=value` (always a string), `key:=JSON`, `key=@FILE` and `key:=@FILE`; dots in the key nest.
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or("expected key=value, key:=JSON, key=@FILE or key:=@FILE")?;
        let (key, value) = match (key.strip_suffix(':'), value.strip_prefix('@')) {
            (Some(key), Some(file)) => (key, Source::JsonFile(file.to_owned())),
            (Some(key), None) => {
                let json = parsers::json(value);
                let json = json.map_err(|error| format!("the value after `:=`: {error}"))?;
                (key, Source::Json(json))
            }
            (None, Some(file)) => (key, Source::TextFile(file.to_owned())),
            (None, None) => (key, Source::Json(value.into())),
        };
        let keys: Vec<String> = key.split('.').map(str::to_owned).collect();
        if keys.iter().any(String::is_empty) {
            return Err("the key, or a part between dots, is empty".to_owned());
        }
        Ok(Self { keys, value })
    }
}

/// Returns `base` with `entries`. A later entry overrides an earlier one.
pub(super) fn merge(base: Option<Value>, entries: &[Entry]) -> Result<Value, MetadataError> {
    let mut whole = match base {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(base) => base,
    };
    for entry in entries {
        put(&mut whole, &entry.keys, entry.value()?)?;
    }
    Ok(whole)
}

impl Entry {
    /// Returns the value. Reads its file, if it has one.
    fn value(&self) -> Result<Value, MetadataError> {
        let key = || self.keys.join(".");
        let read = |path: &str, operator| {
            let bytes = bounded_file::read_without_waiting(Path::new(path), FILE_MAX_BYTES);
            bytes
                .and_then(bounded_file::text_of)
                .map_err(|error| MetadataError::Unreadable {
                    key: key(),
                    operator,
                    path: path.to_owned(),
                    error,
                })
        };
        match &self.value {
            Source::Json(value) => Ok(value.clone()),
            Source::TextFile(path) => Ok(without_last_line_end(read(path, "=")?).into()),
            Source::JsonFile(path) => {
                parsers::json(&read(path, ":=")?).map_err(|problem| MetadataError::NotJson {
                    key: key(),
                    path: path.clone(),
                    problem,
                })
            }
        }
    }
}

fn put(whole: &mut Value, keys: &[String], value: Value) -> Result<(), MetadataError> {
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
) -> Result<&'a mut Map<String, Value>, MetadataError> {
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
    Err(MetadataError::NotAnObject { outer, kind })
}

fn without_last_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(base: Option<Value>, entries: &[&str]) -> Result<Value, String> {
        let entries: Result<Vec<Entry>, _> = entries.iter().map(|entry| entry.parse()).collect();
        merge(base, &entries?).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_strings_json_or_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "line 1\nline 2\n").unwrap();
        let from_file = format!("note=@{}", file.path().display());
        let json_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(json_file.path(), "{\"e\": [1, \"@x\"]}\n").unwrap();
        let from_json_file = format!("a.json:=@{}", json_file.path().display());
        let entries = [
            "port=9000",
            "n:=9000",
            "a.b.c=x=y",
            "a.b.d:=[1]",
            "empty=",
            &from_file,
            &from_json_file,
        ];
        let expected = json!({
            "port": "9000", "n": 9000, "empty": "",
            "a": {"b": {"c": "x=y", "d": [1]}, "json": {"e": [1, "@x"]}},
            "note": "line 1\nline 2",
        });
        assert_eq!(merged(None, &entries).unwrap(), expected);
    }

    #[test]
    fn entries_override_the_json() {
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
    fn errors_say_what_was_expected() {
        for (entries, message) in [
            (
                &["port"][..],
                "expected key=value, key:=JSON, key=@FILE or key:=@FILE",
            ),
            (&["=x"], "the key, or a part between dots, is empty"),
            (&["a..b=x"], "the key, or a part between dots, is empty"),
            (
                &["n:=nine"],
                "the value after `:=`: not JSON: expected ident at line 1 column 2",
            ),
            (
                &["n:=-9223372036854775809"],
                "the value after `:=`: the integer -9223372036854775809 needs more than 64 bits and would be \
                 rounded; write it as a string",
            ),
            (
                &["a=1", "a.b=2"],
                "the metadata's a is a string, so --meta cannot add a value to it",
            ),
            (
                &["a=@/nonexistent"],
                "--meta a=@/nonexistent: cannot read /nonexistent: no such file",
            ),
            (
                &["a:=@/nonexistent"],
                "--meta a:=@/nonexistent: cannot read /nonexistent: no such file",
            ),
            (
                &["a:=@/dev/null"],
                "--meta a:=@/dev/null: /dev/null: not JSON: EOF while parsing a value at line 1 column 0",
            ),
            (
                &["a=@/dev/zero"],
                "--meta a=@/dev/zero: cannot read /dev/zero: it is larger than 16 MiB",
            ),
        ] {
            assert_eq!(merged(None, entries).unwrap_err(), message);
        }
        let message = merged(Some(json!([1])), &["a=1"]).unwrap_err();
        assert_eq!(
            message,
            "the metadata is a list, so --meta cannot add a value to it"
        );
    }
}
