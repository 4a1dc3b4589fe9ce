//! Pins: checksums of public keys, by which a node recognizes its server without a certificate authority.

use std::{fmt, str::FromStr};

use data_encoding::BASE64URL_NOPAD;

use super::Digest;

/// The beginning of every written pin.
const PREFIX: &str = "sha256-";

/// The SHA-256 of a certificate's public key, written `sha256-` and 43 characters of base64url.
///
/// A pin identifies the key, not the certificate: a renewed certificate for the same key has the same pin.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(Digest);

/// A text that is not a [`Pin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pin is `sha256-` followed by 43 letters, digits, `-` or `_`; copy it from the join URL that `serve` prints"
)]
pub struct InvalidPin;

impl Pin {
    /// Returns the pin of a public key in the form that a certificate contains (SubjectPublicKeyInfo, DER).
    pub fn of(public_key_info: &[u8]) -> Self {
        Self(Digest::of(public_key_info))
    }

    /// Returns the checksum that the pin encodes.
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
    fn written_pin_parses_to_the_same_pin() {
        let pin = Pin::of(b"");
        let text = "sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        assert_eq!(pin.to_string(), text);
        assert_eq!(text.parse(), Ok(pin));
    }

    #[test]
    fn rejects_malformed_pins() {
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
