//! How many connections each address has open, so that no address has all of them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use cfgsync_access::counted_as;

/// How long nothing more is said of addresses that want more than their share.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Counts open connections by address. As large as there are connections.
pub(super) struct Shares {
    max: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    open: HashMap<IpAddr, usize>,
    told: Option<Instant>,
}

/// One connection of an address's share, until it is dropped.
pub(super) struct Share {
    shares: Arc<Shares>,
    address: IpAddr,
}

/// An address has its share already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exhausted {
    /// The address, or the network that counts as one.
    pub(super) address: IpAddr,
    /// Whether nothing was said of such addresses for a while.
    pub(super) is_news: bool,
}

impl Shares {
    /// At most `per_address_max` of so many connections for an address; unless that is given, all but a quarter.
    pub(super) fn new(connections_max: usize, per_address_max: Option<usize>) -> Arc<Self> {
        let fair = connections_max - connections_max / 4;
        Arc::new(Self {
            max: per_address_max.unwrap_or(fair),
            counts: Mutex::default(),
        })
    }

    /// How many connections an address may have.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// One more connection of `address`.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Share, Exhausted> {
        let address = counted_as(address);
        let mut counts = self.lock();
        let open = counts.open.get(&address).copied().unwrap_or_default();
        if open >= self.max {
            let now = Instant::now();
            let is_news = counts.told.is_none_or(|told| now - told >= TOLD_EVERY);
            if is_news {
                counts.told = Some(now);
            }
            return Err(Exhausted { address, is_news });
        }
        counts.open.insert(address, open + 1);
        Ok(Share {
            shares: Arc::clone(self),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.shares.lock();
        if let Some(open) = counts.open.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                counts.open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(shares: &Arc<Shares>, address: &str) -> Result<Share, Exhausted> {
        shares.take(address.parse().unwrap())
    }

    #[test]
    fn an_address_leaves_a_quarter_to_others_unless_told_otherwise() {
        for (all, told, max) in [
            (1, None, 1),
            (3, None, 3),
            (4, None, 3),
            (16_384, None, 12_288),
            (4, Some(1), 1),
            (4, Some(4), 4),
        ] {
            assert_eq!(Shares::new(all, told).max(), max, "of {all}, {told:?}");
        }
    }

    #[test]
    fn an_address_has_its_share_and_gives_it_back() {
        let shares = Shares::new(4, Some(2));
        let first = take(&shares, "10.0.0.1").ok().unwrap();
        let second = take(&shares, "::ffff:10.0.0.1").ok().unwrap();
        assert!(take(&shares, "10.0.0.1").is_err());
        let other = take(&shares, "10.0.0.2").ok().unwrap();
        drop(first);
        let again = take(&shares, "10.0.0.1").ok().unwrap();
        assert!(take(&shares, "10.0.0.1").is_err());
        drop((second, other, again));
        assert!(shares.lock().open.is_empty());
    }

    #[test]
    fn a_network_of_one_machine_has_one_share() {
        let shares = Shares::new(4, Some(1));
        let _held = take(&shares, "2001:db8::1").ok().unwrap();
        let exhausted = take(&shares, "2001:db8::ffff").err().unwrap();
        assert_eq!(exhausted.address.to_string(), "2001:db8::");
        assert!(take(&shares, "2001:db8:0:1::1").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_news_once_in_a_while_whoever_it_is() {
        let shares = Shares::new(4, Some(1));
        let _held = ["10.0.0.1", "10.0.0.2"].map(|address| take(&shares, address).ok().unwrap());
        let is_news = |address| take(&shares, address).err().unwrap().is_news;
        let told = [
            is_news("10.0.0.1"),
            is_news("10.0.0.1"),
            is_news("10.0.0.2"),
        ];
        assert_eq!(told, [true, false, false]);
        tokio::time::advance(TOLD_EVERY).await;
        assert_eq!([is_news("10.0.0.2"), is_news("10.0.0.1")], [true, false]);
    }
}
