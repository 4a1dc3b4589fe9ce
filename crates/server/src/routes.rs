//! The table of routes: everything that the server knows about a path stands in one row.
//!
//! Routing, `Allow`, authorization, audit names and metrics labels come from it. To add a route, add a row and its
//! handler.
//!
//! Registering, waiting and fetching are served natively on hyper. All other handlers stand behind an axum router.

use std::sync::LazyLock;

use axum::routing::{MethodFilter, MethodRouter, on};

use super::{
    handlers::{node, operator, phases, probe, record, runs, values, values_import, watch},
    path::RouteTable,
    route::{Endpoint, Handler, NativeHandler, Verb},
};
use cfgsync_access::Action;

/// The table.
pub(super) static ROUTES: LazyLock<RouteTable> = LazyLock::new(|| RouteTable::new(ROWS));

/// Its rows.
#[rustfmt::skip] // One line for each row.
static ROWS: &[Endpoint] = &[
    row(Verb::Post, "/register", Action::Register, native(NativeHandler::Register)),
    row(Verb::Post, "/node", Action::Fetch, native(NativeHandler::Fetch)),
    row(Verb::Post, "/init-with-node", Action::Fetch, native(NativeHandler::Fetch)),
    row(Verb::Post, "/node/replace", Action::Operate, routed(|verb| on(verb, operator::replace))),
    row(Verb::Get, "/v1/snapshot", Action::Inspect, routed(|verb| on(verb, operator::snapshot))),
    row(Verb::Get, "/v1/nodes", Action::Inspect, routed(|verb| on(verb, operator::nodes))),
    row(Verb::Get, "/v1/nodes/{id}", Action::Inspect, routed(|verb| on(verb, operator::one_node))),
    row(Verb::Delete, "/v1/nodes/{id}", Action::Operate, routed(|verb| on(verb, operator::remove))),
    row(Verb::Get, "/v1/nodes/{id}/payload", Action::Fetch, native(NativeHandler::FetchTagged)),
    row(Verb::Put, "/v1/nodes/{id}/lease", Action::Fetch, routed(|verb| on(verb, node::renew_lease))),
    row(Verb::Delete, "/v1/nodes/{id}/override", Action::Operate, routed(|verb| on(verb, operator::remove_override))),
    row(Verb::Delete, "/v1/nodes/{id}/key", Action::Operate, routed(|verb| on(verb, operator::release))),
    row(Verb::Post, "/v1/nodes/{id}/ban", Action::Operate, routed(|verb| on(verb, operator::ban))),
    row(Verb::Delete, "/v1/nodes/{id}/ban", Action::Operate, routed(|verb| on(verb, operator::unban))),
    row(Verb::Post, "/v1/nodes/{id}/retry", Action::Operate, routed(|verb| on(verb, operator::retry))),
    row(Verb::Put, "/v1/nodes/{id}/phases/{phase}", Action::Report, routed(|verb| on(verb, phases::report))),
    row(Verb::Get, "/v1/phases/{phase}", Action::WaitForPhase, routed(|verb| on(verb, phases::wait))),
    row(Verb::Get, "/v1/run-once", Action::Inspect, routed(|verb| on(verb, runs::list))),
    row(Verb::Delete, "/v1/run-once/{run}", Action::Operate, routed(|verb| on(verb, runs::forget))),
    row(Verb::Post, "/v1/run-once/{run}/claim", Action::ClaimRun, routed(|verb| on(verb, runs::claim))),
    row(Verb::Post, "/v1/run-once/{run}/renew", Action::ClaimRun, routed(|verb| on(verb, runs::renew))),
    row(Verb::Post, "/v1/run-once/{run}/done", Action::EndRun, routed(|verb| on(verb, runs::done))),
    row(Verb::Post, "/v1/run-once/{run}/failed", Action::EndRun, routed(|verb| on(verb, runs::failed))),
    row(Verb::Get, "/v1/generations", Action::Inspect, routed(|verb| on(verb, operator::generations))),
    row(Verb::Get, "/v1/generations/{n}", Action::Inspect, routed(|verb| on(verb, record::one_generation))),
    row(Verb::Get, "/v1/generations/{n}/nodes/{id}/payload", Action::Read, routed(|verb| on(verb, operator::payload))),
    row(Verb::Get, "/v1/record", Action::Inspect, routed(|verb| on(verb, record::record))),
    row(Verb::Post, "/v1/leave", Action::Leave, routed(|verb| on(verb, node::leave))),
    row(Verb::Post, "/v1/fail", Action::Operate, routed(|verb| on(verb, operator::fail))),
    row(Verb::Get, "/v1/servers", Action::Inspect, routed(|verb| on(verb, probe::servers))),
    row(Verb::Get, "/v1/rollout", Action::Inspect, routed(|verb| on(verb, operator::rollout))),
    row(Verb::Post, "/v1/rollout/stop", Action::Operate, routed(|verb| on(verb, operator::stop_rollout))),
    row(Verb::Post, "/v1/rollout/resume", Action::Operate, routed(|verb| on(verb, operator::resume_rollout))),
    row(Verb::Post, "/v1/reset", Action::Operate, routed(|verb| on(verb, operator::reset))),
    row(Verb::Get, "/v1/namespaces", Action::ListNames, routed(|verb| on(verb, values::namespaces))),
    row(Verb::Get, "/v1/namespaces/{namespace}/keys", Action::ReadValues, routed(|verb| on(verb, values::list))),
    row(Verb::Get, "/v1/namespaces/{namespace}/keys/{key}", Action::ReadValues, routed(|verb| on(verb, values::get))),
    row(Verb::Post, "/v1/namespaces/{namespace}/keys/{key}", Action::WriteValues, routed(|verb| on(verb, values::set))),
    row(Verb::Delete, "/v1/namespaces/{namespace}/keys/{key}", Action::WriteValues, routed(|verb| on(verb, values::delete))),
    row(Verb::Get, "/v1/namespaces/{namespace}/keys/{key}/versions", Action::ReadValues, routed(|verb| on(verb, values::versions))),
    row(Verb::Get, "/v1/namespaces/{namespace}/keys/{key}/diff", Action::ReadValues, routed(|verb| on(verb, values::diff))),
    row(Verb::Get, "/v1/namespaces/{namespace}/snapshot", Action::ReadValues, routed(|verb| on(verb, values::snapshot))),
    row(Verb::Post, "/v1/namespaces/{namespace}/import", Action::WriteValues, routed(|verb| on(verb, values_import::import))),
    row(Verb::Get, "/v1/namespaces/{namespace}/access", Action::CheckAccess, routed(|verb| on(verb, values::access))),
    row(Verb::Get, "/v1/codecs", Action::ListNames, routed(|verb| on(verb, values::codecs))),
    row(Verb::Get, "/v1/aliases", Action::ListNames, routed(|verb| on(verb, values::aliases))),
    row(Verb::Get, "/v1/aliases/{key}", Action::ListNames, routed(|verb| on(verb, values::get_alias))),
    row(Verb::Put, "/v1/aliases/{key}", Action::WriteAliases, routed(|verb| on(verb, values::set_alias))),
    row(Verb::Delete, "/v1/aliases/{key}", Action::WriteAliases, routed(|verb| on(verb, values::delete_alias))),
    row(Verb::Get, "/v1/watch", Action::Watch, routed(|verb| on(verb, watch::watch))),
    row(Verb::Post, "/v1/redraw", Action::Operate, routed(|verb| on(verb, operator::redraw))),
    row(Verb::Get, "/v1/tokens", Action::Read, routed(|verb| on(verb, operator::tokens))),
    row(Verb::Post, "/v1/reload", Action::Operate, routed(|verb| on(verb, operator::reload))),
    row(Verb::Get, "/livez", Action::Probe, routed(|verb| on(verb, probe::livez))),
    row(Verb::Get, "/readyz", Action::Probe, routed(|verb| on(verb, probe::readyz))),
    row(Verb::Get, "/metrics", Action::Inspect, routed(|verb| on(verb, operator::metrics))),
];

const fn row(verb: Verb, pattern: &'static str, action: Action, handler: Handler) -> Endpoint {
    Endpoint {
        verb,
        pattern,
        action,
        handler,
    }
}

const fn native(handler: NativeHandler) -> Handler {
    Handler::Native(handler)
}

const fn routed(handler: fn(MethodFilter) -> MethodRouter) -> Handler {
    Handler::Routed(handler)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use hyper::Method;

    use super::*;
    use crate::route::Route;

    fn route_of(path: &str) -> Option<&'static Route> {
        ROUTES.routes().get(ROUTES.find(path).index)
    }

    #[test]
    fn allow_lists_the_methods_of_the_row() {
        let allow = |path| route_of(path).unwrap().allow();
        assert_eq!(allow("/register"), "POST");
        assert_eq!(allow("/v1/nodes/a"), "GET, HEAD, DELETE");
        let route = route_of("/v1/nodes/a").unwrap();
        for (method, action) in [
            (Method::GET, Some(Action::Inspect)),
            (Method::HEAD, Some(Action::Inspect)),
            (Method::DELETE, Some(Action::Operate)),
            (Method::PUT, None),
        ] {
            let endpoint = route.endpoint(&method);
            assert_eq!(endpoint.map(|endpoint| endpoint.action), action, "{method}");
        }
    }

    /// Returns the method and the pattern of each `curl` line that asks this server.
    fn curl_lines(text: &str) -> BTreeSet<(&'static str, &'static str)> {
        let mut found = BTreeSet::new();
        for line in text.lines().filter(|line| line.starts_with("curl ")) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let after = |flag: &str| {
                words
                    .windows(2)
                    .find(|two| two[0] == flag)
                    .map(|two| two[1])
            };
            let Some(path) = (words.iter())
                .find_map(|word| word.strip_prefix("$S/").or(word.strip_prefix("\"$S/")))
            else {
                continue;
            };
            let path = format!("/{}", path.trim_end_matches('"'));
            let path = path.split('?').next().unwrap_or_default();
            let method = match after("-X") {
                Some(method) => method.parse().unwrap(),
                None if words.contains(&"-d") => Method::POST,
                None => Method::GET,
            };
            let route = route_of(path);
            let route = route.unwrap_or_else(|| panic!("no route has the path of: {line}"));
            let endpoint = route.endpoint(&method);
            let endpoint = endpoint.unwrap_or_else(|| panic!("no route has the method of: {line}"));
            found.insert((endpoint.verb.allow(), route.pattern));
        }
        found
    }

    /// The list of routes stands on the documentation's page on HTTP, or in the README.
    #[test]
    fn documentation_shows_every_route_with_curl() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let pages = [
            "README.md",
            "docs/src/http-api.md",
            "docs/src/values.md",
            "docs/src/barriers.md",
        ];
        let texts = pages.map(|page| std::fs::read_to_string(root.join(page)).unwrap_or_default());
        let shown = curl_lines(&texts.concat());
        let all: BTreeSet<_> = (ROWS.iter())
            .map(|row| (row.verb.allow(), row.pattern))
            .collect();
        assert_eq!(shown, all);
    }
}
