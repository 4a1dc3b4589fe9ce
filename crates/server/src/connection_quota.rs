//! How many connections each client network has open, so that none can take all of them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use cfgsync_access::client_network;

/// One warning about exceeded quotas is enough for this long.
const WARN_INTERVAL: Duration = Duration::from_mins(1);

/// Counts open connections by client network. Its size is bounded by the number of open connections.
pub(super) struct ConnectionQuota {
    max: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    open: HashMap<IpAddr, usize>,
    last_warning: Option<Instant>,
}

/// One connection of a network's quota, given back when this is dropped.
pub(super) struct QuotaSlot {
    quota: Arc<ConnectionQuota>,
    network: IpAddr,
}

/// A network has as many connections open as it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QuotaExceeded {
    /// The address, or the network that counts as one.
    pub(super) network: IpAddr,
    /// Whether enough time has passed since the last warning.
    pub(super) should_warn: bool,
}

impl ConnectionQuota {
    /// Allows each network `per_network_max` connections; if that is absent, three quarters of `connections_max`.
    pub(super) fn new(connections_max: usize, per_network_max: Option<usize>) -> Arc<Self> {
        let three_quarters = connections_max - connections_max / 4;
        Arc::new(Self {
            max: per_network_max.unwrap_or(three_quarters),
            counts: Mutex::default(),
        })
    }

    /// The number of connections that a network may have open.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Takes a slot for one more connection of `address`.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<QuotaSlot, QuotaExceeded> {
        let network = client_network(address);
        let mut counts = self.lock();
        let open = counts.open.get(&network).copied().unwrap_or_default();
        if open >= self.max {
            let now = Instant::now();
            let last = counts.last_warning;
            let should_warn = last.is_none_or(|last| now - last >= WARN_INTERVAL);
            if should_warn {
                counts.last_warning = Some(now);
            }
            return Err(QuotaExceeded {
                network,
                should_warn,
            });
        }
        counts.open.insert(network, open + 1);
        Ok(QuotaSlot {
            quota: Arc::clone(self),
            network,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for QuotaSlot {
    fn drop(&mut self) {
        let mut counts = self.quota.lock();
        if let Some(open) = counts.open.get_mut(&self.network) {
            *open -= 1;
            if *open == 0 {
                counts.open.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(quota: &Arc<ConnectionQuota>, address: &str) -> Result<QuotaSlot, QuotaExceeded> {
        quota.take(address.parse().unwrap())
    }

    #[test]
    fn default_quota_is_three_quarters_of_all_connections() {
        for (all, given, max) in [
            (1, None, 1),
            (3, None, 3),
            (4, None, 3),
            (16_384, None, 12_288),
            (4, Some(1), 1),
            (4, Some(4), 4),
        ] {
            let quota = ConnectionQuota::new(all, given);
            assert_eq!(quota.max(), max, "of {all}, {given:?}");
        }
    }

    #[test]
    fn closed_connections_are_given_back() {
        let quota = ConnectionQuota::new(4, Some(2));
        let first = take(&quota, "10.0.0.1").ok().unwrap();
        let second = take(&quota, "::ffff:10.0.0.1").ok().unwrap();
        assert!(take(&quota, "10.0.0.1").is_err());
        let other = take(&quota, "10.0.0.2").ok().unwrap();
        drop(first);
        let again = take(&quota, "10.0.0.1").ok().unwrap();
        assert!(take(&quota, "10.0.0.1").is_err());
        drop((second, other, again));
        assert!(quota.lock().open.is_empty());
    }

    #[test]
    fn ipv6_network_counts_as_one_client() {
        let quota = ConnectionQuota::new(4, Some(1));
        let _open = take(&quota, "2001:db8::1").ok().unwrap();
        let exceeded = take(&quota, "2001:db8::ffff").err().unwrap();
        assert_eq!(exceeded.network.to_string(), "2001:db8::");
        assert!(take(&quota, "2001:db8:0:1::1").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn warns_once_a_minute_for_all_networks_together() {
        let quota = ConnectionQuota::new(4, Some(1));
        let _open = ["10.0.0.1", "10.0.0.2"].map(|address| take(&quota, address).ok().unwrap());
        let should_warn = |address| take(&quota, address).err().unwrap().should_warn;
        let warned = [
            should_warn("10.0.0.1"),
            should_warn("10.0.0.1"),
            should_warn("10.0.0.2"),
        ];
        assert_eq!(warned, [true, false, false]);
        tokio::time::advance(WARN_INTERVAL).await;
        assert_eq!(
            [should_warn("10.0.0.2"), should_warn("10.0.0.1")],
            [true, false]
        );
    }
}
