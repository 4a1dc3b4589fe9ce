//! One token: a secret of which a server knows the hash, and what it is good for.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::Pattern;
use cfgsync_model::Digest;
use cfgsync_support::clock::Timestamp;

/// What a holder of credentials may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Register, fetch its own payload, and leave.
    Node,
    /// Everything.
    Operator,
}

impl Role {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "node" => Ok(Self::Node),
            "operator" => Ok(Self::Operator),
            _ => Err("a role is `node` or `operator`".to_owned()),
        }
    }
}

/// What a server knows of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What logs call it.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// The hash of the secret.
    pub hash: Digest,
    /// For which nodes it is good; all, if absent.
    pub identifier: Option<Pattern>,
    /// From when on it is good no more.
    pub expires: Option<Timestamp>,
}

/// How every token begins, so that people and scanners recognise a stray one.
const PREFIX: &str = "cfgsync_";
/// How much chance is in a secret, in bytes.
const SECRET_BYTES: usize = 32;

/// The hash under which a server knows `secret`. A plain SHA-256: the secret is chance, so there is nothing to guess.
pub fn hash(secret: &SecretString) -> Digest {
    Digest::of(secret.expose_secret().as_bytes())
}

/// A new secret: 256 bits of chance, in letters, digits, `-` and `_`.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn new_secret() -> std::io::Result<SecretString> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    let text = data_encoding::BASE64URL_NOPAD.encode(&bytes);
    Ok(SecretString::from(format!("{PREFIX}{text}")))
}

/// Whether two hashes are the same, in a time that says nothing of where they differ.
pub(super) fn same(one: &Digest, other: &Digest) -> bool {
    // Eight bytes at a time: every request with a token pays for this.
    words(one).ct_eq(&words(other)).into()
}

fn words(hash: &Digest) -> [u64; 4] {
    let (words, _) = hash.as_bytes().as_chunks::<8>();
    std::array::from_fn(|at| u64::from_ne_bytes(words[at]))
}

/// As a line of the file of tokens.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, role, hash, ..
        } = self;
        write!(f, "{name} {role} sha256:{hash}")?;
        if let Some(identifier) = &self.identifier {
            write!(f, " identifier={identifier}")?;
        }
        if let Some(expires) = &self.expires {
            write!(f, " expires={expires}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_chance_and_are_not_shown() {
        let (one, other) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(hash(&one), hash(&other));
        assert_eq!(one.expose_secret().len(), PREFIX.len() + 43);
        assert!(!format!("{one:?}").contains(PREFIX));
    }

    #[test]
    fn hashes_are_compared_whole() {
        let hash = Digest::of(b"a");
        assert!(same(&hash, &hash.clone()));
        for at in 0..32 {
            let mut bytes = *hash.as_bytes();
            bytes[at] ^= 1;
            assert!(!same(&hash, &Digest::from_bytes(bytes)), "byte {at}");
        }
    }
}
