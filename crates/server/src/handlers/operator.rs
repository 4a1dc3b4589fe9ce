//! The routes of operators.

use std::sync::Arc;

use axum::body::Body;

use super::{
    super::{
        context::Context,
        rejection::Rejection,
        reply::{self, RoutedReply},
    },
    bounded_body, small_body,
};
use cfgsync_cluster::metrics::Expiries;
use cfgsync_wire::{
    ReloadOutcome, ReloadedPart, TokenEntry, TokenUseEntry, read_fail, read_redraw, read_reload,
    read_replacement,
};

/// The content type of `/metrics`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The largest number of tokens with an expiry time in `/metrics`. The tokens that expire first have one.
const EXPIRING_TOKENS_MAX: usize = 100;

type Routed = Result<RoutedReply, Rejection>;

/// `GET /v1/snapshot`.
pub(in super::super) async fn snapshot(context: Context) -> Routed {
    let coordinator = &context.server().coordinator;
    coordinator.caught_up().await;
    Ok(reply::json(&coordinator.cluster_for(context.metadata_access())).into())
}

/// `GET /v1/nodes`: the registrations of the snapshot, as an array.
pub(in super::super) async fn nodes(context: Context) -> Routed {
    let coordinator = &context.server().coordinator;
    coordinator.caught_up().await;
    Ok(reply::json(
        &coordinator
            .cluster_for(context.metadata_access())
            .registrations,
    )
    .into())
}

/// `GET /v1/nodes/{id}`. A node that the spec expects has a state too, even if it is not registered.
pub(in super::super) async fn one_node(context: Context) -> Routed {
    let identifier = context.path_identifier()?;
    let coordinator = &context.server().coordinator;
    coordinator.caught_up().await;
    Ok(reply::json(&coordinator.node_for(context.metadata_access(), &identifier)?).into())
}

/// `DELETE /v1/nodes/{id}`.
pub(in super::super) async fn remove(mut context: Context) -> Routed {
    let identifier = context.path_identifier()?;
    context.set_node(&identifier);
    context.announce().await?;
    context.server().coordinator.remove(&identifier).await?;
    Ok(reply::accepted().into())
}

/// `POST /v1/nodes/{id}/ban`.
pub(in super::super) async fn ban(mut context: Context) -> Routed {
    let identifier = context.path_identifier()?;
    context.set_node(&identifier);
    context.announce().await?;
    context.server().coordinator.ban(&identifier).await?;
    Ok(reply::accepted().into())
}

/// `DELETE /v1/nodes/{id}/ban`.
pub(in super::super) async fn unban(mut context: Context) -> Routed {
    let identifier = context.path_identifier()?;
    context.set_node(&identifier);
    context.announce().await?;
    context.server().coordinator.unban(&identifier).await?;
    Ok(reply::accepted().into())
}

/// `POST /v1/nodes/{id}/retry`.
pub(in super::super) async fn retry(mut context: Context) -> Routed {
    let identifier = context.path_identifier()?;
    context.set_node(&identifier);
    context.announce().await?;
    context.server().coordinator.retry(&identifier).await?;
    Ok(reply::accepted().into())
}

/// `DELETE /v1/nodes/{id}/override`.
pub(in super::super) async fn remove_override(mut context: Context) -> Routed {
    let identifier = context.path_identifier()?;
    context.set_node(&identifier);
    context.announce().await?;
    let coordinator = &context.server().coordinator;
    coordinator.remove_override(&identifier).await?;
    Ok(reply::accepted().into())
}

/// `DELETE /v1/nodes/{id}/key`.
pub(in super::super) async fn release(mut context: Context) -> Routed {
    let identifier = context.path_identifier()?;
    context.set_node(&identifier);
    context.announce().await?;
    context.server().coordinator.release(&identifier).await?;
    Ok(reply::accepted().into())
}

/// `POST /node/replace`.
pub(in super::super) async fn replace(mut context: Context, mut body: Body) -> Routed {
    let (identifier, files) = {
        let server = context.server();
        let config = &server.config;
        let _permit = server.replace_bodies.acquire().await;
        let (max_bytes, limit) = (config.replace_body_max_bytes, config.body_timeout);
        let read = bounded_body(&context, &mut body, max_bytes, limit).await?;
        read_replacement(&read)?
    };
    context.set_node(&identifier);
    for file in files.files() {
        context.attach_hash(file.path.as_str(), file.content.sha256());
    }
    context.announce().await?;
    let coordinator = &context.server().coordinator;
    coordinator.replace(identifier, files).await?;
    Ok(reply::accepted().into())
}

/// `GET /v1/generations`: newest first, as an array.
pub(in super::super) async fn generations(context: Context) -> RoutedReply {
    reply::json(&context.server().coordinator.generations()).into()
}

/// `GET /v1/generations/{n}/nodes/{id}/payload`. Secret files are listed; their contents are shown only with
/// `?reveal=true`.
pub(in super::super) async fn payload(mut context: Context) -> Routed {
    let (number, identifier) = (context.path_generation()?, context.path_identifier()?);
    let reveal = context.wants_secrets();
    if reveal {
        context.announce_reveal().await?;
    }
    let server = context.server();
    let coordinator = &server.coordinator;
    let payload = coordinator.payload_of(number, identifier.as_str(), reveal);
    if let Some(payload) = payload {
        let digest = payload.digest;
        let mut reply = reply::payload(server, Arc::new(payload)).await;
        reply::set_etag(&mut reply, digest);
        return Ok(reply.into());
    }
    if coordinator.generation(number).is_none() {
        return Err(Rejection::NoGeneration(number));
    }
    Err(Rejection::NoPayload(number, identifier))
}

/// `POST /v1/fail`.
pub(in super::super) async fn fail(context: Context, mut body: Body) -> Routed {
    let fail = read_fail(&small_body(&context, &mut body).await?)?;
    context.announce().await?;
    context.server().coordinator.fail(fail.reason).await?;
    Ok(reply::accepted().into())
}

/// `POST /v1/reset`.
pub(in super::super) async fn reset(context: Context) -> Routed {
    context.announce().await?;
    context.server().coordinator.reset().await?;
    Ok(reply::accepted().into())
}

/// `GET /v1/rollout`.
pub(in super::super) async fn rollout(context: Context) -> Routed {
    let coordinator = &context.server().coordinator;
    coordinator.caught_up().await;
    Ok(reply::json(&*coordinator.rollout()).into())
}

/// `POST /v1/rollout/stop`.
pub(in super::super) async fn stop_rollout(context: Context) -> Routed {
    context.announce().await?;
    context.server().coordinator.stop_rollout().await?;
    Ok(reply::accepted().into())
}

/// `POST /v1/rollout/resume`.
pub(in super::super) async fn resume_rollout(context: Context) -> Routed {
    context.announce().await?;
    context.server().coordinator.resume_rollout().await?;
    Ok(reply::accepted().into())
}

/// `POST /v1/redraw`.
pub(in super::super) async fn redraw(mut context: Context, mut body: Body) -> Routed {
    let redraw = read_redraw(&small_body(&context, &mut body).await?)?;
    context.set_once(&redraw.key);
    context.announce().await?;
    context.server().coordinator.redraw(redraw.key).await?;
    Ok(reply::accepted().into())
}

/// `GET /v1/tokens`: sorted by name, without secrets and hashes. Empty on a server without a tokens file.
pub(in super::super) async fn tokens(context: Context) -> RoutedReply {
    let tokens = context.server().config.access.tokens();
    let tokens = tokens
        .as_ref()
        .map_or_else(Vec::new, |tokens| tokens.list());
    let entries = tokens.into_iter().map(|(token, used)| TokenEntry {
        name: token.name.clone(),
        role: token.role.to_string(),
        identifier: token.identifier.as_ref().map(ToString::to_string),
        namespaces: token.namespaces.iter().map(ToString::to_string).collect(),
        read_only: token.read_only,
        expires: token.expires,
        last_used: used.map(|used| TokenUseEntry {
            at: used.at,
            from: used.from,
        }),
    });
    reply::json(&entries.collect::<Vec<_>>()).into()
}

/// `POST /v1/reload`: the result of each part. The audit log has a line for the request, and one for each part.
pub(in super::super) async fn reload(mut context: Context, mut body: Body) -> Routed {
    let only = read_reload(&small_body(&context, &mut body).await?)?.only;
    let Some(queue) = context.server().config.reload.clone() else {
        return Err(Rejection::NoReload);
    };
    context.announce().await?;
    let Some(result) = queue.reload(only).await else {
        return Err(Rejection::Stopping);
    };
    let is_refused = |part: &ReloadedPart| part.outcome == ReloadOutcome::Refused;
    if result.parts.iter().any(is_refused) {
        context.set_refusal("mistake");
    }
    Ok(reply::json(&result).into())
}

/// `GET /metrics`.
pub(in super::super) async fn metrics(context: Context) -> RoutedReply {
    let server = context.server();
    let config = &server.config;
    let tokens = config.access.expiring_tokens(EXPIRING_TOKENS_MAX);
    let expiries = Expiries {
        certificate: config.tls.as_ref().map(|tls| *tls.dates().end()),
        tokens: (tokens.into_iter())
            .map(|(name, at)| (name, at.as_second()))
            .collect(),
    };
    reply::text(OPENMETRICS, server.coordinator.metrics_text(&expiries)).into()
}
