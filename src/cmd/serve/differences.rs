//! Warns while the servers of a cluster do not have the same files.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cfgsync_store::{ServerStatus, Store};
use tokio::time::{MissedTickBehavior, interval};

/// The interval at which the servers are compared. It is longer than a server takes to describe itself after its start.
const INTERVAL: Duration = Duration::from_secs(2);

/// Compares this server with the others as long as the server runs. It logs each change of the result.
pub(super) async fn watch(store: Option<Arc<dyn Store>>) {
    let shared = store.filter(|store| store.render_turn().is_some());
    let Some(store) = shared else {
        return std::future::pending().await;
    };
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Differences::new();
    loop {
        ticks.tick().await;
        let found = differences(&store.servers());
        if found == before {
            continue;
        }
        for (server, names) in &found {
            if before.get(server) != Some(names) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let names = names.join(", ");
                tracing::warn!(
                    event = "servers_differ",
                    "this server and {server} do not have the same files: {names}"
                );
            }
        }
        if found.is_empty() {
            tracing::info!(
                event = "servers_agree",
                "all servers have the same spec, tokens and signing key again"
            );
        }
        before = found;
    }
}

/// The names of the digests in which other servers differ from this one, by the server's name and URLs.
type Differences = BTreeMap<String, BTreeSet<String>>;

fn differences(servers: &[ServerStatus]) -> Differences {
    let mut found = Differences::new();
    let Some(own) = servers.iter().find(|server| server.is_this) else {
        return found;
    };
    let own = &own.description.digests;
    for server in servers.iter().filter(|server| !server.is_this) {
        let other = &server.description.digests;
        if own.is_empty() || other.is_empty() {
            // A server that starts has not described itself yet.
            continue;
        }
        let names = own.keys().chain(other.keys());
        let differing: BTreeSet<String> = names
            .filter(|name| own.get(*name) != other.get(*name))
            .cloned()
            .collect();
        if !differing.is_empty() {
            let description = &server.description;
            let shown = format!("{} ({})", description.name, description.urls.join(" "));
            found.insert(shown, differing);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use cfgsync_model::Revision;
    use cfgsync_store::ServerDescription;

    use super::*;

    fn server(name: &str, digests: &[(&str, &str)]) -> ServerStatus {
        let digests = digests.iter();
        let digests = digests.map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned()));
        ServerStatus {
            description: ServerDescription {
                name: name.to_owned(),
                urls: vec![format!("http://{name}:4400")],
                digests: digests.collect(),
                since: String::new(),
            },
            version: String::new(),
            applied: Revision(1),
            behind_for: Duration::ZERO,
            is_rendering: false,
            is_this: name == "a",
        }
    }

    #[test]
    fn differences_are_those_from_this_server() {
        let servers = [
            server("a", &[("spec", "1"), ("tokens", "2")]),
            server("b", &[("spec", "1"), ("tokens", "2")]),
            server("c", &[("spec", "3"), ("spec field ready", "4")]),
            server("starting", &[]),
        ];
        let found = differences(&servers);
        let names = ["spec", "spec field ready", "tokens"].map(str::to_owned);
        let expected = ("c (http://c:4400)".to_owned(), BTreeSet::from(names));
        assert_eq!(found, Differences::from([expected]));
        assert!(
            differences(&servers[1..]).is_empty(),
            "this one is not known yet"
        );
    }
}
