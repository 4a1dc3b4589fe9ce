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
