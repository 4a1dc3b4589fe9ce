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
    Ok(reply::json(&json!({"status": "ready"})).into())
}
