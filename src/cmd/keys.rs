//! Key files: read at the start, once; what stands in them is never shown.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use cfgsync_wire::{InvalidKey, SigningKey, VerifyKey};

/// Largest key file, in bytes; a key of this kind has some hundred.
const KEY_FILE_MAX_BYTES: u64 = 64 << 10;

/// A key file that cannot be used (78).
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The operating system said no.
    #[error("cannot read {flag} {}: {problem}", path.display())]
    Io {
        /// Whose value it is.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        problem: io::Error,
    },
    /// It holds something else.
    #[error("{flag} {}: {problem}", path.display())]
    Invalid {
        /// Whose value it is.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: InvalidKey,
    },
}

/// The private key in `path`.
pub(crate) fn read_sign_key(path: &Path) -> Result<SigningKey, KeyError> {
    let flag = "--sign-key";
    let pem = read(flag, path)?;
    let key = SigningKey::from_pem(&pem).map_err(invalid(flag, path))?;
    let mode = std::fs::metadata(path).map(|stat| stat.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(
            "others than its owner may read {}: chmod 600 it",
            path.display()
        );
    }
    Ok(key)
}

/// The public key in `path`.
pub(crate) fn read_verify_key(path: &Path) -> Result<VerifyKey, KeyError> {
    let flag = "--verify-key";
    VerifyKey::from_pem(&read(flag, path)?).map_err(invalid(flag, path))
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, KeyError> {
    let mut pem = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(KEY_FILE_MAX_BYTES).read_to_end(&mut pem));
    match read {
        Ok(_) => Ok(pem),
        Err(problem) => Err(KeyError::Io {
            flag,
            path: path.to_owned(),
            problem,
        }),
    }
}

fn invalid(flag: &'static str, path: &Path) -> impl FnOnce(InvalidKey) -> KeyError {
    let path = path.to_owned();
    move |problem| KeyError::Invalid {
        flag,
        path,
        problem,
    }
}
