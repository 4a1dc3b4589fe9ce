//! Removes files of an earlier delivery, as a part of the transaction: each is renamed aside, and can be restored.

use std::{os::fd::OwnedFd, path::PathBuf};

use rustix::{
    fs::{self, AtFlags, FileType},
    io::Errno,
};

use super::{
    DiskError,
    leftovers::staging_name,
    stage::{is_mounted, read},
    step::{Hook, Step, before},
    tree::Tree,
};
use cfgsync_model::Digest;

/// A file that the transaction removes.
pub(super) struct Removal {
    pub(super) directory: usize,
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The name of the file since it was renamed aside.
    pub(super) aside: Option<String>,
}

/// The result of a request to remove a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RemovalRequest {
    /// The transaction removes it.
    Accepted,
    /// There is no file, or the transaction writes it.
    Absent,
    /// The file, or this directory of its path, is a symbolic link.
    BehindLink(PathBuf),
    /// It is a directory, a device, a pipe or a socket.
    NotAFile,
    /// Its content is not that of the delivery.
    Changed,
    /// It is a mount point, which cannot be renamed.
    Mounted,
}

/// Adds the file `name` to `removals`, if its content has this length and checksum.
pub(super) fn request(
    tree: &mut Tree,
    removals: &mut Vec<Removal>,
    (directory, name): (usize, String),
    path: PathBuf,
    bytes: u64,
    sha256: Digest,
) -> Result<RemovalRequest, DiskError> {
    let fd = &tree.at(directory).fd;
    let stat = match fs::statat(fd, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(RemovalRequest::Absent),
        Err(errno) => return Err(DiskError::io("inspect", &path)(errno)),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Symlink => return Ok(RemovalRequest::BehindLink(path)),
        _ => return Ok(RemovalRequest::NotAFile),
    }
    // A file that cannot be read cannot be recognised.
    let is_same = u64::try_from(stat.st_size) == Ok(bytes)
        && read(fd, &name, &path).is_ok_and(|content| Digest::of(&content) == sha256);
    if !is_same {
        return Ok(RemovalRequest::Changed);
    }
    if is_mounted(fd, &name) {
        return Ok(RemovalRequest::Mounted);
    }
    tree.mark_changed(directory);
    tree.note_removed(directory, &name);
    removals.push(Removal {
        directory,
        name,
        path,
        aside: None,
    });
    Ok(RemovalRequest::Accepted)
}

/// Renames each file aside.
pub(super) fn rename_aside(
    tree: &Tree,
    removals: &mut [Removal],
    hook: Hook<'_>,
) -> Result<(), DiskError> {
    for file in removals {
        before(hook, Step::Remove, "remove", &file.path)?;
        let directory = &tree.at(file.directory).fd;
        let failed = || DiskError::io("remove", &file.path);
        let aside = staging_name().map_err(failed())?;
        match fs::renameat(directory, file.name.as_str(), directory, aside.as_str()) {
            Ok(()) => file.aside = Some(aside),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed()(errno)),
        }
    }
    Ok(())
}

/// Restores the file.
pub(super) fn restore(directory: &OwnedFd, file: &Removal, hook: Hook<'_>) -> Result<(), Errno> {
    let Some(aside) = &file.aside else {
        return Ok(());
    };
    hook(Step::Restore).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    fs::renameat(directory, aside.as_str(), directory, file.name.as_str())
}

/// Deletes the renamed files. The next transaction in the directory deletes what could not be deleted here.
pub(super) fn delete(tree: &Tree, removals: &[Removal], hook: Hook<'_>) {
    for file in removals {
        if let Some(aside) = &file.aside
            && hook(Step::RemoveOld).is_ok()
        {
            let directory = &tree.at(file.directory).fd;
            let _ = fs::unlinkat(directory, aside.as_str(), AtFlags::empty());
        }
    }
}
