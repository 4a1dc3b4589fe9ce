//! Artifact paths: the names of files, before a node's routes turn them into places on its disk.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest artifact path, in bytes.
const PATH_MAX_BYTES: usize = 1024;

/// The name of an artifact: a relative path with `/` between its parts.
///
/// `/a` and `a` are the same name and compare as equal. The written form keeps the leading slash, because existing
/// clients expect to get back the path that was written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtifactPath(Arc<str>);

/// The reason why a text is not an [`ArtifactPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArtifactPath {
    /// The text is empty, or only `/`.
    #[error("an artifact path must not be empty")]
    Empty,
    /// The text is longer than 1024 bytes; the value is its length.
    #[error("an artifact path has at most {PATH_MAX_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// The text has a part that could lead to another directory, or a character that routes cannot name.
    #[error("artifact path {path:?} contains {what}")]
    Contains {
        /// The path as given.
        path: String,
        /// The forbidden part or character, in words.
        what: &'static str,
    },
}

impl ArtifactPath {
    /// Checks `text` and keeps it as it is written.
    ///
    /// # Errors
    ///
    /// Fails if the path is empty, is longer than 1024 bytes, has an empty part or a part `.` or `..`, or contains a
    /// control character or `=`.
    pub fn new(text: &str) -> Result<Self, InvalidArtifactPath> {
        let name = text.strip_prefix('/').unwrap_or(text);
        if name.is_empty() {
            return Err(InvalidArtifactPath::Empty);
        }
        if text.len() > PATH_MAX_BYTES {
            return Err(InvalidArtifactPath::TooLong(text.len()));
        }
        let contains = |what| {
            Err(InvalidArtifactPath::Contains {
                path: text.to_owned(),
                what,
            })
        };
        if name.contains('\0') {
            return contains("a NUL byte");
        }
        if name.chars().any(char::is_control) {
            return contains("a control character");
        }
        if name.contains('=') {
            return contains("'=', which separates the two sides of a route (ARTIFACT=PATH)");
        }
        for part in name.split('/') {
            match part {
                "" => return contains("an empty part (\"//\" or a '/' at the end)"),
                "." => return contains("the part \".\""),
                ".." => return contains("the part \"..\""),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// Returns the path as it was written, with its leading slash if it has one.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path without a leading slash. Equal paths have equal names.
    pub fn name(&self) -> &str {
        self.0.strip_prefix('/').unwrap_or(&self.0)
    }

    /// Returns the names of the directories that lead to the file, the nearest first: `a/b` and `a` for `a/b/c`.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        let name = self.name();
        name.rmatch_indices('/').map(|(at, _)| &name[..at])
    }
}

impl PartialEq for ArtifactPath {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}
impl Eq for ArtifactPath {}
impl PartialOrd for ArtifactPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ArtifactPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name().cmp(other.name())
    }
}
impl std::hash::Hash for ArtifactPath {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}
impl fmt::Display for ArtifactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for ArtifactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
impl std::str::FromStr for ArtifactPath {
    type Err = InvalidArtifactPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}
impl TryFrom<String> for ArtifactPath {
    type Error = InvalidArtifactPath;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}
impl From<ArtifactPath> for String {
    fn from(path: ArtifactPath) -> Self {
        path.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_slash_does_not_change_the_name() {
        let with_slash = ArtifactPath::new("/etc/a.conf").unwrap();
        assert_eq!(with_slash, ArtifactPath::new("etc/a.conf").unwrap());
        assert_eq!(with_slash.to_string(), "/etc/a.conf");
    }

    #[test]
    fn rejects_paths_that_could_leave_the_directory() {
        for path in [
            "", "/", "..", "a/../b", "a//b", "//a", "a/", "./a", "a\0b", "a=b", "a\nb",
        ] {
            assert!(ArtifactPath::new(path).is_err(), "{path:?}");
        }
    }
}
