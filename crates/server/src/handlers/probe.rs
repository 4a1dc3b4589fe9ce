//! The routes for whatever watches the server.

use serde_json::json;

use super::super::{
    context::Context,
    rejection::Rejection,
    reply::{self, RoutedReply},
};

/// `GET /livez`: a client that reads the response knows that the server runs.
pub(in super::super) async fn livez() -> RoutedReply {
    reply::json(&json!({"status": "alive"})).into()
}

/// `GET /readyz`: whether new requests should come here.
pub(in super::super) async fn readyz(context: Context) -> Result<RoutedReply, Rejection> {
    if context.server().is_stopping() {
        return Err(Rejection::Stopping);
    }
    let server = context.server();
    let freshness = server.coordinator.freshness();
    if freshness.silent_for > server.config.stale_max {
        return Err(Rejection::Stale {
            silent_for: freshness.silent_for,
            problem: freshness.problem,
        });
    }
    Ok(reply::json(&json!({"status": "ready"})).into())
}

/// `GET /v1/servers`.
pub(in super::super) async fn servers(context: Context) -> RoutedReply {
    reply::json(&context.server().coordinator.servers().await).into()
}
