//! Directories: opened part by part, made where they are missing, cleared of what a killed run left.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};

use super::{
    DiskError,
    owner::{Owner, give},
    step::{Hook, Step, ask},
};
use crate::Target;

const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
const PREFIX: &str = ".cfgsync-";
const SUFFIX: &str = ".tmp";
const RANDOM_DIGITS: usize = 16;
/// Another run holds a directory for itself only while it removes leftovers. Whoever holds it longer is no
/// run of cfgsync, and is not waited for.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// All directories that one run uses, each opened once. The open descriptors hold the locks.
pub(super) struct Tree {
    owner: Option<Owner>,
    directories: Vec<Directory>,
    by_path: HashMap<PathBuf, usize>,
    by_inode: HashMap<(u64, u64), usize>,
    made: Vec<Made>,
}

pub(super) struct Directory {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
    /// Names changed in it, so that it must be synced.
    pub(super) changed: bool,
    claimed: bool,
}

/// A directory that this run made, in the order of making.
struct Made {
    parent: usize,
    name: Vec<u8>,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing would do, but for a child that another thread has just forked: until it executes its program, it
        // has a copy of the descriptor, and the next run would leave the leftovers of a crash where they are.
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
            made: Vec::new(),
        }
    }

    pub(super) fn at(&self, directory: usize) -> &Directory {
        &self.directories[directory]
    }

    pub(super) fn mark_changed(&mut self, directory: usize) {
        self.directories[directory].changed = true;
    }

    pub(super) fn changed(&self) -> impl Iterator<Item = &Directory> {
        self.directories
            .iter()
            .filter(|directory| directory.changed)
    }

    /// The directory of `target`, claimed for this run, and the name in it.
    pub(super) fn open(
        &mut self,
        target: &Target,
        hook: Hook<'_>,
    ) -> Result<(usize, String), DiskError> {
        let (name, parts) = target.below.split_last().expect("a target has a name");
        let mut path = target.root.clone();
        let mut directory = self.open_root(&path, hook)?;
        for part in parts {
            path.push(part);
            directory =
                self.open_below(directory, part.as_bytes(), &path, OFlags::NOFOLLOW, hook)?;
        }
        self.claim(directory, hook)?;
        Ok((directory, name.clone()))
    }

    /// Removes the directories that this run made, those that are empty again.
    pub(super) fn remove_made(&self) {
        for Made { parent, name } in self.made.iter().rev() {
            let parent = &self.directories[*parent].fd;
            // One that somebody else uses by now stays, and harms nobody.
            let _ = fs::unlinkat(parent, name.as_slice(), AtFlags::REMOVEDIR);
        }
    }

    /// The operator's own path: symbolic links in it are followed.
    fn open_root(&mut self, path: &Path, hook: Hook<'_>) -> Result<usize, DiskError> {
        if let Some(known) = self.by_path.get(path) {
            return Ok(*known);
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        match fs::open(path, flags, Mode::empty()) {
            Ok(fd) => return self.keep(fd, path),
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
            Ok(fd) => return self.keep(fd, path),
            Err(errno) => errno,
        };
        if problem == Errno::NOENT {
            return self.make(parent, name, path, flags, hook);
        }
        if problem == Errno::NOTDIR || problem == Errno::LOOP {
            let stat = fs::statat(parent_fd, name, AtFlags::SYMLINK_NOFOLLOW);
            if stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink) {
                return Err(DiskError::SymbolicLink { path: path.into() });
            }
        }
        Err(DiskError::io("open the directory", path)(problem))
    }

    fn make(
        &mut self,
        parent: usize,
        name: &[u8],
        path: &Path,
        flags: OFlags,
        hook: Hook<'_>,
    ) -> Result<usize, DiskError> {
        let failed = || DiskError::io("make the directory", path);
        ask(hook, Step::MakeDirectory, "make the directory", path)?;
        let parent_fd = &self.directories[parent].fd;
        let is_ours = match fs::mkdirat(parent_fd, name, DIRECTORY_MODE) {
            Ok(()) => true,
            // Another run was quicker.
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(failed()(errno)),
        };
        if is_ours {
            let name = name.to_owned();
            self.made.push(Made { parent, name });
            self.directories[parent].changed = true;
        }
        let parent_fd = &self.directories[parent].fd;
        let fd = fs::openat(parent_fd, name, flags, Mode::empty()).map_err(failed())?;
        if is_ours {
            if let Some(owner) = self.owner {
                give(&fd, owner.uid, owner.gid).map_err(failed())?;
            }
            // The mode that mkdir was given lacks what the umask took.
            fs::fchmod(&fd, DIRECTORY_MODE).map_err(failed())?;
        }
        self.keep(fd, path)
    }

    fn keep(&mut self, fd: OwnedFd, path: &Path) -> Result<usize, DiskError> {
        let stat = fs::fstat(&fd).map_err(DiskError::io("look at", path))?;
        let next = self.directories.len();
        // Opened twice, a directory would be locked against itself.
        let at = *self
            .by_inode
            .entry((stat.st_dev, stat.st_ino))
            .or_insert(next);
        if at == next {
            self.directories.push(Directory {
                fd,
                path: path.to_owned(),
                changed: false,
                claimed: false,
            });
        }
        self.by_path.insert(path.to_owned(), at);
        Ok(at)
    }

    /// Removes leftovers, unless another run stages here right now, and says that this one does: a shared
    /// lock on the directory itself, which ends with the process however it ends.
    fn claim(&mut self, directory: usize, hook: Hook<'_>) -> Result<(), DiskError> {
        let Directory {
            fd, path, claimed, ..
        } = &mut self.directories[directory];
        if std::mem::replace(claimed, true) {
            return Ok(());
        }
        if fs::flock(&*fd, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove_leftovers(fd, path, hook)?;
        }
        for _ in 0..LOCK_TRIES {
            match fs::flock(&*fd, FlockOperation::NonBlockingLockShared) {
                Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
                // Without a lock (some network filesystems have none) a run may lose its staged files to
                // another, notices it at the rename, and puts everything back.
                Ok(()) | Err(_) => break,
            }
        }
        Ok(())
    }
}

/// A new name beside a target.
pub(super) fn staging_name() -> Result<String, Errno> {
    let random = getrandom::u64().map_err(|_| Errno::NOSYS)?;
    Ok(format!("{PREFIX}{random:016x}{SUFFIX}"))
}

/// Whether `name` is one that [`staging_name`] makes.
pub(super) fn is_staging_name(name: &str) -> bool {
    let random = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| {
        random.len() == RANDOM_DIGITS
            && random
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn remove_leftovers(fd: &OwnedFd, path: &Path, hook: Hook<'_>) -> Result<(), DiskError> {
    let failed = || DiskError::io("read the directory", path);
    let mut names = Vec::new();
    for entry in Dir::read_from(fd).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if let Ok(name) = entry.file_name().to_str()
            && is_staging_name(name)
        {
            names.push(name.to_owned());
        }
    }
    for name in names {
        let leftover = path.join(OsStr::new(&name));
        ask(hook, Step::RemoveLeftover, "remove the leftover", &leftover)?;
        match fs::unlinkat(fd, name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(DiskError::io("remove the leftover", &leftover)(errno)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_leftovers() {
        assert!(is_staging_name(&staging_name().unwrap()));
        for name in [
            ".cfgsync-.tmp",
            ".cfgsync-0123456789abcdef",
            ".cfgsync-0123456789abcdeg.tmp",
            ".cfgsync-0123456789ABCDEF.tmp",
            "cfgsync-0123456789abcdef.tmp",
            ".cfgsync-0123456789abcdef0.tmp",
        ] {
            assert!(!is_staging_name(name), "{name}");
        }
    }

    #[test]
    fn a_forked_child_that_has_a_copy_of_the_descriptor_holds_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let claimed = || {
            let mut tree = Tree::new(None);
            let at = tree.open_root(directory.path(), &mut |_| Ok(())).unwrap();
            tree.claim(at, &mut |_| Ok(())).unwrap();
            (tree, at)
        };
        let (tree, at) = claimed();
        let _copy = tree.at(at).fd.try_clone().unwrap();
        drop(tree);
        let leftover = directory.path().join(staging_name().unwrap());
        std::fs::write(&leftover, "").unwrap();
        claimed();
        assert!(!leftover.exists());
    }
}
