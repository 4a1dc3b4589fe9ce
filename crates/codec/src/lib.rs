//! The encodings of values. Values of a known codec are checked when they are set, and decoded when a template reads
//! them. Values of all other codecs are bytes.
//!
//! Decoding is pure, and its memory is bounded by the length of the value. No error contains a part of the value,
//! because values may be secret.

use serde_json::Value;

use cfgsync_model::{Codec, ValueType, check_integer_range};

/// The codec of a value for which none is given.
pub const DEFAULT_CODEC: &str = "json";

/// The codecs that this program knows.
pub const KNOWN_CODECS: [&str; 5] = ["bytes", "json", "text", "toml", "yaml"];

/// The longest YAML, in bytes. The parser needs more than linear time for nested texts.
const YAML_MAX_BYTES: usize = 64 << 10;

/// The content of a value that does not match its codec. It says where the first mistake is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContent {
    /// The content is not valid in its codec.
    #[error("the value is not {codec}: mistake in line {line}, column {column}")]
    Syntax {
        /// The name of the codec, as it is written in a text.
        codec: &'static str,
        /// The line of the first mistake, from 1.
        line: usize,
        /// The column of the first mistake, from 1.
        column: usize,
    },
    /// The content is not valid in its codec, and the place is not known.
    #[error("the value is not {0}")]
    NotValid(&'static str),
    /// The content is not UTF-8, as its codec requires.
    #[error("the value is not UTF-8 text, which the codec {0} requires; use the codec `bytes`")]
    NotText(&'static str),
    /// An integer does not fit in 64 bits.
    #[error("the value has an integer that does not fit in 64 bits")]
    Integer,
    /// The content is longer than this codec allows.
    #[error("a value with the codec {codec} has at most {max_bytes} bytes")]
    TooLong {
        /// The name of the codec.
        codec: &'static str,
        /// The limit, in bytes.
        max_bytes: usize,
    },
}

/// The decoded content of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Content of a codec that has a structure, or a text.
    Json(Value),
    /// Content of the codec `bytes`, or of a codec that this program does not know.
    Bytes,
}

impl Content {
    /// Returns the type of a value with this content.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Json(value) => ValueType::of(value),
            Self::Bytes => ValueType::Custom,
        }
    }
}

/// Decodes the content of a value.
///
/// # Errors
/// Fails if the codec is known and the content is not valid in it.
pub fn decode(codec: &Codec, bytes: &[u8]) -> Result<Content, InvalidContent> {
    match codec.as_str() {
        "json" => from_json(bytes).map(Content::Json),
        "yaml" => from_yaml(bytes).map(Content::Json),
        "toml" => from_toml(bytes).map(Content::Json),
        "text" => Ok(Content::Json(text_of("text", bytes)?.into())),
        _ => Ok(Content::Bytes),
    }
}

fn text_of<'a>(codec: &'static str, bytes: &'a [u8]) -> Result<&'a str, InvalidContent> {
    std::str::from_utf8(bytes).map_err(|_| InvalidContent::NotText(codec))
}

fn from_json(bytes: &[u8]) -> Result<Value, InvalidContent> {
    let text = text_of("json", bytes)?;
    let value = serde_json::from_str(text).map_err(|error| InvalidContent::Syntax {
        codec: "JSON",
        line: error.line(),
        column: error.column(),
    })?;
    check_integer_range(text).map_err(|_| InvalidContent::Integer)?;
    Ok(value)
}

fn from_yaml(bytes: &[u8]) -> Result<Value, InvalidContent> {
    let text = text_of("yaml", bytes)?;
    if text.len() > YAML_MAX_BYTES {
        return Err(InvalidContent::TooLong {
            codec: "yaml",
            max_bytes: YAML_MAX_BYTES,
        });
    }
    serde_yaml::from_str(text).map_err(|error| match error.location() {
        Some(at) => InvalidContent::Syntax {
            codec: "YAML with texts as keys",
            line: at.line(),
            column: at.column(),
        },
        None => InvalidContent::NotValid("YAML with texts as keys"),
    })
}

fn from_toml(bytes: &[u8]) -> Result<Value, InvalidContent> {
    let text = text_of("toml", bytes)?;
    let table: toml::Table = toml::from_str(text).map_err(|error| match error.span() {
        Some(span) => {
            let before = &text[..text.floor_char_boundary(span.start)];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            InvalidContent::Syntax {
                codec: "TOML",
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
            }
        }
        None => InvalidContent::NotValid("TOML"),
    })?;
    Ok(json_of_table(table))
}

fn json_of_table(table: toml::Table) -> Value {
    let members = table.into_iter();
    Value::Object(members.map(|(key, value)| (key, json_of(value))).collect())
}

/// Converts TOML to JSON. Dates become texts, and the numbers that JSON does not have become null.
fn json_of(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(integer) => integer.into(),
        toml::Value::Float(float) => float.into(),
        toml::Value::Boolean(boolean) => boolean.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json_of).collect(),
        toml::Value::Table(table) => json_of_table(table),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decoded(codec: &str, content: &[u8]) -> Result<Content, String> {
        decode(&codec.parse().unwrap(), content).map_err(|error| error.to_string())
    }

    #[test]
    fn known_codecs_are_decoded() {
        for (codec, content, expected) in [
            ("json", r#"{"a": [1, 2.5]}"#, json!({ "a": [1, 2.5] })),
            ("yaml", "a:\n  - 1\n  - x\n", json!({ "a": [1, "x"] })),
            (
                "toml",
                "a = 1\nat = 2026-01-02\n[b]\nc = [true]\n",
                json!({ "a": 1, "at": "2026-01-02", "b": { "c": [true] } }),
            ),
            ("text", "a: 1", json!("a: 1")),
        ] {
            let found = decoded(codec, content.as_bytes());
            assert_eq!(found, Ok(Content::Json(expected)), "{codec}");
        }
    }

    #[test]
    fn bytes_and_unknown_codecs_take_anything() {
        for codec in ["bytes", "client:encrypted:json", "JSON"] {
            assert_eq!(decoded(codec, b"\xff{"), Ok(Content::Bytes), "{codec}");
        }
    }

    #[test]
    fn mistakes_are_found_with_their_place_and_without_their_text() {
        for (codec, content, expected) in [
            (
                "json",
                &b"{\"secret\": hunter2}"[..],
                "the value is not JSON: mistake in line 1, column 12",
            ),
            (
                "json",
                b"",
                "the value is not JSON: mistake in line 1, column 0",
            ),
            (
                "json",
                b"18446744073709551616",
                "the value has an integer that does not fit in 64 bits",
            ),
            (
                "yaml",
                b"a: 1\nb: [",
                "the value is not YAML with texts as keys: mistake in line 3, column 1",
            ),
            (
                "toml",
                b"a = 1\nb = hunter2",
                "the value is not TOML: mistake in line 2, column 5",
            ),
            (
                "text",
                b"\xff",
                "the value is not UTF-8 text, which the codec text requires; use the codec `bytes`",
            ),
        ] {
            assert_eq!(decoded(codec, content), Err(expected.to_owned()), "{codec}");
        }
        let long = "a".repeat(YAML_MAX_BYTES + 1);
        let error = decoded("yaml", long.as_bytes()).unwrap_err();
        assert_eq!(error, "a value with the codec yaml has at most 65536 bytes");
        let deep = "[".repeat(100_000);
        assert!(decoded("json", deep.as_bytes()).is_err());
        assert!(decoded("toml", format!("a = {deep}").as_bytes()).is_err());
    }
}
