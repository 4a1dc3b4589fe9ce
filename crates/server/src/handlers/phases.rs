//! The routes of phases.

use std::{collections::BTreeSet, pin::pin};

use axum::body::Body;
use hyper::StatusCode;
use tokio::time::Instant;

use super::{
    super::{
        context::{Context, RequestContext},
        query::{Query, WrongParameter},
        rejection::Rejection,
        reply::{self, RoutedReply},
        request_headers::prefer_wait,
    },
    node::hold,
    small_body,
};
use cfgsync_cluster::{PhaseAnswer, PhaseNodes, PhaseRequest};
use cfgsync_model::{GenerationNumber, Identifier};
use cfgsync_wire::{PhaseState, read_report};

/// The largest number of nodes that a request may name.
const NAMED_NODES_MAX: usize = 1000;

type Routed = Result<RoutedReply, Rejection>;

/// `PUT /v1/nodes/{id}/phases/{phase}`.
pub(in super::super) async fn report(mut context: Context, mut body: Body) -> Routed {
    let (identifier, phase) = (context.path_identifier()?, context.path_phase()?);
    context.authorize_identifier(&identifier)?;
    let report = read_report(&small_body(&context, &mut body).await?)?;
    let coordinator = &context.server().coordinator;
    context
        .announce_checked(|| coordinator.check_report(&identifier, &phase, &report))
        .await?;
    coordinator.report(identifier, phase, report).await?;
    Ok(reply::accepted().into())
}

/// `GET /v1/phases/{phase}`. With `Prefer: wait` it is held until enough nodes have reached the phase, or cannot.
pub(in super::super) async fn wait(mut context: Context) -> Routed {
    let request = read_request(&context)?;
    let preferred = prefer_wait(&context.head.headers);
    let connection = context.connection().clone();
    let coordinator = &connection.server.coordinator;
    let mut held = None;
    if let Some(preferred) = preferred {
        let until = Instant::now() + preferred.min(connection.server.config.wait_max);
        let waiting = pin!(coordinator.wait_for_phase(request.clone(), until));
        held = hold(&context, waiting).await;
        context.authorize_again()?;
    }
    let was_held = held.is_some();
    let answer = held.unwrap_or_else(|| coordinator.phase(request));
    let mut reply = match answer {
        PhaseAnswer::Phase(state, body) => {
            let status = match state {
                PhaseState::Reached => StatusCode::OK,
                PhaseState::Waiting => StatusCode::TOO_EARLY,
                PhaseState::Failed => StatusCode::GONE,
            };
            let mut reply = reply::json_bytes(status, body);
            if state == PhaseState::Waiting {
                reply::retry_after_wait(
                    &mut reply,
                    preferred.filter(|_| was_held).unwrap_or_default(),
                );
            }
            reply
        }
        PhaseAnswer::Failed(failure) => reply::failed(&failure),
        PhaseAnswer::Draining(body) => reply::draining(&body),
    };
    if was_held {
        reply::preference_applied(&mut reply);
    }
    Ok(reply.into())
}

/// Reads the question: the phase, the generation, and the nodes.
fn read_request(context: &RequestContext) -> Result<PhaseRequest, Rejection> {
    let query = Query::of(&context.head.uri);
    let count = query.number("count")?;
    let nodes = match (count, query.get(&["nodes"])) {
        (Some(_), Some(_)) => {
            let problem = "it excludes `nodes`; give one of the two";
            return Err(WrongParameter {
                name: "count",
                problem,
            }
            .into());
        }
        (Some(count), None) => PhaseNodes::Count(usize::try_from(count).unwrap_or(usize::MAX)),
        (None, Some(names)) => PhaseNodes::Named(read_names(names)?),
        (None, None) => PhaseNodes::All,
    };
    Ok(PhaseRequest {
        phase: context.path_phase()?,
        generation: query.number("generation")?.map(GenerationNumber),
        nodes,
    })
}

fn read_names(names: &str) -> Result<BTreeSet<Identifier>, WrongParameter> {
    let wrong = |problem| WrongParameter {
        name: "nodes",
        problem,
    };
    if names.split(',').count() > NAMED_NODES_MAX {
        return Err(wrong("it has more than 1000 names"));
    }
    let names = names.split(',').map(Identifier::new);
    let names: Result<_, _> = names.collect();
    names.map_err(|_| wrong("it must be a list of identifiers, separated by commas"))
}
