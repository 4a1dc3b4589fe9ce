//! Reads key files. Messages never show their content.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use cfgsync_support::bounded_file::{self, ReadError};
use cfgsync_wire::{InvalidKey, SigningKey, VerifyKey};

/// Largest key file that is read, in bytes. An Ed25519 key in PEM has a few hundred.
const KEY_FILE_MAX_BYTES: u64 = 64 << 10;

/// The reason why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file cannot be read.
    #[error("cannot read {flag} {}: {problem}", path.display())]
    Io {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason: the operating system's error, or a file that is too large.
        problem: ReadError,
    },
    /// The file does not contain such a key.
    #[error("{flag} {}: {problem}", path.display())]
    Invalid {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// A description of the file's actual content.
        problem: InvalidKey,
    },
}

/// Reads the private key in `path`, and warns if other users can read the file.
pub(crate) fn read_sign_key(path: &Path) -> Result<SigningKey, KeyError> {
    let flag = "--sign-key";
    let pem = read(flag, path)?;
    let key = SigningKey::from_pem(&pem).map_err(invalid(flag, path))?;
    let mode = std::fs::metadata(path).map(|stat| stat.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(
            "other users can read the private key {}: run `chmod 600` on it",
            path.display()
        );
    }
    Ok(key)
}

/// Reads the public key in `path`.
pub(crate) fn read_verify_key(path: &Path) -> Result<VerifyKey, KeyError> {
    let flag = "--verify-key";
    VerifyKey::from_pem(&read(flag, path)?).map_err(invalid(flag, path))
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, KeyError> {
    bounded_file::read_without_waiting(path, KEY_FILE_MAX_BYTES).map_err(|problem| KeyError::Io {
        flag,
        path: path.to_owned(),
        problem,
    })
}

fn invalid(flag: &'static str, path: &Path) -> impl FnOnce(InvalidKey) -> KeyError {
    let path = path.to_owned();
    move |problem| KeyError::Invalid {
        flag,
        path,
        problem,
    }
}
