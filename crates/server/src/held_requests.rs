//! How many requests are held for each node.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cfgsync_model::Identifier;

/// Counts the held requests by node. Its size is bounded by the number of held requests.
#[derive(Default)]
pub(super) struct HeldRequests {
    counts: Mutex<HashMap<Identifier, usize>>,
}

/// One held request, counted until this is dropped.
pub(super) struct HeldSlot<'a> {
    requests: &'a HeldRequests,
    identifier: Identifier,
}

impl HeldRequests {
    /// Takes a slot for one more request of `identifier`; `None` if `max` are held already.
    pub(super) fn hold(&self, identifier: &Identifier, max: usize) -> Option<HeldSlot<'_>> {
        let mut counts = self.lock();
        let count = counts.get(identifier).copied().unwrap_or_default();
        if count >= max {
            return None;
        }
        counts.insert(identifier.clone(), count + 1);
        let identifier = identifier.clone();
        Some(HeldSlot {
            requests: self,
            identifier,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldSlot<'_> {
    fn drop(&mut self) {
        let mut counts = self.requests.lock();
        if let Some(count) = counts.get_mut(&self.identifier) {
            *count -= 1;
            if *count == 0 {
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
        let requests = HeldRequests::default();
        let [a, b]: [Identifier; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let first = requests.hold(&a, 2);
        let second = requests.hold(&a, 2);
        assert!(first.is_some() && second.is_some());
        assert!(requests.hold(&a, 2).is_none());
        assert!(requests.hold(&b, 2).is_some());
        drop(first);
        assert!(requests.hold(&a, 2).is_some());
        drop(second);
        assert!(requests.lock().is_empty());
        assert!(requests.hold(&a, 0).is_none());
    }
}
