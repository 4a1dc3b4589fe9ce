//! Signed payloads: Ed25519 over what a payload is, and for whom. Whoever holds the signing key alone decides what
//! nodes write that verify, whatever stands between.

use std::fmt;

use data_encoding::BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};

use cfgsync_model::{Digest, GenerationNumber, Identifier, Instance};

/// What every signed message begins with, so that no signature made for another purpose fits.
const DOMAIN: &[u8] = b"cfgsync payload signature 1\0";
/// PKCS#8, version 1, of an Ed25519 key (RFC 8410), up to the 32 secret bytes.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// The SubjectPublicKeyInfo of an Ed25519 key (RFC 8410), up to the 32 public bytes.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// What a signature is over: this payload, of this generation, for this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedFacts<'a> {
    /// Whose generations these are.
    pub instance: Instance,
    /// Which one.
    pub generation: GenerationNumber,
    /// For whom.
    pub identifier: &'a Identifier,
    /// The payload digest, which stands for every path, mode and byte.
    pub digest: Digest,
}

/// The server's key.
pub struct SigningKey(Ed25519KeyPair);

/// What a node needs to know of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyKey([u8; 32]);

/// A signature, written as base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// A text that is not the key that it should be. Never says what stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// No PEM section of a private key.
    #[error("it holds no private key: expected PEM with BEGIN PRIVATE KEY (PKCS#8)")]
    NoPrivateKey,
    /// A private key of another kind.
    #[error("its private key is not an Ed25519 key")]
    NotEd25519Private,
    /// No PEM section of a public key.
    #[error("it holds no public key: expected PEM with BEGIN PUBLIC KEY")]
    NoPublicKey,
    /// The private key where the public one belongs.
    #[error(
        "it holds a private key, which belongs to the server alone: give the node the public one"
    )]
    PrivateForPublic,
    /// A public key of another kind.
    #[error("its public key is not an Ed25519 key")]
    NotEd25519Public,
    /// The operating system gives no randomness for a new key.
    #[error("the operating system gives no randomness")]
    NoRandomness,
}

/// A text that is not a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signature is 64 bytes in base64")]
pub struct InvalidSignature;

/// Why a payload must not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// It says nothing that could be signed: the older protocol.
    #[error("it is not signed, nor does it say of which generation it is")]
    NoFacts,
    /// It has no signature.
    #[error("it is not signed")]
    Unsigned,
    /// It has one that no key fits.
    #[error("its signature is not by a key that is trusted here, or is another payload's")]
    Forged,
}

impl SignedFacts<'_> {
    /// The message that is signed.
    fn message(&self) -> Vec<u8> {
        let identifier = self.identifier.as_str().as_bytes();
        let mut message = Vec::with_capacity(DOMAIN.len() + 16 + 8 + 32 + identifier.len());
        message.extend_from_slice(DOMAIN);
        message.extend_from_slice(self.instance.as_bytes());
        message.extend_from_slice(&self.generation.0.to_be_bytes());
        message.extend_from_slice(self.digest.as_bytes());
        // Last, for it alone varies in length.
        message.extend_from_slice(identifier);
        message
    }

    /// Checks that one of `keys` signed these facts.
    pub fn verify(&self, signature: &Signature, keys: &[VerifyKey]) -> Result<(), NotVerified> {
        let message = self.message();
        let fits = |key: &VerifyKey| {
            let key = UnparsedPublicKey::new(&ED25519, key.0);
            key.verify(&message, &signature.0).is_ok()
        };
        match keys.iter().any(fits) {
            true => Ok(()),
            false => Err(NotVerified::Forged),
        }
    }
}

impl SigningKey {
    /// Reads a private key in PEM: PKCS#8, as [`Self::generate`] and `openssl genpkey -algorithm ed25519` write it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| InvalidKey::NoPrivateKey)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        Ok(Self(pair.map_err(|_| InvalidKey::NotEd25519Private)?))
    }

    /// A new key, and its PEM.
    pub fn generate() -> Result<(Self, String), InvalidKey> {
        let mut der = [0; PKCS8_PREFIX.len() + 32];
        let (prefix, secret) = der.split_at_mut(PKCS8_PREFIX.len());
        prefix.copy_from_slice(&PKCS8_PREFIX);
        getrandom::fill(secret).map_err(|_| InvalidKey::NoRandomness)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
        let key = Self(pair.map_err(|_| InvalidKey::NotEd25519Private)?);
        Ok((key, to_pem("PRIVATE KEY", &der)))
    }

    /// Its public half.
    pub fn verify_key(&self) -> VerifyKey {
        let public = self.0.public_key().as_ref().try_into();
        VerifyKey(public.expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signs `facts`. The same facts give the same signature.
    pub fn sign(&self, facts: &SignedFacts<'_>) -> Signature {
        let signature = self.0.sign(&facts.message());
        Signature(
            signature
                .as_ref()
                .try_into()
                .expect("an Ed25519 signature has 64 bytes"),
        )
    }
}

impl VerifyKey {
    /// Reads a public key in PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidKey> {
        let Ok(der) = SubjectPublicKeyInfoDer::from_pem_slice(pem) else {
            return Err(match PrivatePkcs8KeyDer::from_pem_slice(pem) {
                Ok(_) => InvalidKey::PrivateForPublic,
                Err(_) => InvalidKey::NoPublicKey,
            });
        };
        let public = der.as_ref().strip_prefix(&SPKI_PREFIX);
        let public = public.and_then(|public| public.try_into().ok());
        public.map(Self).ok_or(InvalidKey::NotEd25519Public)
    }

    /// In PEM, as `openssl pkey -pubout` writes it.
    pub fn to_pem(&self) -> String {
        to_pem("PUBLIC KEY", &[&SPKI_PREFIX[..], &self.0].concat())
    }
}

/// One line is enough for 48 bytes.
fn to_pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        BASE64.encode(der)
    )
}

impl std::str::FromStr for Signature {
    type Err = InvalidSignature;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64.decode(text.as_bytes());
        let bytes = bytes.map_err(|_| InvalidSignature)?.try_into();
        let signature = Self(bytes.map_err(|_| InvalidSignature)?);
        // The decoder takes padding in the middle as well; a signature is written in one way.
        match signature.to_string() == text {
            true => Ok(signature),
            false => Err(InvalidSignature),
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Never the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.verify_key())
    }
}

/// By its fingerprint, which logs may show: the sum of the 32 public bytes.
impl fmt::Display for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", Digest::of(&self.0))
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` wrote them.
    const OPENSSL_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA1e+vqIWoQmC0cHU63K05x6YFG49EadB+MvAyzbPXAN\n-----END PRIVATE KEY-----\n";
    const OPENSSL_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA3iImVCgLp5crD6nwv6jyiwjEnK4m9FOwPybH/2sXI2E=\n-----END PUBLIC KEY-----\n";

    fn facts(identifier: &Identifier) -> SignedFacts<'_> {
        SignedFacts {
            instance: Instance::from_bytes([7; 16]),
            generation: GenerationNumber(3),
            identifier,
            digest: Digest::of(b"x"),
        }
    }

    #[test]
    fn a_signature_is_for_these_facts_alone() {
        let (key, pem) = SigningKey::generate().unwrap();
        let (a, b): (Identifier, Identifier) = ("a".parse().unwrap(), "b".parse().unwrap());
        let signature = key.sign(&facts(&a));
        let keys = [key.verify_key()];
        assert_eq!(facts(&a).verify(&signature, &keys), Ok(()));
        let again = SigningKey::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(again.sign(&facts(&a)), signature);
        assert_eq!(signature.to_string().parse(), Ok(signature));

        let forged = Err(NotVerified::Forged);
        let others = [
            SignedFacts {
                instance: Instance::from_bytes([8; 16]),
                ..facts(&a)
            },
            SignedFacts {
                generation: GenerationNumber(2),
                ..facts(&a)
            },
            SignedFacts {
                digest: Digest::of(b"y"),
                ..facts(&a)
            },
            facts(&b),
        ];
        for other in others {
            assert_eq!(other.verify(&signature, &keys), forged);
        }
        let (another, _) = SigningKey::generate().unwrap();
        assert_eq!(
            facts(&a).verify(&signature, &[another.verify_key()]),
            forged
        );
        assert_eq!(facts(&a).verify(&signature, &[]), forged);
        let both = [another.verify_key(), key.verify_key()];
        assert_eq!(facts(&a).verify(&signature, &both), Ok(()));
    }

    /// Found by fuzzing: the same bytes were read from a text with padding in its middle.
    #[test]
    fn a_signature_is_written_in_one_way() {
        let zeros = BASE64.encode(&[0; 64]);
        assert_eq!(zeros.parse(), Ok(Signature([0; 64])));
        let padded_inside = format!("AA=={}", BASE64.encode(&[0; 63]));
        for wrong in [&padded_inside, &zeros[1..], &format!("{zeros}\n")] {
            assert_eq!(wrong.parse::<Signature>(), Err(InvalidSignature), "{wrong}");
        }
    }

    #[test]
    fn keys_of_openssl_are_understood() {
        let key = SigningKey::from_pem(OPENSSL_PRIVATE.as_bytes()).unwrap();
        let public = VerifyKey::from_pem(OPENSSL_PUBLIC.as_bytes()).unwrap();
        assert_eq!(key.verify_key(), public);
        assert_eq!(public.to_pem(), OPENSSL_PUBLIC);
    }

    #[test]
    fn mistakes_with_keys_are_told_apart() {
        let (private, public) = (OPENSSL_PRIVATE.as_bytes(), OPENSSL_PUBLIC.as_bytes());
        assert_eq!(
            SigningKey::from_pem(public).unwrap_err(),
            InvalidKey::NoPrivateKey
        );
        assert_eq!(
            SigningKey::from_pem(b"x").unwrap_err(),
            InvalidKey::NoPrivateKey
        );
        let other = to_pem("PRIVATE KEY", &[0x30, 0]);
        let other = SigningKey::from_pem(other.as_bytes());
        assert_eq!(other.unwrap_err(), InvalidKey::NotEd25519Private);
        assert_eq!(
            VerifyKey::from_pem(private),
            Err(InvalidKey::PrivateForPublic)
        );
        assert_eq!(VerifyKey::from_pem(b""), Err(InvalidKey::NoPublicKey));
        let other = to_pem("PUBLIC KEY", &[0x30, 0]);
        assert_eq!(
            VerifyKey::from_pem(other.as_bytes()),
            Err(InvalidKey::NotEd25519Public)
        );
    }

    #[test]
    fn a_signing_key_does_not_show_itself() {
        let key = SigningKey::from_pem(OPENSSL_PRIVATE.as_bytes()).unwrap();
        let shown = format!("{key:?}");
        assert_eq!(
            shown,
            format!("SigningKey(sha256:{})", Digest::of(&key.verify_key().0))
        );
    }
}
