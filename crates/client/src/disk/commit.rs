//! From staged to standing, and back again when something fails on the way.

use std::{
    fs::File,
    io::{self, Seek, Write},
    os::fd::OwnedFd,
    path::PathBuf,
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat},
    io::Errno,
};

use super::{
    DiskError,
    owner::{Owner, give},
    stage::{Staged, State, read},
    step::{Hook, Step, ask},
    tree::{Tree, staging_name},
};

/// Puts every staged file under its own name, and syncs the directories.
pub(super) fn commit(
    tree: &mut Tree,
    staged: &mut [Staged],
    owner: Option<Owner>,
    hook: Hook<'_>,
) -> Result<(), DiskError> {
    for file in staged.iter_mut() {
        let directory = &tree.at(file.directory).fd;
        if let State::Beside { staging, replaces } = &file.state {
            let (staging, replaces) = (staging.clone(), *replaces);
            exchange(directory, file, staging, replaces, hook)?;
        }
    }
    // Last, when all else has gone well, because this is the one change that is not atomic.
    for file in staged.iter_mut() {
        if matches!(file.state, State::InPlace) {
            overwrite(&tree.at(file.directory).fd, file, owner, hook)?;
        }
    }
    for directory in tree.changed() {
        ask(
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

/// Removes the files that were replaced. What stays behind is removed by the next run.
pub(super) fn remove_old(tree: &Tree, staged: &[Staged], hook: Hook<'_>) {
    for file in staged {
        if let State::Replaced { old } = &file.state
            && hook(Step::RemoveOld).is_ok()
        {
            let _ = fs::unlinkat(&tree.at(file.directory).fd, old.as_str(), AtFlags::empty());
        }
    }
}

/// Undoes everything, the last change first. The answer is `cause`, with the files that could not be put back.
pub(super) fn put_back(
    tree: &Tree,
    staged: &[Staged],
    cause: DiskError,
    hook: Hook<'_>,
) -> DiskError {
    let mut files: Vec<PathBuf> = Vec::new();
    for file in staged.iter().rev() {
        if put_back_one(&tree.at(file.directory).fd, file, hook).is_err() {
            files.push(file.path.clone());
        }
    }
    for directory in tree.changed() {
        // The names are as they were; if a power cut brings the new ones back, the next run converges.
        let _ = sync_directory(&directory.fd);
    }
    tree.remove_made();
    if files.is_empty() {
        return cause;
    }
    DiskError::NotPutBack {
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
        ask(hook, Step::Rename, "write", &file.path)?;
        fs::renameat(directory, staging.as_str(), directory, name).map_err(failed())?;
        file.state = State::Created;
        return Ok(());
    }
    let asked = hook(Step::Exchange).map_err(errno);
    let exchanged = asked.and_then(|()| {
        let flags = RenameFlags::EXCHANGE;
        fs::renameat_with(directory, staging.as_str(), directory, name, flags)
    });
    match exchanged {
        Ok(()) => {
            file.state = State::Replaced { old: staging };
            Ok(())
        }
        Err(Errno::BUSY) => {
            // Mounted, and the kernel could not tell before.
            let _ = fs::unlinkat(directory, staging.as_str(), AtFlags::empty());
            file.state = State::InPlace;
            Ok(())
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            // This filesystem cannot exchange: a copy of the old file takes its place as the way back.
            ask(hook, Step::BackUp, "keep a copy of", &file.path)?;
            let old =
                back_up(directory, name).map_err(DiskError::io("keep a copy of", &file.path))?;
            let renamed = ask(hook, Step::Rename, "replace", &file.path).and_then(|()| {
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

/// A copy under a staging name, with the owner and mode of the original.
fn back_up(directory: &OwnedFd, name: &str) -> Result<String, Errno> {
    let copy = staging_name()?;
    let stat = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        let target = fs::readlinkat(directory, name, Vec::new())?;
        fs::symlinkat(target.as_c_str(), directory, copy.as_str())?;
        return Ok(copy);
    }
    let written = write_copy(directory, name, &copy, &stat);
    if written.is_err() {
        let _ = fs::unlinkat(directory, copy.as_str(), AtFlags::empty());
    }
    written.map(|()| copy)
}

fn write_copy(directory: &OwnedFd, name: &str, copy: &str, stat: &Stat) -> Result<(), Errno> {
    let from = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut from = File::from(fs::openat(directory, name, from, Mode::empty())?);
    let to = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to = File::from(fs::openat(directory, copy, to, Mode::RUSR | Mode::WUSR)?);
    io::copy(&mut from, &mut to).map_err(errno)?;
    match give(&to, stat.st_uid, Some(stat.st_gid)) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    fs::fsync(&to)
}

fn overwrite(
    directory: &OwnedFd,
    file: &mut Staged,
    owner: Option<Owner>,
    hook: Hook<'_>,
) -> Result<(), DiskError> {
    let old = read(directory, &file.name, &file.path)?;
    ask(hook, Step::Overwrite, "write", &file.path)?;
    let failed = || DiskError::io("write", &file.path);
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(directory, file.name.as_str(), flags, Mode::empty()).map_err(failed())?;
    let stat = Box::new(fs::fstat(&fd).map_err(failed())?);
    // From here on there is something to put back.
    file.state = State::Overwritten { old, stat };
    rewrite(
        fd,
        &file.bytes,
        file.mode,
        owner.map(|owner| (owner.uid, owner.gid)),
    )
    .map_err(DiskError::io("write", &file.path))
}

fn rewrite(
    fd: OwnedFd,
    bytes: &[u8],
    mode: Mode,
    owner: Option<(u32, Option<u32>)>,
) -> Result<(), Errno> {
    let mut file = File::from(fd);
    let stat = fs::fstat(&file)?;
    let old_mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if !(old_mode - mode).is_empty() {
        // Who may not read the new content may not read it for a moment either.
        fs::fchmod(&file, old_mode & mode)?;
    }
    file.rewind().map_err(errno)?;
    file.write_all(bytes).map_err(errno)?;
    file.set_len(bytes.len() as u64).map_err(errno)?;
    if let Some((uid, gid)) = owner {
        give(&file, uid, gid)?;
    }
    let stat = fs::fstat(&file)?;
    if Mode::from_raw_mode(stat.st_mode & 0o7777) != mode {
        fs::fchmod(&file, mode)?;
    }
    fs::fsync(&file)
}

fn put_back_one(directory: &OwnedFd, file: &Staged, hook: Hook<'_>) -> Result<(), Errno> {
    let name = file.name.as_str();
    match &file.state {
        State::Unchanged | State::InPlace => Ok(()),
        State::Beside { staging, .. } => {
            hook(Step::PutBack).map_err(errno)?;
            remove(directory, staging)
        }
        State::Created => {
            hook(Step::PutBack).map_err(errno)?;
            remove(directory, name)
        }
        // Over the new file, whether the old one was exchanged or copied.
        State::Replaced { old } => {
            hook(Step::PutBack).map_err(errno)?;
            fs::renameat(directory, old.as_str(), directory, name)
        }
        State::Overwritten { old, stat } => {
            hook(Step::PutBack).map_err(errno)?;
            let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = fs::openat(directory, name, flags, Mode::empty())?;
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            let now = fs::fstat(&fd)?;
            let is_owned = (now.st_uid, now.st_gid) == (stat.st_uid, stat.st_gid);
            let owner = (!is_owned).then_some((stat.st_uid, Some(stat.st_gid)));
            rewrite(fd, old, mode, owner)
        }
    }
}

fn remove(directory: &OwnedFd, name: &str) -> Result<(), Errno> {
    match fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Some filesystems cannot sync a directory, and say so.
fn sync_directory(directory: &OwnedFd) -> Result<(), Errno> {
    match fs::fsync(directory) {
        Err(Errno::INVAL) => Ok(()),
        other => other,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
