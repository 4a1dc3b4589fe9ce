//! The axum router: serves every route of the table that is not native.

use super::{path::RouteTable, route::Handler};

/// Returns the router with the handlers of `table` that are not native.
pub(super) fn router(table: &RouteTable) -> axum::Router {
    let mut router = axum::Router::new();
    for (index, route) in table.routes().iter().enumerate() {
        for endpoint in &route.endpoints {
            if let Handler::Routed(handler) = endpoint.handler {
                router = router.route(&path_of(index), handler(endpoint.verb.filter()));
            }
        }
    }
    router
}

/// Returns the path by which the router knows a route of the table. The table has matched the request's own path already.
pub(super) fn path_of(index: usize) -> String {
    format!("/{index}")
}
