//! How many clients watch the events: in all, for each identity, and for each client network.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cfgsync_access::client_network;

/// How many clients may watch the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchLimits {
    /// In all. 10,000 by default.
    pub all_max: usize,
    /// With one token or client certificate. 1,000 by default.
    pub per_identity_max: usize,
    /// From one address; an IPv6 /64 counts as one. 1,000 by default.
    pub per_address_max: usize,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self {
            all_max: 10_000,
            per_identity_max: 1_000,
            per_address_max: 1_000,
        }
    }
}

/// A limit of watchers that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooManyWatchers {
    #[error(
        "this server has reached its limit of event streams ({0}); try again when one is closed, or raise \
         --watchers-max on the server"
    )]
    All(usize),
    #[error(
        "the token or the certificate has reached its limit of event streams ({0}); close one, or raise \
         --watchers-per-identity-max on the server"
    )]
    Identity(usize),
    #[error(
        "this address has reached its limit of event streams ({0}); close one, or raise --watchers-per-address-max on \
         the server"
    )]
    Address(usize),
}

/// Counts the watchers. Its size is bounded by their number.
pub(super) struct Watchers {
    limits: WatchLimits,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_identity: HashMap<Arc<str>, usize>,
    by_network: HashMap<IpAddr, usize>,
}

/// The slot of one watcher, given back when this is dropped.
pub(super) struct WatcherSlot {
    watchers: Arc<Watchers>,
    /// `None` for a client without credentials.
    identity: Option<Arc<str>>,
    network: IpAddr,
}

impl Watchers {
    pub(super) fn new(limits: WatchLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            counts: Mutex::default(),
        })
    }

    /// Takes a slot for one more watcher.
    pub(super) fn take(
        self: &Arc<Self>,
        identity: Option<&str>,
        address: IpAddr,
    ) -> Result<WatcherSlot, TooManyWatchers> {
        let WatchLimits {
            all_max,
            per_identity_max,
            per_address_max,
        } = self.limits;
        let network = client_network(address);
        let mut counts = self.lock();
        if counts.all >= all_max {
            return Err(TooManyWatchers::All(all_max));
        }
        let of_identity = identity.and_then(|identity| counts.by_identity.get(identity));
        if of_identity.is_some_and(|count| *count >= per_identity_max) {
            return Err(TooManyWatchers::Identity(per_identity_max));
        }
        let of_network = counts.by_network.get(&network);
        if of_network.is_some_and(|count| *count >= per_address_max) {
            return Err(TooManyWatchers::Address(per_address_max));
        }
        counts.all += 1;
        let identity: Option<Arc<str>> = identity.map(Into::into);
        if let Some(identity) = &identity {
            *counts.by_identity.entry(identity.clone()).or_default() += 1;
        }
        *counts.by_network.entry(network).or_default() += 1;
        drop(counts);
        Ok(WatcherSlot {
            watchers: Arc::clone(self),
            identity,
            network,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WatcherSlot {
    fn drop(&mut self) {
        let mut counts = self.watchers.lock();
        counts.all -= 1;
        if let Some(identity) = &self.identity {
            decrement(&mut counts.by_identity, identity);
        }
        decrement(&mut counts.by_network, &self.network);
    }
}

fn decrement<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_holds_until_a_slot_is_given_back() {
        let watchers = Watchers::new(WatchLimits {
            all_max: 4,
            per_identity_max: 2,
            per_address_max: 3,
        });
        let take = |identity, address: &str| watchers.take(identity, address.parse().unwrap());
        let a = Some("token a");
        let first = take(a, "10.0.0.1").ok();
        let second = take(a, "10.0.0.2").ok();
        let refusal = |identity, address| take(identity, address).err();
        assert_eq!(refusal(a, "10.0.0.3"), Some(TooManyWatchers::Identity(2)));
        let third = take(None, "10.0.0.1").ok();
        let fourth = take(None, "10.0.0.1").ok();
        assert!(
            [&first, &second, &third, &fourth]
                .into_iter()
                .all(Option::is_some)
        );
        assert_eq!(refusal(None, "10.0.0.9"), Some(TooManyWatchers::All(4)));
        drop(second);
        assert_eq!(refusal(None, "10.0.0.1"), Some(TooManyWatchers::Address(3)));
        let again = take(a, "10.0.0.2").ok();
        assert!(again.is_some());
        drop((first, third, fourth, again));
        let counts = watchers.lock();
        assert!(counts.all == 0 && counts.by_identity.is_empty() && counts.by_network.is_empty());
    }
}
