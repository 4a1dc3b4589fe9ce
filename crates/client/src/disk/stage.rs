//! Stages one file beside its target: complete, synced, with its final owner and mode.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat, StatxAttributes, StatxFlags},
    io::Errno,
};

use super::{
    DiskError, Outcome, WrittenFile,
    attributes::Attributes,
    leftovers::with_staging_name,
    mode::{check_mode, set_mode},
    owner::{CHANGE_OWNER, Owner, keep_owner, set_owner},
    step::{Hook, Step, before},
    tree::Tree,
};
use cfgsync_model::{ArtifactFile, ArtifactPath};

/// A file of the transaction.
pub(super) struct Staged {
    pub(super) artifact: ArtifactPath,
    pub(super) directory: usize,
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) mode: Mode,
    pub(super) is_secret: bool,
    pub(super) owner: Owner,
    pub(super) bytes: Bytes,
    pub(super) state: State,
}

/// The changes for one file so far, which a rollback must undo.
pub(super) enum State {
    /// The target is already as it should be.
    Unchanged,
    /// The new file has a staging name. `replaces` says whether the target exists.
    Beside { staging: String, replaces: bool },
    /// The target must be rewritten in place, after all others.
    InPlace,
    /// The new file is at the target, where there was none.
    Created,
    /// The new file is at the target. The old file has the staging name `old`.
    Replaced { old: String },
    /// The target was rewritten in place. `old` is its previous content.
    Overwritten {
        old: Vec<u8>,
        stat: Box<Stat>,
        attributes: Attributes,
    },
}

impl Staged {
    /// Returns whether the target changes.
    pub(super) fn is_change(&self) -> bool {
        !matches!(self.state, State::Unchanged)
    }

    pub(super) fn written(&self) -> WrittenFile {
        WrittenFile {
            artifact: self.artifact.clone(),
            path: self.path.clone(),
            outcome: match self.state {
                State::Unchanged => Outcome::Unchanged,
                State::Beside { .. } | State::Created => Outcome::Created,
                State::Replaced { .. } => Outcome::Replaced,
                State::InPlace | State::Overwritten { .. } => Outcome::Overwritten,
            },
        }
    }
}

/// Stages `file`, unless the target is already as it should be, or in place of an old directory. Records the changes in `staged`, also after an error,
/// so that a rollback can undo them.
#[expect(
    clippy::too_many_arguments,
    reason = "a struct of these arguments would be used once"
)]
pub(super) fn stage(
    file: &ArtifactFile,
    replaces_directory: bool,
    directory: usize,
    name: String,
    path: PathBuf,
    owner: Owner,
    tree: &mut Tree,
    staged: &mut Vec<Staged>,
    hook: Hook<'_>,
) -> Result<(), DiskError> {
    let fd = &tree.at(directory).fd;
    let old = match fs::statat(fd, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        // The directory is renamed aside before.
        Ok(_) if replaces_directory => None,
        Ok(stat) => Some(stat),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(DiskError::io("inspect", &path)(errno)),
    };
    match old.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        // Replacing `/dev/stdout`, which is such a link, would break every program that writes to it.
        Some(FileType::Symlink) if leads_to_special_file(fd, &name) => {
            return Err(DiskError::NotAFile { path });
        }
        None | Some(FileType::RegularFile | FileType::Symlink) => {}
        Some(FileType::Directory) => return Err(DiskError::IsDirectory { path }),
        Some(_) => return Err(DiskError::NotAFile { path }),
    }
    let mut next = Staged {
        artifact: file.path.clone(),
        directory,
        name,
        path,
        mode: Mode::from_raw_mode(file.mode.bits()),
        is_secret: file.secret,
        owner,
        bytes: file.content.to_bytes(),
        state: State::Unchanged,
    };
    if old.is_some_and(|old| is_up_to_date(fd, &next, &old)) {
        staged.push(next);
        return Ok(());
    }
    if old.is_some() && is_mounted(fd, &next.name) {
        next.state = State::InPlace;
        staged.push(next);
        return Ok(());
    }
    let failed = || DiskError::io("write", &next.path);
    before(hook, Step::Stage, "write", &next.path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (staging, temp) =
        with_staging_name(|name| fs::openat(fd, name, flags, Mode::RUSR | Mode::WUSR))
            .map_err(failed())?;
    next.state = State::Beside {
        staging,
        replaces: old.is_some(),
    };
    tree.mark_changed(directory);
    staged.push(next);
    let this = staged.last().expect("just pushed");
    let fd = &tree.at(directory).fd;
    fill(temp, file, this, old.as_ref(), fd, hook)
}

fn fill(
    temp: OwnedFd,
    file: &ArtifactFile,
    this: &Staged,
    old: Option<&Stat>,
    directory: &OwnedFd,
    hook: Hook<'_>,
) -> Result<(), DiskError> {
    let path = &this.path;
    let failed = || DiskError::io("write", path);
    let mut temp = File::from(temp);
    for piece in file.content.chunks() {
        before(hook, Step::Write, "write", path)?;
        temp.write_all(piece.bytes())
            .map_err(|problem| DiskError::Io {
                action: "write",
                path: path.clone(),
                problem,
            })?;
    }
    before(hook, Step::Own, CHANGE_OWNER, path)?;
    if let Some(old) = old
        && (this.owner.uid.is_none() || this.owner.gid.is_none())
    {
        keep_owner(&temp, old.st_uid, old.st_gid).map_err(failed())?;
    }
    set_owner(&temp, this.owner).map_err(DiskError::io(CHANGE_OWNER, path))?;
    // Before the mode: until then, only the owner has access.
    let kept = old.map_or_else(Attributes::default, |_| {
        attributes_of(directory, &this.name)
    });
    kept.apply(&temp, path);
    // After the owner, whose change may take bits away.
    set_mode(&temp, this.mode, this.is_secret, path, hook)?;
    before(hook, Step::Sync, "sync", path)?;
    fs::fsync(&temp).map_err(DiskError::io("sync", path))?;
    check_mode(&temp, this.mode, this.is_secret, path)?;
    if kept.apply_acl(&temp, this.mode, path) {
        fs::fsync(&temp).map_err(DiskError::io("sync", path))?;
    }
    Ok(())
}

/// Returns the attributes of the file that is replaced. A file that cannot be read has none.
fn attributes_of(directory: &OwnedFd, name: &str) -> Attributes {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::openat(directory, name, flags, Mode::empty());
    file.map_or_else(|_| Attributes::default(), Attributes::of)
}

fn is_up_to_date(fd: &OwnedFd, this: &Staged, old: &Stat) -> bool {
    let Owner { uid, gid } = this.owner;
    let is_owned =
        uid.is_none_or(|uid| old.st_uid == uid) && gid.is_none_or(|gid| old.st_gid == gid);
    let mode = Mode::from_raw_mode(old.st_mode & 0o7777);
    let has_mode =
        || mode == this.mode || attributes_of(fd, &this.name).mode_behind_acl(mode) == this.mode;
    if FileType::from_raw_mode(old.st_mode) != FileType::RegularFile
        || !is_owned
        || u64::try_from(old.st_size).ok() != u64::try_from(this.bytes.len()).ok()
        || !has_mode()
        || !has_mode()
    {
        return false;
    }
    // A file that cannot be read is replaced.
    read(fd, &this.name, &this.path).is_ok_and(|bytes| bytes == this.bytes)
}

/// Reads a file of `directory` without following a symbolic link.
pub(super) fn read(directory: &OwnedFd, name: &str, path: &Path) -> Result<Vec<u8>, DiskError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let failed = || DiskError::io("read", path);
    let fd = fs::openat(directory, name, flags, Mode::empty()).map_err(failed())?;
    let mut bytes = Vec::new();
    File::from(fd)
        .read_to_end(&mut bytes)
        .map_err(|problem| DiskError::Io {
            action: "read",
            path: path.to_owned(),
            problem,
        })?;
    Ok(bytes)
}

/// Returns whether a symbolic link leads to a device, a pipe or a socket, or into /proc.
fn leads_to_special_file(fd: &OwnedFd, name: &str) -> bool {
    let into_proc = fs::readlinkat(fd, name, Vec::new())
        .is_ok_and(|target| target.to_bytes().starts_with(b"/proc/"));
    let kind =
        fs::statat(fd, name, AtFlags::empty()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    let is_file = matches!(
        kind,
        Err(_) | Ok(FileType::RegularFile | FileType::Directory)
    );
    into_proc || !is_file
}

/// Returns whether the file is a mount point, over which nothing can be renamed. Returns `false` on a kernel that
/// does not report this; the exchange then fails with EBUSY.
pub(super) fn is_mounted(fd: &OwnedFd, name: &str) -> bool {
    fs::statx(fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .is_ok_and(|statx| statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
