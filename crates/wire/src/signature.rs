//! Signs payloads and verifies signatures (Ed25519).
//!
//! A signature covers the payload, its generation, its node and its cluster. A node that verifies signatures writes only
//! files that the holder of the signing key has signed, whatever proxy is between the two.

use std::{fmt, sync::Arc};

use data_encoding::BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};

use cfgsync_model::{Digest, GenerationNumber, Identifier, Instance};

/// The beginning of every signed message. A signature for another purpose therefore never fits.
const DOMAIN: &[u8] = b"cfgsync payload signature 2\0";
/// The beginning of a message of the first version, which did not cover the cluster's name.
const DOMAIN_V1: &[u8] = b"cfgsync payload signature 1\0";
/// The beginning of an Ed25519 key in PKCS#8, version 1 (RFC 8410), up to the 32 secret bytes.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// The beginning of an Ed25519 key's SubjectPublicKeyInfo (RFC 8410), up to the 32 public bytes.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The facts that a signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedFacts<'a> {
    /// The name of the cluster. `None` in signatures of the first version, which do not cover it.
    pub cluster: Option<&'a str>,
    /// The instance of the store that numbers the generations.
    pub instance: Instance,
    /// The number of the generation.
    pub generation: GenerationNumber,
    /// The node that the payload is for.
    pub identifier: &'a Identifier,
    /// The payload digest, which covers every path, mode and byte.
    pub digest: Digest,
}

/// A private Ed25519 key, with which a server signs payloads.
pub struct SigningKey(Ed25519KeyPair);

/// The signing key of a server and the name of its cluster, which every signature covers.
#[derive(Debug)]
pub struct PayloadSigner {
    pub(crate) key: Arc<SigningKey>,
    pub(crate) cluster: String,
}

/// A public Ed25519 key, with which a node verifies signatures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyKey([u8; 32]);

/// A signature of 64 bytes. It is written in base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// The reason why a text is not the expected key. Its message never contains the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The text has no PEM section of a private key.
    #[error("it contains no private key: expected PEM with BEGIN PRIVATE KEY (PKCS#8)")]
    NoPrivateKey,
    /// The private key is of another kind.
    #[error("its private key is not an Ed25519 key")]
    NotEd25519Private,
    /// The text has no PEM section of a public key.
    #[error("it contains no public key: expected PEM with BEGIN PUBLIC KEY")]
    NoPublicKey,
    /// The text is the private key instead of the public one.
    #[error(
        "it contains a private key, which only the server may have: give the node the public key"
    )]
    PrivateForPublic,
    /// The public key is of another kind.
    #[error("its public key is not an Ed25519 key")]
    NotEd25519Public,
    /// The operating system provides no random numbers for a new key.
    #[error("the operating system provides no random numbers")]
    NoRandomness,
}

/// The reason why a text is not a [`Signature`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signature is 64 bytes in base64")]
pub struct InvalidSignature;

/// The reason why the signature of a payload is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The payload lacks the facts that a signature covers. The server speaks the older protocol.
    #[error("it is not signed; its server may be too old to sign payloads")]
    NotSignable,
    /// The payload has no signature.
    #[error("it is not signed; start the server with --sign-key")]
    Unsigned,
    /// The signature does not cover the cluster's name, because the server is older than this version.
    #[error(
        "its signature does not cover the name of the cluster: update the server, or accept such signatures for a while \
         (--accept-signature-v1)"
    )]
    OldVersion,
    /// The signature is by another key, or of another payload.
    #[error(
        "its signature does not fit the trusted key; pass the public key that belongs to the server's --sign-key with \
         --verify-key; if it is that key, the files were changed on their way, or belong to another node"
    )]
    BadSignature,
}

impl SignedFacts<'_> {
    /// Returns the message that is signed.
    fn message(&self) -> Vec<u8> {
        let mut message = Vec::new();
        message.extend_from_slice(self.cluster.map_or(DOMAIN_V1, |_| DOMAIN));
        message.extend_from_slice(self.instance.as_bytes());
        message.extend_from_slice(&self.generation.0.to_be_bytes());
        message.extend_from_slice(self.digest.as_bytes());
        if let Some(cluster) = self.cluster {
            message.extend_from_slice(&(cluster.len() as u64).to_be_bytes());
            message.extend_from_slice(cluster.as_bytes());
        }
        // It comes last because its length varies.
        message.extend_from_slice(self.identifier.as_str().as_bytes());
        message
    }

    /// Checks that one of `keys` signed these facts.
    ///
    /// # Errors
    /// Fails with [`VerifyError::BadSignature`] if none of the keys did.
    pub fn verify(&self, signature: &Signature, keys: &[VerifyKey]) -> Result<(), VerifyError> {
        let message = self.message();
        let fits = |key: &VerifyKey| {
            let key = UnparsedPublicKey::new(&ED25519, key.0);
            key.verify(&message, &signature.0).is_ok()
        };
        if keys.iter().any(fits) {
            Ok(())
        } else {
            Err(VerifyError::BadSignature)
        }
    }
}

impl SigningKey {
    /// Reads a private key in PEM (PKCS#8), as [`Self::generate`] and `openssl genpkey -algorithm ed25519` write it.
    ///
    /// # Errors
    /// Fails with [`InvalidKey`], which says what the text is instead.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| InvalidKey::NoPrivateKey)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        Ok(Self(pair.map_err(|_| InvalidKey::NotEd25519Private)?))
    }

    /// Returns a new key and its PEM.
    ///
    /// # Errors
    /// Fails with [`InvalidKey::NoRandomness`] if the operating system provides no random bytes.
    pub fn generate() -> Result<(Self, String), InvalidKey> {
        let mut der = [0; PKCS8_PREFIX.len() + 32];
        let (prefix, secret) = der.split_at_mut(PKCS8_PREFIX.len());
        prefix.copy_from_slice(&PKCS8_PREFIX);
        getrandom::fill(secret).map_err(|_| InvalidKey::NoRandomness)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
        let key = Self(pair.map_err(|_| InvalidKey::NotEd25519Private)?);
        Ok((key, to_pem("PRIVATE KEY", &der)))
    }

    /// Returns the public key.
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

impl PayloadSigner {
    /// Returns a signer for the payloads of `cluster`.
    pub fn new(key: Arc<SigningKey>, cluster: impl Into<String>) -> Self {
        let cluster = cluster.into();
        Self { key, cluster }
    }
}

impl VerifyKey {
    /// Reads a public key in PEM.
    ///
    /// # Errors
    /// Fails with [`InvalidKey`], which says what the text is instead.
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

    /// Returns the PEM, as `openssl pkey -pubout` writes it.
    pub fn to_pem(&self) -> String {
        to_pem("PUBLIC KEY", &[&SPKI_PREFIX[..], &self.0].concat())
    }
}

/// Returns the PEM of at most 48 bytes, which need only one line.
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
        // The decoder also accepts padding in the middle. Only one spelling of a signature is accepted here.
        if signature.to_string() == text {
            Ok(signature)
        } else {
            Err(InvalidSignature)
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

/// Shows the fingerprint of the public key, never the private one.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.verify_key())
    }
}

/// Shows the fingerprint: the SHA-256 digest of the 32 public bytes.
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

    /// These keys were written by `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`.
    const OPENSSL_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA1e+vqIWoQmC0cHU63K05x6YFG49EadB+MvAyzbPXAN\n-----END PRIVATE KEY-----\n";
    const OPENSSL_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA3iImVCgLp5crD6nwv6jyiwjEnK4m9FOwPybH/2sXI2E=\n-----END PUBLIC KEY-----\n";

    fn facts(identifier: &Identifier) -> SignedFacts<'_> {
        SignedFacts {
            cluster: Some("prod"),
            instance: Instance::from_bytes([7; 16]),
            generation: GenerationNumber(3),
            identifier,
            digest: Digest::of(b"x"),
        }
    }

    #[test]
    fn signature_covers_all_facts() {
        let (key, pem) = SigningKey::generate().unwrap();
        let (a, b): (Identifier, Identifier) = ("a".parse().unwrap(), "b".parse().unwrap());
        let signature = key.sign(&facts(&a));
        let keys = [key.verify_key()];
        assert_eq!(facts(&a).verify(&signature, &keys), Ok(()));
        let again = SigningKey::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(again.sign(&facts(&a)), signature);
        assert_eq!(signature.to_string().parse(), Ok(signature));

        let refused = Err(VerifyError::BadSignature);
        let others = [
            SignedFacts {
                cluster: Some("staging"),
                ..facts(&a)
            },
            SignedFacts {
                cluster: None,
                ..facts(&a)
            },
            // The name of the cluster and the identifier do not run into each other.
            SignedFacts {
                cluster: Some("pro"),
                identifier: &"da".parse().unwrap(),
                ..facts(&a)
            },
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
            assert_eq!(other.verify(&signature, &keys), refused);
        }
        let (another, _) = SigningKey::generate().unwrap();
        assert_eq!(
            facts(&a).verify(&signature, &[another.verify_key()]),
            refused
        );
        assert_eq!(facts(&a).verify(&signature, &[]), refused);
        let both = [another.verify_key(), key.verify_key()];
        assert_eq!(facts(&a).verify(&signature, &both), Ok(()));
    }

    /// The bytes are documented, so that other programs can verify a payload.
    #[test]
    fn signed_bytes_are_as_documented() {
        let a = "a".parse().unwrap();
        let common = [
            &[7; 16][..],
            &3_u64.to_be_bytes(),
            Digest::of(b"x").as_bytes(),
        ]
        .concat();
        let first = [&b"cfgsync payload signature 1\0"[..], &common, b"a"].concat();
        let cluster = [&4_u64.to_be_bytes()[..], b"prod"].concat();
        let second = [
            &b"cfgsync payload signature 2\0"[..],
            &common,
            &cluster,
            b"a",
        ]
        .concat();
        assert_eq!(facts(&a).message(), second);
        let old = SignedFacts {
            cluster: None,
            ..facts(&a)
        };
        assert_eq!(old.message(), first);
    }

    /// Found by fuzzing: a text with padding in the middle was read as the same signature.
    #[test]
    fn accepts_one_spelling_of_a_signature() {
        let zeros = BASE64.encode(&[0; 64]);
        assert_eq!(zeros.parse(), Ok(Signature([0; 64])));
        let padded_inside = format!("AA=={}", BASE64.encode(&[0; 63]));
        for wrong in [&padded_inside, &zeros[1..], &format!("{zeros}\n")] {
            assert_eq!(wrong.parse::<Signature>(), Err(InvalidSignature), "{wrong}");
        }
    }

    #[test]
    fn reads_keys_of_openssl() {
        let key = SigningKey::from_pem(OPENSSL_PRIVATE.as_bytes()).unwrap();
        let public = VerifyKey::from_pem(OPENSSL_PUBLIC.as_bytes()).unwrap();
        assert_eq!(key.verify_key(), public);
        assert_eq!(public.to_pem(), OPENSSL_PUBLIC);
    }

    #[test]
    fn errors_distinguish_wrong_keys() {
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
    fn debug_output_hides_the_private_key() {
        let key = SigningKey::from_pem(OPENSSL_PRIVATE.as_bytes()).unwrap();
        let shown = format!("{key:?}");
        assert_eq!(
            shown,
            format!("SigningKey(sha256:{})", Digest::of(&key.verify_key().0))
        );
    }
}
