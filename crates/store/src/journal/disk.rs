//! What the journal needs of a disk: so little that a test can stand in for it and fail at every step.

use std::{io, path::PathBuf};

/// A directory of files that are named like `log` or `generations/<digest>`.
pub(super) trait Disk: Send + Sync + 'static {
    /// Where `name` is, for messages.
    fn path(&self, name: &str) -> PathBuf;

    /// All bytes of a file; `None` when there is none.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// The names of the files in `directory`, which is empty for the top.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;

    /// A file that is there, to write to.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// A new file, empty; one of that name is emptied.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Puts `from` in the place of `to`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names in `directory` durable.
    fn sync_directory(&self, directory: &str) -> io::Result<()>;
}

/// An open file. What is written is durable after [`DiskFile::sync`], and not before.
pub(super) trait DiskFile: Send {
    /// Writes `bytes` at `offset`. When it fails, some of them may have been written.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Takes the space from `from`, the file's end, to `to`, and fills it with zeros.
    fn allocate(&mut self, from: u64, to: u64) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;

    /// Makes the contents and the length durable. After a failure nobody knows what is: to try again may
    /// succeed without having written anything.
    fn sync(&mut self) -> io::Result<()>;
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Nothing has changed; it may be tried again.
    #[error("cannot write {}: {error}", path.display())]
    Refused { path: PathBuf, error: io::Error },
    /// Nobody knows what has changed; the server must end, and a new one looks at what is there.
    #[error("{} could not be synced: {error}", path.display())]
    Fatal { path: PathBuf, error: io::Error },
}

/// The end of names of files that are on their way. What is left of them is removed at the next start.
pub(super) const STAGED: &str = ".tmp";

/// Puts a whole file in place: under another name, synced, renamed, its directory synced. One that is there
/// under this name is the old one or the new one, never half of one.
pub(super) fn put(disk: &dyn Disk, name: &str, parts: &[&[u8]]) -> Result<(), Trouble> {
    let refused = |error| Trouble::Refused {
        path: disk.path(name),
        error,
    };
    let staged = format!("{name}{STAGED}");
    let written = write_whole(disk, &staged, parts).and_then(|()| disk.rename(&staged, name));
    if let Err(error) = written {
        // Only space is lost when this fails too, until the next start.
        let _ = disk.remove(&staged);
        return Err(refused(error));
    }
    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
    disk.sync_directory(directory)
        .map_err(|error| Trouble::Fatal {
            path: disk.path(directory),
            error,
        })
}

fn write_whole(disk: &dyn Disk, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = disk.create(name)?;
    let length: usize = parts.iter().map(|part| part.len()).sum();
    // A full disk is met here.
    file.allocate(0, length as u64)?;
    let mut offset = 0;
    for part in parts {
        file.write_at(part, offset)?;
        offset += part.len() as u64;
    }
    // This file is thrown away when it cannot be synced, and never synced again.
    file.sync()
}
