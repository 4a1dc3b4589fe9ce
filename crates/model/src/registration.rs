//! What a node says of itself.

use std::net::IpAddr;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Identifier, InvalidIdentifier};

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
    /// See [`InvalidRegistration`].
    pub fn new<I>(identifier: I, ip: impl Into<IpAddr>) -> Result<Self, InvalidRegistration>
    where
        I: TryInto<Identifier, Error: Into<InvalidIdentifier>>,
    {
        let identifier = identifier
            .try_into()
            .map_err(|error| InvalidRegistration::Identifier(error.into()))?;
        let ip = refuse_nobodys(ip.into()).map_err(InvalidRegistration::Address)?;
        Ok(Self::without_metadata(identifier, ip))
    }

    /// Returns a registration of a checked identifier and address, without metadata.
    pub fn without_metadata(identifier: Identifier, ip: IpAddr) -> Self {
        Self {
            identifier,
            ip,
            metadata: no_metadata(),
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
            no_metadata()
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
    Address(NobodysAddress),
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
