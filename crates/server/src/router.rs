//! The axum router: serves every route of the table that is not native.

use axum::routing::{MethodFilter, MethodRouter, on};

use super::{
    handlers::{node, operator, probe},
    routes::{Handler, ROUTES, RoutedHandler, Verb},
};

/// Returns the router with the handlers that are not native.
pub(super) fn router() -> axum::Router {
    let mut router = axum::Router::new();
    for route in ROUTES {
        for endpoint in route.endpoints {
            if let Handler::Routed(handler) = endpoint.handler {
                router = router.route(route.pattern, method_router(handler, endpoint.verb));
            }
        }
    }
    router
}

fn method_router(handler: RoutedHandler, verb: Verb) -> MethodRouter {
    let filter = filter_of(verb);
    match handler {
        RoutedHandler::Replace => on(filter, operator::replace),
        RoutedHandler::Snapshot => on(filter, operator::snapshot),
        RoutedHandler::Nodes => on(filter, operator::nodes),
        RoutedHandler::OneNode => on(filter, operator::one_node),
        RoutedHandler::Remove => on(filter, operator::remove),
        RoutedHandler::RemoveOverride => on(filter, operator::remove_override),
        RoutedHandler::Release => on(filter, operator::release),
        RoutedHandler::Ban => on(filter, operator::ban),
        RoutedHandler::Unban => on(filter, operator::unban),
        RoutedHandler::Generations => on(filter, operator::generations),
        RoutedHandler::OneGeneration => on(filter, operator::one_generation),
        RoutedHandler::Payload => on(filter, operator::payload),
        RoutedHandler::Leave => on(filter, node::leave),
        RoutedHandler::Fail => on(filter, operator::fail),
        RoutedHandler::Reset => on(filter, operator::reset),
        RoutedHandler::Redraw => on(filter, operator::redraw),
        RoutedHandler::Tokens => on(filter, operator::tokens),
        RoutedHandler::Reload => on(filter, operator::reload),
        RoutedHandler::Livez => on(filter, probe::livez),
        RoutedHandler::Readyz => on(filter, probe::readyz),
        RoutedHandler::Metrics => on(filter, operator::metrics),
    }
}

/// Returns the methods that the router passes on. axum serves `HEAD` with the handler of `GET` by itself.
fn filter_of(verb: Verb) -> MethodFilter {
    match verb {
        Verb::Get => MethodFilter::GET,
        Verb::Post => MethodFilter::POST,
        Verb::Delete => MethodFilter::DELETE,
    }
}
