//! What one line of the audit log says. Hashes of contents stand in it, contents never.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;

use cfgsync_model::{Digest, GenerationNumber, Revision};
use cfgsync_support::clock::Timestamp;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditLine {
    /// When, UTC.
    pub at: Timestamp,
    /// The method and the route; or, in a word, what it was beside requests: `seal`, `attempt`, `render`, `spec`,
    /// `tokens`, `certificate`, `handshake`.
    pub what: String,
    /// What became of it.
    pub outcome: AuditOutcome,
    /// As whom: `token web`, `certificate node-1`, `anonymous`, `anybody` (where nobody is asked), `unknown`, or
    /// `server`, for what it does by itself or at a signal.
    pub who: String,
    /// From where, if it came from somewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// Which node it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Which generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<GenerationNumber>,
    /// Up to which input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// The status that was answered; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was refused or failed, as a slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The hashes of what it was about: `facts` of a registration, each file of an override, a `generation`, a
    /// `payload`, a `spec`, the file of `tokens`, the public `key` of a certificate.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    /// About to be done, where the log is required: another line follows.
    Asked,
    /// Done.
    Changed,
    /// It was so already.
    Unchanged,
    /// A node was handed a generation for the first time.
    Delivered,
    /// An operator looked at what is secret.
    Revealed,
    /// It came to nothing, by nobody's will.
    Failed,
    /// Not done.
    Refused,
}

impl AuditLine {
    /// On what the server does by itself or at a signal, as if it were done.
    pub fn of_the_server(at: Timestamp, what: &str) -> Self {
        Self {
            at,
            what: what.to_owned(),
            outcome: AuditOutcome::Changed,
            who: "server".to_owned(),
            from: None,
            node: None,
            generation: None,
            revision: None,
            status: None,
            reason: None,
            sha256: BTreeMap::new(),
        }
    }

    /// The same with the hash of `part`.
    #[must_use]
    pub fn with_hash(mut self, part: &str, hash: Digest) -> Self {
        self.sha256.insert(part.to_owned(), hash.to_string());
        self
    }

    /// The same with this end.
    #[must_use]
    pub fn ending(mut self, outcome: AuditOutcome, reason: Option<&str>) -> Self {
        self.outcome = outcome;
        self.reason = reason.map(str::to_owned);
        self
    }
}
