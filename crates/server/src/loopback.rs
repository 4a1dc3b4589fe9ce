//! Whether only this machine can reach the server.

use std::net::SocketAddr;

/// Returns whether all `addresses` are loopback addresses, which only this machine can reach.
pub fn is_loopback_only(addresses: &[SocketAddr]) -> bool {
    addresses
        .iter()
        .all(|address| address.ip().to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_beyond_loopback_is_enough() {
        let all = |texts: &[&str]| {
            let addresses: Vec<SocketAddr> = texts.iter().map(|t| t.parse().unwrap()).collect();
            is_loopback_only(&addresses)
        };
        assert!(all(&["127.0.0.1:1", "[::1]:1", "127.9.9.9:1"]));
        assert!(all(&["[::ffff:127.0.0.1]:1"]));
        assert!(!all(&["127.0.0.1:1", "0.0.0.0:1"]));
        assert!(!all(&["[::]:1"]));
        assert!(!all(&["10.0.0.1:1"]));
    }
}
