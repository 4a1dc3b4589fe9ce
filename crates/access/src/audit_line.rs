//! One line of the audit log. It contains hashes of contents, never contents.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;

use cfgsync_model::{Digest, GenerationNumber, Revision};
use cfgsync_support::clock::Timestamp;

/// One line of the audit log, written as a JSON object. Absent fields are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditLine {
    /// When it happened, in UTC.
    pub at: Timestamp,
    /// The operation. For a request, its method and route; otherwise one of `seal`, `attempt`, `render`, `spec`,
    /// `tokens`, `certificate`, `handshake`.
    pub what: String,
    /// How the operation ended.
    pub outcome: AuditOutcome,
    /// The principal: `token web`, `certificate node-1`, `anonymous`, `anybody` (the server requires no credentials),
    /// `unknown` (not authenticated), or `server` for what the server does by itself or on a signal.
    pub who: String,
    /// The client's address; absent for what the server does by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// The node that the operation is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The value or the alias that the operation is about: `NAMESPACE/KEY`, or the name of the alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The name of the value of `once` that the operation is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub once: Option<String>,
    /// The generation that was sealed or delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<GenerationNumber>,
    /// The revision of the newest input that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// The status of the response, by the protocol's own numbers; absent before there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The reason why the operation was refused or failed, as a short identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many refusals were left out before this one, because their number is limited.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// The SHA-256 hashes of the contents involved, by name: `facts` (a registration), the path of each file of an
    /// override, `value`, `generation`, `payload`, `spec`, `tokens` (the tokens file), `key` (a certificate's public key).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    /// Not done yet. Written ahead of a change where the audit log is required; another line follows.
    Asked,
    /// The change was made.
    Changed,
    /// The request asked for a state that existed already.
    Unchanged,
    /// A node received a generation for the first time.
    Delivered,
    /// An operator read secret content.
    Revealed,
    /// The operation was authorized, but failed.
    Failed,
    /// The operation was refused and not done.
    Refused,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl AuditLine {
    /// Returns a line for something that the server did by itself or on a signal, with the outcome `changed`.
    pub fn for_server(at: Timestamp, what: &str) -> Self {
        Self {
            at,
            what: what.to_owned(),
            outcome: AuditOutcome::Changed,
            who: "server".to_owned(),
            from: None,
            node: None,
            value: None,
            once: None,
            generation: None,
            revision: None,
            status: None,
            reason: None,
            left_out: 0,
            sha256: BTreeMap::new(),
        }
    }

    /// Adds the hash of the content named `part`.
    #[must_use]
    pub fn with_hash(mut self, part: &str, hash: Digest) -> Self {
        self.sha256.insert(part.to_owned(), hash.to_string());
        self
    }

    /// Replaces the outcome and its reason.
    #[must_use]
    pub fn with_outcome(mut self, outcome: AuditOutcome, reason: Option<&str>) -> Self {
        self.outcome = outcome;
        self.reason = reason.map(str::to_owned);
        self
    }
}
