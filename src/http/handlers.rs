//! What each route does: read, ask the coordinator, answer.

mod node;
mod operator;

use hyper::{Method, body::Incoming, http::request::Parts};

use super::{
    reply::{Rejection, Reply},
    route::{Route, Target},
    state::Server,
};

/// Serves one request for `target`.
pub(super) async fn handle(
    server: &Server,
    head: &Parts,
    target: Target<'_>,
    body: &mut Incoming,
) -> Result<Reply, Rejection> {
    let route = target.route;
    if route == Route::Unknown {
        return Err(Rejection::NoRoute(head.uri.path().to_owned()));
    }
    if !route.allows(&head.method) {
        return Err(Rejection::Method {
            route,
            method: head.method.clone(),
        });
    }
    match route {
        Route::Register => node::register(server, body).await,
        Route::Node | Route::InitWithNode => node::node(server, head, body).await,
        Route::NodePayload => node::payload(server, head, target.identifier()?).await,
        // Boxed, so that a request that is held is not as large as the largest of these.
        _ => Box::pin(rare(server, head, target, body)).await,
    }
}

/// The routes of operators, and what a node does once.
async fn rare(
    server: &Server,
    head: &Parts,
    target: Target<'_>,
    body: &mut Incoming,
) -> Result<Reply, Rejection> {
    match target.route {
        Route::NodeReplace => node::replace(server, body).await,
        Route::Leave => node::leave(server, body).await,
        Route::Snapshot => Ok(operator::snapshot(server).await),
        Route::Nodes => Ok(operator::nodes(server).await),
        Route::OneNode if head.method == Method::DELETE => {
            operator::remove(server, &target.identifier()?).await
        }
        Route::OneNode => Ok(operator::one_node(server, &target.identifier()?).await),
        Route::NodeOverride => operator::remove_override(server, &target.identifier()?).await,
        Route::Generations => Ok(operator::generations(server)),
        Route::OneGeneration => operator::one_generation(server, target.generation()?),
        Route::GenerationPayload => {
            let (number, identifier) = (target.generation()?, target.identifier()?);
            operator::payload(server, number, identifier, operator::reveals(head)).await
        }
        Route::Fail => operator::fail(server, body).await,
        Route::Reset => operator::reset(server).await,
        Route::Livez => Ok(operator::livez()),
        Route::Readyz => operator::readyz(server),
        Route::Metrics => Ok(operator::metrics(server)),
        Route::Register
        | Route::Node
        | Route::InitWithNode
        | Route::NodePayload
        | Route::Unknown => unreachable!("served by `handle`"),
    }
}
