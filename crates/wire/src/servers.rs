//! The servers of a cluster and the database that they share, as an operator sees them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use cfgsync_model::Revision;

/// The body of `GET /v1/servers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServersBody {
    /// The revision that the answering server has applied.
    pub revision: Revision,
    /// The time since the answering server last heard from the database, in seconds. Zero without a database.
    pub silent_seconds: f64,
    /// Why the answering server has no connection to the database. Absent while it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The running servers. A server whose store is its own lists only itself, without details.
    pub servers: Vec<ServerEntry>,
    /// The database. Absent if the store has none, or if it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseEntry>,
}

/// A running server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerEntry {
    /// Its name, by default that of its machine.
    pub name: String,
    /// The URLs under which nodes reach it.
    pub urls: Vec<String>,
    /// The version of its program.
    pub version: String,
    /// When it started, in RFC 3339.
    pub since: String,
    /// The newest revision that it has applied, as it reported a few seconds ago.
    pub applied: u64,
    /// The time for which it has reported no progress, while the server that answers has newer changes, in seconds. Zero if
    /// it is up to date.
    pub behind_seconds: u64,
    /// Whether it is the one that renders.
    pub renders: bool,
    /// Whether it is the server that answers.
    pub answers: bool,
    /// The digests of its own files, by name. Servers of one cluster have the same ones.
    pub digests: BTreeMap<String, String>,
}

/// The database that the servers share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatabaseEntry {
    /// Its kind and version.
    pub version: String,
    /// Its members.
    pub members: Vec<DatabaseMemberEntry>,
    /// The size of its data, in bytes.
    pub size_bytes: u64,
    /// The largest size, in bytes, if the database says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Whether the size has nearly reached the quota, or the default one if the database does not say its own.
    pub is_near_quota: bool,
    /// Its alarms.
    pub alarms: Vec<String>,
}

/// A member of the database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatabaseMemberEntry {
    /// Its name.
    pub name: String,
    /// The URLs of its clients.
    pub urls: Vec<String>,
    /// Whether it leads the others.
    pub leads: bool,
}
