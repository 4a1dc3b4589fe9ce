//! Leases of nodes: how long a registered node counts without a request.
//!
//! A node renews its lease by a request that waits, by a fetch, by a registration, or by an explicit renewal. Until it has
//! received its files, its lease binds it. After that, the lease binds only a node that follows changes or has renewed
//! explicitly: a `join` that became its program is silent, and stays.
//!
//! Leases are in memory, on the server's monotonic clock. A renewal changes no state and causes no render. After a
//! restart, all leases start again.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use cfgsync_model::Identifier;
use cfgsync_wire::LeaseState;

/// The leases of all nodes. It has an entry for each registered node while the spec has `lease`, and none otherwise.
#[derive(Default)]
pub(crate) struct Leases {
    nodes: Mutex<HashMap<Identifier, Lease>>,
    /// Whether the spec has `lease`. Without it, notes cost nothing.
    is_used: AtomicBool,
}

#[derive(Clone, Copy)]
struct Lease {
    /// The time of the last request, to any server.
    seen: Instant,
    /// The time of the last request to this server.
    seen_here: Option<Instant>,
    /// Whether the node has received its files since it registered.
    has_files: bool,
    /// Whether the node follows changes, or has renewed explicitly.
    takes_part: bool,
}

impl Lease {
    fn new(now: Instant, has_files: bool) -> Self {
        Self {
            seen: now,
            seen_here: None,
            has_files,
            takes_part: false,
        }
    }

    fn binds(self) -> bool {
        self.takes_part || !self.has_files
    }
}

impl Leases {
    /// Turns leases on or off. Turning them off forgets all of them.
    pub(crate) fn set_used(&self, is_used: bool) {
        self.is_used.store(is_used, Ordering::Relaxed);
        if !is_used {
            self.lock().clear();
        }
    }

    /// Notes that a node has registered. Its lease binds it until it has received its files.
    pub(crate) fn on_registered(&self, identifier: &Identifier) {
        if self.is_used() {
            let now = Instant::now();
            let lease = Lease {
                seen_here: Some(now),
                ..Lease::new(now, false)
            };
            self.lock().insert(identifier.clone(), lease);
        }
    }

    /// Notes nodes that have registered with any server. Those that this server has noted already keep their leases.
    pub(crate) fn on_registered_anywhere<'a>(&self, nodes: impl Iterator<Item = &'a Identifier>) {
        if !self.is_used() {
            return;
        }
        let (mut known, now) = (self.lock(), Instant::now());
        for node in nodes {
            if !known.contains_key(node) {
                known.insert(node.clone(), Lease::new(now, false));
            }
        }
    }

    /// Notes a request of a node.
    pub(crate) fn on_seen(&self, identifier: &str) {
        self.update(identifier, |_| {});
    }

    /// Notes that a node has received its files.
    pub(crate) fn on_delivered(&self, identifier: &str) {
        self.update(identifier, |lease| lease.has_files = true);
    }

    /// Notes that a node follows changes, or that it has renewed its lease.
    pub(crate) fn on_renewed(&self, identifier: &str) {
        self.update(identifier, |lease| lease.takes_part = true);
    }

    /// Notes that another server has seen a node. `takes_part` says whether the node follows changes or has renewed.
    pub(crate) fn on_seen_elsewhere(&self, identifier: &str, takes_part: bool) {
        if let Some(lease) = self.lock().get_mut(identifier) {
            lease.seen = Instant::now();
            lease.takes_part |= takes_part;
        }
    }

    /// Returns the nodes that this server has seen at `since` or later, with whether they follow changes or have renewed.
    pub(crate) fn seen_since(&self, since: Instant) -> Vec<(Identifier, bool)> {
        let nodes = self.lock();
        let is_new = |lease: &Lease| lease.seen_here.is_some_and(|at| at >= since);
        let seen = nodes.iter().filter(|(_, lease)| is_new(lease));
        seen.map(|(node, lease)| (node.clone(), lease.takes_part))
            .collect()
    }

    /// Returns the state of a node's lease at `now`, if it binds the node. `waits` says whether one of its requests waits.
    pub(crate) fn state(
        &self,
        identifier: &str,
        lease: Duration,
        waits: bool,
        now: Instant,
    ) -> Option<LeaseState> {
        let known = self.lock().get(identifier).copied()?;
        known.binds().then(|| {
            if waits || known.seen + lease > now {
                LeaseState::Valid
            } else {
                LeaseState::Expired
            }
        })
    }

    /// Returns the registered nodes whose leases have expired at `now`, and the time at which the next one may expire.
    /// `registered` has each registered node, whether it has received its files since it registered, and whether one of its
    /// requests waits.
    /// Forgets all other nodes.
    pub(crate) fn expired<'a>(
        &self,
        registered: impl Iterator<Item = (&'a Identifier, bool, bool)>,
        lease: Duration,
        now: Instant,
    ) -> (Vec<Identifier>, Instant) {
        let mut nodes = self.lock();
        let mut kept = HashMap::with_capacity(nodes.len());
        let mut expired = Vec::new();
        // A node that is seen after `now` expires later than this.
        let mut next = now + lease;
        for (identifier, has_files, waits) in registered {
            let known = nodes.get(identifier).copied();
            let mut known = known.unwrap_or_else(|| Lease::new(now, has_files));
            // Another server may have delivered them.
            known.has_files |= has_files;
            if waits {
                known.seen = now;
            }
            if known.binds() {
                let expires_at = known.seen + lease;
                if expires_at <= now {
                    expired.push(identifier.clone());
                } else {
                    next = next.min(expires_at);
                }
            }
            kept.insert(identifier.clone(), known);
        }
        *nodes = kept;
        (expired, next)
    }

    fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    fn update(&self, identifier: &str, change: impl FnOnce(&mut Lease)) {
        if !self.is_used() {
            return;
        }
        if let Some(lease) = self.lock().get_mut(identifier) {
            lease.seen = Instant::now();
            lease.seen_here = Some(lease.seen);
            change(lease);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Lease>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn leases_of(name: &str) -> (Leases, Identifier) {
        let leases = Leases::default();
        leases.set_used(true);
        let node: Identifier = name.parse().unwrap();
        leases.on_registered(&node);
        (leases, node)
    }

    fn expired_after(leases: &Leases, node: &Identifier, waits: bool, after: Duration) -> bool {
        let registered = [(node, false, waits)].into_iter();
        let (expired, next) = leases.expired(registered, LEASE, Instant::now() + after);
        assert!(next > Instant::now() + after);
        !expired.is_empty()
    }

    #[tokio::test(start_paused = true)]
    async fn lease_binds_until_the_files_are_there() {
        let (leases, node) = leases_of("a");
        assert!(!expired_after(
            &leases,
            &node,
            false,
            Duration::from_secs(29)
        ));
        assert!(expired_after(&leases, &node, false, LEASE));
        leases.on_delivered("a");
        assert!(!expired_after(&leases, &node, false, LEASE * 100));
        leases.on_registered(&node);
        assert!(expired_after(&leases, &node, false, LEASE));
    }

    #[tokio::test(start_paused = true)]
    async fn node_that_waits_or_is_seen_does_not_expire() {
        let (leases, node) = leases_of("a");
        tokio::time::advance(Duration::from_secs(20)).await;
        leases.on_seen("a");
        assert!(!expired_after(
            &leases,
            &node,
            false,
            Duration::from_secs(29)
        ));
        assert!(!expired_after(&leases, &node, true, LEASE * 100));
    }

    #[tokio::test(start_paused = true)]
    async fn node_that_renews_is_bound_after_its_delivery() {
        let (leases, node) = leases_of("a");
        leases.on_delivered("a");
        leases.on_renewed("a");
        assert!(!expired_after(
            &leases,
            &node,
            false,
            Duration::from_secs(29)
        ));
        assert!(expired_after(&leases, &node, false, LEASE));
        let state = |waits| leases.state("a", LEASE, waits, Instant::now() + LEASE);
        assert_eq!(state(false), Some(LeaseState::Expired));
        assert_eq!(state(true), Some(LeaseState::Valid));
    }

    #[tokio::test(start_paused = true)]
    async fn leases_begin_anew_for_nodes_of_a_server_that_restarted() {
        let leases = Leases::default();
        leases.set_used(true);
        let nodes: [Identifier; 2] = ["old", "new"].map(|name| name.parse().unwrap());
        let registered = || [(&nodes[0], true, false), (&nodes[1], false, false)].into_iter();
        let started = Instant::now();
        assert_eq!(leases.expired(registered(), LEASE, started).0, []);
        let (expired, _) = leases.expired(registered(), LEASE, started + LEASE);
        assert_eq!(expired, [nodes[1].clone()], "the other has its files");
    }
}
