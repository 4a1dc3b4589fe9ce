//! Paths: which row of the table a path leads to, and the names in it.

use std::sync::LazyLock;

use percent_encoding::percent_decode_str;

use super::routes::{ROUTES, Route};
use cfgsync_model::{
    GenerationNumber, Identifier, InvalidIdentifier, InvalidShortName, InvalidValueName, Namespace,
    Phase, RunName, ValueKey,
};

/// A path that was looked up, with the parts that vary, as they were sent.
#[derive(Clone, Copy)]
pub(super) struct PathMatch<'a> {
    /// The index in [`ROUTES`], or their number if no route has this path.
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

/// The index of each pattern of [`ROUTES`], except for those in which more follows after `{key}`.
static MATCHER: LazyLock<matchit::Router<usize>> = LazyLock::new(|| {
    let mut matcher = matchit::Router::new();
    for (index, route) in ROUTES.iter().enumerate() {
        let inserted = match route.pattern.split_once(KEY) {
            // An empty key is refused like any other wrong one.
            Some((before, "")) => matcher
                .insert(format!("{before}/{{*key}}"), index)
                .and_then(|()| matcher.insert(format!("{before}/"), index)),
            Some(_) => continue,
            None => matcher.insert(route.pattern, index),
        };
        inserted.expect("no two patterns of the table overlap");
    }
    matcher
});

/// For each row that ends with `{key}`: the ends of the rows in which more follows, and their indices.
static KEY_SUFFIXES: LazyLock<Vec<(usize, &'static str, usize)>> = LazyLock::new(|| {
    let mut suffixes = Vec::new();
    for (index, route) in ROUTES.iter().enumerate() {
        if let Some((before, suffix)) = route.pattern.split_once(KEY)
            && !suffix.is_empty()
        {
            let is_base = |base: &Route| base.pattern.strip_suffix(KEY) == Some(before);
            let base = ROUTES.iter().position(is_base);
            suffixes.push((base.expect("the row of the key itself"), suffix, index));
        }
    }
    suffixes
});

impl<'a> PathMatch<'a> {
    /// Looks `path` up in the table.
    pub(super) fn of(path: &'a str) -> Self {
        let Ok(found) = MATCHER.at(path) else {
            return Self {
                index: ROUTES.len(),
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
            for (base, suffix, of_suffix) in &*KEY_SUFFIXES {
                if index == *base
                    && let Some(before) = key.strip_suffix(suffix)
                {
                    (index, key) = (*of_suffix, before);
                    break;
                }
            }
        }
        Self {
            index,
            id: part("id"),
            number: part("n"),
            phase: part("phase"),
            run: part("run"),
            namespace: part("namespace"),
            key,
        }
    }

    /// The route; `None` if no route has this path.
    pub(super) fn route(self) -> Option<&'static Route> {
        ROUTES.get(self.index)
    }

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

    #[test]
    fn empty_key_is_refused_by_its_route() {
        for (path, pattern) in [
            (
                "/v1/namespaces/prod/keys/",
                "/v1/namespaces/{namespace}/keys/{key}",
            ),
            ("/v1/aliases/", "/v1/aliases/{key}"),
        ] {
            let found = PathMatch::of(path);
            assert_eq!(found.route().unwrap().pattern, pattern);
            assert!(matches!(found.key(), Err(WrongPath::Key(_))));
        }
    }

    #[test]
    fn every_pattern_leads_to_its_route() {
        for (index, route) in ROUTES.iter().enumerate() {
            let pattern = route.pattern;
            let path = pattern.replace("{id}", "node-1").replace("{n}", "3");
            let path = path.replace("{namespace}", "prod");
            let path = path.replace("{phase}", "healthy");
            let path = path.replace("{run}", "init");
            let path = path.replace("{key}", "app/timeout");
            let found = PathMatch::of(&path);
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
            let found = PathMatch::of(&path);
            assert_eq!(found.route().unwrap().pattern, pattern, "{path}");
            assert_eq!(found.key().unwrap().as_str(), key, "{path}");
        }
        let wrong = PathMatch::of("/v1/namespaces/-/keys/a/");
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
            assert!(PathMatch::of(path).route().is_none(), "{path:?}");
        }
    }

    #[test]
    fn identifiers_in_paths_are_decoded_and_checked() {
        let read = |id: &str| {
            let path = format!("/v1/nodes/{id}");
            let read = PathMatch::of(&path).identifier();
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
            assert!(PathMatch::of(&path).generation().is_err(), "{number:?}");
        }
    }
}
