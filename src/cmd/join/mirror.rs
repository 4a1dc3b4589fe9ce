//! A private copy of a payload's files for `--check`, by artifact path.

use std::{
    env, fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use cfgsync_model::{ArtifactFile, ArtifactSet};
use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};
use tracing::warn;

const PREFIX: &str = "cfgsync-staged-";
/// Attempts to create the directory. More than one is needed only if another process takes its name or removes it.
const ATTEMPTS_MAX: u32 = 8;
/// Only the owner may use the directories.
const DIRECTORY_MODE: u32 = 0o700;
/// The bits of an artifact's mode that its copy keeps.
const KEPT_MODE: u32 = 0o700;
/// The owner can always read and write a copy.
const LEAST_MODE: u32 = 0o600;

/// The directory with the copies. It is removed when this value is dropped.
#[derive(Debug)]
pub(super) struct Mirror {
    path: PathBuf,
    /// Its lock tells other processes that the directory is in use.
    _lock: fs::File,
}

impl Mirror {
    /// Copies `files` to a new directory in `$TMPDIR` or `/tmp`. Removes the directories that killed processes left.
    pub(super) fn create(files: &ArtifactSet) -> io::Result<Self> {
        let parent = env::temp_dir();
        remove_leftovers(&parent);
        let mirror = Self::create_empty(&parent)?;
        for file in files.files() {
            mirror.add(file)?;
        }
        Ok(mirror)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn create_empty(parent: &Path) -> io::Result<Self> {
        for _ in 0..ATTEMPTS_MAX {
            let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
            let path = parent.join(format!("{PREFIX}{random:016x}"));
            match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created?,
            }
            // Another process may take the new directory for a leftover until it is locked.
            let Ok(lock) = fs::File::open(&path) else {
                continue;
            };
            let is_locked = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            if is_locked && lock.metadata()?.nlink() > 0 {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn add(&self, file: &ArtifactFile) -> io::Result<()> {
        let path = self.path.join(file.path.name());
        let directory = path.parent().expect("it is below the mirror");
        fs::DirBuilder::new()
            .mode(DIRECTORY_MODE)
            .recursive(true)
            .create(directory)?;
        let mut copy = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(file.mode.bits() & KEPT_MODE | LEAST_MODE)
            .open(&path)?;
        for piece in file.content.chunks() {
            copy.write_all(piece.bytes())?;
        }
        Ok(())
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            let path = self.path.display();
            warn!("cannot remove {path}, which has copies of the files for --check: {error}");
        }
    }
}

/// Removes this user's directories that no process has locked.
fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let is_mirror = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_own = || {
            let found = entry.metadata();
            found.is_ok_and(|it| it.is_dir() && it.uid() == geteuid().as_raw())
        };
        if is_mirror
            && is_own()
            && let Ok(directory) = fs::File::open(entry.path())
            && flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_private_and_leftovers_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let used = Mirror::create_empty(parent.path()).unwrap();
        let left = parent.path().join(format!("{PREFIX}0"));
        fs::create_dir_all(left.join("d")).unwrap();
        remove_leftovers(parent.path());
        assert!(used.path().exists() && !left.exists());

        let mut file = ArtifactFile::new("/d/run.sh".parse().unwrap(), "text");
        file.mode = "0755".parse().unwrap();
        used.add(&file).unwrap();
        let path = used.path().join("d/run.sh");
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(used.path()), 0o700);
        drop(used);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
