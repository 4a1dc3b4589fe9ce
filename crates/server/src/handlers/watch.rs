//! The event stream.

use axum::{body::Body, response::Response};
use hyper::{
    HeaderMap,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue},
};

use super::super::{
    catch_up,
    context::Context,
    event_body::{EventBody, EventStream},
    query::{Query, WrongParameter},
    rejection::Rejection,
};
use cfgsync_access::{Action, Resource};
use cfgsync_cluster::{EventFilter, FilterNames, WatchStart};
use cfgsync_model::{EventId, Namespace};
use cfgsync_wire::EVENT_STREAM;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells a proxy to pass on each event at once.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `GET /v1/watch`.
pub(in super::super) async fn watch(mut context: Context) -> Result<Response, Rejection> {
    let (names, start, follows) = {
        let query = Query::of(&context.head.uri);
        let all = |name| query.all(name).map(str::to_owned).collect();
        let names = FilterNames {
            namespaces: all("namespaces"),
            prefixes: all("prefixes"),
            kinds: all("kinds"),
            identifiers: all("identifiers"),
        };
        let follows = match query.get(&["follow"]) {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => {
                let problem = "it must be `true` or `false`";
                return Err(WrongParameter {
                    name: "follow",
                    problem,
                }
                .into());
            }
        };
        (names, start_of(&context.head.headers, &query), follows)
    };
    // A wrong name is refused below, after the rights.
    let namespaces = names.namespaces.iter().filter_map(|name| name.parse().ok());
    for namespace in namespaces.collect::<Vec<Namespace>>() {
        context.require(Action::ReadValues, Resource::Namespace(&namespace))?;
    }
    let asks_for_values = !names.namespaces.is_empty() || !names.prefixes.is_empty();
    if asks_for_values {
        context.require(Action::ListNames, Resource::Cluster)?;
    }
    let filter = EventFilter::new(names)?;
    if filter.has_only_values() {
        context.require(Action::ListNames, Resource::Cluster)?;
    }
    let identity = context.identity();
    let (server, address) = (context.server(), context.peer().address.ip());
    let slot = server.watchers.take(identity.as_deref(), address)?;
    // An id of another server may be newer than what this one has applied. That is no gap.
    if let WatchStart::After(id) = start
        && catch_up::is_behind(server, id)
    {
        catch_up::catch_up(server, id).await?;
    }
    let reader = server.coordinator.watch(filter, start);
    let connection = context.connection().clone();
    let stream = EventStream::new(connection, context.token(), reader, follows, slot);
    let mut response = Response::new(Body::new(EventBody::new(stream)));
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, EVENT_STREAM),
        (CACHE_CONTROL, "no-cache"),
        (ACCEL_BUFFERING, "no"),
        (CONNECTION, "keep-alive"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Returns where the stream begins. An `EventSource` sends the header when it connects again, with the same URL.
fn start_of(headers: &HeaderMap, query: &Query<'_>) -> WatchStart {
    let header = headers.get(LAST_EVENT_ID).map(|id| id.to_str().ok());
    let since = || query.all("since").next().map(Some);
    match header.or_else(since) {
        None => WatchStart::Now,
        Some(Some("oldest")) => WatchStart::Oldest,
        Some(id) => match id.and_then(EventId::parse) {
            Some(id) => WatchStart::After(id),
            None => WatchStart::UnknownId,
        },
    }
}
