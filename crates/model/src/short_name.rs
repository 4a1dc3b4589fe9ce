//! Short lower-case names: of phases and of runs.

/// Longest short name, in bytes.
const SHORT_NAME_MAX_BYTES: usize = 64;

/// The reason why a text is not a short name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidShortName {
    /// The text is empty.
    #[error("a {0} must not be empty")]
    Empty(&'static str),
    /// The text is longer than the limit.
    #[error("a {what} has at most {SHORT_NAME_MAX_BYTES} bytes, this one has {bytes}")]
    TooLong {
        /// The kind of name.
        what: &'static str,
        /// The length of the text, in bytes.
        bytes: usize,
    },
    /// The text has a character that the name must not have.
    #[error(
        "{what} {text:?} contains {found:?}; use only lower-case letters, digits, '.', '_' and '-'"
    )]
    Character {
        /// The kind of name.
        what: &'static str,
        /// The text as given.
        text: String,
        /// The first forbidden character.
        found: char,
    },
    /// The first character is neither a letter nor a digit.
    #[error("{what} {text:?} must start with a letter or a digit")]
    Start {
        /// The kind of name.
        what: &'static str,
        /// The text as given.
        text: String,
    },
}

/// Checks that `text` is a short name: 1 to 64 characters of `[a-z0-9._-]` that start with a letter or a digit.
pub(crate) fn check(text: &str, what: &'static str) -> Result<(), InvalidShortName> {
    if text.is_empty() {
        return Err(InvalidShortName::Empty(what));
    }
    let bytes = text.len();
    if bytes > SHORT_NAME_MAX_BYTES {
        return Err(InvalidShortName::TooLong { what, bytes });
    }
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if let Some(found) = text.chars().find(|&c| !is_letter(c) && !"._-".contains(c)) {
        let text = text.to_owned();
        return Err(InvalidShortName::Character { what, text, found });
    }
    if !text.starts_with(is_letter) {
        let text = text.to_owned();
        return Err(InvalidShortName::Start { what, text });
    }
    Ok(())
}

/// Defines the type of a short name.
macro_rules! short_name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks `text` and keeps it as it is written.
            ///
            /// # Errors
            /// Fails if `text` is not 1 to 64 characters of `[a-z0-9._-]` that start with a letter or a digit.
            pub fn new(text: &str) -> Result<Self, $crate::InvalidShortName> {
                $crate::short_name::check(text, $what)?;
                Ok(Self(text.into()))
            }

            /// Returns the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::InvalidShortName;

            fn from_str(text: &str) -> Result<Self, $crate::InvalidShortName> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::InvalidShortName;

            fn try_from(text: String) -> Result<Self, $crate::InvalidShortName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

pub(crate) use short_name;
