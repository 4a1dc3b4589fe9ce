//! The pin of a key: by it alone a node knows its server.

use std::{fmt, str::FromStr};

use data_encoding::BASE64URL_NOPAD;

use super::Digest;

/// What a pin begins with.
const PREFIX: &str = "sha256-";

/// The SHA-256 of a certificate's public key, written `sha256-` and 43 characters of base64url.
///
/// It is about the key, not the certificate: a renewed certificate of the same key keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(Digest);

/// A text that is not a [`Pin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pin is `sha256-` and 43 letters, digits, `-` or `_`, as `serve` prints it in its join URL"
)]
pub struct InvalidPin;

impl Pin {
    /// The pin of a key, given as the certificate has it (SubjectPublicKeyInfo, DER).
    pub fn of(public_key_info: &[u8]) -> Self {
        Self(Digest::of(public_key_info))
    }

    /// What it says, in other letters.
    pub fn digest(&self) -> Digest {
        self.0
    }
}

impl FromStr for Pin {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(PREFIX).ok_or(InvalidPin)?;
        let bytes = BASE64URL_NOPAD
            .decode(digits.as_bytes())
            .map_err(|_| InvalidPin)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| InvalidPin)?;
        Ok(Self(Digest::from_bytes(bytes)))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_as_it_is_written() {
        let pin = Pin::of(b"");
        let text = "sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        assert_eq!(pin.to_string(), text);
        assert_eq!(text.parse(), Ok(pin));
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        for text in [
            "",
            "sha256-",
            "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
            "sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuF",
            "sha1-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
        ] {
            assert_eq!(text.parse::<Pin>(), Err(InvalidPin), "{text:?}");
        }
    }
}
