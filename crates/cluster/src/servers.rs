//! Queries about the servers that share the store, and about how fresh this one is.

use std::time::Duration;

use crate::Coordinator;
use cfgsync_model::{EventId, EventPosition, Revision};
use cfgsync_store::{Database, DatabaseMember, Freshness, ServerStatus};
use cfgsync_wire::{DatabaseEntry, DatabaseMemberEntry, ServerEntry, ServersBody};

impl Coordinator {
    /// Returns how old the state of this server may be.
    pub fn freshness(&self) -> Freshness {
        self.shared.store.freshness()
    }

    /// Whether other servers write to the same store.
    pub fn shares_store(&self) -> bool {
        self.shared.store.render_turn().is_some()
    }

    /// Returns the position up to which this server has applied the changes of the store.
    pub fn position(&self) -> EventId {
        EventId {
            instance: self.shared.store.instance(),
            position: EventPosition::after(self.shared.store.state().revision),
        }
    }

    /// Waits until this server has applied `revision`, and serves the newest generation of that state. Returns false if
    /// that takes longer than `limit`.
    pub async fn reach(&self, revision: Revision, limit: Duration) -> bool {
        // Subscribe before comparing, so that a change in between is not lost.
        let mut published = self.shared.published.subscribe();
        let mut changes = self.shared.store.follow();
        let reached = async {
            while !self.has_reached(revision) {
                let is_open = tokio::select! {
                    result = published.changed() => result.is_ok(),
                    result = changes.changed() => result.is_ok(),
                };
                if !is_open {
                    return std::future::pending().await;
                }
            }
        };
        tokio::time::timeout(limit, reached).await.is_ok()
    }

    fn has_reached(&self, revision: Revision) -> bool {
        let state = self.shared.store.state();
        let sealed = state.generation().map(|newest| newest.number);
        let view = self.shared.view.load();
        let served = view.served.as_ref().map(|served| served.generation.number);
        state.revision >= revision && served >= sealed
    }

    /// Returns the URLs under which nodes reach the running servers that share the store. Empty if no other server does.
    pub fn advertised_urls(&self) -> Vec<String> {
        let servers = self.shared.store.servers().into_iter();
        servers.flat_map(|server| server.description.urls).collect()
    }

    /// Describes the servers that share the store, and its database.
    pub async fn servers(&self) -> ServersBody {
        let store = &self.shared.store;
        let database = store.database().await;
        let freshness = store.freshness();
        let mut servers: Vec<ServerEntry> = store.servers().into_iter().map(server).collect();
        if servers.is_empty() {
            servers.push(ServerEntry {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                applied: store.state().revision.0,
                renders: true,
                answers: true,
                ..ServerEntry::default()
            });
        }
        let (database, problem) = match database {
            Ok(database) => (database.map(entry), freshness.problem),
            Err(problem) => (None, freshness.problem.or(Some(problem))),
        };
        ServersBody {
            revision: store.state().revision,
            silent_seconds: freshness.silent_for.as_secs_f64(),
            problem,
            servers,
            database,
        }
    }
}

fn server(status: ServerStatus) -> ServerEntry {
    let ServerStatus {
        description,
        version,
        applied,
        behind_for,
        is_rendering,
        is_this,
    } = status;
    ServerEntry {
        name: description.name,
        urls: description.urls,
        version,
        since: description.since,
        applied: applied.0,
        behind_seconds: behind_for.as_secs(),
        renders: is_rendering,
        answers: is_this,
        digests: description.digests,
    }
}

fn entry(database: Database) -> DatabaseEntry {
    let member = |member: DatabaseMember| DatabaseMemberEntry {
        name: member.name,
        urls: member.urls,
        leads: member.is_leader,
    };
    DatabaseEntry {
        is_near_quota: database.is_near_quota(),
        version: database.version,
        members: database.members.into_iter().map(member).collect(),
        size_bytes: database.size_bytes,
        quota_bytes: database.quota_bytes,
        alarms: database.alarms,
    }
}
