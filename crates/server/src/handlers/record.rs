//! The description of a generation, and its flight record.

use super::super::{
    context::Context,
    query::{Query, WrongParameter},
    rejection::Rejection,
    reply::{self, RoutedReply},
    sender::ValueRights,
};
use cfgsync_model::{GenerationChanges, GenerationNumber};

type Routed = Result<RoutedReply, Rejection>;

/// `GET /v1/generations/{n}`.
pub(in super::super) async fn one_generation(context: Context) -> Routed {
    let number = context.path_generation()?;
    let generation = context.server().coordinator.generation(number);
    let mut generation = generation.ok_or(Rejection::NoGeneration(number))?;
    hide_values(&context, &mut generation.changes);
    Ok(reply::json(&generation).into())
}

/// `GET /v1/record`: about the generation in the query, or about the newest one.
pub(in super::super) async fn record(context: Context) -> Routed {
    let wanted = wanted(&Query::of(&context.head.uri))?;
    let coordinator = &context.server().coordinator;
    coordinator.caught_up().await;
    let record = coordinator.record(wanted);
    let mut record = record.ok_or(Rejection::NoGeneration(wanted.unwrap_or_default()))?;
    hide_values(&context, &mut record.changes);
    Ok(reply::json(&record).into())
}

fn wanted(query: &Query<'_>) -> Result<Option<GenerationNumber>, WrongParameter> {
    match query.get(&["generation"]) {
        None | Some("newest") => Ok(None),
        Some(_) => match query.number("generation") {
            Ok(number) => Ok(number.map(GenerationNumber)),
            Err(_) => Err(WrongParameter {
                name: "generation",
                problem: "it must be `newest` or the number of a generation",
            }),
        },
    }
}

/// Leaves out the changes of values whose names the sender may not see. They are only counted.
fn hide_values(context: &Context, changes: &mut Option<GenerationChanges>) {
    let Some(changes) = changes else {
        return;
    };
    let connection = context.connection();
    let rights = ValueRights::of(connection, context.token().as_ref());
    changes.retain(|change| match change.namespace() {
        Some(namespace) => rights.reads(namespace),
        None => rights.lists_names || !change.is_of_alias(),
    });
}
