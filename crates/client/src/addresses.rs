//! The addresses of one name: in which order they are tried, and which of them have failed.
//!
//! A name with several addresses stands for several servers. The order is drawn for each connection, so that the nodes of a
//! cluster are spread over them. Addresses that have failed are tried last for a bounded time.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use crate::avoidance::Avoidance;

/// The most addresses of a name that are used.
const ADDRESSES_MAX: usize = 16;

/// The addresses that a name had when it was last looked up.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// In the order in which the next connection tries them.
    order: Vec<IpAddr>,
    /// The state of each of them.
    avoided: HashMap<IpAddr, Avoidance>,
    /// Whether a connection was made since the order was drawn.
    is_connected: bool,
}

impl Addresses {
    /// Returns the addresses in the order in which a new connection tries them. Families of addresses stay in the order of
    /// the system's resolver, which knows which family works.
    pub(crate) fn draw_order(&mut self, found: &[IpAddr]) -> Vec<IpAddr> {
        let found: Vec<IpAddr> = found.iter().copied().take(ADDRESSES_MAX).collect();
        self.avoided.retain(|address, _| found.contains(address));
        let first_is_v4 = found.first().is_some_and(IpAddr::is_ipv4);
        let draw = || getrandom::u32().unwrap_or_default();
        let mut keyed: Vec<_> = found
            .iter()
            .map(|address| {
                let is_avoided = self.is_avoided(*address);
                (
                    is_avoided,
                    address.is_ipv4() != first_is_v4,
                    draw(),
                    *address,
                )
            })
            .collect();
        keyed.sort_unstable();
        self.order = keyed.into_iter().map(|(.., address)| address).collect();
        self.is_connected = false;
        self.order.clone()
    }

    /// Notes the address with which a connection was made. Those of its family that stand before it were tried and have
    /// failed.
    pub(crate) fn connected(&mut self, address: IpAddr) {
        if std::mem::replace(&mut self.is_connected, true) {
            return;
        }
        let Some(position) = self.order.iter().position(|other| *other == address) else {
            return;
        };
        for other in &self.order[..position] {
            if other.is_ipv4() == address.is_ipv4() {
                self.avoided.entry(*other).or_default().fail();
            }
        }
    }

    /// Notes that a request at this address has failed.
    pub(crate) fn fail(&mut self, address: IpAddr) {
        self.avoided.entry(address).or_default().fail();
    }

    /// Notes that the server at this address can serve nothing for this time.
    pub(crate) fn pause(&mut self, address: IpAddr, time: Duration) {
        self.avoided.entry(address).or_default().pause(time);
    }

    /// Notes that a request at this address has succeeded.
    pub(crate) fn succeed(&mut self, address: IpAddr) {
        if let Some(avoidance) = self.avoided.get_mut(&address) {
            avoidance.succeed();
        }
    }

    /// Returns whether there is an address that has not failed.
    pub(crate) fn has_other(&self, address: IpAddr) -> bool {
        let mut others = self.order.iter().filter(|other| **other != address);
        others.any(|other| !self.is_avoided(*other))
    }

    fn is_avoided(&self, address: IpAddr) -> bool {
        let avoidance = self.avoided.get(&address);
        avoidance.is_some_and(|avoidance| avoidance.until().is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn addresses() -> [IpAddr; 4] {
        ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"].map(|text| text.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_spread_and_keep_the_order_of_families() {
        let mut firsts = BTreeSet::new();
        for _ in 0..200 {
            let mut of_name = Addresses::default();
            let order = of_name.draw_order(&addresses());
            firsts.insert(order[0]);
            assert_eq!(order[3], addresses()[3]);
        }
        assert_eq!(firsts.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_address_is_tried_last() {
        let [a, b, c, v6] = addresses();
        let mut of_name = Addresses::default();
        of_name.draw_order(&addresses());
        assert!(of_name.has_other(a));
        of_name.fail(a);
        of_name.fail(v6);
        for _ in 0..50 {
            let order = of_name.draw_order(&addresses());
            assert_eq!(order[2..], [a, v6]);
        }
        of_name.fail(b);
        assert!(of_name.has_other(a) && !of_name.has_other(c));
        of_name.succeed(a);
        assert_eq!(of_name.draw_order(&addresses())[2..], [b, v6]);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_before_the_connected_one_have_failed() {
        let mut of_name = Addresses::default();
        let order = of_name.draw_order(&addresses());
        of_name.connected(order[1]);
        // A later request on the same connection says nothing about the others.
        of_name.connected(order[2]);
        assert_eq!(of_name.draw_order(&addresses())[3], order[0]);
    }
}
