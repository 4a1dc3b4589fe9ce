//! Registrations: what a node tells the server about itself.

use std::net::IpAddr;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Identifier, InvalidIdentifier};

/// The metadata of a registration: any JSON value. cfgsync interprets only the fields that the spec declares.
pub type Metadata = serde_json::Value;

/// The registration of a node. Registering again with equal facts changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRegistration {
    /// The node's unique name.
    pub identifier: Identifier,
    /// The address at which other nodes reach this node, IPv4 or IPv6.
    pub ip: IpAddr,
    /// The metadata. In JSON, absent and `null` mean `{}`, and `{}` is written as absent: servers of the existing protocol
    /// distinguish the two.
    #[serde(
        default = "empty_metadata",
        deserialize_with = "null_as_empty",
        skip_serializing_if = "is_empty"
    )]
    pub metadata: Metadata,
}

impl NodeRegistration {
    /// Returns a registration of `identifier` at `ip`, without metadata. Both are checked as a server checks them.
    ///
    /// ```
    /// use cfgsync_model::NodeRegistration;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize, PartialEq, Debug)]
    /// struct Facts {
    ///     port: u16,
    /// }
    ///
    /// let registration =
    ///     NodeRegistration::new("node-1", [10, 0, 0, 1])?.with_metadata(&Facts { port: 9000 })?;
    /// assert_eq!(registration.metadata_as::<Facts>()?, Facts { port: 9000 });
    ///
    /// assert!(NodeRegistration::new("localhost", [10, 0, 0, 1]).is_err());
    /// assert!(NodeRegistration::new("node-1", [0, 0, 0, 0]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails with [`InvalidRegistration`] if the identifier or the address is not valid.
    pub fn new<I>(identifier: I, ip: impl Into<IpAddr>) -> Result<Self, InvalidRegistration>
    where
        I: TryInto<Identifier, Error: Into<InvalidIdentifier>>,
    {
        let identifier = identifier
            .try_into()
            .map_err(|error| InvalidRegistration::Identifier(error.into()))?;
        let ip = check_node_address(ip.into()).map_err(InvalidRegistration::Address)?;
        Ok(Self::without_metadata(identifier, ip))
    }

    /// Returns a registration of a checked identifier and address, without metadata.
    pub fn without_metadata(identifier: Identifier, ip: IpAddr) -> Self {
        Self {
            identifier,
            ip,
            metadata: empty_metadata(),
        }
    }

    /// Returns the same registration with `metadata` as JSON. A value that is JSON's `null`, such as `()` or `None`,
    /// gives `{}`.
    ///
    /// # Errors
    /// Fails if `metadata` cannot be JSON, for example a map whose keys are not strings.
    pub fn with_metadata<T: Serialize + ?Sized>(
        self,
        metadata: &T,
    ) -> Result<Self, serde_json::Error> {
        Ok(self.with_metadata_value(serde_json::to_value(metadata)?))
    }

    /// Returns the same registration with `metadata`, where `null` means `{}`.
    #[must_use]
    pub fn with_metadata_value(mut self, metadata: Metadata) -> Self {
        self.metadata = if metadata.is_null() {
            empty_metadata()
        } else {
            metadata
        };
        self
    }

    /// Reads the metadata as a `T`. [`NodeRegistration::new`] has an example.
    ///
    /// # Errors
    /// Fails if the metadata lacks a field of `T` or has a value of another type. The error names the field.
    pub fn metadata_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.metadata)
    }
}

/// The reason why an identifier and an address are not a registration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRegistration {
    /// The identifier is not valid.
    #[error(transparent)]
    Identifier(InvalidIdentifier),
    /// No node can have the address.
    #[error(transparent)]
    Address(UnusableAddress),
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

fn is_empty(metadata: &Metadata) -> bool {
    metadata.as_object().is_some_and(serde_json::Map::is_empty)
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
    fn absent_metadata_stay_absent_in_json() {
        let node = NodeRegistration::new("a", [10, 0, 0, 1]).unwrap();
        let json = r#"{"identifier":"a","ip":"10.0.0.1"}"#;
        assert_eq!(serde_json::to_string(&node).unwrap(), json);
        for metadata in ["", r#","metadata":null"#, r#","metadata":{}"#] {
            let json = format!(r#"{{"identifier":"a","ip":"10.0.0.1"{metadata}}}"#);
            let read: NodeRegistration = serde_json::from_str(&json).unwrap();
            assert_eq!(read, node);
        }
    }

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
