//! The list of tokens, as an operator sees it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use cfgsync_support::clock::Timestamp;

/// An entry of `GET /v1/tokens`. It contains neither the secret nor its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEntry {
    /// The name of the token.
    pub name: String,
    /// The role of its holder.
    pub role: String,
    /// The pattern of the nodes that it is for. `None` means all.
    pub identifier: Option<String>,
    /// The patterns of the namespaces that it is limited to. Empty means that it is not limited.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Whether it is for reading only.
    #[serde(default)]
    pub read_only: bool,
    /// The time from which on the server rejects it. `None` means never.
    pub expires: Option<Timestamp>,
    /// Its last use since the server started. `None` if there was none.
    pub last_used: Option<TokenUseEntry>,
}

/// The last use of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUseEntry {
    /// The time of the request, to the second.
    pub at: Timestamp,
    /// The address of the client.
    pub from: IpAddr,
}
