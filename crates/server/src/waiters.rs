//! How many requests are held for one node.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cfgsync_model::Identifier;

/// Counts the requests that are held, by node. As large as there are held requests.
#[derive(Default)]
pub(super) struct Waiters {
    held: Mutex<HashMap<Identifier, usize>>,
}

/// A place among those that are held, until it is dropped.
pub(super) struct Held<'a> {
    waiters: &'a Waiters,
    identifier: Identifier,
}

impl Waiters {
    /// A place for one more request of `identifier`, of which at most `max` are held.
    pub(super) fn hold(&self, identifier: &Identifier, max: usize) -> Option<Held<'_>> {
        let mut held = self.lock();
        let count = held.get(identifier).copied().unwrap_or_default();
        if count >= max {
            return None;
        }
        held.insert(identifier.clone(), count + 1);
        let identifier = identifier.clone();
        Some(Held {
            waiters: self,
            identifier,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = self.waiters.lock();
        if let Some(count) = held.get_mut(&self.identifier) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.identifier);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let waiters = Waiters::default();
        let [a, b]: [Identifier; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let first = waiters.hold(&a, 2);
        let second = waiters.hold(&a, 2);
        assert!(first.is_some() && second.is_some());
        assert!(waiters.hold(&a, 2).is_none());
        assert!(waiters.hold(&b, 2).is_some());
        drop(first);
        assert!(waiters.hold(&a, 2).is_some());
        drop(second);
        assert!(waiters.lock().is_empty());
        assert!(waiters.hold(&a, 0).is_none());
    }
}
