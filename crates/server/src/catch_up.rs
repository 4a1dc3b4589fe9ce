//! Several servers of one cluster: a client that was answered by another server gets nothing older from this one.

use std::time::Duration;

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use super::{rejection::Rejection, state::ServerState};
use cfgsync_model::EventId;
use cfgsync_wire::REVISION_HEADER;

pub(super) const REVISION: HeaderName = HeaderName::from_static(REVISION_HEADER);

/// The longest time that a request waits until the server has what the client has seen.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);

/// Returns the position that the client has seen, if this server shares its store and is behind it.
pub(super) fn seen(server: &ServerState, headers: &HeaderMap) -> Option<EventId> {
    let seen = EventId::parse(headers.get(REVISION)?.to_str().ok()?)?;
    is_behind(server, seen).then_some(seen)
}

/// Whether this server shares its store and may be behind `seen`.
pub(super) fn is_behind(server: &ServerState, seen: EventId) -> bool {
    if !server.shares_store {
        return false;
    }
    let here = server.coordinator.position();
    // The position of another instance says nothing about this one.
    seen.instance == here.instance && seen.position.revision >= here.position.revision
}

/// Waits until the server has what the client has seen.
pub(super) async fn catch_up(server: &ServerState, seen: EventId) -> Result<(), Rejection> {
    let revision = seen.position.revision;
    if server.coordinator.reach(revision, CATCH_UP_MAX).await {
        return Ok(());
    }
    Err(Rejection::Behind(revision))
}

/// Returns the position of this server, for a response.
pub(super) fn position(server: &ServerState) -> Option<HeaderValue> {
    let position = server.shares_store.then(|| server.coordinator.position())?;
    HeaderValue::try_from(position.to_string()).ok()
}
