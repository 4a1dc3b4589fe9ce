//! The servers of a client: in which order a request tries them, and which further ones they name.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    CallError, ResponseMeta, TrustError, connection::ServerConnection, error::is_unavailable,
};
use crate::{ServerUrl, tls::Trust};
use cfgsync_model::Digest;
use cfgsync_wire::{LISTED_URL_MAX_BYTES, SERVERS_LISTED_MAX};

/// The most tries of one request. A name with several addresses may be tried several times.
const TRIES_MAX: usize = 24;
/// The shortest time for which a server that can serve nothing is tried after the others.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The server's reason if the cluster has reached a limit, which all its servers have.
const FULL: &str = "full";

/// The servers of a client and of its clones.
#[derive(Debug)]
pub(super) struct Servers {
    /// Those that the operator has given.
    given: Vec<Arc<ServerConnection>>,
    /// The identity by which the servers were put into their order. Empty for the order in which they were given.
    identity: String,
    learned: Mutex<Learned>,
}

/// The servers that other servers have named.
#[derive(Debug, Default)]
struct Learned {
    servers: Vec<Arc<ServerConnection>>,
    /// The list that they come from.
    list: String,
}

impl Servers {
    pub(super) fn new(urls: Vec<ServerUrl>, trust: &Trust) -> Result<Self, TrustError> {
        let has_others = urls.len() > 1;
        let given: Result<Vec<_>, TrustError> = urls
            .into_iter()
            .map(|url| ServerConnection::given(url, trust, has_others).map(Arc::new))
            .collect();
        Ok(Self {
            given: given?,
            identity: String::new(),
            learned: Mutex::default(),
        })
    }

    /// Returns the same servers in an order that depends on `identity`. The nodes of a cluster that have the same list are
    /// spread over its servers, and those of a server that fails over the others.
    pub(super) fn spread_by(&self, identity: &str) -> Self {
        let mut given = self.given.clone();
        given.sort_by_cached_key(|server| rank(&server.url, identity));
        Self {
            given,
            identity: identity.to_owned(),
            learned: Mutex::default(),
        }
    }

    /// Returns the servers that the operator has given.
    pub(super) fn given(&self) -> impl Iterator<Item = &ServerConnection> {
        self.given.iter().map(|server| &**server)
    }

    /// Returns the server that the next request tries first.
    pub(super) fn first(&self) -> Arc<ServerConnection> {
        let all = self.in_order();
        Arc::clone(all.front().expect("a client has a server"))
    }

    /// Returns the server with this URL.
    pub(super) fn find(&self, url: &ServerUrl) -> Option<Arc<ServerConnection>> {
        let learned = self.learned().servers.clone();
        let mut all = self.given.iter().chain(&learned);
        all.find(|server| server.url == *url).cloned()
    }

    /// Returns whether there is more than one server.
    pub(super) fn has_several(&self) -> bool {
        self.given.len() + self.learned().servers.len() > 1
    }

    /// Returns the tries of one request.
    pub(super) fn tries(&self) -> Tries<'_> {
        Tries {
            servers: self,
            queue: self.in_order(),
            left: TRIES_MAX,
        }
    }

    /// Adds the servers that a server has listed, in place of those of an earlier list. Nothing is added unless the server
    /// has proven to be one that the operator has named, and the others are to prove the same.
    pub(super) fn learn(&self, source: &ServerConnection, meta: &ResponseMeta) {
        let Some(list) = meta.servers.as_deref() else {
            return;
        };
        let mut learned = self.learned();
        if learned.list == list || !source.is_proven() {
            return;
        }
        list.clone_into(&mut learned.list);
        let known = std::mem::take(&mut learned.servers);
        let urls = list.split(',').map(str::trim);
        let urls = urls.filter(|url| url.len() <= LISTED_URL_MAX_BYTES);
        for url in urls.take(SERVERS_LISTED_MAX) {
            let Ok(url) = url.parse::<ServerUrl>() else {
                continue;
            };
            let is_same = |server: &Arc<ServerConnection>| server.url.is_same_place(&url);
            let is_known = self.given.iter().chain(&learned.servers).any(is_same);
            if is_known || !url.is_tls() || !source.shares_a_pin(url.pins()) {
                continue;
            }
            // A server that was listed before keeps its connections, and what is known about its failures.
            let server = match known.iter().find(|server| server.url == url) {
                Some(server) => Arc::clone(server),
                None => Arc::new(source.other(url, meta.cluster.clone())),
            };
            learned.servers.push(server);
        }
        let rank = |server: &Arc<ServerConnection>| rank(&server.url, &self.identity);
        learned.servers.sort_by_cached_key(rank);
    }

    /// Removes a server that another one has named. It is used again only if a later list has it.
    pub(super) fn forget(&self, url: &ServerUrl) {
        self.learned().servers.retain(|server| server.url != *url);
    }

    /// Returns all servers in the order in which a request tries them: those that have not failed lately before the others,
    /// and the given ones before the learned ones.
    fn in_order(&self) -> VecDeque<Arc<ServerConnection>> {
        let learned = self.learned().servers.clone();
        let mut all: Vec<_> = self.given.iter().cloned().chain(learned).collect();
        // Stable, and `None` is less than any time.
        all.sort_by_cached_key(|server| server.avoided_until());
        all.into()
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tries of one request.
pub(super) struct Tries<'s> {
    servers: &'s Servers,
    queue: VecDeque<Arc<ServerConnection>>,
    /// The number of tries that remain.
    left: usize,
}

impl Tries<'_> {
    /// Returns the server of the next try.
    pub(super) fn next(&mut self) -> Option<Arc<ServerConnection>> {
        self.left = self.left.checked_sub(1)?;
        self.queue.pop_front()
    }

    /// Notes that a try has failed. Returns whether another server may do better. `address` is that of the server if a
    /// connection was made.
    pub(super) fn goes_on_after(
        &mut self,
        server: &Arc<ServerConnection>,
        address: Option<IpAddr>,
        error: &CallError,
    ) -> bool {
        match error {
            CallError::Unreachable { .. } | CallError::Broken { .. } => {
                server.fail(address);
            }
            CallError::Refused { status, body, meta } if is_unavailable(*status) => {
                if body.reason.as_deref() == Some(FULL) {
                    return false;
                }
                let asked = meta.retry_after.unwrap_or_default();
                server.pause(address, asked.max(PAUSE_MIN));
            }
            CallError::Untrusted { .. } | CallError::Unusable { .. }
                if server.named_by.is_some() =>
            {
                tracing::debug!("a server that another one has named is not used: {error}");
                self.servers.forget(&server.url);
                return true;
            }
            _ => return false,
        }
        if address.is_some() && server.avoided_until().is_none() {
            // The name has another address.
            self.queue.push_front(Arc::clone(server));
        }
        true
    }
}

/// Returns the place of a server in the order of a node.
fn rank(url: &ServerUrl, identity: &str) -> Digest {
    Digest::of_parts([url.to_string().as_bytes(), identity.as_bytes()])
}
