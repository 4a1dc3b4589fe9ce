//! Registrations: what a node tells the server about itself.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Identifier;

/// The metadata of a registration: any JSON value. cfgsync interprets only the fields that the spec declares.
pub type Metadata = serde_json::Value;

/// The registration of a node. Registering again with equal facts changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRegistration {
    /// The node's unique name.
    pub identifier: Identifier,
    /// The address at which other nodes reach this node, IPv4 or IPv6.
    pub ip: IpAddr,
    /// The metadata. When it is decoded, absent and `null` mean `{}`.
    #[serde(default = "empty_metadata", deserialize_with = "null_as_empty")]
    pub metadata: Metadata,
}

impl NodeRegistration {
    /// Creates a registration with the metadata `{}`.
    pub fn new(identifier: Identifier, ip: IpAddr) -> Self {
        Self {
            identifier,
            ip,
            metadata: empty_metadata(),
        }
    }

    /// Replaces the metadata; `null` means `{}`.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = if metadata.is_null() {
            empty_metadata()
        } else {
            metadata
        };
        self
    }
}

/// An address that cannot be the address of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no node can be reached at {ip}, which is {kind}; give the address at which other nodes reach this one"
)]
pub struct UnusableAddress {
    ip: IpAddr,
    /// The kind of address, with its article.
    kind: &'static str,
}

/// Returns `ip` if it can be the address of one node.
///
/// Loopback and link-local addresses pass: only the other nodes know whether they can reach them.
///
/// # Errors
///
/// Fails for an unspecified (`0.0.0.0`, `::`), multicast or broadcast address, also if it is mapped into IPv6.
pub fn check_node_address(ip: IpAddr) -> Result<IpAddr, UnusableAddress> {
    let kind = match ip.to_canonical() {
        canonical if canonical.is_unspecified() => "the unspecified address",
        canonical if canonical.is_multicast() => "a multicast address",
        IpAddr::V4(canonical) if canonical.is_broadcast() => "the broadcast address",
        _ => return Ok(ip),
    };
    Err(UnusableAddress { ip, kind })
}

fn empty_metadata() -> Metadata {
    Metadata::Object(serde_json::Map::new())
}

fn null_as_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Metadata, D::Error> {
    let metadata = Metadata::deserialize(deserializer)?;
    Ok(if metadata.is_null() {
        empty_metadata()
    } else {
        metadata
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_only_addresses_that_no_node_can_have() {
        for (text, is_unusable) in [
            ("10.0.0.1", false),
            ("127.0.0.1", false),
            ("169.254.0.1", false),
            ("fe80::1", false),
            ("::ffff:10.0.0.1", false),
            ("0.0.0.0", true),
            ("::", true),
            ("::ffff:0.0.0.0", true),
            ("224.0.0.1", true),
            ("ff02::1", true),
            ("255.255.255.255", true),
        ] {
            let refused = check_node_address(text.parse().unwrap()).is_err();
            assert_eq!(refused, is_unusable, "{text}");
        }
    }
}
