//! The axum router: serves every route of the table that is not native.

use axum::routing::{MethodFilter, MethodRouter, on};

use super::{
    handlers::{node, operator, phases, probe, record, runs, values, values_import, watch},
    routes::{Handler, ROUTES, RoutedHandler, Verb},
};

/// Returns the router with the handlers that are not native.
pub(super) fn router() -> axum::Router {
    let mut router = axum::Router::new();
    for (index, route) in ROUTES.iter().enumerate() {
        for endpoint in route.endpoints {
            if let Handler::Routed(handler) = endpoint.handler {
                router = router.route(&path_of(index), method_router(handler, endpoint.verb));
            }
        }
    }
    router
}

/// Returns the path by which the router knows a row of the table. The table has matched the request's own path already.
pub(super) fn path_of(index: usize) -> String {
    format!("/{index}")
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
        RoutedHandler::Retry => on(filter, operator::retry),
        RoutedHandler::Report => on(filter, phases::report),
        RoutedHandler::WaitForPhase => on(filter, phases::wait),
        RoutedHandler::Runs => on(filter, runs::list),
        RoutedHandler::ForgetRun => on(filter, runs::forget),
        RoutedHandler::ClaimRun => on(filter, runs::claim),
        RoutedHandler::RenewRun => on(filter, runs::renew),
        RoutedHandler::FinishRun => on(filter, runs::done),
        RoutedHandler::FailRun => on(filter, runs::failed),
        RoutedHandler::Generations => on(filter, operator::generations),
        RoutedHandler::OneGeneration => on(filter, record::one_generation),
        RoutedHandler::Record => on(filter, record::record),
        RoutedHandler::Payload => on(filter, operator::payload),
        RoutedHandler::RenewLease => on(filter, node::renew_lease),
        RoutedHandler::Leave => on(filter, node::leave),
        RoutedHandler::Fail => on(filter, operator::fail),
        RoutedHandler::Reset => on(filter, operator::reset),
        RoutedHandler::Namespaces => on(filter, values::namespaces),
        RoutedHandler::ListValues => on(filter, values::list),
        RoutedHandler::GetValue => on(filter, values::get),
        RoutedHandler::SetValue => on(filter, values::set),
        RoutedHandler::DeleteValue => on(filter, values::delete),
        RoutedHandler::ValueVersions => on(filter, values::versions),
        RoutedHandler::ValueDiff => on(filter, values::diff),
        RoutedHandler::ValuesSnapshot => on(filter, values::snapshot),
        RoutedHandler::ImportValues => on(filter, values_import::import),
        RoutedHandler::ValuesAccess => on(filter, values::access),
        RoutedHandler::Codecs => on(filter, values::codecs),
        RoutedHandler::Aliases => on(filter, values::aliases),
        RoutedHandler::GetAlias => on(filter, values::get_alias),
        RoutedHandler::SetAlias => on(filter, values::set_alias),
        RoutedHandler::DeleteAlias => on(filter, values::delete_alias),
        RoutedHandler::Watch => on(filter, watch::watch),
        RoutedHandler::Rollout => on(filter, operator::rollout),
        RoutedHandler::StopRollout => on(filter, operator::stop_rollout),
        RoutedHandler::ResumeRollout => on(filter, operator::resume_rollout),
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
        Verb::Put => MethodFilter::PUT,
        Verb::Delete => MethodFilter::DELETE,
    }
}
