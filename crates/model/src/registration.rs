//! What a node says of itself.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Identifier;

/// What a node brings beside its address: any JSON value, opaque but for what the spec asks of it.
pub type Metadata = serde_json::Value;

/// A node's registration: its facts. Equal facts change nothing when they come again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRegistration {
    /// The node's name.
    pub identifier: Identifier,
    /// The address under which the others reach it, IPv4 or IPv6.
    pub ip: IpAddr,
    /// Absent and `null` mean `{}`.
    #[serde(default = "no_metadata", deserialize_with = "null_is_none")]
    pub metadata: Metadata,
}

impl NodeRegistration {
    /// A registration without metadata.
    pub fn new(identifier: Identifier, ip: IpAddr) -> Self {
        Self {
            identifier,
            ip,
            metadata: no_metadata(),
        }
    }

    /// The same with `metadata` (`null` means `{}`).
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = if metadata.is_null() {
            no_metadata()
        } else {
            metadata
        };
        self
    }
}

/// An address at which no node can ever be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no node can be reached at {ip}, {why}; give the address under which the others reach this one"
)]
pub struct NobodysAddress {
    ip: IpAddr,
    why: &'static str,
}

/// Refuses what is no single machine's address. Any other may be right: only the others know whom they reach.
pub fn refuse_nobodys(ip: IpAddr) -> Result<IpAddr, NobodysAddress> {
    let why = match ip.to_canonical() {
        plain if plain.is_unspecified() => "which stands for all addresses of a machine",
        plain if plain.is_multicast() => "which is for groups (multicast)",
        IpAddr::V4(plain) if plain.is_broadcast() => "which is for all (broadcast)",
        _ => return Ok(ip),
    };
    Err(NobodysAddress { ip, why })
}

fn no_metadata() -> Metadata {
    Metadata::Object(serde_json::Map::new())
}

fn null_is_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Metadata, D::Error> {
    let metadata = Metadata::deserialize(deserializer)?;
    Ok(if metadata.is_null() {
        no_metadata()
    } else {
        metadata
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_never_be_right_is_nobodys_address() {
        for (text, is_nobodys) in [
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
            let refused = refuse_nobodys(text.parse().unwrap()).is_err();
            assert_eq!(refused, is_nobodys, "{text}");
        }
    }
}
