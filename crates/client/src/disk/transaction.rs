//! Commits the staged files, and rolls them back after an error.

use std::{
    collections::HashMap,
    fmt,
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
    DiskError, WrittenFile,
    owner::{Owner, set_owner},
    stage::{Staged, State, read, stage},
    step::{Hook, Step, before},
    tree::{Tree, is_staging_name, staging_name},
};
use crate::Target;
use cfgsync_model::ArtifactFile;

/// Files that are staged beside their targets. Nothing is replaced yet.
///
/// A transaction that is dropped rolls back.
///
/// ```
/// use cfgsync_client::{Target, disk::Transaction};
/// use cfgsync_model::ArtifactFile;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("config.yaml");
/// let file = ArtifactFile::new("config.yaml".parse()?, "replicas: 3\n");
/// let target = Target::from_path(&path).expect("a path with a file name");
///
/// let committed = Transaction::stage(&[(&file, &target)], None)?.commit()?;
/// // The new files are in place. An error from here on can still call `committed.roll_back(error)`.
/// let written = committed.finish();
/// assert_eq!(written[0].path, path);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a transaction that is dropped rolls back"]
pub struct Transaction<'h>(Changes<'h>);

/// Files that are at their targets, while the old ones are kept for a rollback.
///
/// A committed transaction that is dropped rolls back; only [`CommittedTransaction::finish`] makes it permanent.
#[must_use = "a committed transaction that is dropped rolls back"]
pub struct CommittedTransaction<'h> {
    changes: Changes<'h>,
    written: Vec<WrittenFile>,
}

/// The changes of a transaction, with what is needed to undo them.
struct Changes<'h> {
    tree: Tree,
    staged: Vec<Staged>,
    owner: Option<Owner>,
    hook: Box<dyn FnMut(Step) -> io::Result<()> + 'h>,
    /// Whether the changes are permanent or undone, so that dropping them does nothing.
    is_settled: bool,
}

impl Transaction<'static> {
    /// Stages each file beside its target, with its mode and `owner`. Without an owner, a replaced file's owner and
    /// group are kept where permitted.
    pub fn stage(
        files: &[(&ArtifactFile, &Target)],
        owner: Option<Owner>,
    ) -> Result<Self, DiskError> {
        Self::stage_with_hook(files, owner, |_| Ok(()))
    }
}

impl<'h> Transaction<'h> {
    /// As [`Transaction::stage`], with a hook before each change to the disk, for tests. An error of the hook counts
    /// as an error of the change.
    #[doc(hidden)]
    pub fn stage_with_hook(
        files: &[(&ArtifactFile, &Target)],
        owner: Option<Owner>,
        hook: impl FnMut(Step) -> io::Result<()> + 'h,
    ) -> Result<Self, DiskError> {
        let mut changes = Changes {
            tree: Tree::new(owner),
            staged: Vec::new(),
            owner,
            hook: Box::new(hook),
            is_settled: false,
        };
        match changes.stage_all(files) {
            Ok(()) => Ok(Self(changes)),
            Err(cause) => Err(changes.roll_back(cause)),
        }
    }

    /// Moves every staged file to its target and syncs the directories. After an error, all targets are restored.
    pub fn commit(self) -> Result<CommittedTransaction<'h>, DiskError> {
        let Self(mut changes) = self;
        let installed = install(
            &mut changes.tree,
            &mut changes.staged,
            changes.owner,
            &mut *changes.hook,
        );
        match installed {
            Ok(()) => {
                let written = changes.staged.iter().map(Staged::written).collect();
                Ok(CommittedTransaction { changes, written })
            }
            Err(cause) => Err(changes.roll_back(cause)),
        }
    }
}

impl CommittedTransaction<'_> {
    /// Returns what was written, in the order of the files.
    pub fn written(&self) -> &[WrittenFile] {
        &self.written
    }

    /// Removes the old files. There is no rollback from here on.
    pub fn finish(mut self) -> Vec<WrittenFile> {
        let changes = &mut self.changes;
        changes.is_settled = true;
        remove_old(&changes.tree, &changes.staged, &mut *changes.hook);
        self.written
    }

    /// Restores the old files because of `cause`. Returns `cause`, or [`DiskError::RollbackFailed`] with it if a file
    /// could not be restored.
    pub fn roll_back(mut self, cause: DiskError) -> DiskError {
        self.changes.roll_back(cause)
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.0.staged.iter().map(|file| &file.path);
        f.debug_tuple("Transaction")
            .field(&paths.collect::<Vec<_>>())
            .finish()
    }
}

impl fmt::Debug for CommittedTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommittedTransaction")
            .field(&self.written)
            .finish()
    }
}

impl Changes<'_> {
    fn stage_all(&mut self, files: &[(&ArtifactFile, &Target)]) -> Result<(), DiskError> {
        let mut taken: HashMap<(usize, String), PathBuf> = HashMap::new();
        for (file, target) in files {
            let path = target.path();
            if target.below.iter().any(|part| is_staging_name(part)) {
                return Err(DiskError::Reserved { path });
            }
            let (directory, name) = self.tree.open(target, &mut *self.hook)?;
            // Two paths may lead to one directory, by `..` or a symbolic link in the operator's part.
            if let Some(first) = taken.insert((directory, name.clone()), path.clone()) {
                let second = path;
                return Err(DiskError::SameFile { first, second });
            }
            stage(
                file,
                directory,
                name,
                path,
                self.owner,
                &mut self.tree,
                &mut self.staged,
                &mut *self.hook,
            )?;
        }
        Ok(())
    }

    fn roll_back(&mut self, cause: DiskError) -> DiskError {
        self.is_settled = true;
        roll_back(&self.tree, &self.staged, cause, &mut *self.hook)
    }
}

impl Drop for Changes<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            let cancelled = DiskError::Cancelled;
            let outcome = self.roll_back(cancelled);
            if let DiskError::RollbackFailed { .. } = outcome {
                tracing::error!("{outcome}");
            }
        }
    }
}

/// Moves every staged file to its target and syncs the directories.
fn install(
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
    // Last, after everything else has succeeded, because this change is not atomic.
    for file in staged.iter_mut() {
        if matches!(file.state, State::InPlace) {
            overwrite(&tree.at(file.directory).fd, file, owner, hook)?;
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
fn remove_old(tree: &Tree, staged: &[Staged], hook: Hook<'_>) {
    for file in staged {
        if let State::Replaced { old } = &file.state
            && hook(Step::RemoveOld).is_ok()
        {
            let _ = fs::unlinkat(&tree.at(file.directory).fd, old.as_str(), AtFlags::empty());
        }
    }
}

/// Undoes every change, the last one first. Returns `cause`, with the files that could not be restored.
fn roll_back(tree: &Tree, staged: &[Staged], cause: DiskError, hook: Hook<'_>) -> DiskError {
    let mut files: Vec<PathBuf> = Vec::new();
    for file in staged.iter().rev() {
        if restore(&tree.at(file.directory).fd, file, hook).is_err() {
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
    match set_owner(&to, stat.st_uid, Some(stat.st_gid)) {
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
    before(hook, Step::Overwrite, "write", &file.path)?;
    let failed = || DiskError::io("write", &file.path);
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(directory, file.name.as_str(), flags, Mode::empty()).map_err(failed())?;
    let stat = Box::new(fs::fstat(&fd).map_err(failed())?);
    // From here on, a rollback must restore the content.
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
        // Users who may not read the new content must not be able to read it for a moment.
        fs::fchmod(&file, old_mode & mode)?;
    }
    file.rewind().map_err(errno)?;
    file.write_all(bytes).map_err(errno)?;
    file.set_len(bytes.len() as u64).map_err(errno)?;
    if let Some((uid, gid)) = owner {
        set_owner(&file, uid, gid)?;
    }
    let stat = fs::fstat(&file)?;
    if Mode::from_raw_mode(stat.st_mode & 0o7777) != mode {
        fs::fchmod(&file, mode)?;
    }
    fs::fsync(&file)
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
        State::Overwritten { old, stat } => {
            hook(Step::Restore).map_err(errno)?;
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
