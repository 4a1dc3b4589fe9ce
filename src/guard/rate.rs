//! How often an address may ask.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};

/// So many requests at once, and so many in every second after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In every second.
    pub per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

/// Counts by address in 65,536 places, whatever comes: addresses that meet in one share it, and nobody can know which
/// do. An IPv6 address counts with its /64, which one machine may have for itself.
pub(super) struct PerAddress {
    limiter: DefaultKeyedRateLimiter<u16>,
    places: RandomState,
}

impl PerAddress {
    pub(super) fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self {
            limiter: RateLimiter::keyed(quota),
            places: RandomState::new(),
        }
    }

    /// Takes one of what `address` may; otherwise, how long until there is one again.
    pub(super) fn take(&self, address: IpAddr) -> Result<(), Duration> {
        let taken = self.limiter.check_key(&self.place(address));
        taken.map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    fn place(&self, address: IpAddr) -> u16 {
        let hash = match address.to_canonical() {
            IpAddr::V4(v4) => self.places.hash_one(v4.octets()),
            IpAddr::V6(v6) => self.places.hash_one(&v6.octets()[..8]),
        };
        (hash & 0xffff) as u16
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
    fn a_million_addresses_take_bounded_room() {
        let limited = limited(1);
        for address in 0..1_000_000_u32 {
            let _ = limited.take(IpAddr::from(address.to_be_bytes()));
        }
        assert!(limited.limiter.len() <= 1 << 16);
    }
}
