//! One token: a secret of which the server knows only the hash, with its role and its limits.

use std::{fmt, sync::Arc};

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::{Pattern, Role};
use cfgsync_model::Digest;
use cfgsync_support::clock::Timestamp;

/// A token as stored in the tokens file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The name that logs and messages show.
    pub name: String,
    /// The rights of its holder.
    pub role: Role,
    /// The SHA-256 hash of the secret.
    pub hash: Digest,
    /// The nodes that the token is valid for; `None` means all.
    pub identifier: Option<Pattern>,
    /// The namespaces whose values an operator's token is for. If there are any, the token allows nothing else that an
    /// operator may do, except seeing what a viewer sees. Empty means that the token is not limited.
    pub namespaces: Arc<[Pattern]>,
    /// Whether an operator's token is for reading only.
    pub read_only: bool,
    /// The time from which on the token is rejected; `None` means never.
    pub expires: Option<Timestamp>,
}

impl Token {
    /// Returns a digest of the name, the rights and the hash.
    pub(super) fn rights_digest(&self) -> Digest {
        let namespaces: Vec<String> = self.namespaces.iter().map(ToString::to_string).collect();
        let identifier = self.identifier.as_ref().map(ToString::to_string);
        let expires = self.expires.map(|expires| expires.to_string());
        let rights = [
            self.name.clone(),
            self.role.to_string(),
            self.read_only.to_string(),
            format!("{identifier:?}"),
            format!("{expires:?}"),
        ];
        let texts = rights.iter().chain(&namespaces).map(String::as_bytes);
        Digest::of_parts(std::iter::once(self.hash.as_bytes().as_slice()).chain(texts))
    }
}

/// The beginning of every secret, so that people and secret scanners recognise one that leaked.
const PREFIX: &str = "cfgsync_";
/// The word of the tokens file for a token that is for reading only.
pub(super) const READ_ONLY: &str = "read-only";
/// How many random bytes a secret has.
const SECRET_BYTES: usize = 32;

/// Returns the hash under which the server knows `secret`. A plain SHA-256 is enough, because the secret is random and
/// cannot be guessed.
pub fn hash(secret: &SecretString) -> Digest {
    Digest::of(secret.expose_secret().as_bytes())
}

/// Returns a new secret: a prefix and 256 random bits, written in letters, digits, `-` and `_`.
///
/// # Errors
/// If the operating system provides no random numbers.
pub fn new_secret() -> std::io::Result<SecretString> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    let text = data_encoding::BASE64URL_NOPAD.encode(&bytes);
    Ok(SecretString::from(format!("{PREFIX}{text}")))
}

impl Token {
    /// Returns whether the token is for the values of a namespace.
    pub(super) fn is_for(&self, namespace: &str) -> bool {
        let mut patterns = self.namespaces.iter();
        self.namespaces.is_empty() || patterns.any(|pattern| pattern.matches(namespace))
    }
}

/// Compares two hashes in constant time, so that the time does not tell where they differ.
pub(super) fn hashes_match(one: &Digest, other: &Digest) -> bool {
    // Eight bytes at a time, because every request with a token pays for this.
    words(one).ct_eq(&words(other)).into()
}

fn words(hash: &Digest) -> [u64; 4] {
    let (words, _) = hash.as_bytes().as_chunks::<8>();
    std::array::from_fn(|at| u64::from_ne_bytes(words[at]))
}

/// The token as a line of the tokens file.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, role, hash, ..
        } = self;
        write!(f, "{name} {role} sha256:{hash}")?;
        if let Some(identifier) = &self.identifier {
            write!(f, " identifier={identifier}")?;
        }
        for namespace in &*self.namespaces {
            write!(f, " namespace={namespace}")?;
        }
        if self.read_only {
            write!(f, " {READ_ONLY}")?;
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
    fn secrets_are_random_and_not_shown() {
        let (one, other) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(hash(&one), hash(&other));
        assert_eq!(one.expose_secret().len(), PREFIX.len() + 43);
        assert!(!format!("{one:?}").contains(PREFIX));
    }

    #[test]
    fn all_bytes_of_hashes_are_compared() {
        let hash = Digest::of(b"a");
        assert!(hashes_match(&hash, &hash.clone()));
        for at in 0..32 {
            let mut bytes = *hash.as_bytes();
            bytes[at] ^= 1;
            assert!(
                !hashes_match(&hash, &Digest::from_bytes(bytes)),
                "byte {at}"
            );
        }
    }
}
