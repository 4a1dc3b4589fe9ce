//! Which nodes have a request that waits, and how many.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{AccessKind, leases::Leases};
use cfgsync_model::Identifier;

/// Counts the held requests by node. Its size is bounded by the number of held requests.
#[derive(Default)]
pub(crate) struct HeldRequests {
    counts: Mutex<HashMap<Identifier, Count>>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    all: usize,
    /// Those of the node itself, not of operators.
    of_node: usize,
}

/// One held request, counted until this is dropped.
pub struct HeldSlot<'a> {
    requests: &'a HeldRequests,
    leases: &'a Leases,
    kind: AccessKind,
    identifier: Identifier,
}

impl HeldRequests {
    /// Takes a slot for one more request of `identifier`; `None` if `max` are held already. The end of the request renews
    /// the lease of a node.
    pub(crate) fn hold<'a>(
        &'a self,
        leases: &'a Leases,
        kind: AccessKind,
        identifier: &Identifier,
        max: usize,
    ) -> Option<HeldSlot<'a>> {
        let mut counts = self.lock();
        let mut count = counts.get(identifier).copied().unwrap_or_default();
        if count.all >= max {
            return None;
        }
        count.all += 1;
        count.of_node += usize::from(kind == AccessKind::Delivery);
        counts.insert(identifier.clone(), count);
        let identifier = identifier.clone();
        Some(HeldSlot {
            requests: self,
            leases,
            kind,
            identifier,
        })
    }

    /// Returns how many nodes wait themselves.
    pub(crate) fn waiting_nodes(&self) -> usize {
        let counts = self.lock();
        counts.values().filter(|count| count.of_node > 0).count()
    }

    /// Returns whether the node itself waits.
    pub(crate) fn waits(&self, identifier: &str) -> bool {
        let counts = self.lock();
        counts
            .get(identifier)
            .is_some_and(|count| count.of_node > 0)
    }

    /// Returns the nodes that wait themselves.
    pub(crate) fn waiting(&self) -> Vec<Identifier> {
        let counts = self.lock();
        let waiting = counts.iter().filter(|(_, count)| count.of_node > 0);
        waiting.map(|(identifier, _)| identifier.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldSlot<'_> {
    fn drop(&mut self) {
        if self.kind == AccessKind::Delivery {
            self.leases.on_seen(self.identifier.as_str());
        }
        let mut counts = self.requests.lock();
        if let Some(count) = counts.get_mut(&self.identifier) {
            count.all -= 1;
            count.of_node -= usize::from(self.kind == AccessKind::Delivery);
            if count.all == 0 {
                counts.remove(&self.identifier);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_given_back() {
        let (requests, leases) = (HeldRequests::default(), Leases::default());
        let [a, b]: [Identifier; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let first = requests.hold(&leases, AccessKind::Delivery, &a, 2);
        let second = requests.hold(&leases, AccessKind::Delivery, &a, 2);
        assert!(first.is_some() && second.is_some());
        assert!(
            requests
                .hold(&leases, AccessKind::Delivery, &a, 2)
                .is_none()
        );
        assert!(
            requests
                .hold(&leases, AccessKind::Delivery, &b, 2)
                .is_some()
        );
        drop(first);
        assert!(
            requests
                .hold(&leases, AccessKind::Delivery, &a, 2)
                .is_some()
        );
        drop(second);
        assert!(requests.lock().is_empty());
        assert!(
            requests
                .hold(&leases, AccessKind::Delivery, &a, 0)
                .is_none()
        );
    }

    #[test]
    fn only_requests_of_the_node_itself_count_as_waiting() {
        let (requests, leases) = (HeldRequests::default(), Leases::default());
        let node: Identifier = "a".parse().unwrap();
        let look = AccessKind::Look { reveal: false };
        let _looks = requests.hold(&leases, look, &node, 9);
        assert!(!requests.waits("a"));
        let waits = requests.hold(&leases, AccessKind::Delivery, &node, 9);
        assert!(requests.waits("a"));
        drop(waits);
        assert!(!requests.waits("a"));
    }
}
