//! Limits how many refusals the audit log records. Anyone can cause refusals, and must not be able to fill the log.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::rates::AddressRates;

/// How many refusals of one address are recorded at once. Then one is recorded each minute.
const LINES_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
/// How many refusals of all addresses together are recorded at once.
const LINES_MAX: NonZeroU32 = NonZeroU32::new(1000).expect("not zero");
/// How many refusals of all addresses together are recorded each minute after that.
const LINES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

/// The budgets of recorded refusals: one for each address, and one for all.
pub(super) struct RefusalLines {
    addresses: AddressRates,
    all: DefaultDirectRateLimiter,
    left_out: AtomicU64,
}

impl RefusalLines {
    pub(super) fn new() -> Self {
        let one = Quota::per_minute(NonZeroU32::MIN).allow_burst(LINES_PER_ADDRESS);
        let all = Quota::per_minute(LINES_PER_MINUTE).allow_burst(LINES_MAX);
        Self {
            addresses: AddressRates::of(one),
            all: RateLimiter::direct(all),
            left_out: AtomicU64::new(0),
        }
    }

    /// Returns whether a refusal of `address` is recorded: then the number of refusals, of any address, that were left
    /// out since the last recorded one.
    pub(super) fn record(&self, address: IpAddr) -> Option<u64> {
        if self.addresses.check(address).is_ok() && self.all.check().is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_use_the_budget_of_others() {
        let lines = RefusalLines::new();
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let recorded = (0..1000).filter(|_| lines.record(one).is_some()).count();
        assert_eq!(recorded, 20);
        // At least one of so many addresses uses another counter.
        let others = (2..10).map(|last| IpAddr::from([10, 0, 0, last]));
        let left_out = others.into_iter().find_map(|other| lines.record(other));
        assert!(left_out.is_some_and(|left_out| left_out >= 980));
    }

    /// The number of lines was bounded for each address only, and an attacker has many IPv6 networks.
    #[test]
    fn all_addresses_together_have_a_budget() {
        let lines = RefusalLines::new();
        let networks =
            (0..5000_u128).map(|at| IpAddr::from((0xfd00 << 112 | at << 64).to_be_bytes()));
        let recorded = networks.filter(|one| lines.record(*one).is_some()).count();
        assert_eq!(recorded, 1000);
    }
}
