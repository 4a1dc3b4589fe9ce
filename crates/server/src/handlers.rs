//! What each route does: read, ask the coordinator, answer.

mod node;
mod operator;

use hyper::{Method, body::Incoming};

use super::{
    ask::Ask,
    reply::{Rejection, Reply},
    route::{Route, Target},
};

/// Serves one request for `target`.
pub(super) async fn handle(
    ask: &mut Ask<'_>,
    target: Target<'_>,
    body: &mut Incoming,
) -> Result<Reply, Rejection> {
    ask.count()?;
    ask.is_clear()?;
    let route = target.route;
    if route == Route::Unknown {
        // Without a path, as `CONNECT` has none, what was asked for is the whole of it.
        let uri = &ask.head.uri;
        let asked = Some(uri.path()).filter(|path| !path.is_empty());
        return Err(Rejection::NoRoute(
            asked.map_or_else(|| uri.to_string(), str::to_owned),
        ));
    }
    if !route.allows(&ask.head.method) {
        return Err(Rejection::Method {
            route,
            method: ask.head.method.clone(),
        });
    }
    ask.enter()?;
    match route {
        Route::Register => node::register(ask, body).await,
        Route::Node | Route::InitWithNode => node::node(ask, body).await,
        Route::NodePayload => node::payload(ask, target.identifier()?).await,
        // Boxed, so that a request that is held is not as large as the largest of these.
        _ => Box::pin(rare(ask, target, body)).await,
    }
}

/// The routes of operators, and what a node does once.
async fn rare(
    ask: &mut Ask<'_>,
    target: Target<'_>,
    body: &mut Incoming,
) -> Result<Reply, Rejection> {
    let server = ask.server;
    match target.route {
        Route::NodeReplace => operator::replace(ask, body).await,
        Route::Leave => node::leave(ask, body).await,
        Route::Snapshot => Ok(operator::snapshot(server).await),
        Route::Nodes => Ok(operator::nodes(server).await),
        Route::OneNode if ask.head.method == Method::DELETE => {
            operator::remove(ask, &target.identifier()?).await
        }
        Route::OneNode => operator::one_node(server, &target.identifier()?).await,
        Route::NodeOverride => operator::remove_override(ask, &target.identifier()?).await,
        Route::NodeKey => operator::release(ask, &target.identifier()?).await,
        Route::Generations => Ok(operator::generations(server)),
        Route::OneGeneration => operator::one_generation(server, target.generation()?),
        Route::GenerationPayload => {
            let (number, identifier) = (target.generation()?, target.identifier()?);
            let reveals = ask.wants_secrets();
            if reveals {
                ask.is_a_look_at_secrets();
                ask.begins().await?;
            }
            operator::payload(server, number, identifier, reveals).await
        }
        Route::Fail => operator::fail(ask, body).await,
        Route::Reset => operator::reset(ask).await,
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
