//! From a path to a route: the whole table.

use std::sync::LazyLock;

use hyper::Method;
use percent_encoding::percent_decode_str;

use cfgsync_access::Need;
use cfgsync_model::{GenerationNumber, Identifier, InvalidIdentifier};

/// What a path names. The order is that of [`PATTERNS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Register,
    Node,
    InitWithNode,
    NodeReplace,
    Snapshot,
    Nodes,
    OneNode,
    NodePayload,
    NodeOverride,
    NodeKey,
    Generations,
    OneGeneration,
    GenerationPayload,
    Leave,
    Fail,
    Reset,
    Livez,
    Readyz,
    Metrics,
    Unknown,
}

/// The routes' names in metrics and messages.
const PATTERNS: [&str; Route::COUNT] = [
    "/register",
    "/node",
    "/init-with-node",
    "/node/replace",
    "/v1/snapshot",
    "/v1/nodes",
    "/v1/nodes/{id}",
    "/v1/nodes/{id}/payload",
    "/v1/nodes/{id}/override",
    "/v1/nodes/{id}/key",
    "/v1/generations",
    "/v1/generations/{n}",
    "/v1/generations/{n}/nodes/{id}/payload",
    "/v1/leave",
    "/v1/fail",
    "/v1/reset",
    "/livez",
    "/readyz",
    "/metrics",
    "unknown",
];

/// A route with the parts of the path that vary, as they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) route: Route,
    /// `{id}`, percent-encoded; empty where the route has none.
    id: &'a str,
    /// `{n}`; empty where the route has none.
    number: &'a str,
}

/// A part of the path that cannot be what its place says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WrongPath {
    #[error("the path names no node: {0}")]
    Identifier(#[from] InvalidIdentifier),
    #[error("the path names no node: its percent-encoding is not UTF-8")]
    Encoding,
    #[error("the path names no generation: {0:?} is not a number from 1")]
    Generation(String),
}

impl Route {
    pub(super) const COUNT: usize = Self::Unknown as usize + 1;

    /// All that paths can name.
    const ALL: [Self; Self::COUNT - 1] = [
        Self::Register,
        Self::Node,
        Self::InitWithNode,
        Self::NodeReplace,
        Self::Snapshot,
        Self::Nodes,
        Self::OneNode,
        Self::NodePayload,
        Self::NodeOverride,
        Self::NodeKey,
        Self::Generations,
        Self::OneGeneration,
        Self::GenerationPayload,
        Self::Leave,
        Self::Fail,
        Self::Reset,
        Self::Livez,
        Self::Readyz,
        Self::Metrics,
    ];

    /// Its name in metrics and messages.
    pub(super) fn pattern(self) -> &'static str {
        PATTERNS[self as usize]
    }

    /// What `allow` answers; empty where there is no such route.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Register
            | Self::Node
            | Self::InitWithNode
            | Self::NodeReplace
            | Self::Leave
            | Self::Fail
            | Self::Reset => "POST",
            Self::OneNode => "GET, HEAD, DELETE",
            Self::NodeOverride | Self::NodeKey => "DELETE",
            Self::Snapshot
            | Self::Nodes
            | Self::NodePayload
            | Self::Generations
            | Self::OneGeneration
            | Self::GenerationPayload
            | Self::Livez
            | Self::Readyz
            | Self::Metrics => "GET, HEAD",
            Self::Unknown => "",
        }
    }

    /// What its sender must have shown.
    pub(super) fn need(self) -> Need {
        match self {
            Self::Livez | Self::Readyz | Self::Unknown => Need::Nothing,
            Self::Register | Self::Node | Self::InitWithNode | Self::NodePayload | Self::Leave => {
                Need::Node
            }
            Self::NodeReplace
            | Self::Snapshot
            | Self::Nodes
            | Self::OneNode
            | Self::NodeOverride
            | Self::NodeKey
            | Self::Generations
            | Self::OneGeneration
            | Self::GenerationPayload
            | Self::Fail
            | Self::Reset
            | Self::Metrics => Need::Operator,
        }
    }

    /// Whether `method` of it changes something.
    pub(super) fn changes(self, method: &Method) -> bool {
        let asks = [Self::Node, Self::InitWithNode, Self::Unknown];
        ![Method::GET, Method::HEAD].contains(method) && !asks.contains(&self)
    }

    /// Whether the route answers `method`.
    pub(super) fn allows(self, method: &Method) -> bool {
        self.allow()
            .split(", ")
            .any(|allowed| allowed == method.as_str())
    }
}

/// All routes by their patterns, but [`Route::Unknown`].
static ROUTES: LazyLock<matchit::Router<Route>> = LazyLock::new(|| {
    let mut routes = matchit::Router::new();
    for route in Route::ALL {
        let inserted = routes.insert(route.pattern(), route);
        inserted.expect("no two patterns are in each other's way");
    }
    routes
});

impl<'a> Target<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        let Ok(found) = ROUTES.at(path) else {
            return Self {
                route: Route::Unknown,
                id: "",
                number: "",
            };
        };
        Self {
            route: *found.value,
            id: found.params.get("id").unwrap_or_default(),
            number: found.params.get("n").unwrap_or_default(),
        }
    }

    /// The node that the path names.
    pub(super) fn identifier(self) -> Result<Identifier, WrongPath> {
        let id = percent_decode_str(self.id).decode_utf8();
        Ok(Identifier::new(&id.map_err(|_| WrongPath::Encoding)?)?)
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
    fn every_pattern_leads_to_its_route() {
        for (at, pattern) in PATTERNS.iter().enumerate() {
            let path = pattern.replace("{id}", "node-1").replace("{n}", "3");
            let target = Target::of(&path);
            assert_eq!(target.route as usize, at, "{path}");
            if pattern.contains("{id}") {
                assert_eq!(target.identifier().unwrap().as_str(), "node-1");
            }
            if pattern.contains("{n}") {
                assert_eq!(target.generation().unwrap(), GenerationNumber(3));
            }
        }
    }

    #[test]
    fn other_paths_lead_nowhere() {
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
            assert_eq!(Target::of(path).route, Route::Unknown, "{path:?}");
        }
    }

    #[test]
    fn identifiers_in_paths_are_decoded_and_checked() {
        let read = |id: &str| {
            let path = format!("/v1/nodes/{id}");
            let read = Target::of(&path).identifier();
            read.map(|id| id.to_string()).map_err(|e| e.to_string())
        };
        assert_eq!(read("zk%2D10"), Ok("zk-10".to_owned()));
        for (id, message) in [
            (
                "a%2fb",
                "the path names no node: identifier \"a/b\" contains '/'; use only letters, digits, '.', '_' and '-'",
            ),
            (
                "%2e%2E",
                "the path names no node: identifier \"..\" must start with a letter or a digit",
            ),
            (
                "",
                "the path names no node: an identifier must not be empty",
            ),
            (
                "a%00",
                "the path names no node: identifier \"a\\0\" contains '\\0'; use only letters, digits, '.', '_' and '-'",
            ),
            (
                "a%f",
                "the path names no node: identifier \"a%f\" contains '%'; use only letters, digits, '.', '_' and '-'",
            ),
            (
                "a%zz",
                "the path names no node: identifier \"a%zz\" contains '%'; use only letters, digits, '.', '_' and '-'",
            ),
            (
                "%ff",
                "the path names no node: its percent-encoding is not UTF-8",
            ),
        ] {
            assert_eq!(read(id), Err(message.to_owned()), "{id}");
        }
    }

    #[test]
    fn generations_are_counted_from_one() {
        for number in ["0", "-1", "+1", "x", "", "18446744073709551616"] {
            let path = format!("/v1/generations/{number}");
            assert!(Target::of(&path).generation().is_err(), "{number:?}");
        }
    }
}
