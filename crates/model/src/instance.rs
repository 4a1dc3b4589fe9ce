//! The identity of a store, and the counters that are valid within one store.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The identity of a store, random at the store's creation and written as 32 lowercase hexadecimal digits.
///
/// Revisions and generation numbers of different instances must not be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance([u8; 16]);

impl Instance {
    /// Returns the instance with these 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the 16 bytes of the identity.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses the written form. Returns `None` if `text` is not 32 lowercase hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl Serialize for Instance {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instance {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom("an instance is 32 lowercase hexadecimal digits")
        })
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize,
            Deserialize, schemars::JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter! {
    /// The store's counter of accepted changes. It strictly increases with every change, not necessarily by one.
    /// Zero is the state before the first change.
    Revision(u64)
}

counter! {
    /// The number of a generation, counted from 1 within an instance.
    GenerationNumber(u64)
}

counter! {
    /// The number of a node, counted from 0. A node gets it at its first seal and keeps it; it is never reused for
    /// another node.
    Seat(u32)
}

impl Revision {
    /// Returns the revision after this one, for stores that count by one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl GenerationNumber {
    /// Returns the number of the following generation.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
