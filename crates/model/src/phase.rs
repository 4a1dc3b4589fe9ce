//! Phases: what a node has reached with the files of a generation, such as `started` or `healthy`.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{GenerationNumber, Revision};
use cfgsync_support::clock::Timestamp;

/// The longest reason of a report, in bytes.
pub const PHASE_REASON_MAX_BYTES: usize = 1000;

/// Longest phase, in bytes.
const PHASE_MAX_BYTES: usize = 64;

/// The name of a phase: 1 to 64 characters of `[a-z0-9._-]` that start with a letter or a digit.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Phase(Arc<str>);

/// The reason why a text is not a [`Phase`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPhase {
    /// The text is empty.
    #[error("a phase must not be empty")]
    Empty,
    /// The text is longer than the limit.
    #[error("a phase has at most {PHASE_MAX_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// The text has a character that a phase must not have.
    #[error(
        "phase {text:?} contains {found:?}; use only lower-case letters, digits, '.', '_' and '-'"
    )]
    Character {
        /// The text as given.
        text: String,
        /// The first forbidden character.
        found: char,
    },
    /// The first character is neither a letter nor a digit.
    #[error("phase {0:?} must start with a letter or a digit")]
    Start(String),
}

/// The newest report of a node about a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseReport {
    /// The generation with whose files the node reached the phase.
    pub generation: GenerationNumber,
    /// The reason that the node gave. It has at most [`PHASE_REASON_MAX_BYTES`].
    pub reason: Option<Arc<str>>,
    /// The time of the report.
    pub at: Timestamp,
    /// The revision of the report.
    pub revision: Revision,
}

impl Phase {
    /// The node has received its files. The server records this phase by itself.
    pub const DELIVERED: &str = "delivered";

    /// The node has failed. A node that waits for another phase of this node does not wait any longer.
    pub const FAILED: &str = "failed";

    /// Checks `text` and keeps it as it is written.
    ///
    /// # Errors
    /// Fails if `text` breaks one of the rules above.
    pub fn new(text: &str) -> Result<Self, InvalidPhase> {
        if text.is_empty() {
            return Err(InvalidPhase::Empty);
        }
        if text.len() > PHASE_MAX_BYTES {
            return Err(InvalidPhase::TooLong(text.len()));
        }
        let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if let Some(found) = text.chars().find(|&c| !is_letter(c) && !"._-".contains(c)) {
            let text = text.to_owned();
            return Err(InvalidPhase::Character { text, found });
        }
        if !text.starts_with(is_letter) {
            return Err(InvalidPhase::Start(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the phase `delivered`.
    pub fn is_delivered(&self) -> bool {
        self.as_str() == Self::DELIVERED
    }

    /// Whether this is the phase `failed`.
    pub fn is_failed(&self) -> bool {
        self.as_str() == Self::FAILED
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for Phase {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Phase {
    type Err = InvalidPhase;

    fn from_str(text: &str) -> Result<Self, InvalidPhase> {
        Self::new(text)
    }
}

impl TryFrom<String> for Phase {
    type Error = InvalidPhase;

    fn try_from(text: String) -> Result<Self, InvalidPhase> {
        Self::new(&text)
    }
}

impl From<Phase> for String {
    fn from(phase: Phase) -> Self {
        phase.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_short_lower_case_names() {
        for valid in ["started", "healthy", "0", "db.v2_done-x", &"a".repeat(64)] {
            assert_eq!(Phase::new(valid).unwrap().as_str(), valid);
        }
        for (invalid, beginning) in [
            ("", "a phase must not be empty"),
            (&*"a".repeat(65), "a phase has at most 64 bytes"),
            ("Healthy", "phase \"Healthy\" contains 'H'"),
            ("a/b", "phase \"a/b\" contains '/'"),
            ("-a", "phase \"-a\" must start"),
            ("é", "phase \"é\" contains 'é'"),
        ] {
            let message = Phase::new(invalid).unwrap_err().to_string();
            assert!(message.starts_with(beginning), "{message}");
        }
    }
}
