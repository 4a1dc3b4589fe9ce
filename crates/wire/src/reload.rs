//! The request and the response of `POST /v1/reload`, with which an operator makes the server read its files again.

use serde::{Deserialize, Serialize};

use crate::InvalidBody;

/// The body of a request. An empty body reloads everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReloadBody {
    /// The only part to reload.
    #[serde(default)]
    pub only: Option<ReloadPart>,
}

/// A part of the server's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadPart {
    /// The spec, and the files that it names.
    Spec,
    /// The tokens file.
    Tokens,
    /// The certificate, its key, and the authorities of client certificates.
    Certificates,
    /// The key that signs payloads. It is read again only to compare it.
    SignKey,
}

/// The body of the response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadResult {
    /// The parts, in the order in which they were reloaded.
    pub parts: Vec<ReloadedPart>,
}

/// The result of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedPart {
    /// The part.
    pub part: ReloadPart,
    /// The result of reading the part again.
    pub outcome: ReloadOutcome,
    /// The outcome in words: what is in force now, or the mistake.
    pub message: String,
}

/// The result of reading one part again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadOutcome {
    /// The files were read and are in force.
    Reloaded,
    /// The files could not be used. The last good ones stay in force.
    Refused,
    /// The server uses no such files.
    NotUsed,
    /// The files differ from those in force. Only a restart puts them in force.
    NeedsRestart,
}

impl ReloadPart {
    /// Returns the name of the part, as it is on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spec => "spec",
            Self::Tokens => "tokens",
            Self::Certificates => "certificates",
            Self::SignKey => "sign_key",
        }
    }
}

impl ReloadedPart {
    /// Returns the result of `part`.
    pub fn new(part: ReloadPart, outcome: ReloadOutcome, message: impl Into<String>) -> Self {
        Self {
            part,
            outcome,
            message: message.into(),
        }
    }
}

/// Reads the body of `POST /v1/reload`, which may be empty.
///
/// # Errors
/// Fails if `only` is not the name of a part.
pub fn read_reload(body: &[u8]) -> Result<ReloadBody, InvalidBody> {
    if body.trim_ascii().is_empty() {
        return Ok(ReloadBody::default());
    }
    crate::request::read(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_names_one_part_or_none() {
        let tokens = ReloadBody {
            only: Some(ReloadPart::Tokens),
        };
        for (body, expected) in [
            ("", Some(ReloadBody::default())),
            ("{}", Some(ReloadBody::default())),
            (r#"{"only":"tokens"}"#, Some(tokens)),
            (r#"{"only":"token"}"#, None),
            ("tokens", None),
        ] {
            assert_eq!(read_reload(body.as_bytes()).ok(), expected, "{body}");
        }
    }
}
