//! The servers that share a store, and how fresh the view of each is.

use std::{collections::BTreeMap, time::Duration};

use cfgsync_model::{Fence, Identifier, Revision, RunName};

/// The description that a server gives of itself to the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerDescription {
    /// Its name, by default that of its machine.
    pub name: String,
    /// The URLs under which nodes reach it.
    pub urls: Vec<String>,
    /// The digests of the files that each server has for itself, by name: the spec, the tokens, the signing key.
    pub digests: BTreeMap<String, String>,
    /// When it started, in RFC 3339.
    pub since: String,
}

/// A running server, as the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its description of itself.
    pub description: ServerDescription,
    /// The version of its program.
    pub version: String,
    /// The newest revision that it has applied. It is reported every few seconds.
    pub applied: Revision,
    /// The time for which it has reported no progress, while this server has applied newer changes. Zero if it is up to date.
    pub behind_for: Duration,
    /// Whether it is the one that renders.
    pub is_rendering: bool,
    /// Whether it is this server.
    pub is_this: bool,
}

/// A server's knowledge of the nodes that reach it, which other servers cannot see. It has no revision, and causes no
/// render.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    /// The nodes that have sent a request or wait, with whether they follow changes or have renewed their lease.
    pub seen: Vec<(Identifier, bool)>,
    /// The nodes that have their newest files and ask for the next ones.
    pub following: Vec<Identifier>,
    /// The runs whose runners have renewed their lease.
    pub runs: Vec<(RunName, Fence)>,
}

impl Presence {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How old the state of a store may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The time since the store last heard from its database. Zero for a store without one.
    pub silent_for: Duration,
    /// The reason why the store has no connection to its database. `None` while it has one.
    pub problem: Option<String>,
}

/// The database of a store, as it describes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Database {
    /// Its kind and version.
    pub version: String,
    /// Its members.
    pub members: Vec<DatabaseMember>,
    /// The size of its data, in bytes. The deleted ones that are not yet compacted count as well.
    pub size_bytes: u64,
    /// The largest size, in bytes, if the database says it. etcd says it since version 3.6.
    pub quota_bytes: Option<u64>,
    /// Its alarms.
    pub alarms: Vec<String>,
}

impl Database {
    /// The largest size of an etcd that is started without a setting for it, in bytes.
    pub const QUOTA_DEFAULT_BYTES: u64 = 2 << 30;

    /// The share of the quota, in percent, from which the size is pointed out.
    const QUOTA_NEAR_PERCENT: u64 = 80;

    /// Whether the size has nearly reached the quota. The default quota counts for a database that does not say its own.
    pub fn is_near_quota(&self) -> bool {
        let quota = self.quota_bytes.unwrap_or(Self::QUOTA_DEFAULT_BYTES);
        self.size_bytes.saturating_mul(100) > quota.saturating_mul(Self::QUOTA_NEAR_PERCENT)
    }
}

/// A member of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseMember {
    /// Its name.
    pub name: String,
    /// The URLs of its clients.
    pub urls: Vec<String>,
    /// Whether it leads the others.
    pub is_leader: bool,
}
