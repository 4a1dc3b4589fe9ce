//! A route: a path with its methods, and what the server knows about each.

use axum::routing::{MethodFilter, MethodRouter};
use hyper::Method;

use cfgsync_access::Action;

/// One method of a path: a row of the table.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) verb: Verb,
    /// The path, with `{id}` for an identifier, `{n}` for a generation's number, `{phase}` for a phase, `{run}` for a run,
    /// and `{namespace}` and `{key}` for a value.
    /// Only `{key}` may contain `/`. It is also the label in metrics and the name in messages and in the audit log.
    pub(super) pattern: &'static str,
    /// The action that authorization decides about.
    pub(super) action: Action,
    pub(super) handler: Handler,
}

/// One path and its methods.
#[derive(Debug)]
pub(super) struct Route {
    /// The path, see [`Endpoint::pattern`].
    pub(super) pattern: &'static str,
    /// Its methods.
    pub(super) endpoints: Vec<&'static Endpoint>,
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

/// The handler of an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) enum Handler {
    /// A function that is called directly on hyper.
    Native(NativeHandler),
    /// A function behind the axum router, for this method.
    Routed(fn(MethodFilter) -> MethodRouter),
}

/// The handlers of the hot path. `service` calls their functions, because they borrow the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NativeHandler {
    /// `handlers::node::register`
    Register,
    /// `handlers::node::fetch`
    Fetch,
    /// `handlers::node::fetch_tagged`
    FetchTagged,
}

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
        let mut endpoints = self.endpoints.iter().copied();
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
    /// Returns the filter of axum, which serves `HEAD` with the handler of `GET` by itself.
    pub(super) fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Delete => MethodFilter::DELETE,
        }
    }

    fn serves(self, method: &Method) -> bool {
        match self {
            Self::Get => method == Method::GET || method == Method::HEAD,
            Self::Post => method == Method::POST,
            Self::Put => method == Method::PUT,
            Self::Delete => method == Method::DELETE,
        }
    }

    /// Its methods as the `Allow` header lists them.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}
