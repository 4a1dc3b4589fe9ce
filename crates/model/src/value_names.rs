//! The names around operators' values: namespaces, keys and codecs.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest namespace, in bytes. Filters of event streams have the same limit.
const NAMESPACE_MAX_BYTES: usize = 256;

/// Longest key, in bytes.
const KEY_MAX_BYTES: usize = 1024;

/// Longest codec, in bytes.
const CODEC_MAX_BYTES: usize = 128;

/// A group of keys: 1 to 256 characters of `[A-Za-z0-9_.:-]` that start with a letter or a digit.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(Arc<str>);

/// The name of a value in its namespace, or an alias: 1 to 1,024 characters of `[A-Za-z0-9_./-]`, without `..`, and
/// without `/` at the start or the end.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ValueKey(Arc<str>);

/// The name of the encoding of a value's bytes: 1 to 128 printable ASCII characters without blanks, such as `json` or
/// `client:encrypted:json`. The server checks the codecs that it knows, and keeps the bytes of all others as they are.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Codec(Arc<str>);

/// A value in its namespace, written as `NAMESPACE/KEY`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueName {
    /// The namespace.
    pub namespace: Namespace,
    /// The key, or an alias.
    pub key: ValueKey,
}

/// One value, written as `NAMESPACE/KEY`, or all values whose keys begin with a prefix, written as `NAMESPACE/PREFIX/`.
/// `NAMESPACE/` stands for all values of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValuePattern {
    /// One value.
    Key(ValueName),
    /// All values whose keys begin with `prefix`.
    Prefix {
        /// The namespace.
        namespace: Namespace,
        /// The start of the keys. It is empty or ends with `/`.
        prefix: Box<str>,
    },
}

/// The reason why a text is not a [`Namespace`], a [`ValueKey`] or a [`Codec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValueName {
    /// The text is empty.
    #[error("a {0} must not be empty")]
    Empty(&'static str),
    /// The text is longer than the limit.
    #[error("a {what} has at most {max} bytes, this one has {bytes}")]
    TooLong {
        /// The kind of name.
        what: &'static str,
        /// The limit, in bytes.
        max: usize,
        /// The length of the text, in bytes.
        bytes: usize,
    },
    /// The text has a character that the name must not have.
    #[error("{what} {text:?} contains {found:?}; use only {allowed}")]
    Character {
        /// The kind of name.
        what: &'static str,
        /// The text as given.
        text: String,
        /// The first forbidden character.
        found: char,
        /// The allowed characters, in words.
        allowed: &'static str,
    },
    /// The first character of a namespace is neither a letter nor a digit.
    #[error("namespace {0:?} must start with a letter or a digit")]
    Start(String),
    /// A name of a value has no `/` after the namespace.
    #[error("{0:?} must be NAMESPACE/KEY, such as production/app/timeout")]
    NoNamespace(String),
    /// A key begins or ends with `/`, or contains `..`.
    #[error("key {0:?} must not contain `..`, and must not begin or end with `/`")]
    Path(String),
}

impl Namespace {
    /// Checks `text` and keeps it as it is written.
    ///
    /// # Errors
    /// Fails if `text` breaks one of the rules above.
    pub fn new(text: &str) -> Result<Self, InvalidValueName> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        let allowed = "letters, digits, '_', '.', ':' and '-'";
        check(text, "namespace", NAMESPACE_MAX_BYTES, is_allowed, allowed)?;
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(InvalidValueName::Start(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl ValueKey {
    /// Checks `text` and keeps it as it is written.
    ///
    /// # Errors
    /// Fails if `text` breaks one of the rules above.
    pub fn new(text: &str) -> Result<Self, InvalidValueName> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
        let allowed = "letters, digits, '_', '.', '/' and '-'";
        check(text, "key", KEY_MAX_BYTES, is_allowed, allowed)?;
        if text.starts_with('/') || text.ends_with('/') || text.contains("..") {
            return Err(InvalidValueName::Path(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl Codec {
    /// Checks `text` and keeps it as it is written.
    ///
    /// # Errors
    /// Fails if `text` breaks one of the rules above.
    pub fn new(text: &str) -> Result<Self, InvalidValueName> {
        let is_allowed = |c: char| c.is_ascii_graphic();
        let allowed = "printable ASCII characters without blanks";
        check(text, "codec", CODEC_MAX_BYTES, is_allowed, allowed)?;
        Ok(Self(text.into()))
    }
}

impl ValuePattern {
    /// Returns whether the value `key` of `namespace` matches.
    pub fn contains(&self, namespace: &str, key: &str) -> bool {
        match self {
            Self::Key(name) => name.namespace.as_str() == namespace && name.key.as_str() == key,
            Self::Prefix { .. } => self.contains_all_under(namespace, key),
        }
    }

    /// Returns whether all values of `namespace` match whose keys begin with `start`.
    pub fn contains_all_under(&self, namespace: &str, start: &str) -> bool {
        match self {
            Self::Key(_) => false,
            Self::Prefix {
                namespace: own,
                prefix,
            } => own.as_str() == namespace && start.starts_with(&**prefix),
        }
    }

    /// Returns the namespace of the values.
    pub fn namespace(&self) -> &Namespace {
        match self {
            Self::Key(name) => &name.namespace,
            Self::Prefix { namespace, .. } => namespace,
        }
    }
}

impl fmt::Display for ValueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.key)
    }
}

impl FromStr for ValueName {
    type Err = InvalidValueName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, key) = split(text)?;
        Ok(Self {
            namespace: Namespace::new(namespace)?,
            key: ValueKey::new(key)?,
        })
    }
}

impl fmt::Display for ValuePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => name.fmt(f),
            Self::Prefix { namespace, prefix } => write!(f, "{namespace}/{prefix}"),
        }
    }
}

impl FromStr for ValuePattern {
    type Err = InvalidValueName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, prefix) = split(text)?;
        if !prefix.is_empty() && !prefix.ends_with('/') {
            return text.parse().map(Self::Key);
        }
        if let Some(start) = prefix.strip_suffix('/') {
            ValueKey::new(start)?;
        }
        Ok(Self::Prefix {
            namespace: Namespace::new(namespace)?,
            prefix: prefix.into(),
        })
    }
}

/// Divides `NAMESPACE/KEY` at its first `/`.
fn split(text: &str) -> Result<(&str, &str), InvalidValueName> {
    let no_namespace = || InvalidValueName::NoNamespace(text.to_owned());
    text.split_once('/').ok_or_else(no_namespace)
}

fn check(
    text: &str,
    what: &'static str,
    max: usize,
    is_allowed: impl Fn(char) -> bool,
    allowed: &'static str,
) -> Result<(), InvalidValueName> {
    if text.is_empty() {
        return Err(InvalidValueName::Empty(what));
    }
    let bytes = text.len();
    if bytes > max {
        return Err(InvalidValueName::TooLong { what, max, bytes });
    }
    match text.chars().find(|&c| !is_allowed(c)) {
        None => Ok(()),
        Some(found) => Err(InvalidValueName::Character {
            what,
            text: text.to_owned(),
            found,
            allowed,
        }),
    }
}

/// Implements what all three names have in common with a text.
macro_rules! is_text {
    ($($name:ident),*) => {$(
        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidValueName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValueName;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }
    )*};
}

is_text!(Namespace, ValueKey, Codec);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_start_with_a_letter_or_a_digit() {
        for name in ["a", "0", "prod:eu-1_x.y", &"x".repeat(256)] {
            assert_eq!(Namespace::new(name).unwrap().as_str(), name);
        }
        for name in ["", "-a", ":a", "a/b", "a b", "ä", "a\n", &"x".repeat(257)] {
            assert!(Namespace::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn keys_are_paths_that_stay_where_they_are() {
        for name in [
            "a",
            ".hidden",
            "app/timeout",
            "a.b-c_d/e",
            &"x".repeat(1024),
        ] {
            assert_eq!(ValueKey::new(name).unwrap().as_str(), name);
        }
        for name in [
            "",
            "/a",
            "a/",
            "a..b",
            "../a",
            "a:b",
            "a b",
            "a\0",
            &"x".repeat(1025),
        ] {
            assert!(ValueKey::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn patterns_are_keys_or_prefixes() {
        for text in ["prod/app/timeout", "prod/app/", "prod/"] {
            assert_eq!(text.parse::<ValuePattern>().unwrap().to_string(), text);
        }
        for text in [
            "", "prod", "/a", "prod//", "prod/a//", "pr od/a", "prod/../",
        ] {
            assert!(text.parse::<ValuePattern>().is_err(), "{text:?}");
        }
        let prefix: ValuePattern = "prod/app/".parse().unwrap();
        assert!(prefix.contains("prod", "app/x"));
        for (namespace, start) in [("prod", "app"), ("prod", ""), ("test", "app/x")] {
            assert!(!prefix.contains(namespace, start), "{namespace}/{start}");
        }
    }

    #[test]
    fn codecs_have_no_blanks() {
        for name in ["json", "client:encrypted:json"] {
            assert_eq!(Codec::new(name).unwrap().as_str(), name);
        }
        for name in ["", "a b", "a\nb", "jsön", &"x".repeat(129)] {
            assert!(Codec::new(name).is_err(), "{name:?}");
        }
    }
}
