//! The table of routes: everything that the server knows about a path stands in one row.
//!
//! Routing, `Allow`, authorization, audit names, metrics labels and the documentation come from [`ROUTES`]. To add a
//! route, add a row and its handler.
//!
//! Registering, waiting and fetching are served natively on hyper. All other handlers stand behind an axum router.

use hyper::Method;

use cfgsync_access::Action;

/// One path and its methods.
#[derive(Debug)]
pub(super) struct Route {
    /// The path, with `{id}` for an identifier, `{n}` for a generation's number, `{phase}` for a phase, `{run}` for a run, and `{namespace}`
    /// and `{key}` for a value.
    /// Only `{key}` may contain `/`. It is also the label in metrics and the name in messages and in the audit log.
    pub(super) pattern: &'static str,
    /// Its methods.
    pub(super) endpoints: &'static [Endpoint],
}

/// One method of a path.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) verb: Verb,
    /// The resource that authorization decides about.
    pub(super) action: Action,
    pub(super) handler: Handler,
    /// The effect of the route. Tests compare the documentation with it.
    #[allow(dead_code, reason = "read by tests")]
    pub(super) doc: &'static str,
}

/// The methods that routes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// `GET`, and `HEAD` with it.
    Get,
    Post,
    Put,
    Delete,
}

/// How an endpoint is served.
#[derive(Debug, Clone, Copy)]
pub(super) enum Handler {
    /// By this function, directly on hyper.
    Native(NativeHandler),
    /// By this handler, behind the axum router.
    Routed(RoutedHandler),
}

/// The handlers of the hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NativeHandler {
    /// `handlers::node::register`
    Register,
    /// `handlers::node::fetch`
    Fetch,
    /// `handlers::node::fetch_tagged`
    FetchTagged,
}

/// The handlers behind the router. `router.rs` has the function of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoutedHandler {
    Replace,
    Snapshot,
    Nodes,
    OneNode,
    Remove,
    RemoveOverride,
    Release,
    Ban,
    Unban,
    /// `handlers::operator::retry`
    Retry,
    Report,
    WaitForPhase,
    Runs,
    ForgetRun,
    ClaimRun,
    RenewRun,
    FinishRun,
    FailRun,
    Generations,
    OneGeneration,
    Record,
    Payload,
    Leave,
    RenewLease,
    Fail,
    Reset,
    Namespaces,
    ListValues,
    GetValue,
    SetValue,
    DeleteValue,
    ValueVersions,
    ValueDiff,
    ValuesSnapshot,
    ImportValues,
    ValuesAccess,
    Codecs,
    Aliases,
    GetAlias,
    SetAlias,
    DeleteAlias,
    Watch,
    Redraw,
    Rollout,
    StopRollout,
    ResumeRollout,
    Reload,
    Livez,
    Readyz,
    Tokens,
    Metrics,
}

/// All routes.
pub(super) static ROUTES: &[Route] = &[
    Route {
        pattern: "/register",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::Register,
            handler: Handler::Native(NativeHandler::Register),
            doc: "registers a node, or replaces its registration",
        }],
    },
    Route {
        pattern: "/node",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::Fetch,
            handler: Handler::Native(NativeHandler::Fetch),
            doc: "returns a node's payload, or holds the request until there is one",
        }],
    },
    Route {
        pattern: "/init-with-node",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::Fetch,
            handler: Handler::Native(NativeHandler::Fetch),
            doc: "the legacy name of `/node`",
        }],
    },
    Route {
        pattern: "/node/replace",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::Operate,
            handler: Handler::Routed(RoutedHandler::Replace),
            doc: "replaces a node's own files by an operator's",
        }],
    },
    Route {
        pattern: "/v1/snapshot",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Inspect,
            handler: Handler::Routed(RoutedHandler::Snapshot),
            doc: "describes the cluster: state, progress, generation, registrations",
        }],
    },
    Route {
        pattern: "/v1/nodes",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Inspect,
            handler: Handler::Routed(RoutedHandler::Nodes),
            doc: "lists the registrations",
        }],
    },
    Route {
        pattern: "/v1/nodes/{id}",
        endpoints: &[
            Endpoint {
                verb: Verb::Get,
                action: Action::Inspect,
                handler: Handler::Routed(RoutedHandler::OneNode),
                doc: "describes one node: its files, or why it waits",
            },
            Endpoint {
                verb: Verb::Delete,
                action: Action::Operate,
                handler: Handler::Routed(RoutedHandler::Remove),
                doc: "removes a node",
            },
        ],
    },
    Route {
        pattern: "/v1/nodes/{id}/payload",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Fetch,
            handler: Handler::Native(NativeHandler::FetchTagged),
            doc: "returns a node's payload with an entity tag, and follows changes",
        }],
    },
    Route {
        pattern: "/v1/nodes/{id}/lease",
        endpoints: &[Endpoint {
            verb: Verb::Put,
            action: Action::Fetch,
            handler: Handler::Routed(RoutedHandler::RenewLease),
            doc: "renews a node's lease",
        }],
    },
    Route {
        pattern: "/v1/nodes/{id}/override",
        endpoints: &[Endpoint {
            verb: Verb::Delete,
            action: Action::Operate,
            handler: Handler::Routed(RoutedHandler::RemoveOverride),
            doc: "ends an override",
        }],
    },
    Route {
        pattern: "/v1/nodes/{id}/key",
        endpoints: &[Endpoint {
            verb: Verb::Delete,
            action: Action::Operate,
            handler: Handler::Routed(RoutedHandler::Release),
            doc: "releases a node's name from the key that owns it",
        }],
    },
    Route {
        pattern: "/v1/nodes/{id}/ban",
        endpoints: &[
            Endpoint {
                verb: Verb::Post,
                action: Action::Operate,
                handler: Handler::Routed(RoutedHandler::Ban),
                doc: "removes a node and refuses its registrations",
            },
            Endpoint {
                verb: Verb::Delete,
                action: Action::Operate,
                handler: Handler::Routed(RoutedHandler::Unban),
                doc: "ends a ban",
            },
        ],
    },
    Route {
        pattern: "/v1/nodes/{id}/retry",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::Operate,
            handler: Handler::Routed(RoutedHandler::Retry),
            doc: "lets a node try the generation again that it has refused",
        }],
    },
    Route {
        pattern: "/v1/nodes/{id}/phases/{phase}",
        endpoints: &[Endpoint {
            verb: Verb::Put,
            action: Action::Report,
            handler: Handler::Routed(RoutedHandler::Report),
            doc: "records that a node has reached a phase",
        }],
    },
    Route {
        pattern: "/v1/phases/{phase}",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::WaitForPhase,
            handler: Handler::Routed(RoutedHandler::WaitForPhase),
            doc: "says whether the nodes have reached a phase, or holds the request until they have",
        }],
    },
    Route {
        pattern: "/v1/run-once",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Inspect,
            handler: Handler::Routed(RoutedHandler::Runs),
            doc: "lists the programs that one node runs for all",
        }],
    },
    Route {
        pattern: "/v1/run-once/{run}",
        endpoints: &[Endpoint {
            verb: Verb::Delete,
            action: Action::Operate,
            handler: Handler::Routed(RoutedHandler::ForgetRun),
            doc: "forgets a run, so that it is done once more",
        }],
    },
    Route {
        pattern: "/v1/run-once/{run}/claim",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::ClaimRun,
            handler: Handler::Routed(RoutedHandler::ClaimRun),
            doc: "makes a process the runner, or holds the request until the run has a result",
        }],
    },
    Route {
        pattern: "/v1/run-once/{run}/renew",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::ClaimRun,
            handler: Handler::Routed(RoutedHandler::RenewRun),
            doc: "renews the lease of a runner",
        }],
    },
    Route {
        pattern: "/v1/run-once/{run}/done",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::EndRun,
            handler: Handler::Routed(RoutedHandler::FinishRun),
            doc: "records the success of a runner",
        }],
    },
    Route {
        pattern: "/v1/run-once/{run}/failed",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::EndRun,
            handler: Handler::Routed(RoutedHandler::FailRun),
            doc: "records the failure of a runner",
        }],
    },
    Route {
        pattern: "/v1/generations",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Inspect,
            handler: Handler::Routed(RoutedHandler::Generations),
            doc: "lists the sealed generations, newest first",
        }],
    },
    Route {
        pattern: "/v1/generations/{n}",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Inspect,
            handler: Handler::Routed(RoutedHandler::OneGeneration),
            doc: "describes one generation, file by file",
        }],
    },
    Route {
        pattern: "/v1/generations/{n}/nodes/{id}/payload",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Read,
            handler: Handler::Routed(RoutedHandler::Payload),
            doc: "returns a node's payload of a generation; this is no delivery",
        }],
    },
    Route {
        pattern: "/v1/record",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Inspect,
            handler: Handler::Routed(RoutedHandler::Record),
            doc: "returns the flight record of a generation",
        }],
    },
    Route {
        pattern: "/v1/leave",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::Leave,
            handler: Handler::Routed(RoutedHandler::Leave),
            doc: "withdraws a node's own registration",
        }],
    },
    Route {
        pattern: "/v1/fail",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::Operate,
            handler: Handler::Routed(RoutedHandler::Fail),
            doc: "declares the cluster failed, with a reason for all waiting nodes",
        }],
    },
    Route {
        pattern: "/v1/rollout",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Inspect,
            handler: Handler::Routed(RoutedHandler::Rollout),
            doc: "describes the roll-out of the newest generation",
        }],
    },
    Route {
        pattern: "/v1/rollout/stop",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::Operate,
            handler: Handler::Routed(RoutedHandler::StopRollout),
            doc: "hands the newest generation to no further node",
        }],
    },
    Route {
        pattern: "/v1/rollout/resume",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::Operate,
            handler: Handler::Routed(RoutedHandler::ResumeRollout),
            doc: "continues a roll-out that is stopped",
        }],
    },
    Route {
        pattern: "/v1/reset",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::Operate,
            handler: Handler::Routed(RoutedHandler::Reset),
            doc: "ends the failure that an operator declared",
        }],
    },
    Route {
        pattern: "/v1/namespaces",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::ListNames,
            handler: Handler::Routed(RoutedHandler::Namespaces),
            doc: "lists the namespaces that have a value and that the client may read",
        }],
    },
    Route {
        pattern: "/v1/namespaces/{namespace}/keys",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::ReadValues,
            handler: Handler::Routed(RoutedHandler::ListValues),
            doc: "lists the values of a namespace",
        }],
    },
    Route {
        pattern: "/v1/namespaces/{namespace}/keys/{key}",
        endpoints: &[
            Endpoint {
                verb: Verb::Get,
                action: Action::ReadValues,
                handler: Handler::Routed(RoutedHandler::GetValue),
                doc: "returns a value",
            },
            Endpoint {
                verb: Verb::Post,
                action: Action::WriteValues,
                handler: Handler::Routed(RoutedHandler::SetValue),
                doc: "sets a value",
            },
            Endpoint {
                verb: Verb::Delete,
                action: Action::WriteValues,
                handler: Handler::Routed(RoutedHandler::DeleteValue),
                doc: "deletes a value; its history stays",
            },
        ],
    },
    Route {
        pattern: "/v1/namespaces/{namespace}/keys/{key}/versions",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::ReadValues,
            handler: Handler::Routed(RoutedHandler::ValueVersions),
            doc: "lists the kept versions of a value, newest first",
        }],
    },
    Route {
        pattern: "/v1/namespaces/{namespace}/keys/{key}/diff",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::ReadValues,
            handler: Handler::Routed(RoutedHandler::ValueDiff),
            doc: "compares two versions of a value",
        }],
    },
    Route {
        pattern: "/v1/namespaces/{namespace}/snapshot",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::ReadValues,
            handler: Handler::Routed(RoutedHandler::ValuesSnapshot),
            doc: "returns all values of a namespace at one revision",
        }],
    },
    Route {
        pattern: "/v1/namespaces/{namespace}/import",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::WriteValues,
            handler: Handler::Routed(RoutedHandler::ImportValues),
            doc: "sets and deletes values of a namespace, all or none",
        }],
    },
    Route {
        pattern: "/v1/namespaces/{namespace}/access",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::CheckAccess,
            handler: Handler::Routed(RoutedHandler::ValuesAccess),
            doc: "says whether the client may read and change values",
        }],
    },
    Route {
        pattern: "/v1/codecs",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::ListNames,
            handler: Handler::Routed(RoutedHandler::Codecs),
            doc: "lists the codecs that the server checks",
        }],
    },
    Route {
        pattern: "/v1/aliases",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::ListNames,
            handler: Handler::Routed(RoutedHandler::Aliases),
            doc: "lists the aliases",
        }],
    },
    Route {
        pattern: "/v1/aliases/{key}",
        endpoints: &[
            Endpoint {
                verb: Verb::Get,
                action: Action::ListNames,
                handler: Handler::Routed(RoutedHandler::GetAlias),
                doc: "returns an alias",
            },
            Endpoint {
                verb: Verb::Put,
                action: Action::WriteAliases,
                handler: Handler::Routed(RoutedHandler::SetAlias),
                doc: "sets an alias, a second name for a key",
            },
            Endpoint {
                verb: Verb::Delete,
                action: Action::WriteAliases,
                handler: Handler::Routed(RoutedHandler::DeleteAlias),
                doc: "deletes an alias",
            },
        ],
    },
    Route {
        pattern: "/v1/watch",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Watch,
            handler: Handler::Routed(RoutedHandler::Watch),
            doc: "streams the events of the cluster and of values",
        }],
    },
    Route {
        pattern: "/v1/redraw",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::Operate,
            handler: Handler::Routed(RoutedHandler::Redraw),
            doc: "evaluates a value of `once` again, for the next generation",
        }],
    },
    Route {
        pattern: "/v1/tokens",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Read,
            handler: Handler::Routed(RoutedHandler::Tokens),
            doc: "lists the tokens and when each was last used",
        }],
    },
    Route {
        pattern: "/v1/reload",
        endpoints: &[Endpoint {
            verb: Verb::Post,
            action: Action::Operate,
            handler: Handler::Routed(RoutedHandler::Reload),
            doc: "reads the files of the server again: spec, tokens, certificates",
        }],
    },
    Route {
        pattern: "/livez",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Probe,
            handler: Handler::Routed(RoutedHandler::Livez),
            doc: "answers if the server runs",
        }],
    },
    Route {
        pattern: "/readyz",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Probe,
            handler: Handler::Routed(RoutedHandler::Readyz),
            doc: "answers 200 if new requests should come here, 503 while the server drains",
        }],
    },
    Route {
        pattern: "/metrics",
        endpoints: &[Endpoint {
            verb: Verb::Get,
            action: Action::Inspect,
            handler: Handler::Routed(RoutedHandler::Metrics),
            doc: "returns the metrics in the OpenMetrics format",
        }],
    },
];

impl Route {
    /// Whether errors of this route have the form that clients of values expect.
    pub(super) fn is_of_values(&self) -> bool {
        let prefixes = ["/v1/namespaces", "/v1/codecs", "/v1/aliases", "/v1/watch"];
        prefixes
            .iter()
            .any(|prefix| self.pattern.starts_with(prefix))
    }

    /// Returns the endpoint that serves `method`.
    pub(super) fn endpoint(&self, method: &Method) -> Option<&'static Endpoint> {
        let mut endpoints = self.endpoints.iter();
        endpoints.find(|endpoint| endpoint.verb.serves(method))
    }

    /// The methods that the route serves, as the `Allow` header lists them.
    pub(super) fn allow(&self) -> String {
        let methods: Vec<&str> = (self.endpoints.iter())
            .map(|endpoint| endpoint.verb.allow())
            .collect();
        methods.join(", ")
    }
}

impl Verb {
    fn serves(self, method: &Method) -> bool {
        match self {
            Self::Get => method == Method::GET || method == Method::HEAD,
            Self::Post => method == Method::POST,
            Self::Put => method == Method::PUT,
            Self::Delete => method == Method::DELETE,
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    use crate::path::PathMatch;

    #[test]
    fn allow_lists_the_methods_of_the_row() {
        let allow = |path| PathMatch::of(path).route().unwrap().allow();
        assert_eq!(allow("/register"), "POST");
        assert_eq!(allow("/v1/nodes/a"), "GET, HEAD, DELETE");
        let route = PathMatch::of("/v1/nodes/a").route().unwrap();
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

    /// The rows as Markdown, as the front page of this crate has them.
    fn documented_rows() -> Vec<String> {
        let rows = ROUTES.iter().flat_map(|route| {
            let pattern = route.pattern;
            route.endpoints.iter().map(move |endpoint| {
                let (allow, action, doc) = (endpoint.verb.allow(), endpoint.action, endpoint.doc);
                format!("//! | `{pattern}` | {allow} | {action:?} | {doc} |")
            })
        });
        rows.collect()
    }

    #[test]
    fn front_page_lists_all_routes() {
        let page = include_str!("lib.rs");
        let listed: Vec<&str> = (page.lines())
            .filter(|line| line.starts_with("//! | `/"))
            .collect();
        let expected = documented_rows();
        assert_eq!(
            listed,
            expected,
            "write these rows:\n{}",
            expected.join("\n")
        );
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
            let route = PathMatch::of(path).route();
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
        let all: BTreeSet<_> = (ROUTES.iter())
            .flat_map(|route| {
                let endpoints = route.endpoints.iter();
                endpoints.map(|endpoint| (endpoint.verb.allow(), route.pattern))
            })
            .collect();
        assert_eq!(shown, all);
    }
}
