//! Rate limits for each client address.

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

/// The number of counters that addresses are spread over; together they take a quarter of a megabyte.
const COUNTERS: usize = 1 << 15;

/// A rate limit: a burst, and a number per second once the burst is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many are allowed per second.
    pub per_second: NonZeroU32,
    /// How many are allowed at once.
    pub burst: NonZeroU32,
}

/// Returns the network that counts as one client: an IPv4 address itself, or the /64 of an IPv6 address. One machine
/// may use all addresses of a /64.
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

/// A rate limit for each client network, in constant memory. Networks that hash to the same counter share it. The hash
/// is keyed, so an attacker cannot choose addresses that share one with a victim.
pub(super) struct AddressRates {
    limiter: RateLimiter<usize, Counters, DefaultClock>,
    hasher: RandomState,
}

/// One atomic number for each counter, so that no lock is taken.
struct Counters(Box<[InMemoryState]>);

impl StateStore for Counters {
    type Key = usize;

    fn measure_and_replace<T, F, E>(&self, counter: &usize, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0[*counter].measure_and_replace(&NotKeyed::NonKey, f)
    }
}

impl AddressRates {
    pub(super) fn new(rate: Rate) -> Self {
        Self::of(Quota::per_second(rate.per_second).allow_burst(rate.burst))
    }

    pub(super) fn of(quota: Quota) -> Self {
        let mut counters = Vec::new();
        counters.resize_with(COUNTERS, InMemoryState::default);
        Self {
            limiter: RateLimiter::new(quota, Counters(counters.into()), DefaultClock::default()),
            hasher: RandomState::new(),
        }
    }

    /// Counts one event of `address`. If that exceeds the limit, returns how long the client must wait.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Duration> {
        let checked = self.limiter.check_key(&self.counter(address));
        checked.map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    fn counter(&self, address: IpAddr) -> usize {
        let hash = self.hasher.hash_one(client_network(address));
        usize::try_from(hash % COUNTERS as u64).expect("smaller than the number of counters")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(burst: u32) -> AddressRates {
        AddressRates::new(Rate {
            // The test ends before the next one is allowed.
            per_second: NonZeroU32::MIN,
            burst: NonZeroU32::new(burst).unwrap(),
        })
    }

    #[test]
    fn each_address_has_its_own_burst() {
        let limited = limited(3);
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(limited.check(one), Ok(()));
        }
        let wait = limited.check("::ffff:10.0.0.1".parse().unwrap());
        assert!(wait.is_err_and(|wait| wait <= Duration::from_secs(1)));
        // At least one of so many addresses uses another counter.
        let others = (2..10).map(|last| IpAddr::from([10, 0, 0, last]));
        assert!(others.into_iter().any(|other| limited.check(other).is_ok()));
    }

    #[test]
    fn ipv6_network_counts_as_one_address() {
        let limited = limited(1);
        assert_eq!(limited.check("2001:db8::1".parse().unwrap()), Ok(()));
        assert!(limited.check("2001:db8::ffff".parse().unwrap()).is_err());
    }

    #[test]
    fn addresses_are_spread_over_all_counters() {
        let limited = limited(1);
        let mut taken = vec![false; COUNTERS];
        for address in 0..1_000_000_u32 {
            taken[limited.counter(IpAddr::from(address.to_be_bytes()))] = true;
        }
        assert!(taken.iter().all(|taken| *taken));
    }
}
