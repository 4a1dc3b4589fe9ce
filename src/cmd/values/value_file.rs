//! The file with the values of one namespace, which `import` reads and `export` writes.
//!
//! A plain value is JSON. Any other value has the tag `!value` and its content as text or base64.

use cfgsync_codec::DEFAULT_CODEC;
use cfgsync_model::{Codec, Namespace, ValueKey};
use cfgsync_support::{clock::Timestamp, nearest::did_you_mean_suffix};
use cfgsync_wire::{EntryBody, ImportEntry, decode_base64};
use serde_yaml::{
    Mapping, Value,
    value::{Tag, TaggedValue},
};

/// The largest file, in bytes.
pub(crate) const FILE_MAX_BYTES: u64 = 32 << 20;

/// The tag of a value with a codec, a secret or an expiry.
const TAG: &str = "value";

/// The members of the document.
const DOCUMENT_FIELDS: [&str; 2] = ["namespace", "values"];

/// The members of a value with the tag.
const VALUE_FIELDS: [&str; 5] = ["codec", "text", "base64", "secret", "expires_at"];

/// From this magnitude on, a float may be an integer of more than 64 bits that was rounded.
const INTEGER_END: f64 = 9_223_372_036_854_775_808.0;

/// The values of one namespace, as a file has them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValueFile {
    /// The namespace that the file names.
    pub(crate) namespace: Option<Namespace>,
    /// The values, in the order of the file.
    pub(crate) entries: Vec<ImportEntry>,
}

impl ValueFile {
    /// Reads a file.
    ///
    /// # Errors
    /// The message names the first value that cannot be read.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}');
        let document = if text.trim_start().starts_with('{') {
            let json: serde_json::Value =
                serde_json::from_str(text).map_err(|error| error.to_string())?;
            serde_yaml::to_value(json)
        } else {
            serde_yaml::from_str(text)
        };
        let document = document.map_err(|error| problem_of(&error))?;
        let Value::Mapping(document) = document else {
            return Err("expected a mapping with `values:`".to_owned());
        };
        let mut file = Self {
            namespace: None,
            entries: vec![],
        };
        let mut has_values = false;
        for (name, value) in document {
            match (name.as_str(), value) {
                (Some("namespace"), Value::String(name)) => {
                    let name = name.parse();
                    file.namespace = Some(name.map_err(|error| format!("namespace: {error}"))?);
                }
                (Some("namespace"), _) => {
                    return Err("namespace: expected a name as text".to_owned());
                }
                (Some("values"), Value::Mapping(values)) => {
                    has_values = true;
                    for (key, value) in values {
                        file.entries.push(read_entry(key, value)?);
                    }
                }
                (Some("values"), _) => {
                    return Err("values: expected a mapping from keys to values".to_owned());
                }
                (name, _) => return Err(unknown("", name, &DOCUMENT_FIELDS)),
            }
        }
        if has_values {
            Ok(file)
        } else {
            Err("`values:` is missing; a file without values needs `values: {}`".to_owned())
        }
    }

    /// Writes the file of a namespace. A secret without content is kept at an import.
    pub(super) fn render(namespace: &Namespace, entries: &[EntryBody]) -> String {
        let values: Mapping = (entries.iter())
            .map(|entry| (entry.key.as_str().into(), written(entry)))
            .collect();
        let document: Mapping = [
            ("namespace".into(), namespace.as_str().into()),
            ("values".into(), values.into()),
        ]
        .into_iter()
        .collect();
        serde_yaml::to_string(&document).expect("map keys are strings")
    }
}

/// Returns the mistake in a document that is not YAML. The parser knows integers of 128 bits, which no value can have.
fn problem_of(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    if !text.contains("as u128") && !text.contains("as i128") {
        return text;
    }
    let line = error.location().map_or(0, |at| at.line());
    format!("line {line}: an integer does not fit in 64 bits; write it as !value {{ text: … }}")
}

fn read_entry(key: Value, value: Value) -> Result<ImportEntry, String> {
    let Value::String(key) = key else {
        return Err("values: a key that is no text needs quotes, as in \"30\"".to_owned());
    };
    let at = format!("values.{key}");
    let key: ValueKey = key.parse().map_err(|error| format!("values: {error}"))?;
    match value {
        Value::Tagged(tagged) if tagged.tag == TAG => read_tagged(&at, key, tagged.value),
        value => {
            let content = json_of(&at, value)?;
            Ok(ImportEntry::new(
                key,
                Some(content.to_string().into_bytes()),
            ))
        }
    }
}

/// Reads a value with the tag `!value`.
fn read_tagged(at: &str, key: ValueKey, value: Value) -> Result<ImportEntry, String> {
    let Value::Mapping(fields) = value else {
        return Err(format!("{at}: expected a mapping after !value"));
    };
    let mut codec = None;
    let mut contents = vec![];
    let mut secret = false;
    let mut expires_at = None;
    for (name, value) in fields {
        let wrong =
            |expected| format!("{at}: {}: expected {expected}", name.as_str().unwrap_or(""));
        match (name.as_str(), value) {
            (Some("codec"), Value::String(name)) => {
                let name: Codec = name.parse().map_err(|error| format!("{at}: {error}"))?;
                codec = Some(name);
            }
            (Some("text"), Value::String(text)) => contents.push(text.into_bytes()),
            (Some("base64"), Value::String(text)) => {
                let text: String = text.split_ascii_whitespace().collect();
                contents.push(decode_base64(&text).ok_or_else(|| wrong("base64"))?);
            }
            (Some("secret"), Value::Bool(is_secret)) => secret = is_secret,
            (Some("expires_at"), Value::String(time)) => {
                let time: Result<Timestamp, _> = time.parse();
                let time = time.map_err(|_| wrong("a time such as 2026-12-31T23:59:59Z"))?;
                expires_at = Some(time);
            }
            (Some("codec" | "text" | "base64" | "expires_at"), _) => return Err(wrong("a text")),
            (Some("secret"), _) => return Err(wrong("true or false")),
            (name, _) => return Err(unknown(&format!("{at}: "), name, &VALUE_FIELDS)),
        }
    }
    if contents.len() > 1 {
        return Err(format!("{at}: use either `text` or `base64`"));
    }
    let content = contents.pop();
    if content.is_none() && !secret {
        return Err(format!(
            "{at}: `text` or `base64` is missing; only a value with `secret: true` may have none, and is kept as it is"
        ));
    }
    let mut entry = ImportEntry::new(key, content).with_secret(secret);
    entry.codec = codec;
    entry.expires_at = expires_at;
    Ok(entry)
}

fn unknown(at: &str, name: Option<&str>, fields: &[&str]) -> String {
    let name = name.unwrap_or("(not a text)");
    let near = did_you_mean_suffix(name, fields.iter().copied());
    format!("{at}unknown field `{name}`{near}")
}

/// Converts a plain value to JSON.
fn json_of(at: &str, value: Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(flag) => flag.into(),
        Value::Number(number) => {
            if let Some(integer) = number.as_i64() {
                integer.into()
            } else if let Some(integer) = number.as_u64() {
                integer.into()
            } else {
                let float = number.as_f64().filter(|float| float.abs() < INTEGER_END);
                let float = float.and_then(serde_json::Number::from_f64);
                let problem = "the number would be rounded; write it as !value { text: … }";
                float.ok_or_else(|| format!("{at}: {problem}"))?.into()
            }
        }
        Value::String(text) => text.into(),
        Value::Sequence(items) => {
            let items: Result<Vec<_>, _> =
                items.into_iter().map(|item| json_of(at, item)).collect();
            items?.into()
        }
        Value::Mapping(members) => {
            let member = |(name, value)| match name {
                Value::String(name) => Ok((name, json_of(at, value)?)),
                _ => Err(format!(
                    "{at}: a member's name that is no text needs quotes, as in \"30\""
                )),
            };
            let members: Result<serde_json::Map<_, _>, String> =
                members.into_iter().map(member).collect();
            members?.into()
        }
        Value::Tagged(tagged) => {
            return Err(format!(
                "{at}: unknown tag {}; use !value, and only at the value itself",
                tagged.tag
            ));
        }
    })
}

/// Returns a value as the file has it.
fn written(entry: &EntryBody) -> Value {
    if let Some(plain) = plain(entry) {
        return plain;
    }
    let mut fields = Mapping::new();
    let mut add = |name: &str, value: Value| fields.insert(name.into(), value);
    add("codec", entry.codec.as_str().into());
    if !entry.hidden {
        match entry.bytes().map(String::from_utf8) {
            Some(Ok(text)) if reads_back(&text) => add("text", text.into()),
            _ => add("base64", entry.value.as_str().into()),
        };
    }
    if entry.is_secret() {
        add("secret", true.into());
    }
    if let Some(at) = entry.expires_at {
        add("expires_at", at.to_string().into());
    }
    Value::Tagged(Box::new(TaggedValue {
        tag: Tag::new(TAG),
        value: fields.into(),
    }))
}

/// Returns JSON that the file can contain as it is. `None` if an import would read another value.
fn plain(entry: &EntryBody) -> Option<Value> {
    if entry.is_secret() || entry.expires_at.is_some() || entry.codec.as_str() != DEFAULT_CODEC {
        return None;
    }
    let content: serde_json::Value = serde_json::from_slice(&entry.bytes()?).ok()?;
    let plain = serde_yaml::to_value(&content).ok()?;
    let text = serde_yaml::to_string(&plain).ok()?;
    let read = json_of("", serde_yaml::from_str(&text).ok()?).ok()?;
    (read == content).then_some(plain)
}

/// Returns whether YAML can contain this text.
fn reads_back(text: &str) -> bool {
    let yaml = serde_yaml::to_string(text);
    let read = yaml.and_then(|yaml| serde_yaml::from_str::<String>(&yaml));
    read.is_ok_and(|read| read == text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn entry(key: &str, codec: &str, content: &[u8]) -> EntryBody {
        let json = json!({
            "namespace": "prod", "key": key, "codec": codec, "type": 0, "version": "1",
            "value": serde_json::to_value(ImportEntry::new(
                key.parse().unwrap(),
                Some(content.to_vec())
            )).unwrap()["value"],
            "createdAt": "2026-01-31T12:00:00Z", "updatedAt": "2026-01-31T12:00:00Z",
        });
        serde_json::from_value(json).unwrap()
    }

    fn render(entries: &[EntryBody]) -> String {
        ValueFile::render(&"prod".parse().unwrap(), entries)
    }

    #[test]
    fn file_is_easy_to_read_and_write() {
        let mut secret = entry("db/password", "text", b"");
        (secret.hidden, secret.value_type) = (true, 12);
        let mut expiring = entry("maintenance", "json", b"true");
        expiring.expires_at = Some(Timestamp::UNIX_EPOCH);
        let text = render(&[
            entry("app/limits", "json", br#"{ "max": 5, "hosts": ["a"] }"#),
            entry("app/motd", "text", b"Good\nmorning\n"),
            entry("app/timeout", "json", b"30"),
            entry("blob", "bytes", b"\xff"),
            secret,
            expiring,
        ]);
        insta::assert_snapshot!(text, @"
        namespace: prod
        values:
          app/limits:
            hosts:
            - a
            max: 5
          app/motd: !value
            codec: text
            text: |
              Good
              morning
          app/timeout: 30
          blob: !value
            codec: bytes
            base64: /w==
          db/password: !value
            codec: text
            secret: true
          maintenance: !value
            codec: json
            text: 'true'
            expires_at: 1970-01-01T00:00:00Z
        ");
        let file = ValueFile::parse(&text).unwrap();
        assert_eq!(file.namespace, Some("prod".parse().unwrap()));
        assert_eq!(file.entries.len(), 6);
        assert_eq!(file.entries[4].value, None);
        assert!(file.entries[4].is_secret());
        assert_eq!(file.entries[5].expires_at, Some(Timestamp::UNIX_EPOCH));
        let json = r#"{"values": {"a": {"b": "\ud83d\ude00"}}}"#;
        let file = ValueFile::parse(json).unwrap();
        let content = file.entries[0].value.clone().unwrap().0;
        assert_eq!(String::from_utf8(content).unwrap(), r#"{"b":"😀"}"#);
    }

    #[test]
    fn documented_file_can_be_read() {
        let page = include_str!("../../../docs/src/values.md");
        let (_, block) = page.split_once("```yaml\n").unwrap();
        let (file, _) = block.split_once("```").unwrap();
        let file = ValueFile::parse(file).unwrap();
        let [.., password] = &file.entries[..] else {
            panic!("no entries");
        };
        assert_eq!((file.entries.len(), &password.value), (6, &None));
    }

    #[test]
    fn mistakes_name_the_value() {
        for (text, expected) in [
            ("- a", "expected a mapping with `values:`"),
            ("namespace: prod", "`values:` is missing"),
            (
                "namespce: prod\nvalues: {}",
                "unknown field `namespce`; did you mean `namespace`?",
            ),
            (
                "namespace: -a\nvalues: {}",
                "namespace: namespace \"-a\" must start",
            ),
            ("namespace: 1\nvalues: {}", "namespace: expected a name"),
            ("values: [a]", "values: expected a mapping"),
            (
                "values: { 30: a }",
                "values: a key that is no text needs quotes",
            ),
            (
                "values: { a..b: 1 }",
                "values: key \"a..b\" must not contain `..`",
            ),
            ("values: { a: 1, a: 2 }", "values: duplicate entry"),
            ("values: { a: !secret x }", "values.a: unknown tag !secret"),
            ("values: { a: [!value {}] }", "values.a: unknown tag !value"),
            (
                "values: { a: !value x }",
                "values.a: expected a mapping after !value",
            ),
            (
                "values: { a: !value { txt: x } }",
                "values.a: unknown field `txt`; did you mean `text`?",
            ),
            (
                "values: { a: !value { codec: text } }",
                "values.a: `text` or `base64` is missing",
            ),
            (
                "values: { a: !value { text: x, base64: eA== } }",
                "values.a: use either",
            ),
            (
                "values: { a: !value { base64: '*' } }",
                "values.a: base64: expected base64",
            ),
            (
                "values: { a: !value { text: 1 } }",
                "values.a: text: expected a text",
            ),
            (
                "values: { a: !value { secret: 1 } }",
                "values.a: secret: expected true or false",
            ),
            (
                "values: { a: !value { text: x, expires_at: soon } }",
                "values.a: expires_at: expected a time",
            ),
            (
                "values: { a: 18446744073709551616 }",
                "line 1: an integer does not fit in 64 bits",
            ),
            (
                "values: { a: 1e40 }",
                "values.a: the number would be rounded",
            ),
            (
                "values: { a: .nan }",
                "values.a: the number would be rounded",
            ),
            (
                "values: { a: { 1: 2 } }",
                "values.a: a member's name that is no text",
            ),
        ] {
            let error = ValueFile::parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    fn content() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|it| json!(it)),
            any::<i64>().prop_map(|it| json!(it)),
            any::<u64>().prop_map(|it| json!(it)),
            any::<f64>().prop_map(|it| json!(it)),
            any::<String>().prop_map(|it| json!(it)),
            "[ 0-9a-z:~.#!-]{0,8}".prop_map(|it| json!(it)),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|it| json!(it)),
                prop::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|it| json!(it)),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn json_is_read_as_it_was_exported(content in content()) {
            let bytes = serde_json::to_vec(&content).unwrap();
            let file = ValueFile::parse(&render(&[entry("a", "json", &bytes)])).unwrap();
            let read = file.entries[0].value.clone().unwrap().0;
            let read: serde_json::Value = serde_json::from_slice(&read).unwrap();
            prop_assert_eq!(read, content);
        }

        #[test]
        fn other_contents_are_read_byte_for_byte(text in any::<String>(), bytes: Vec<u8>) {
            for content in [text.as_bytes(), &bytes] {
                let file = ValueFile::parse(&render(&[entry("a", "x", content)])).unwrap();
                prop_assert_eq!(&file.entries[0].value.as_ref().unwrap().0, content);
            }
        }
    }
}
