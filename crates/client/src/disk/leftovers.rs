//! The names of staged files, and what a killed transaction leaves under such names.

use std::{ffi::OsStr, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{self, AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    DiskError,
    step::{Hook, Step, before},
};

const PREFIX: &str = ".cfgsync-";
const SUFFIX: &str = ".tmp";
const RANDOM_DIGITS: usize = 16;
/// The most directories in each other that are searched for files.
pub(super) const DEPTH_MAX: usize = 64;
/// Attempts to create a file under a new random name. More than one is needed only if a file with such a name exists.
const NAME_ATTEMPTS_MAX: u32 = 8;

/// Returns a random name for a staged file.
pub(super) fn staging_name() -> Result<String, Errno> {
    let random = getrandom::u64().map_err(|_| Errno::NOSYS)?;
    Ok(format!("{PREFIX}{random:016x}{SUFFIX}"))
}

/// Returns whether `name` has the form of [`staging_name`].
pub(super) fn is_staging_name(name: &str) -> bool {
    let random = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| {
        random.len() == RANDOM_DIGITS
            && random
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// Creates something under a new staging name. Returns the name and the result of `create`.
pub(super) fn with_staging_name<T>(
    mut create: impl FnMut(&str) -> Result<T, Errno>,
) -> Result<(String, T), Errno> {
    for _ in 0..NAME_ATTEMPTS_MAX {
        let name = staging_name()?;
        match create(&name) {
            Err(Errno::EXIST) => {}
            other => return other.map(|created| (name, created)),
        }
    }
    Err(Errno::EXIST)
}

/// Removes the files that a killed transaction left. A file that cannot be removed blocks nothing and stays: a new
/// staged file gets another name.
pub(super) fn remove_leftovers(fd: &OwnedFd, path: &Path, hook: Hook<'_>) -> Result<(), DiskError> {
    let failed = || DiskError::io("read the directory", path);
    let mut names = Vec::new();
    for entry in Dir::read_from(fd).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if let Ok(name) = entry.file_name().to_str()
            && is_staging_name(name)
        {
            names.push(name.to_owned());
        }
    }
    for name in names {
        let kind = fs::statat(fd, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| FileType::from_raw_mode(stat.st_mode));
        let remove = match kind {
            Ok(FileType::RegularFile | FileType::Symlink) => {
                |fd: &OwnedFd, name: &str| fs::unlinkat(fd, name, AtFlags::empty())
            }
            Ok(FileType::Directory) => {
                |fd: &OwnedFd, name: &str| remove_leftover_directory(fd, name, DEPTH_MAX)
            }
            // A transaction leaves no other kinds.
            _ => continue,
        };
        let leftover = path.join(OsStr::new(&name));
        before(hook, Step::RemoveLeftover, "remove the leftover", &leftover)?;
        match remove(fd, &name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => tracing::warn!(
                "cannot remove {}, a temporary file of an earlier delivery: {}",
                leftover.display(),
                std::io::Error::from(errno)
            ),
        }
    }
    Ok(())
}

/// Removes a directory that a transaction has staged or renamed aside: temporary files and empty directories. Whatever else
/// is in it stays.
pub(super) fn remove_leftover_directory(
    parent: &OwnedFd,
    name: &str,
    depth_left: usize,
) -> Result<(), Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(parent, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if is_staging_name(name) && fs::unlinkat(&fd, name, AtFlags::empty()).is_ok() {
            continue;
        }
        if depth_left > 0 && ![".", ".."].contains(&name) {
            // Only a directory without other files can be removed.
            let _ = remove_leftover_directory(&fd, name, depth_left - 1);
        }
    }
    fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_only_its_own_staging_names() {
        assert!(is_staging_name(&staging_name().unwrap()));
        for name in [
            ".cfgsync-.tmp",
            ".cfgsync-0123456789abcdef",
            ".cfgsync-0123456789abcdeg.tmp",
            ".cfgsync-0123456789ABCDEF.tmp",
            "cfgsync-0123456789abcdef.tmp",
            ".cfgsync-0123456789abcdef0.tmp",
        ] {
            assert!(!is_staging_name(name), "{name}");
        }
    }
}
