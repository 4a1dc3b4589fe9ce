//! How often an address may ask.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, StateStore},
};

/// In how many places addresses are counted: a quarter of a megabyte.
const PLACES: usize = 1 << 15;

/// So many requests at once, and so many in every second after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In every second.
    pub per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

/// What `address` counts as: an IPv6 address with its /64, which one machine may have for itself.
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

/// Counts by address in so many places, whatever comes: addresses that meet in one share it, and nobody can know
/// which do.
pub(super) struct PerAddress {
    limiter: RateLimiter<usize, Places, DefaultClock>,
    hasher: RandomState,
}

/// A number for each place; no lock is taken.
struct Places(Box<[InMemoryState]>);

impl StateStore for Places {
    type Key = usize;

    fn measure_and_replace<T, F, E>(&self, place: &usize, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0[*place].measure_and_replace(&NotKeyed::NonKey, f)
    }
}

impl PerAddress {
    pub(super) fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let mut places = Vec::new();
        places.resize_with(PLACES, InMemoryState::default);
        Self {
            limiter: RateLimiter::new(quota, Places(places.into()), DefaultClock::default()),
            hasher: RandomState::new(),
        }
    }

    /// Takes one of what `address` may; otherwise, how long until there is one again.
    pub(super) fn take(&self, address: IpAddr) -> Result<(), Duration> {
        let taken = self.limiter.check_key(&self.place(address));
        taken.map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    fn place(&self, address: IpAddr) -> usize {
        let hash = self.hasher.hash_one(counted_as(address));
        usize::try_from(hash % PLACES as u64).expect("less than there are places")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(burst: u32) -> PerAddress {
        PerAddress::new(Rate {
            // The next one comes after the test.
            per_second: NonZeroU32::MIN,
            burst: NonZeroU32::new(burst).unwrap(),
        })
    }

    #[test]
    fn an_address_has_its_burst_and_others_have_theirs() {
        let limited = limited(3);
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(limited.take(one), Ok(()));
        }
        let wait = limited.take("::ffff:10.0.0.1".parse().unwrap());
        assert!(wait.is_err_and(|wait| wait <= Duration::from_secs(1)));
        // One of so many does not meet it.
        let others = (2..10).map(|last| IpAddr::from([10, 0, 0, last]));
        assert!(others.into_iter().any(|other| limited.take(other).is_ok()));
    }

    #[test]
    fn a_network_of_one_machine_is_one() {
        let limited = limited(1);
        assert_eq!(limited.take("2001:db8::1".parse().unwrap()), Ok(()));
        assert!(limited.take("2001:db8::ffff".parse().unwrap()).is_err());
    }

    #[test]
    fn addresses_are_spread_over_all_places() {
        let limited = limited(1);
        let mut taken = vec![false; PLACES];
        for address in 0..1_000_000_u32 {
            taken[limited.place(IpAddr::from(address.to_be_bytes()))] = true;
        }
        assert!(taken.iter().all(|taken| *taken));
    }
}
