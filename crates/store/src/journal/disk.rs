//! The disk operations of the journal. There are few, so that tests can simulate a disk on which each operation fails.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A directory of files with names like `log` or `generations/<digest>`.
pub(super) trait Disk: Send + Sync + 'static {
    /// Returns the full path of `name`, for messages.
    fn path(&self, name: &str) -> PathBuf;

    /// Returns all bytes of a file. `None` if it does not exist.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Returns the names of the files in `directory`. The empty name is the top directory.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;

    /// Opens an existing file for writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Creates an empty file. An existing file of that name is truncated.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Renames `from` to `to`, replacing `to`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes the file called `name`.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names in `directory` durable.
    fn sync_directory(&self, directory: &str) -> io::Result<()>;

    /// Returns the identity of a file. `None` if the file does not exist, or if its filesystem does not keep identities.
    fn identity(&self, name: &str) -> Option<FileIdentity>;
}

/// The identity of a file on its filesystem. A copy of the file has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileIdentity {
    pub(super) inode: u64,
    /// The time when the inode was created, in nanoseconds since 1970, where the filesystem keeps it. It differs where a
    /// copy got the same inode number.
    pub(super) created_nanoseconds: Option<u64>,
}

/// An open file. Written data is durable only after [`DiskFile::sync`].
pub(super) trait DiskFile: Send {
    /// Writes `bytes` at `offset`. After an error some of them may have been written.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reserves the space from `from`, the end of the file, to `to`, and fills it with zeros.
    fn allocate(&mut self, from: u64, to: u64) -> io::Result<()>;

    /// Truncates the file to `length` bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Makes the content and the length durable. After an error it is unknown which data is durable. A second call may
    /// then succeed without writing anything.
    fn sync(&mut self) -> io::Result<()>;
}

/// The reason why a write failed, and whether it may be retried.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// Nothing has changed, so the write may be retried.
    #[error("cannot write {}: {error}", path.display())]
    NotWritten { path: PathBuf, error: io::Error },
    /// It is unknown which data is durable. The server must end. The next server reads the data that is there.
    #[error("cannot sync {}: {error}", path.display())]
    NotSynced { path: PathBuf, error: io::Error },
}

/// The suffix of files that are being written. The next start removes those that remain.
pub(super) const STAGED_SUFFIX: &str = ".tmp";

/// Replaces a whole file atomically: writes it under another name, syncs it, renames it, and syncs its directory. A
/// reader sees the old file or the new one.
pub(super) fn replace_file(disk: &dyn Disk, name: &str, parts: &[&[u8]]) -> Result<(), WriteError> {
    let staged = format!("{name}{STAGED_SUFFIX}");
    let written = write_new(disk, &staged, parts).and_then(|()| disk.rename(&staged, name));
    if let Err(error) = written {
        // If this fails as well, the file only uses space until the next start.
        let _ = disk.remove(&staged);
        return Err(WriteError::NotWritten {
            path: disk.path(name),
            error,
        });
    }
    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
    disk.sync_directory(directory)
        .map_err(|error| WriteError::NotSynced {
            path: disk.path(directory),
            error,
        })
}

fn write_new(disk: &dyn Disk, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = disk.create(name)?;
    let length: usize = parts.iter().map(|part| part.len()).sum();
    // A full disk fails here, before anything is written.
    file.allocate(0, length as u64)?;
    let mut offset = 0;
    for part in parts {
        file.write_at(part, offset)?;
        offset += part.len() as u64;
    }
    // If the sync fails, the caller removes the file and never syncs it again.
    file.sync()
}
