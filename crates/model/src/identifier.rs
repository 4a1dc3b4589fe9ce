//! Identifiers: the names of nodes.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// Longest identifier, in bytes. It is the limit for DNS names.
const LENGTH_MAX_BYTES: usize = 253;

/// The name of a node: 1 to 253 characters of `[A-Za-z0-9._-]` that start with a letter or a digit, and neither
/// `localhost` nor a name in the domain `localhost`, such as `localhost.localdomain`.
///
/// Cloning copies a pointer. Identifiers order by their bytes, the order of nodes in a snapshot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier(Arc<str>);

/// The reason why a text is not an [`Identifier`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIdentifier {
    /// The text is empty.
    #[error("an identifier must not be empty")]
    Empty,
    /// The text is longer than 253 bytes; the value is its length.
    #[error("an identifier has at most {LENGTH_MAX_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// The first character is neither a letter nor a digit.
    #[error("identifier {0:?} must start with a letter or a digit")]
    Start(String),
    /// The text has a character outside `[A-Za-z0-9._-]`.
    #[error("identifier {0:?} contains {1:?}; use only letters, digits, '.', '_' and '-'")]
    Character(String, char),
    /// The text is `localhost` or begins with `localhost.`, which is the name of every machine.
    #[error("{0:?} is the name of every machine; choose an identifier that only this node has")]
    Localhost(String),
}

impl Identifier {
    /// Checks `text` and keeps it as it is written.
    ///
    /// # Errors
    ///
    /// Fails if `text` breaks one of the rules above.
    pub fn new(text: &str) -> Result<Self, InvalidIdentifier> {
        let identifier = Self::recorded(text)?;
        let host = text.split('.').next();
        if host.is_some_and(|host| host.eq_ignore_ascii_case("localhost")) {
            return Err(InvalidIdentifier::Localhost(text.to_owned()));
        }
        Ok(identifier)
    }

    /// Returns an identifier that an earlier version accepted. That version may have accepted a name in the domain
    /// `localhost`.
    ///
    /// # Errors
    ///
    /// Fails if the length or a character of `text` breaks one of the rules above.
    pub fn recorded(text: &str) -> Result<Self, InvalidIdentifier> {
        let first = text.chars().next().ok_or(InvalidIdentifier::Empty)?;
        if text.len() > LENGTH_MAX_BYTES {
            return Err(InvalidIdentifier::TooLong(text.len()));
        }
        if let Some(forbidden) = text.chars().find(|&c| !is_allowed(c)) {
            return Err(InvalidIdentifier::Character(text.to_owned(), forbidden));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(InvalidIdentifier::Start(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// Returns the identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for Identifier {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Identifier {
    type Error = InvalidIdentifier;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl TryFrom<String> for Identifier {
    type Error = InvalidIdentifier;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

/// A conversion that cannot fail, so that an [`Identifier`] is accepted wherever a text is.
impl From<std::convert::Infallible> for InvalidIdentifier {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl std::str::FromStr for Identifier {
    type Err = InvalidIdentifier;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A visitor borrows the text from the request, which avoids a copy for every request.
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Identifier;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Identifier, E> {
                Identifier::new(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_host_names() {
        for name in [
            "a",
            "0",
            "zk-10",
            "localhost-1",
            "node_1.example.com",
            &"x".repeat(253),
        ] {
            assert_eq!(Identifier::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn rejects_empty_names_paths_and_localhost() {
        for name in [
            "",
            ".",
            "..",
            "-a",
            "_a",
            "a/b",
            "../a",
            "a\0",
            "nöde",
            "a b",
            "a=b",
            "localhost",
            "LocalHost",
            "localhost.",
            "localhost.localdomain",
            "Localhost.example.com",
            &"x".repeat(254),
        ] {
            assert!(Identifier::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn identifiers_of_earlier_versions_are_read() {
        let name = "localhost.localdomain";
        assert_eq!(Identifier::recorded(name).unwrap().as_str(), name);
        assert!(Identifier::recorded("../a").is_err());
    }
}
