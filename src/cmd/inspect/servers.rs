//! `inspect servers`: the servers of a cluster, and the database that they share.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use cfgsync_support::{duration, escape::escape_line};
use cfgsync_wire::{DatabaseEntry, ServerEntry, ServersBody};

use crate::cmd::output::columns;

/// The lag from which it is shown, in seconds. Each server reports every 1.5 s what it has applied.
const LAG_SHOWN_SECONDS: u64 = 3;

/// Returns the table.
pub(super) fn table(body: &ServersBody) -> String {
    let mut servers: Vec<&ServerEntry> = body.servers.iter().collect();
    servers.sort_by(|a, b| (&a.name, &a.urls).cmp(&(&b.name, &b.urls)));
    let rows = servers.into_iter();
    let rows: Vec<_> = rows.map(row).collect();
    let mut text = columns(&["SERVER", "URLS", "VERSION", "SINCE", "LAG", ""], &rows);
    if let Some(problem) = &body.problem {
        let silent = duration::text(Duration::from_secs_f64(body.silent_seconds.round()));
        let _ = writeln!(
            text,
            "no answer from the store for {silent}: {}",
            escape_line(problem)
        );
    }
    for name in differing(&body.servers) {
        let _ = writeln!(
            text,
            "the servers do not have the same {}",
            escape_line(&name)
        );
    }
    if let Some(database) = &body.database {
        text.push_str(&database_lines(database));
    }
    text
}

fn row(server: &ServerEntry) -> Vec<String> {
    let mut notes = Vec::new();
    if server.renders {
        notes.push("renders");
    }
    if server.answers {
        notes.push("answers here");
    }
    vec![
        server.name.clone(),
        server.urls.join(" "),
        server.version.clone(),
        server.since.clone(),
        if server.behind_seconds < LAG_SHOWN_SECONDS {
            "-".to_owned()
        } else {
            duration::text(Duration::from_secs(server.behind_seconds))
        },
        notes.join(", "),
    ]
}

/// Returns the names of the files that differ between servers. A server that starts has not described itself yet.
fn differing(servers: &[ServerEntry]) -> BTreeSet<String> {
    let servers = servers.iter().filter(|server| !server.digests.is_empty());
    let servers: Vec<&ServerEntry> = servers.collect();
    let names = servers.iter().flat_map(|server| server.digests.keys());
    let names = names.filter(|name| {
        let digests: BTreeSet<Option<&String>> = servers
            .iter()
            .map(|server| server.digests.get(*name))
            .collect();
        digests.len() > 1
    });
    names.cloned().collect()
}

fn database_lines(database: &DatabaseEntry) -> String {
    let mut text = format!("database: {}, ", escape_line(&database.version));
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    text.push_str(&mib(database.size_bytes));
    if let Some(quota) = database.quota_bytes {
        let _ = write!(text, " of {}", mib(quota));
    }
    if database.is_near_quota {
        text.push_str(" (near its quota)");
    }
    text.push('\n');
    for member in &database.members {
        let leads = if member.leads { " (leader)" } else { "" };
        let urls = member.urls.join(" ");
        let _ = writeln!(
            text,
            "  {} {}{leads}",
            escape_line(&member.name),
            escape_line(&urls)
        );
    }
    for alarm in &database.alarms {
        let _ = writeln!(text, "alarm: {}", escape_line(alarm));
    }
    text
}

#[cfg(test)]
mod tests {
    use cfgsync_model::Revision;
    use cfgsync_wire::DatabaseMemberEntry;

    use super::*;

    #[test]
    fn table_shows_servers_differences_and_the_database() {
        let server = |name: &str, applied, spec: &str| ServerEntry {
            name: name.to_owned(),
            urls: vec![format!("http://{name}:4400")],
            version: "0.1.0".to_owned(),
            since: "2026-01-01T00:00:00Z".to_owned(),
            applied,
            behind_seconds: if applied == 17 { 2 } else { 75 },
            renders: applied == 17,
            answers: applied == 17,
            digests: [("spec".to_owned(), spec.to_owned())].into(),
        };
        let body = ServersBody {
            revision: Revision(17),
            silent_seconds: 3.2,
            problem: Some("etcd-0: connection refused".to_owned()),
            servers: vec![server("a", 17, "x"), server("b", 12, "y")],
            database: Some(DatabaseEntry {
                version: "etcd 3.4.23".to_owned(),
                members: vec![DatabaseMemberEntry {
                    name: "etcd-0".to_owned(),
                    urls: vec!["http://etcd-0:2379".to_owned()],
                    leads: true,
                }],
                size_bytes: 90 << 20,
                quota_bytes: Some(100 << 20),
                is_near_quota: true,
                alarms: vec!["etcd-0: full".to_owned()],
            }),
        };
        let expected = "\
SERVER  URLS           VERSION  SINCE                 LAG
a       http://a:4400  0.1.0    2026-01-01T00:00:00Z  -      renders, answers here
b       http://b:4400  0.1.0    2026-01-01T00:00:00Z  1m15s
no answer from the store for 3s: etcd-0: connection refused
the servers do not have the same spec
database: etcd 3.4.23, 90.0 MiB of 100.0 MiB (near its quota)
  etcd-0 http://etcd-0:2379 (leader)
alarm: etcd-0: full
";
        assert_eq!(table(&body), expected);
    }
}
