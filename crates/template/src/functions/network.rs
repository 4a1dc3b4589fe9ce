//! Functions for addresses and node names: `hostport`, `cidr_host` and `ordinal`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use minijinja::{Error, Value};

use super::lists::require_defined;
use crate::engine_error::invalid_operation;

/// `hostport(HOST, PORT)`: joins an address or host name and a port, such as `10.0.0.1:80` or `[fd00::1]:80`.
pub(super) fn hostport(host: &Value, port: &Value) -> Result<String, Error> {
    require_defined(host)?;
    require_defined(port)?;
    let host = host
        .as_str()
        .ok_or_else(|| invalid_operation("the host of `hostport` must be a string"))?;
    let port = port
        .as_str()
        .map_or_else(|| port.as_i64(), |text| text.parse().ok())
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| invalid_operation("`hostport` needs a port from 0 to 65535"))?;
    // Most hosts are IPv4 addresses, which need no further checks.
    if host.parse::<Ipv4Addr>().is_ok() {
        return Ok(format!("{host}:{port}"));
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(ip) = bare.parse::<Ipv6Addr>() {
        return Ok(format!("[{ip}]:{port}"));
    }
    if host.is_empty() || host.contains([':', '[', ']', '/']) || host.contains(char::is_whitespace)
    {
        return Err(invalid_operation(
            "`hostport` needs an IP address or a host name without a port",
        ));
    }
    Ok(format!("{host}:{port}"))
}

/// `cidr_host(NETWORK, INDEX)`: returns one address of a network. The index 0 is the network's own address, and -1 is
/// the last address.
pub(super) fn cidr_host(network: &str, index: i64) -> Result<String, Error> {
    let network: IpNet = network
        .parse()
        .map_err(|_| invalid_operation("`cidr_host` needs a network such as 10.0.0.0/24"))?;
    let host_bits = network.max_prefix_len() - network.prefix_len();
    // This is 2^host_bits - 1. A shift by 128 would overflow for `::/0`.
    let last = if host_bits == 0 {
        0
    } else {
        u128::MAX >> (128 - u32::from(host_bits))
    };
    let distance = u128::from(index.unsigned_abs());
    let offset = if index >= 0 {
        Some(distance)
    } else {
        (last + u128::from(host_bits < 128))
            .checked_sub(distance)
            .map(|offset| {
                // `::/0` has 2^128 addresses, which does not fit. The subtraction above started one too low.
                offset + u128::from(host_bits == 128)
            })
    };
    let offset = offset.filter(|&offset| offset <= last).ok_or_else(|| {
        invalid_operation(format!(
            "a /{} network has no address number {index}",
            network.prefix_len()
        ))
    })?;
    let address = match network.network() {
        // An offset within an IPv4 network has at most 32 bits.
        IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(
            first.to_bits() | u32::try_from(offset).unwrap_or(u32::MAX),
        )),
        IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | offset)),
    };
    Ok(address.to_string())
}

/// `ordinal(NAME)`: returns the number at the end of a name, such as 10 for `zk-10`.
pub(super) fn ordinal(name: &str) -> Result<u64, Error> {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    if digits == 0 {
        return Err(invalid_operation(
            "`ordinal` needs a name that ends in a number, such as `zk-10`",
        ));
    }
    name[name.len() - digits..]
        .parse()
        .map_err(|_| invalid_operation("the number at the end of this name is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostport_brackets_ipv6() {
        for (host, port, expected) in [
            ("10.0.0.1", Value::from(80), "10.0.0.1:80"),
            ("fd00::1", Value::from("80"), "[fd00::1]:80"),
            ("[fd00:0::1]", Value::from(80), "[fd00::1]:80"),
            ("node-1.example", Value::from(0), "node-1.example:0"),
        ] {
            assert_eq!(hostport(&host.into(), &port).unwrap(), expected);
        }
        for (host, port) in [
            ("", Value::from(80)),
            ("a:1", Value::from(80)),
            ("10.0.0.0/8", Value::from(80)),
            ("a", Value::from(65536)),
            ("a", Value::from(-1)),
            ("a", Value::from("x")),
            ("a", Value::from(1.5)),
        ] {
            assert!(hostport(&host.into(), &port).is_err(), "{host} {port}");
        }
    }

    #[test]
    fn cidr_host_counts_from_the_first_and_last_address() {
        for (network, index, expected) in [
            ("10.0.0.0/24", 0, Some("10.0.0.0")),
            ("10.0.0.77/24", 5, Some("10.0.0.5")),
            ("10.0.0.0/24", 255, Some("10.0.0.255")),
            ("10.0.0.0/24", 256, None),
            ("10.0.0.0/24", -1, Some("10.0.0.255")),
            ("10.0.0.0/24", -256, Some("10.0.0.0")),
            ("10.0.0.0/24", -257, None),
            ("10.0.0.1/32", 0, Some("10.0.0.1")),
            ("10.0.0.1/32", -1, Some("10.0.0.1")),
            ("10.0.0.1/32", 1, None),
            ("0.0.0.0/0", -1, Some("255.255.255.255")),
            ("fd00::/64", 16, Some("fd00::10")),
            ("fd00::/64", -1, Some("fd00::ffff:ffff:ffff:ffff")),
            ("::/0", -1, Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
            ("::/0", 1, Some("::1")),
            ("10.0.0.0", 0, None),
        ] {
            assert_eq!(
                cidr_host(network, index).ok().as_deref(),
                expected,
                "{network} {index}"
            );
        }
    }

    #[test]
    fn ordinal_returns_the_number_at_the_end() {
        assert_eq!(ordinal("zk-10").unwrap(), 10);
        assert_eq!(ordinal("007").unwrap(), 7);
        for name in ["zk", "", "9a", "n-99999999999999999999999"] {
            assert!(ordinal(name).is_err(), "{name}");
        }
    }
}
