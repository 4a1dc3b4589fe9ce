//! The directories of a transaction: opened component by component, created if missing, locked, cleared of leftovers.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};

use super::{
    DiskError,
    leftovers::{remove_leftovers, staging_name},
    mode::refuses_modes,
    owner::{Owner, set_owner},
    step::{Hook, Step, before},
};
use crate::Target;

const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// The directories of one transaction, each opened once. The open descriptors hold the locks.
pub(super) struct Tree {
    owner: Option<Owner>,
    directories: Vec<Directory>,
    by_path: HashMap<PathBuf, usize>,
    by_inode: HashMap<(u64, u64), usize>,
    created: Vec<CreatedDirectory>,
    /// The files that the transaction removes, by directory and name. A directory may take their place.
    removed: HashSet<(usize, Vec<u8>)>,
    staged: Vec<StagedDirectory>,
}

pub(super) struct Directory {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
    /// Whether an entry was added or replaced, so that the directory must be synced.
    pub(super) changed: bool,
    is_locked: bool,
}

/// The result of [`Tree::find`].
pub(super) enum Found {
    /// The directory, which is open, and the name in it.
    Place(usize, String),
    /// A directory of the path does not exist.
    Missing,
    /// This directory of the path is a symbolic link.
    Link(PathBuf),
}

/// A directory that this transaction created.
struct CreatedDirectory {
    parent: usize,
    name: Vec<u8>,
}

/// A directory that takes the place of a removed file. Until the commit it has a staging name.
struct StagedDirectory {
    parent: usize,
    name: Vec<u8>,
    staging: String,
    path: PathBuf,
    is_in_place: bool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread has just forked holds a copy of the descriptor until it
        // executes its program. Meanwhile the next transaction could not remove leftovers.
        let _ = fs::flock(&self.fd, FlockOperation::Unlock);
    }
}

impl Tree {
    pub(super) fn new(owner: Option<Owner>) -> Self {
        Self {
            owner,
            directories: Vec::new(),
            by_path: HashMap::new(),
            by_inode: HashMap::new(),
            created: Vec::new(),
            removed: HashSet::new(),
            staged: Vec::new(),
        }
    }

    pub(super) fn at(&self, directory: usize) -> &Directory {
        &self.directories[directory]
    }

    /// Returns whether the directory at `path` was opened for a target.
    pub(super) fn is_open(&self, path: &Path) -> bool {
        self.by_path.contains_key(path)
    }

    /// Returns the index of an open directory.
    pub(super) fn index_of(&self, fd: &OwnedFd) -> Option<usize> {
        let stat = fs::fstat(fd).ok()?;
        self.by_inode.get(&(stat.st_dev, stat.st_ino)).copied()
    }

    /// Notes that the transaction removes a file.
    pub(super) fn note_removed(&mut self, directory: usize, name: &str) {
        self.removed.insert((directory, name.into()));
    }

    /// Moves the staged directories to their places, after the files there were renamed aside.
    pub(super) fn place_directories(&mut self, hook: Hook<'_>) -> Result<(), DiskError> {
        for staged in &mut self.staged {
            before(hook, Step::Rename, "write", &staged.path)?;
            let parent = &self.directories[staged.parent].fd;
            fs::renameat(
                parent,
                staged.staging.as_str(),
                parent,
                staged.name.as_slice(),
            )
            .map_err(DiskError::io("write", &staged.path))?;
            staged.is_in_place = true;
        }
        Ok(())
    }

    /// Moves the staged directories back. Returns the paths of those for which that fails.
    pub(super) fn displace_directories(&self, hook: Hook<'_>) -> Vec<PathBuf> {
        let in_place = self.staged.iter().rev().filter(|staged| staged.is_in_place);
        let failed = in_place.filter(|staged| {
            let parent = &self.directories[staged.parent].fd;
            let (name, staging) = (staged.name.as_slice(), staged.staging.as_str());
            hook(Step::Restore).is_err() || fs::renameat(parent, name, parent, staging).is_err()
        });
        failed.map(|staged| staged.path.clone()).collect()
    }

    pub(super) fn mark_changed(&mut self, directory: usize) {
        self.directories[directory].changed = true;
    }

    pub(super) fn changed(&self) -> impl Iterator<Item = &Directory> {
        self.directories
            .iter()
            .filter(|directory| directory.changed)
    }

    /// Opens and locks the directory of `target`, and the operator's part of its path, so that there is one delivery at
    /// a time for each output directory. Returns the index of the directory and the file name.
    pub(super) fn open(
        &mut self,
        target: &Target,
        hook: Hook<'_>,
    ) -> Result<(usize, String), DiskError> {
        let (name, parts) = target.below.split_last().expect("a target has a name");
        let mut path = target.root.clone();
        let mut directory = self.open_root(&path, hook)?;
        self.lock(directory, hook)?;
        for part in parts {
            path.push(part);
            directory =
                self.open_below(directory, part.as_bytes(), &path, OFlags::NOFOLLOW, hook)?;
        }
        self.lock(directory, hook)?;
        Ok((directory, name.clone()))
    }

    /// Opens and locks the directories of `target` as [`Tree::open`] does, but creates none and follows no symbolic link
    /// below the operator's part.
    pub(super) fn find(&mut self, target: &Target, hook: Hook<'_>) -> Result<Found, DiskError> {
        let (name, parts) = target.below.split_last().expect("a target has a name");
        let mut path = target.root.clone();
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut open = fs::open(&path, flags, Mode::empty());
        let mut directory = None;
        let mut parts = parts.iter();
        loop {
            let fd = match open {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                    let is_link = directory.is_some()
                        && path.symlink_metadata().is_ok_and(|it| it.is_symlink());
                    return Ok(if is_link {
                        Found::Link(path)
                    } else {
                        Found::Missing
                    });
                }
                Err(errno) => return Err(DiskError::io("open the directory", &path)(errno)),
            };
            let at = self.insert(fd, &path)?;
            if directory.replace(at).is_none() {
                self.lock(at, hook)?;
            }
            let Some(part) = parts.next() else {
                self.lock(at, hook)?;
                return Ok(Found::Place(at, name.clone()));
            };
            path.push(part);
            let parent = &self.directories[at].fd;
            open = fs::openat(
                parent,
                part.as_str(),
                flags | OFlags::NOFOLLOW,
                Mode::empty(),
            );
        }
    }

    /// Removes the directories that this transaction created, as far as they are empty.
    pub(super) fn remove_created(&self) {
        for CreatedDirectory { parent, name } in self.created.iter().rev() {
            let parent = &self.directories[*parent].fd;
            // A directory that another process uses by now stays.
            let _ = fs::unlinkat(parent, name.as_slice(), AtFlags::REMOVEDIR);
        }
    }

    /// Opens the operator's path. Symbolic links in it are followed.
    fn open_root(&mut self, path: &Path, hook: Hook<'_>) -> Result<usize, DiskError> {
        if let Some(known) = self.by_path.get(path) {
            return Ok(*known);
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        match fs::open(path, flags, Mode::empty()) {
            Ok(fd) => return self.insert(fd, path),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(DiskError::io("open the directory", path)(errno)),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(DiskError::io("open the directory", path)(Errno::NOENT));
        };
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        let parent = self.open_root(parent, hook)?;
        self.open_below(parent, name.as_bytes(), path, OFlags::empty(), hook)
    }

    fn open_below(
        &mut self,
        parent: usize,
        name: &[u8],
        path: &Path,
        follow: OFlags,
        hook: Hook<'_>,
    ) -> Result<usize, DiskError> {
        if let Some(known) = self.by_path.get(path) {
            return Ok(*known);
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | follow;
        let parent_fd = &self.directories[parent].fd;
        let problem = match fs::openat(parent_fd, name, flags, Mode::empty()) {
            Ok(fd) => return self.insert(fd, path),
            Err(errno) => errno,
        };
        if problem == Errno::NOENT {
            return self.create(parent, name, path, flags, hook);
        }
        if problem == Errno::NOTDIR && self.removed.contains(&(parent, name.to_owned())) {
            return self.create_beside(parent, name, path, flags, hook);
        }
        if problem == Errno::NOTDIR || problem == Errno::LOOP {
            let stat = fs::statat(parent_fd, name, AtFlags::SYMLINK_NOFOLLOW);
            if stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink) {
                return Err(DiskError::SymbolicLink { path: path.into() });
            }
        }
        Err(DiskError::io("open the directory", path)(problem))
    }

    fn create(
        &mut self,
        parent: usize,
        name: &[u8],
        path: &Path,
        flags: OFlags,
        hook: Hook<'_>,
    ) -> Result<usize, DiskError> {
        let failed = || DiskError::io("create the directory", path);
        before(hook, Step::MakeDirectory, "create the directory", path)?;
        let parent_fd = &self.directories[parent].fd;
        let is_ours = match fs::mkdirat(parent_fd, name, DIRECTORY_MODE) {
            Ok(()) => true,
            // Another process created it in the meantime.
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(failed()(errno)),
        };
        if is_ours {
            let name = name.to_owned();
            self.created.push(CreatedDirectory { parent, name });
            self.directories[parent].changed = true;
        }
        let parent_fd = &self.directories[parent].fd;
        let fd = fs::openat(parent_fd, name, flags, Mode::empty()).map_err(failed())?;
        if is_ours {
            if let Some(owner) = self.owner {
                set_owner(&fd, owner).map_err(failed())?;
            }
            let inherited = fs::fstat(&fd).map_err(failed())?.st_mode;
            // The umask has limited the mode that mkdir was given. A setgid directory passes its bit on.
            let mode = DIRECTORY_MODE | (Mode::from_raw_mode(inherited) & Mode::SGID);
            match fs::fchmod(&fd, mode) {
                Err(errno) if refuses_modes(errno) => tracing::warn!(
                    "cannot change the mode of {}: {}",
                    path.display(),
                    std::io::Error::from(errno)
                ),
                changed => changed.map_err(failed())?,
            }
        }
        self.insert(fd, path)
    }

    /// Creates a directory that takes the place of a removed file in the commit.
    fn create_beside(
        &mut self,
        parent: usize,
        name: &[u8],
        path: &Path,
        flags: OFlags,
        hook: Hook<'_>,
    ) -> Result<usize, DiskError> {
        let staging = staging_name().map_err(DiskError::io("create the directory", path))?;
        let at = self.create(parent, staging.as_bytes(), path, flags, hook)?;
        self.staged.push(StagedDirectory {
            parent,
            name: name.to_owned(),
            staging,
            path: path.to_owned(),
            is_in_place: false,
        });
        Ok(at)
    }

    fn insert(&mut self, fd: OwnedFd, path: &Path) -> Result<usize, DiskError> {
        let stat = fs::fstat(&fd).map_err(DiskError::io("inspect", path))?;
        let next = self.directories.len();
        // Two descriptors of one directory would block each other's lock.
        let at = *self
            .by_inode
            .entry((stat.st_dev, stat.st_ino))
            .or_insert(next);
        if at == next {
            self.directories.push(Directory {
                fd,
                path: path.to_owned(),
                changed: false,
                is_locked: false,
            });
        }
        self.by_path.insert(path.to_owned(), at);
        Ok(at)
    }

    /// Locks the directory for this transaction alone and removes leftovers. The lock ends with the tree, or when the
    /// process ends or executes another program.
    fn lock(&mut self, directory: usize, hook: Hook<'_>) -> Result<(), DiskError> {
        let Directory {
            fd,
            path,
            is_locked,
            ..
        } = &mut self.directories[directory];
        if std::mem::replace(is_locked, true) {
            return Ok(());
        }
        let locked = || DiskError::Locked {
            path: path.clone(),
            waited: Duration::ZERO,
        };
        match fs::flock(&*fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(locked()),
            Err(errno) => {
                // Some network file systems cannot lock directories. Leftovers may belong to a running transaction.
                tracing::warn!(
                    "cannot lock {} ({}), so another delivery could write there at the same time",
                    path.display(),
                    std::io::Error::from(errno)
                );
                return Ok(());
            }
        }
        // The transaction that created the directory has removed it again.
        if fs::fstat(&*fd).is_ok_and(|stat| stat.st_nlink == 0) {
            return Err(locked());
        }
        remove_leftovers(fd, path, hook)
    }

    /// Returns the locks of the directories alone.
    pub(super) fn into_locks(self) -> DirectoryLocks {
        let Self { directories, .. } = self;
        DirectoryLocks { directories }
    }
}

/// The locks of a finished transaction. No other transaction writes to its directories until they are dropped.
///
/// A program that the process executes does not inherit them, so they also end when the process executes CMD.
#[must_use = "dropping the locks lets the next delivery begin"]
pub struct DirectoryLocks {
    directories: Vec<Directory>,
}

impl DirectoryLocks {
    /// Locks the directories of `targets`, as far as they exist.
    pub(crate) fn of<'t>(targets: impl IntoIterator<Item = &'t Target>) -> Result<Self, DiskError> {
        let mut tree = Tree::new(None);
        for target in targets {
            tree.find(target, &mut |_| Ok(()))?;
        }
        Ok(tree.into_locks())
    }
}

impl fmt::Debug for DirectoryLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let locked = self.directories.iter().filter(|one| one.is_locked);
        f.debug_set().entries(locked.map(|one| &one.path)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_of_the_descriptor_in_a_forked_child_holds_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let locked = || {
            let mut tree = Tree::new(None);
            let at = tree.open_root(directory.path(), &mut |_| Ok(())).unwrap();
            tree.lock(at, &mut |_| Ok(())).unwrap();
            (tree, at)
        };
        let (tree, at) = locked();
        let _copy = tree.at(at).fd.try_clone().unwrap();
        drop(tree);
        let leftover = directory.path().join(staging_name().unwrap());
        std::fs::write(&leftover, "").unwrap();
        locked();
        assert!(!leftover.exists());
    }
}
