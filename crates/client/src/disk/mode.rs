//! Sets the mode of a file, on file systems that may refuse it or ignore it.

use std::{io, os::fd::AsFd, path::Path};

use rustix::{
    fs::{self, Mode},
    io::Errno,
};

use super::{
    DiskError,
    step::{Hook, Step},
};

/// The action in the error for a mode that cannot be set.
pub(super) const CHANGE_MODE: &str = "change the mode of";

/// Returns whether a file system without modes answers a change with this error.
pub(super) fn refuses_modes(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::PERM | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP
    )
}

/// Sets the mode of a new file. A refusal of the file system is only an error if the content is secret;
/// [`check_mode`] warns about it otherwise.
pub(super) fn set_mode(
    file: impl AsFd,
    mode: Mode,
    is_secret: bool,
    path: &Path,
    hook: Hook<'_>,
) -> Result<(), DiskError> {
    let allowed =
        hook(Step::Mode).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    match allowed.and_then(|()| fs::fchmod(file, mode)) {
        Err(errno) if refuses_modes(errno) && !is_secret => Ok(()),
        changed => changed.map_err(DiskError::io(CHANGE_MODE, path)),
    }
}

/// Looks at the mode after it was set. Fails if other users have more access to a secret than `mode` permits, and warns
/// about every other difference.
pub(super) fn check_mode(
    file: impl AsFd,
    mode: Mode,
    is_secret: bool,
    path: &Path,
) -> Result<(), DiskError> {
    let stat = fs::fstat(file).map_err(DiskError::io("inspect", path))?;
    let actual = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if actual == mode {
        return Ok(());
    }
    if is_secret && !((actual - mode) & (Mode::RWXG | Mode::RWXO)).is_empty() {
        let problem = format!(
            "the file system keeps the mode {:04o}, with which other users could read the secret",
            actual.bits()
        );
        return Err(DiskError::Io {
            action: CHANGE_MODE,
            path: path.to_owned(),
            problem: io::Error::new(io::ErrorKind::Unsupported, problem),
        });
    }
    tracing::warn!(
        "{} has the mode {:04o} instead of {:04o}: the file system does not keep it",
        path.display(),
        actual.bits(),
        mode.bits()
    );
    Ok(())
}
