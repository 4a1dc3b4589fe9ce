//! Removes files and moves staged files to their targets, and restores the old files in a rollback.

use std::{
    fs::File,
    io::{self, Seek, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat},
    io::Errno,
};

use super::{
    DiskError,
    attributes::Attributes,
    kind_change::{self, OldDirectory},
    leftovers::with_staging_name,
    mode::{check_mode, refuses_modes},
    owner::{Owner, set_owner},
    removal::{self, Removal},
    stage::{Staged, State, read},
    step::{Hook, Step, before},
    tree::Tree,
};

/// Renames the removed files aside, moves every staged file to its target, and syncs the directories.
pub(super) fn install(
    tree: &mut Tree,
    staged: &mut [Staged],
    removals: &mut [Removal],
    old_directories: &mut [OldDirectory],
    hook: Hook<'_>,
) -> Result<(), DiskError> {
    // First, so that a crash cannot leave a removed file beside a receipt that no longer names it.
    removal::rename_aside(tree, removals, hook)?;
    kind_change::rename_aside(tree, old_directories, hook)?;
    tree.place_directories(hook)?;
    for file in staged.iter_mut() {
        let directory = &tree.at(file.directory).fd;
        if let State::Beside { staging, replaces } = &file.state {
            let (staging, replaces) = (staging.clone(), *replaces);
            exchange(directory, file, staging, replaces, hook)?;
        }
    }
    // Last, after everything else has succeeded, because this change is not atomic.
    for file in staged.iter_mut() {
        if matches!(file.state, State::InPlace) {
            overwrite(&tree.at(file.directory).fd, file, hook)?;
        }
    }
    for directory in tree.changed() {
        before(
            hook,
            Step::SyncDirectory,
            "sync the directory",
            &directory.path,
        )?;
        sync_directory(&directory.fd)
            .map_err(DiskError::io("sync the directory", &directory.path))?;
    }
    Ok(())
}

/// Removes the replaced files. The next transaction removes what could not be removed here.
pub(super) fn remove_old(tree: &Tree, staged: &[Staged], hook: Hook<'_>) {
    for file in staged {
        if let State::Replaced { old } = &file.state
            && hook(Step::RemoveOld).is_ok()
        {
            let _ = fs::unlinkat(&tree.at(file.directory).fd, old.as_str(), AtFlags::empty());
        }
    }
}

/// Undoes every change, the last one first. Returns `cause`, with the files that could not be restored.
pub(super) fn roll_back(
    tree: &Tree,
    staged: &[Staged],
    removals: &[Removal],
    old_directories: &[OldDirectory],
    cause: DiskError,
    hook: Hook<'_>,
) -> DiskError {
    let mut files: Vec<PathBuf> = Vec::new();
    for file in staged.iter().rev() {
        if restore(&tree.at(file.directory).fd, file, hook).is_err() {
            files.push(file.path.clone());
        }
    }
    files.extend(tree.displace_directories(hook));
    for old in old_directories.iter().rev() {
        if kind_change::restore(tree, old, hook).is_err() {
            files.push(old.path.clone());
        }
    }
    for file in removals.iter().rev() {
        if removal::restore(&tree.at(file.directory).fd, file, hook).is_err() {
            files.push(file.path.clone());
        }
    }
    for directory in tree.changed() {
        // After a power failure, the new files may be back. The next delivery replaces them.
        let _ = sync_directory(&directory.fd);
    }
    tree.remove_created();
    if files.is_empty() {
        return cause;
    }
    DiskError::RollbackFailed {
        cause: Box::new(cause),
        files,
    }
}

fn exchange(
    directory: &OwnedFd,
    file: &mut Staged,
    staging: String,
    replaces: bool,
    hook: Hook<'_>,
) -> Result<(), DiskError> {
    let failed = || DiskError::io("replace", &file.path);
    let name = file.name.as_str();
    if !replaces {
        before(hook, Step::Rename, "write", &file.path)?;
        fs::renameat(directory, staging.as_str(), directory, name).map_err(failed())?;
        file.state = State::Created;
        return Ok(());
    }
    let allowed = hook(Step::Exchange).map_err(errno);
    let exchanged = allowed.and_then(|()| {
        let flags = RenameFlags::EXCHANGE;
        fs::renameat_with(directory, staging.as_str(), directory, name, flags)
    });
    match exchanged {
        Ok(()) => {
            file.state = State::Replaced { old: staging };
            Ok(())
        }
        Err(Errno::BUSY) => {
            // A mount point on a kernel that did not report it while staging.
            let _ = fs::unlinkat(directory, staging.as_str(), AtFlags::empty());
            file.state = State::InPlace;
            Ok(())
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            // This file system cannot exchange two files. Keep a copy of the old one for a rollback.
            before(hook, Step::BackUp, "copy", &file.path)?;
            let old = back_up(directory, name).map_err(DiskError::io("copy", &file.path))?;
            let renamed = before(hook, Step::Rename, "replace", &file.path).and_then(|()| {
                fs::renameat(directory, staging.as_str(), directory, name).map_err(failed())
            });
            if renamed.is_err() {
                let _ = fs::unlinkat(directory, old.as_str(), AtFlags::empty());
            } else {
                file.state = State::Replaced { old };
            }
            renamed
        }
        Err(errno) => Err(failed()(errno)),
    }
}

/// Copies a file to a staging name, with its owner and mode. Returns the name.
fn back_up(directory: &OwnedFd, name: &str) -> Result<String, Errno> {
    let stat = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        let target = fs::readlinkat(directory, name, Vec::new())?;
        let linked = with_staging_name(|copy| fs::symlinkat(target.as_c_str(), directory, copy));
        return linked.map(|(copy, ())| copy);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (copy, to) =
        with_staging_name(|copy| fs::openat(directory, copy, flags, Mode::RUSR | Mode::WUSR))?;
    let written = write_copy(directory, name, to, &stat);
    if written.is_err() {
        let _ = fs::unlinkat(directory, copy.as_str(), AtFlags::empty());
    }
    written.map(|()| copy)
}

fn write_copy(directory: &OwnedFd, name: &str, to: OwnedFd, stat: &Stat) -> Result<(), Errno> {
    let from = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut from = File::from(fs::openat(directory, name, from, Mode::empty())?);
    let mut to = File::from(to);
    io::copy(&mut from, &mut to).map_err(errno)?;
    let owner = Owner {
        uid: Some(stat.st_uid),
        gid: Some(stat.st_gid),
    };
    match set_owner(&to, owner) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let attributes = Attributes::of(&from);
    attributes.apply(&to, Path::new(name));
    match fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777)) {
        // The file may become readable only by the process's own user. It is a copy of a file of this file system.
        Err(errno) if refuses_modes(errno) => {}
        changed => changed?,
    }
    attributes.restore_acl(&to);
    fs::fsync(&to)
}

fn overwrite(directory: &OwnedFd, file: &mut Staged, hook: Hook<'_>) -> Result<(), DiskError> {
    let old = read(directory, &file.name, &file.path)?;
    before(hook, Step::Overwrite, "write", &file.path)?;
    let failed = || DiskError::io("write", &file.path);
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(directory, file.name.as_str(), flags, Mode::empty()).map_err(failed())?;
    let stat = Box::new(fs::fstat(&fd).map_err(failed())?);
    let attributes = Attributes::of(&fd);
    let mut fd = File::from(fd);
    let written = rewrite(&mut fd, &file.bytes, file.mode, file.is_secret, file.owner)
        .map_err(DiskError::io("write", &file.path))
        .and_then(|()| check_mode(&fd, file.mode, file.is_secret, &file.path));
    attributes.apply_acl(&fd, file.mode, &file.path);
    // A rollback must restore the content.
    file.state = State::Overwritten {
        old,
        stat,
        attributes,
    };
    written
}

fn rewrite(
    file: &mut File,
    bytes: &[u8],
    mode: Mode,
    is_secret: bool,
    owner: Owner,
) -> Result<(), Errno> {
    let change_mode = |file: &File, mode| match fs::fchmod(file, mode) {
        Err(errno) if refuses_modes(errno) && !is_secret => Ok(()),
        changed => changed,
    };
    let stat = fs::fstat(&*file)?;
    let old_mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if !(old_mode - mode).is_empty() {
        // Users who may not read the new content must not be able to read it for a moment.
        change_mode(file, old_mode & mode)?;
    }
    file.rewind().map_err(errno)?;
    file.write_all(bytes).map_err(errno)?;
    file.set_len(bytes.len() as u64).map_err(errno)?;
    set_owner(&*file, owner)?;
    let stat = fs::fstat(&*file)?;
    if Mode::from_raw_mode(stat.st_mode & 0o7777) != mode {
        change_mode(file, mode)?;
    }
    fs::fsync(&*file)
}

fn restore(directory: &OwnedFd, file: &Staged, hook: Hook<'_>) -> Result<(), Errno> {
    let name = file.name.as_str();
    match &file.state {
        State::Unchanged | State::InPlace => Ok(()),
        State::Beside { staging, .. } => {
            hook(Step::Restore).map_err(errno)?;
            remove(directory, staging)
        }
        State::Created => {
            hook(Step::Restore).map_err(errno)?;
            remove(directory, name)
        }
        // The old file is under the staging name, whether it was exchanged or copied.
        State::Replaced { old } => {
            hook(Step::Restore).map_err(errno)?;
            fs::renameat(directory, old.as_str(), directory, name)
        }
        State::Overwritten {
            old,
            stat,
            attributes,
        } => {
            hook(Step::Restore).map_err(errno)?;
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = fs::openat(directory, name, flags, Mode::empty())?;
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            let now = fs::fstat(&fd)?;
            let is_owned = (now.st_uid, now.st_gid) == (stat.st_uid, stat.st_gid);
            let owner = if is_owned {
                Owner::default()
            } else {
                Owner {
                    uid: Some(stat.st_uid),
                    gid: Some(stat.st_gid),
                }
            };
            let mut fd = File::from(fd);
            rewrite(&mut fd, old, mode, false, owner)?;
            attributes.restore_acl(&fd);
            Ok(())
        }
    }
}

fn remove(directory: &OwnedFd, name: &str) -> Result<(), Errno> {
    match fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Syncs a directory. Some file systems cannot, and report EINVAL.
fn sync_directory(directory: &OwnedFd) -> Result<(), Errno> {
    match fs::fsync(directory) {
        Err(Errno::INVAL) => Ok(()),
        other => other,
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that map_err needs"
)]
fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
