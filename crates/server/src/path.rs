//! Paths: the route that a path leads to, and the names in it.

use percent_encoding::percent_decode_str;

use super::route::{Endpoint, Route};
use cfgsync_model::{
    GenerationNumber, Identifier, InvalidIdentifier, InvalidShortName, InvalidValueName, Namespace,
    Phase, RunName, ValueKey,
};

/// A path that was looked up, with the parts that vary, as they were sent.
#[derive(Clone, Copy)]
pub(super) struct PathMatch<'a> {
    /// The index among the routes of the table, or their number if no route has this path.
    pub(super) index: usize,
    /// `{id}`, percent-encoded; empty if the route has none.
    id: &'a str,
    /// `{n}`; empty if the route has none.
    number: &'a str,
    /// `{phase}`, percent-encoded; empty if the route has none.
    phase: &'a str,
    /// `{run}`, percent-encoded; empty if the route has none.
    run: &'a str,
    /// `{namespace}`, percent-encoded; empty if the route has none.
    namespace: &'a str,
    /// `{key}`, percent-encoded; empty if the route has none.
    key: &'a str,
}

/// A part of a path that is not what its place demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WrongPath {
    #[error("the path names no node: {0}")]
    Identifier(#[from] InvalidIdentifier),
    #[error("the percent-encoding of the path is not UTF-8")]
    Encoding,
    #[error("the path names no namespace: {0}")]
    Namespace(InvalidValueName),
    #[error("the path names no key: {0}")]
    Key(InvalidValueName),
    #[error("the path names no phase: {0}")]
    Phase(InvalidShortName),
    #[error("the path names no run: {0}")]
    Run(InvalidShortName),
    #[error("the path names no generation: {0:?} is not a whole number of at least 1")]
    Generation(String),
}

/// The part of a pattern that takes the rest of a path, with `/` in it.
const KEY: &str = "/{key}";

/// All routes of a server, which it finds by their paths.
pub(super) struct RouteTable {
    routes: Vec<Route>,
    /// The index of each pattern, except for those in which more follows after `{key}`.
    matcher: matchit::Router<usize>,
    /// The patterns in which more follows after `{key}`.
    key_suffixes: Vec<KeySuffix>,
}

/// A pattern in which more follows after `{key}`.
struct KeySuffix {
    /// The index of the route that ends with `{key}`.
    base: usize,
    /// The text after `{key}`.
    suffix: &'static str,
    /// The index of its own route.
    index: usize,
}

impl RouteTable {
    /// Makes the table of `rows`. Those with the same pattern are one route.
    ///
    /// # Panics
    /// If two patterns overlap.
    pub(super) fn new(rows: &'static [Endpoint]) -> Self {
        let mut routes: Vec<Route> = Vec::new();
        for row in rows {
            match routes.iter_mut().find(|route| route.pattern == row.pattern) {
                Some(route) => route.endpoints.push(row),
                None => routes.push(Route {
                    pattern: row.pattern,
                    endpoints: vec![row],
                }),
            }
        }
        let (mut matcher, mut key_suffixes) = (matchit::Router::new(), Vec::new());
        for (index, route) in routes.iter().enumerate() {
            let inserted = match route.pattern.split_once(KEY) {
                // An empty key is refused like any other wrong one.
                Some((before, "")) => matcher
                    .insert(format!("{before}/{{*key}}"), index)
                    .and_then(|()| matcher.insert(format!("{before}/"), index)),
                Some((before, suffix)) => {
                    let is_base = |base: &Route| base.pattern.strip_suffix(KEY) == Some(before);
                    let base = routes.iter().position(is_base);
                    key_suffixes.push(KeySuffix {
                        base: base.expect("the table has the route of the key itself"),
                        suffix,
                        index,
                    });
                    continue;
                }
                None => matcher.insert(route.pattern, index),
            };
            inserted.expect("no two patterns of the table overlap");
        }
        Self {
            routes,
            matcher,
            key_suffixes,
        }
    }

    /// Returns all routes, in the order of the table.
    pub(super) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Finds the route of `path`.
    pub(super) fn find<'a>(&self, path: &'a str) -> PathMatch<'a> {
        let Ok(found) = self.matcher.at(path) else {
            return PathMatch {
                index: self.routes.len(),
                id: "",
                number: "",
                phase: "",
                run: "",
                namespace: "",
                key: "",
            };
        };
        let part = |name| found.params.get(name).unwrap_or_default();
        let (mut index, mut key) = (*found.value, part("key"));
        if !key.is_empty() {
            // `a/versions` means the versions of `a`. The key itself is written `a%2Fversions`.
            for of_suffix in &self.key_suffixes {
                if index == of_suffix.base
                    && let Some(before) = key.strip_suffix(of_suffix.suffix)
                {
                    (index, key) = (of_suffix.index, before);
                    break;
                }
            }
        }
        PathMatch {
            index,
            id: part("id"),
            number: part("n"),
            phase: part("phase"),
            run: part("run"),
            namespace: part("namespace"),
            key,
        }
    }
}

impl PathMatch<'_> {
    /// The node that the path names.
    pub(super) fn identifier(self) -> Result<Identifier, WrongPath> {
        let id = percent_decode_str(self.id).decode_utf8();
        Ok(Identifier::new(&id.map_err(|_| WrongPath::Encoding)?)?)
    }

    /// Whether the path names a namespace, right or wrong.
    pub(super) fn names_namespace(self) -> bool {
        !self.namespace.is_empty()
    }

    /// The namespace that the path names.
    pub(super) fn namespace(self) -> Result<Namespace, WrongPath> {
        let name = percent_decode_str(self.namespace).decode_utf8();
        Namespace::new(&name.map_err(|_| WrongPath::Encoding)?).map_err(WrongPath::Namespace)
    }

    /// The key or the alias that the path names.
    pub(super) fn key(self) -> Result<ValueKey, WrongPath> {
        let name = percent_decode_str(self.key).decode_utf8();
        ValueKey::new(&name.map_err(|_| WrongPath::Encoding)?).map_err(WrongPath::Key)
    }

    /// The phase that the path names.
    pub(super) fn phase(self) -> Result<Phase, WrongPath> {
        let name = percent_decode_str(self.phase).decode_utf8();
        Phase::new(&name.map_err(|_| WrongPath::Encoding)?).map_err(WrongPath::Phase)
    }

    /// The run that the path names.
    pub(super) fn run(self) -> Result<RunName, WrongPath> {
        let name = percent_decode_str(self.run).decode_utf8();
        RunName::new(&name.map_err(|_| WrongPath::Encoding)?).map_err(WrongPath::Run)
    }

    /// The generation that the path names.
    pub(super) fn generation(self) -> Result<GenerationNumber, WrongPath> {
        match self.number.parse() {
            Ok(number) if number > 0 && !self.number.starts_with('+') => {
                Ok(GenerationNumber(number))
            }
            _ => Err(WrongPath::Generation(self.number.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::ROUTES;

    #[test]
    fn empty_key_is_refused_by_its_route() {
        for (path, pattern) in [
            (
                "/v1/namespaces/prod/keys/",
                "/v1/namespaces/{namespace}/keys/{key}",
            ),
            ("/v1/aliases/", "/v1/aliases/{key}"),
        ] {
            let found = ROUTES.find(path);
            assert_eq!(ROUTES.routes()[found.index].pattern, pattern);
            assert!(matches!(found.key(), Err(WrongPath::Key(_))));
        }
    }

    #[test]
    fn every_pattern_leads_to_its_route() {
        for (index, route) in ROUTES.routes().iter().enumerate() {
            let pattern = route.pattern;
            let path = pattern.replace("{id}", "node-1").replace("{n}", "3");
            let path = path.replace("{namespace}", "prod");
            let path = path.replace("{phase}", "healthy");
            let path = path.replace("{run}", "init");
            let path = path.replace("{key}", "app/timeout");
            let found = ROUTES.find(&path);
            assert_eq!(found.index, index, "{path}");
            if pattern.contains("{id}") {
                assert_eq!(found.identifier().unwrap().as_str(), "node-1");
            }
            if pattern.contains("{run}") {
                assert_eq!(found.run().unwrap().as_str(), "init");
            }
            if pattern.contains("{phase}") {
                assert_eq!(found.phase().unwrap().as_str(), "healthy");
            }
            if pattern.contains("{n}") {
                assert_eq!(found.generation().unwrap(), GenerationNumber(3));
            }
            if pattern.contains("{namespace}") {
                assert_eq!(found.namespace().unwrap().as_str(), "prod");
            }
            if pattern.contains("{key}") {
                assert_eq!(found.key().unwrap().as_str(), "app/timeout");
            }
        }
    }

    #[test]
    fn keys_may_have_slashes_in_both_forms() {
        for (path, pattern, key) in [
            ("a/b/c", "/v1/namespaces/{namespace}/keys/{key}", "a/b/c"),
            ("a%2Fb", "/v1/namespaces/{namespace}/keys/{key}", "a/b"),
            (
                "a/b/versions",
                "/v1/namespaces/{namespace}/keys/{key}/versions",
                "a/b",
            ),
            (
                "a%2Fversions",
                "/v1/namespaces/{namespace}/keys/{key}",
                "a/versions",
            ),
            (
                "versions",
                "/v1/namespaces/{namespace}/keys/{key}",
                "versions",
            ),
            (
                "diff/diff",
                "/v1/namespaces/{namespace}/keys/{key}/diff",
                "diff",
            ),
        ] {
            let path = format!("/v1/namespaces/prod/keys/{path}");
            let found = ROUTES.find(&path);
            assert_eq!(ROUTES.routes()[found.index].pattern, pattern, "{path}");
            assert_eq!(found.key().unwrap().as_str(), key, "{path}");
        }
        let wrong = ROUTES.find("/v1/namespaces/-/keys/a/");
        assert!(matches!(wrong.namespace(), Err(WrongPath::Namespace(_))));
        assert!(matches!(wrong.key(), Err(WrongPath::Key(_))));
    }

    #[test]
    fn other_paths_lead_to_no_route() {
        for path in [
            "",
            "/",
            "*",
            "/register/",
            "//register",
            "/Register",
            "/node/",
            "/v1",
            "/v1/",
            "/v1//",
            "/v1/snapshot/",
            "/v1/snapshot/x",
            "/v1/nodes/a/b",
            "/v1/nodes/a/payload/",
            "/v1/nodes/a/payload/x/y/z",
            "/v1/generations/1/nodes",
            "/v1/generations/1/nodes/a",
            "/v1/generations/1/nodes/a/payload/",
            "/v2/snapshot",
        ] {
            assert!(
                ROUTES.routes().get(ROUTES.find(path).index).is_none(),
                "{path:?}"
            );
        }
    }

    #[test]
    fn identifiers_in_paths_are_decoded_and_checked() {
        let read = |id: &str| {
            let path = format!("/v1/nodes/{id}");
            let read = ROUTES.find(&path).identifier();
            read.map(|id| id.to_string()).map_err(|e| e.to_string())
        };
        assert_eq!(read("zk%2D10"), Ok("zk-10".to_owned()));
        for (id, beginning) in [
            ("a%2fb", "the path names no node: identifier \"a/b\""),
            ("%2e%2E", "the path names no node: identifier \"..\""),
            ("", "the path names no node: "),
            ("a%00", "the path names no node: identifier \"a\\0\""),
            ("a%f", "the path names no node: identifier \"a%f\""),
            ("a%zz", "the path names no node: identifier \"a%zz\""),
            ("%ff", "the percent-encoding of the path is not UTF-8"),
        ] {
            let message = read(id).unwrap_err();
            assert!(message.starts_with(beginning), "{id}: {message}");
        }
    }

    #[test]
    fn generations_are_counted_from_one() {
        for number in ["0", "-1", "+1", "x", "", "18446744073709551616"] {
            let path = format!("/v1/generations/{number}");
            assert!(ROUTES.find(&path).generation().is_err(), "{number:?}");
        }
    }
}
