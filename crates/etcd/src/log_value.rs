//! The value of a key of the log: a short entry itself, or the parts that hold a long one.

use bytes::Bytes;

use cfgsync_model::Digest;

/// The longest entry that is stored as one value, in bytes. etcd refuses requests above 1.5 MiB.
pub(crate) const INLINE_MAX_BYTES: usize = 1 << 20;

/// The first byte of a value that is the entry.
const INLINE: u8 = 1;
/// The first byte of a value that is a list of digests.
const PARTS: u8 = 2;

/// The length of a digest, in bytes.
const DIGEST_BYTES: usize = 32;

/// The value of a key of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LogValue {
    /// The entry itself.
    Inline(Bytes),
    /// The digests of the parts that together are the entry.
    Parts(Vec<Digest>),
}

impl LogValue {
    /// Reads a value. `None` if this program does not know its form.
    pub(crate) fn parse(value: &Bytes) -> Option<Self> {
        match *value.first()? {
            INLINE => Some(Self::Inline(value.slice(1..))),
            PARTS => {
                let (digests, rest) = value[1..].as_chunks::<DIGEST_BYTES>();
                let digests = digests.iter().map(|bytes| Digest::from_bytes(*bytes));
                rest.is_empty().then(|| Self::Parts(digests.collect()))
            }
            _ => None,
        }
    }

    /// Returns the value as bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Inline(entry) => [&[INLINE], &entry[..]].concat(),
            Self::Parts(digests) => {
                let digests = digests.iter().flat_map(Digest::as_bytes);
                std::iter::once(&PARTS).chain(digests).copied().collect()
            }
        }
    }

    /// Returns the parts that hold the entry.
    pub(crate) fn parts(self) -> Vec<Digest> {
        match self {
            Self::Inline(_) => vec![],
            Self::Parts(parts) => parts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_written() {
        for value in [
            LogValue::Inline(Bytes::from_static(b"entry")),
            LogValue::Inline(Bytes::new()),
            LogValue::Parts(vec![Digest::of(b"a"), Digest::of(b"b")]),
        ] {
            assert_eq!(LogValue::parse(&value.to_bytes().into()), Some(value));
        }
    }

    #[test]
    fn other_values_are_refused() {
        for value in [&b""[..], b"x", b"\x02short", b"\x00"] {
            assert_eq!(LogValue::parse(&Bytes::copy_from_slice(value)), None);
        }
    }
}
