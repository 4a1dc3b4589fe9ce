//! A successful response: its value, and what its headers say.

use std::time::Duration;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper_util::client::legacy::connect::HttpInfo;

use crate::{ServerUrl, connect::ConnectionPath, sanitize::sanitize};
use cfgsync_model::{EventId, Instance, Revision};
use cfgsync_wire::{
    CLUSTER_HEADER, INSTANCE_HEADER, LISTED_URL_MAX_BYTES, OUTDATED_HEADER, RETRY_HEADER,
    REVISION_HEADER, SERVERS_HEADER, SERVERS_LISTED_MAX,
};

/// Longest name of a cluster that is read from a header, in bytes.
const CLUSTER_MAX_BYTES: usize = 253;

/// Longest list of servers that is read from a header, in bytes.
const SERVERS_MAX_BYTES: usize = SERVERS_LISTED_MAX * (LISTED_URL_MAX_BYTES + 2);

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A response whose body was read and checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Response<T> {
    /// The headers.
    pub meta: ResponseMeta,
    /// The content of the body.
    pub value: T,
}

/// The headers of a response that cfgsync reads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseMeta {
    /// The server that responded.
    pub server: ServerUrl,
    /// The identity of the server's store. `None` from servers of the older protocol.
    pub instance: Option<Instance>,
    /// The cluster's name. `None` from servers of the older protocol.
    pub cluster: Option<String>,
    /// Whether the server understood `Prefer: wait`.
    pub waited: bool,
    /// The reason why the payload is not the newest, if the newest render failed.
    pub outdated: Option<String>,
    /// The newest retry of a payload that the node has refused.
    pub retry: Option<Revision>,
    /// `Retry-After`: how long to wait before the next request.
    pub retry_after: Option<Duration>,
    /// The position that the server has shown. `None` from servers that share no store.
    pub(crate) seen: Option<EventId>,
    /// The URLs of the servers that share the store, as the server lists them.
    pub(crate) servers: Option<String>,
    /// Whether the body is a web page, and no header is one of cfgsync's.
    pub(crate) is_web_page: bool,
    /// The ends of the connection.
    pub(crate) path: Option<ConnectionPath>,
}

impl ResponseMeta {
    /// Reads the headers of a response of `server`.
    pub(super) fn read<B>(server: ServerUrl, response: &hyper::Response<B>) -> Self {
        let headers = response.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let instance = text(INSTANCE_HEADER).and_then(Instance::parse);
        let is_html = text(header::CONTENT_TYPE.as_str())
            .is_some_and(|kind| kind.trim_start().starts_with("text/html"));
        Self {
            server,
            instance,
            seen: text(REVISION_HEADER).and_then(EventId::parse),
            servers: text(SERVERS_HEADER)
                .filter(|list| list.len() <= SERVERS_MAX_BYTES)
                .map(str::to_owned),
            is_web_page: is_html && instance.is_none(),
            cluster: text(CLUSTER_HEADER)
                .filter(|name| name.len() <= CLUSTER_MAX_BYTES)
                .map(str::to_owned),
            waited: headers
                .get_all(PREFERENCE_APPLIED)
                .iter()
                .filter_map(|value: &HeaderValue| value.to_str().ok())
                .flat_map(|value| value.split([',', ';']))
                .any(|applied| applied.split('=').next().map(str::trim) == Some("wait")),
            outdated: text(OUTDATED_HEADER).map(sanitize),
            retry: text(RETRY_HEADER)
                .and_then(|revision| revision.parse().ok())
                .map(Revision),
            retry_after: text(header::RETRY_AFTER.as_str())
                .and_then(|seconds| seconds.trim().parse().ok())
                .map(Duration::from_secs),
            path: response
                .extensions()
                .get::<HttpInfo>()
                .map(ConnectionPath::of),
        }
    }
}
