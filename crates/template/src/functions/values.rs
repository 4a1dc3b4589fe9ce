//! The functions that read operators' values: `value` and `values_under`.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use minijinja::{
    Error, State, Value,
    value::{Kwargs, Rest, ValueKind, ValueOrKwargs},
};

use super::lists::require_defined_arguments;
use crate::{engine_error::invalid_operation, json_value::from_json};
use cfgsync_codec::{Content, decode};
use cfgsync_model::{ValueKey, ValueReader, ValueVersion};

/// Shorter texts in a secret value are not hidden in errors, because they occur in other words by chance.
const SECRET_MIN_BYTES: usize = 4;

/// The results of reads, by namespace and key or prefix.
type Results<T> = RwLock<BTreeMap<(Box<str>, Box<str>), T>>;

/// The operators' values of one render. Each is read and decoded once.
#[derive(Default)]
pub(crate) struct ValueFunctions {
    reader: ValueReader,
    keys: Results<Option<Read>>,
    prefixes: Results<Read>,
}

/// One result of a read.
#[derive(Clone)]
struct Read {
    value: Value,
    /// The name of a secret value in it.
    secret: Option<Box<str>>,
}

/// Whether a text may read secret values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SecretValues {
    /// A secret value is an error.
    #[default]
    Refused,
    /// The text is the content of a secret file.
    Allowed,
}

impl ValueFunctions {
    /// Returns the functions that read from `reader`.
    pub(crate) fn new(reader: ValueReader) -> Self {
        Self {
            reader,
            ..Self::default()
        }
    }

    /// Returns the function with this name, if it reads values.
    pub(crate) fn function(self: &Arc<Self>, name: &str, secrets: SecretValues) -> Option<Value> {
        let values = self.clone();
        let function = match name {
            "value" => Value::from_function(move |namespace: &str, key: &str, options: Kwargs| {
                let default = if options.has("default") {
                    Some(options.get::<Value>("default")?)
                } else {
                    None
                };
                options.assert_all_used()?;
                match values.value(namespace, key)? {
                    Some(read) => read.value_if(secrets),
                    None => default.ok_or_else(|| {
                        invalid_operation(format!(
                            "the value {namespace}/{key} is not set; set it, or add `default=`"
                        ))
                    }),
                }
            }),
            "values_under" => Value::from_function(move |namespace: &str, prefix: &str| {
                values.values_under(namespace, prefix)?.value_if(secrets)
            }),
            _ => return None,
        };
        Some(Value::from_function(
            move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
                let args = args.into_values();
                require_defined_arguments(&args)?;
                function.call(state, &args)
            },
        ))
    }

    fn value(&self, namespace: &str, key: &str) -> Result<Option<Read>, Error> {
        let name = (namespace.into(), key.into());
        if let Some(known) = read_lock(&self.keys).get(&name) {
            return Ok(known.clone());
        }
        let version = self.reader.get(namespace, key);
        let version = version.map_err(|error| invalid_operation(error.to_string()))?;
        let read = version.map(|version| {
            let secret = version.is_secret();
            Ok::<_, Error>(Read {
                value: decoded(namespace, key, &version)?,
                secret: secret.then(|| format!("{namespace}/{key}").into()),
            })
        });
        let read = read.transpose()?;
        write_lock(&self.keys).insert(name, read.clone());
        Ok(read)
    }

    fn values_under(&self, namespace: &str, prefix: &str) -> Result<Read, Error> {
        let name = (namespace.into(), prefix.into());
        if let Some(known) = read_lock(&self.prefixes).get(&name) {
            return Ok(known.clone());
        }
        let versions = self.reader.under(namespace, prefix);
        let versions = versions.map_err(|error| invalid_operation(error.to_string()))?;
        let secret = versions.iter().find(|(_, version)| version.is_secret());
        let secret = secret.map(|(key, _)| format!("{namespace}/{key}").into());
        let entry = |(key, version): (ValueKey, Arc<ValueVersion>)| {
            let value = decoded(namespace, key.as_str(), &version)?;
            Ok((Arc::<str>::from(key.as_str()), value))
        };
        let entries = versions.into_iter().map(entry);
        let entries = entries.collect::<Result<BTreeMap<_, _>, Error>>()?;
        let read = Read {
            value: Value::from_object(entries),
            secret,
        };
        write_lock(&self.prefixes).insert(name, read.clone());
        Ok(read)
    }
}

impl ValueFunctions {
    /// Returns `text` without the contents of the secret values that were read. A template may use them as names, which
    /// errors show.
    pub(crate) fn hide_secrets(&self, text: &str) -> String {
        let mut secrets = vec![];
        for read in read_lock(&self.keys).values().flatten() {
            read.add_secrets(&mut secrets);
        }
        for read in read_lock(&self.prefixes).values() {
            read.add_secrets(&mut secrets);
        }
        // One may contain another.
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        let hide = |text: String, secret: String| text.replace(&secret, "…");
        secrets.into_iter().fold(text.to_owned(), hide)
    }
}

impl Read {
    fn add_secrets(&self, secrets: &mut Vec<String>) {
        if self.secret.is_some() {
            add_texts(&self.value, secrets);
        }
    }

    /// Returns the value, unless it is secret and the text may not read secrets.
    fn value_if(self, secrets: SecretValues) -> Result<Value, Error> {
        match self.secret {
            Some(name) if secrets == SecretValues::Refused => Err(invalid_operation(format!(
                "{name} is a secret value; only the content of a file with `secret: true` may read it"
            ))),
            _ => Ok(self.value),
        }
    }
}

/// Adds all texts and numbers in `value` that are not too short to be a secret.
fn add_texts(value: &Value, texts: &mut Vec<String>) {
    match value.kind() {
        ValueKind::Seq => value
            .try_iter()
            .into_iter()
            .flatten()
            .for_each(|item| add_texts(&item, texts)),
        ValueKind::Map => value
            .try_iter()
            .into_iter()
            .flatten()
            .filter_map(|key| value.get_item(&key).ok())
            .for_each(|item| add_texts(&item, texts)),
        ValueKind::String | ValueKind::Number | ValueKind::Bytes => {
            let text = value.to_string();
            if text.len() >= SECRET_MIN_BYTES {
                texts.push(text);
            }
        }
        _ => {}
    }
}

/// Decodes a value. A codec without structure gives bytes.
fn decoded(namespace: &str, key: &str, version: &ValueVersion) -> Result<Value, Error> {
    match decode(&version.codec, &version.bytes) {
        Ok(Content::Json(json)) => Ok(from_json(&json)),
        Ok(Content::Bytes) => Ok(Value::from_bytes(version.bytes.to_vec())),
        // The server checks a value when it is set, so this value comes from a version with other codecs.
        Err(error) => Err(invalid_operation(format!("{namespace}/{key}: {error}"))),
    }
}

fn read_lock<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_lock<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use cfgsync_model::{ValueName, ValueType};

    use super::*;
    use crate::{Expression, Scope, Template, testing::context};

    fn version(name: &str, codec: &str, text: &str) -> (ValueName, Arc<ValueVersion>) {
        let value_type = if name.contains("password") {
            ValueType::Secret
        } else {
            ValueType::Custom
        };
        let version = ValueVersion {
            bytes: text.to_owned().into(),
            codec: codec.parse().unwrap(),
            value_type,
            version: 1,
            created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            updated_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            expires_at: None,
        };
        (name.parse().unwrap(), Arc::new(version))
    }

    fn reader() -> ValueReader {
        let values = [
            ("prod/app/timeout", "json", "30"),
            ("prod/app/peers", "json", r#"["a", "b"]"#),
            ("prod/db/password", "text", "hunter2"),
            ("prod/raw", "client:encrypted:json", "{"),
        ];
        let values = values.map(|(name, codec, text)| version(name, codec, text));
        ValueReader::new(Arc::new(BTreeMap::from(values)))
    }

    fn render_in(text: &str, with_secrets: bool) -> Result<String, String> {
        let template = Template::compile("t", text, Scope::Shared, &[]).unwrap();
        let context = context().with_operator_values(reader());
        let context = if with_secrets {
            context.with_secret_values()
        } else {
            context
        };
        let rendered = template.render(&context, None);
        let rendered = rendered.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(rendered.to_bytes().to_vec()).unwrap())
    }

    fn render(text: &str) -> Result<String, String> {
        render_in(text, false)
    }

    #[test]
    fn values_have_the_types_of_their_content() {
        for (text, expected) in [
            (r#"{{ value("prod", "app/timeout") + 1 }}"#, "31"),
            (r#"{{ value("prod", "app/peers") | join("-") }}"#, "a-b"),
            (r#"{{ value("prod", "raw") | b64encode }}"#, "ew=="),
            (r#"{{ value("prod", "absent", default=5) }}"#, "5"),
            (
                r#"{{ value("prod", "absent", default=none) is none }}"#,
                "true",
            ),
            (
                r#"{{ values_under("prod", "app/") }}"#,
                r#"{"app/peers":["a","b"],"app/timeout":30}"#,
            ),
            (r#"{{ values_under("prod", "none/") | length }}"#, "0"),
            (r#"{{ values_under("other", "") | length }}"#, "0"),
            (
                r#"{% macro m() %}{{ value("prod", "app/timeout") }}{% endmacro %}{{ m() }}"#,
                "30",
            ),
            ("{% for value in [1] %}{{ value }}{% endfor %}", "1"),
        ] {
            assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn absent_value_without_default_is_named() {
        for (text, expected) in [
            (
                r#"{{ value("prod", "app/absent") }}"#,
                "the value prod/app/absent is not set; set it, or add `default=`",
            ),
            (
                r#"{{ value("pr od", "a") }}"#,
                "namespace \"pr od\" contains ' '; use only letters, digits, '_', '.', ':' and '-'",
            ),
            (
                r#"{{ value("prod", nodes[1].metadata.zoen) }}"#,
                "`nodes[1].metadata.zoen` is undefined",
            ),
            (
                r#"{{ value("prod", "a", defualt=1) }}"#,
                "unknown keyword argument 'defualt'",
            ),
        ] {
            let error = render(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn secret_value_needs_a_secret_file() {
        for text in [
            r#"{{ value("prod", "db/password") }}"#,
            r#"{{ value("prod", "db/password", default="x") }}"#,
            r#"{{ values_under("prod", "") | length }}"#,
        ] {
            let error = render(text).unwrap_err();
            let expected = "prod/db/password is a secret value; only the content of a file with `secret: true` may \
                            read it";
            assert!(error.contains(expected), "{error}");
            render_in(text, true).unwrap();
        }
        assert_eq!(
            render_in(r#"{{ value("prod", "db/password") }}"#, true).as_deref(),
            Ok("hunter2")
        );
    }

    #[test]
    fn errors_hide_secrets_that_are_used_as_names() {
        for text in [
            r#"{{ value("prod", value("prod", "db/password")) }}"#,
            r#"{{ nodes | map(attribute=value("prod", "db/password")) | list }}"#,
            r#"{{ value("prod", values_under("prod", "db/")["db/password"]) }}"#,
        ] {
            let error = render_in(text, true).unwrap_err();
            assert!(error.contains('…') && !error.contains("hunter2"), "{error}");
        }
        let error = render_in(r#"{{ value("prod", "db/password").x.y }}"#, true).unwrap_err();
        assert!(error.contains("undefined"), "{error}");
    }

    #[test]
    fn reads_are_recorded_once_for_a_context() {
        let reader = reader();
        let context = context().with_operator_values(reader.clone());
        let condition =
            r#"value("prod", "app/timeout") == 30 and value("prod", "x", default=1) == 1"#;
        let when = Expression::compile(condition, Scope::When).unwrap();
        assert_eq!(when.holds(&context), Ok(true));
        let mut reads = reader.reads();
        assert!(!reads.refresh(&BTreeMap::from([
            version("prod/app/timeout", "json", "30"),
            version("prod/other", "json", "1"),
        ])));
        assert!(reads.refresh(&BTreeMap::from([
            version("prod/app/timeout", "json", "30"),
            version("prod/x", "json", "1"),
        ])));
    }

    #[test]
    fn once_cannot_read_values() {
        let error = Expression::compile(r#"value("prod", "a")"#, Scope::Once).unwrap_err();
        assert_eq!(error.message, "`value` is not available in `once`");
    }
}
