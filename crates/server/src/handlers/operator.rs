//! The routes of operators, and of whoever watches the server.

use std::sync::Arc;

use hyper::body::Incoming;
use serde_json::json;

use super::super::{
    ask::Ask,
    read::{read_body, small_body},
    reply::{self, Rejection, Reply},
    state::Server,
};
use cfgsync_model::{GenerationNumber, Identifier};
use cfgsync_wire::{read_fail, read_replacement};

/// What scrapers are told `/metrics` is.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /v1/snapshot`.
pub(super) async fn snapshot(server: &Server) -> Reply {
    server.coordinator.caught_up().await;
    reply::json(&server.coordinator.cluster())
}

/// `GET /v1/nodes`: the registrations of the snapshot, as an array.
pub(super) async fn nodes(server: &Server) -> Reply {
    server.coordinator.caught_up().await;
    reply::json(&server.coordinator.cluster().registrations)
}

/// `GET /v1/nodes/{id}`. A node that is expected has a state as well.
pub(super) async fn one_node(server: &Server, identifier: &Identifier) -> Result<Reply, Rejection> {
    server.coordinator.caught_up().await;
    Ok(reply::json(&server.coordinator.node(identifier)?))
}

/// `DELETE /v1/nodes/{id}`.
pub(super) async fn remove(ask: &mut Ask<'_>, identifier: &Identifier) -> Result<Reply, Rejection> {
    ask.is_about(identifier);
    ask.begins().await?;
    ask.server.coordinator.remove(identifier).await?;
    Ok(reply::accepted())
}

/// `DELETE /v1/nodes/{id}/override`.
pub(super) async fn remove_override(
    ask: &mut Ask<'_>,
    identifier: &Identifier,
) -> Result<Reply, Rejection> {
    ask.is_about(identifier);
    ask.begins().await?;
    ask.server.coordinator.remove_override(identifier).await?;
    Ok(reply::accepted())
}

/// `DELETE /v1/nodes/{id}/key`.
pub(super) async fn release(
    ask: &mut Ask<'_>,
    identifier: &Identifier,
) -> Result<Reply, Rejection> {
    ask.is_about(identifier);
    ask.begins().await?;
    ask.server.coordinator.release(identifier).await?;
    Ok(reply::accepted())
}

/// `POST /node/replace`.
pub(super) async fn replace(ask: &mut Ask<'_>, body: &mut Incoming) -> Result<Reply, Rejection> {
    let server = ask.server;
    let turn = server.replace_bodies.acquire().await;
    let (max_bytes, limit) = (
        server.config.replace_body_max_bytes,
        server.config.body_timeout,
    );
    let read = read_body(body, &ask.peer.line, max_bytes, limit).await?;
    let (identifier, files) = read_replacement(&read)?;
    drop((read, turn));
    ask.is_about(&identifier);
    for file in files.files() {
        ask.brings(file.path.as_str(), file.content.sha256());
    }
    ask.begins().await?;
    server.coordinator.replace(identifier, files).await?;
    Ok(reply::accepted())
}

/// `GET /v1/generations`: newest first, as an array.
pub(super) fn generations(server: &Server) -> Reply {
    reply::json(&server.coordinator.generations())
}

/// `GET /v1/generations/{n}`.
pub(super) fn one_generation(
    server: &Server,
    number: GenerationNumber,
) -> Result<Reply, Rejection> {
    match server.coordinator.generation(number) {
        Some(generation) => Ok(reply::json(&generation)),
        None => Err(Rejection::NoGeneration(number)),
    }
}

/// `GET /v1/generations/{n}/nodes/{id}/payload`: secret files are named, and shown only to who `reveals` them.
pub(super) async fn payload(
    server: &Server,
    number: GenerationNumber,
    identifier: Identifier,
    reveals: bool,
) -> Result<Reply, Rejection> {
    let payload = server
        .coordinator
        .payload_of(number, identifier.as_str(), reveals);
    if let Some(payload) = payload {
        let digest = payload.digest;
        let mut reply = reply::payload(server, Arc::new(payload)).await;
        reply::tag(&mut reply, digest);
        return Ok(reply);
    }
    if server.coordinator.generation(number).is_none() {
        return Err(Rejection::NoGeneration(number));
    }
    Err(Rejection::NoPayload(number, identifier))
}

/// `POST /v1/fail`.
pub(super) async fn fail(ask: &mut Ask<'_>, body: &mut Incoming) -> Result<Reply, Rejection> {
    let fail = read_fail(&small_body(ask.server, ask.peer, body).await?)?;
    ask.begins().await?;
    ask.server.coordinator.fail(fail.reason).await?;
    Ok(reply::accepted())
}

/// `POST /v1/reset`.
pub(super) async fn reset(ask: &mut Ask<'_>) -> Result<Reply, Rejection> {
    ask.begins().await?;
    ask.server.coordinator.reset().await?;
    Ok(reply::accepted())
}

/// `GET /livez`: who reads this knows that the server runs.
pub(super) fn livez() -> Reply {
    reply::json(&json!({"status": "alive"}))
}

/// `GET /readyz`: whether new requests should come here.
pub(super) fn readyz(server: &Server) -> Result<Reply, Rejection> {
    if server.is_stopping() {
        return Err(Rejection::Stopping);
    }
    Ok(reply::json(&json!({"status": "ready"})))
}

/// `GET /metrics`.
pub(super) fn metrics(server: &Server) -> Reply {
    reply::text(OPENMETRICS, server.coordinator.metrics_text())
}
