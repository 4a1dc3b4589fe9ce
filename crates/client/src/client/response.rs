//! A successful response: its value, and what its headers say.

use std::time::Duration;

use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};

use crate::ServerUrl;
use cfgsync_model::Instance;
use cfgsync_wire::{CLUSTER_HEADER, INSTANCE_HEADER};

/// Longest name of a cluster that is read from a header, in bytes.
const CLUSTER_MAX_BYTES: usize = 253;

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
    /// `Retry-After`: how long to wait before the next request.
    pub retry_after: Option<Duration>,
}

impl ResponseMeta {
    /// Reads the headers of a response of `server`.
    pub(super) fn read(server: ServerUrl, headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            server,
            instance: text(INSTANCE_HEADER).and_then(Instance::parse),
            cluster: text(CLUSTER_HEADER)
                .filter(|name| name.len() <= CLUSTER_MAX_BYTES)
                .map(str::to_owned),
            waited: headers
                .get_all(PREFERENCE_APPLIED)
                .iter()
                .filter_map(|value: &HeaderValue| value.to_str().ok())
                .flat_map(|value| value.split([',', ';']))
                .any(|applied| applied.split('=').next().map(str::trim) == Some("wait")),
            retry_after: text(header::RETRY_AFTER.as_str())
                .and_then(|seconds| seconds.trim().parse().ok())
                .map(Duration::from_secs),
        }
    }
}
