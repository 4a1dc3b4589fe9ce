//! Queries about the servers that share the store, and about how fresh this one is.

use crate::Coordinator;
use cfgsync_store::{Database, DatabaseMember, Freshness, ServerStatus};
use cfgsync_wire::{DatabaseEntry, DatabaseMemberEntry, ServerEntry, ServersBody};

impl Coordinator {
    /// Returns how old the state of this server may be.
    pub fn freshness(&self) -> Freshness {
        self.shared.store.freshness()
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
        is_rendering,
        is_this,
    } = status;
    ServerEntry {
        name: description.name,
        urls: description.urls,
        version,
        since: description.since,
        applied: applied.0,
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
        version: database.version,
        members: database.members.into_iter().map(member).collect(),
        size_bytes: database.size_bytes,
        quota_bytes: database.quota_bytes,
        alarms: database.alarms,
    }
}
