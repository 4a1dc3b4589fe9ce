//! Writes one file atomically: a reader sees the complete new file, or what was there before.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use tempfile::NamedTempFile;

/// The beginning of the names of temporary files. A crash may leave such a file behind.
const STAGED_PREFIX: &str = ".cfgsync-new-";

/// Writes `bytes` to a new file beside `path` and renames it to `path`. The permission bits are `mode` less the umask.
///
/// The new file has a random name, so that no other process can create a file or a symbolic link of this name
/// beforehand. The file and its directory are synced. After a power failure, `path` is either the complete old file or
/// the complete new one.
///
/// # Errors
/// Fails with the operating system's error. Then `path` is unchanged, and no temporary file is left.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = directory_of(path)?;
    stage(directory, bytes, mode)?.persist(path)?;
    File::open(directory)?.sync_all()
}

/// Like [`replace`], but keeps a file that stands at `path` already.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is something at `path`; else the operating system's. On a file system
/// without hard links, a file that appears at `path` during the call is replaced.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = directory_of(path)?;
    let staged = stage(directory, bytes, mode)?;
    match fs::hard_link(staged.path(), path) {
        Ok(()) => staged.close()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {
            staged.persist(path)?;
        }
    }
    File::open(directory)?.sync_all()
}

/// Checks that [`replace`] can write `path`, by writing and removing an empty file beside it.
///
/// # Errors
/// Fails with the operating system's error.
pub fn check(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    stage(directory_of(path)?, &[], 0o600)?.close()
}

/// Returns the directory in which `path` is an entry.
fn directory_of(path: &Path) -> io::Result<&Path> {
    path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    // `Path::parent` of a name without a slash is the empty path, which cannot be opened.
    Ok(match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    })
}

/// Writes and syncs a new file in `directory`. Dropping it removes it.
fn stage(directory: &Path, bytes: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    // `tempfile_in`, and writing through `NamedTempFile`, would name the random path in each error.
    let mut staged = tempfile::Builder::new()
        .prefix(STAGED_PREFIX)
        .make_in(directory, |path| {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(mode).open(path)
        })?;
    staged.as_file_mut().write_all(bytes)?;
    staged.as_file().sync_all()?;
    Ok(staged)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn replaces_the_file_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        for text in ["one", "two"] {
            replace(&path, text.as_bytes(), 0o600).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn create_keeps_an_existing_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        create(&path, b"one", 0o600).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = create(&path, b"two", 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn leaves_the_old_file_when_it_fails() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        fs::create_dir_all(path.join("inside")).unwrap();
        assert!(replace(&path, b"x", 0o600).is_err());
        assert!(replace(Path::new("/"), b"x", 0o600).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
