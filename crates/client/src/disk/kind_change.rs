//! Files that become directories, and directories that become files, from one delivery to the next.
//!
//! Only what earlier deliveries wrote makes room: a file that the transaction removes, or a directory with nothing but such
//! files. The new directory is staged beside the file, like a file. In the commit, the old one is renamed aside first. A
//! crash in between leaves neither, and the next delivery continues.

use std::{io, os::fd::OwnedFd, path::PathBuf};

use rustix::{
    fs::{self, AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    DiskError,
    leftovers::{DEPTH_MAX, is_staging_name, remove_leftover_directory, staging_name},
    removal::Removal,
    stage::is_mounted,
    step::{Hook, Step, before},
    tree::Tree,
};

/// A directory in whose place the transaction puts a file.
pub(super) struct OldDirectory {
    pub(super) directory: usize,
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The name of the directory since it was renamed aside.
    pub(super) aside: Option<String>,
}

/// Returns whether `name` is a directory of earlier deliveries without files other than those that the transaction removes.
pub(super) fn is_emptied(tree: &Tree, removals: &[Removal], parent: &OwnedFd, name: &str) -> bool {
    // It was opened because a receipt names files in it.
    let Ok(fd) = open(parent, name) else {
        return false;
    };
    let is_removed = |at: Option<usize>, name: &str| {
        let mut removals = removals.iter();
        at.is_some() && removals.any(|it| Some(it.directory) == at && it.name == name)
    };
    tree.index_of(&fd).is_some()
        && !is_mounted(parent, name)
        && has_only(tree, &fd, &is_removed, DEPTH_MAX).unwrap_or(false)
}

/// Renames each directory aside.
pub(super) fn rename_aside(
    tree: &Tree,
    old: &mut [OldDirectory],
    hook: Hook<'_>,
) -> Result<(), DiskError> {
    for old in old {
        before(hook, Step::Remove, "remove", &old.path)?;
        let parent = &tree.at(old.directory).fd;
        let failed = || DiskError::io("remove", &old.path);
        let aside = staging_name().map_err(failed())?;
        fs::renameat(parent, old.name.as_str(), parent, aside.as_str()).map_err(failed())?;
        old.aside = Some(aside.clone());
        // Another program may have written a file there since.
        let fd = open(parent, &aside).map_err(failed())?;
        let is_aside = |_: Option<usize>, name: &str| is_staging_name(name);
        if !has_only(tree, &fd, &is_aside, DEPTH_MAX).map_err(failed())? {
            return Err(failed()(Errno::NOTEMPTY));
        }
    }
    Ok(())
}

/// Restores the directory.
pub(super) fn restore(tree: &Tree, old: &OldDirectory, hook: Hook<'_>) -> Result<(), Errno> {
    let Some(aside) = &old.aside else {
        return Ok(());
    };
    let allowed = hook(Step::Restore).map_err(|error: io::Error| Errno::from_io_error(&error));
    allowed.map_err(|errno| errno.unwrap_or(Errno::IO))?;
    let parent = &tree.at(old.directory).fd;
    fs::renameat(parent, aside.as_str(), parent, old.name.as_str())
}

/// Deletes the renamed directories, whose files are deleted. The next transaction deletes what could not be deleted here.
pub(super) fn delete(tree: &Tree, old: &[OldDirectory], hook: Hook<'_>) {
    for old in old {
        if let Some(aside) = &old.aside
            && hook(Step::RemoveOld).is_ok()
        {
            let _ = remove_leftover_directory(&tree.at(old.directory).fd, aside, DEPTH_MAX);
        }
    }
}

fn open(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}

/// Returns whether all entries below a directory are directories, or regular files that `is_allowed` accepts.
fn has_only(
    tree: &Tree,
    fd: &OwnedFd,
    is_allowed: &dyn Fn(Option<usize>, &str) -> bool,
    depth_left: usize,
) -> Result<bool, Errno> {
    let at = tree.index_of(fd);
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        let name = match entry.file_name().to_str() {
            Ok("." | "..") => continue,
            Ok(name) => name,
            Err(_) => return Ok(false),
        };
        let stat = fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_fine = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth_left > 0 && !is_mounted(fd, name) => {
                has_only(tree, &open(fd, name)?, is_allowed, depth_left - 1)?
            }
            FileType::RegularFile => is_allowed(at, name),
            _ => false,
        };
        if !is_fine {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use super::*;
    use crate::{
        Target,
        disk::{RemovalRequest, Transaction},
    };
    use cfgsync_model::{ArtifactFile, Digest};

    const A_FILE: &[&str] = &["a", "other"];
    const A_DIRECTORY: &[&str] = &["a/x", "a/b/y", "other"];

    fn target(root: &Path, name: &str) -> Target {
        Target {
            root: root.to_owned(),
            below: name.split('/').map(str::to_owned).collect(),
        }
    }

    /// Delivers files with their names as contents, in place of the old ones, as a delivery with a receipt does.
    fn deliver(
        root: &Path,
        old: &[&str],
        new: &[&str],
        hook: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        let mut transaction = Transaction::begin_with_hook(None, hook);
        let staged = (|| {
            let mut places = Vec::new();
            for name in new {
                places.push(match transaction.open(&target(root, name)) {
                    Err(error) if error.is_not_a_directory() => None,
                    opened => Some(opened?),
                });
            }
            for name in old.iter().filter(|name| !new.contains(name)) {
                let (bytes, digest) = (name.len() as u64, Digest::of(name.as_bytes()));
                transaction.remove(&target(root, name), bytes, digest)?;
            }
            for (name, place) in new.iter().zip(places) {
                let place = match place {
                    Some(place) => place,
                    None => transaction.open(&target(root, name))?,
                };
                let file = ArtifactFile::new(name.parse().unwrap(), (*name).to_owned());
                transaction.add(&file, place)?;
            }
            Ok(())
        })();
        match staged {
            Ok(()) => transaction
                .commit()
                .map(|committed| drop(committed.finish())),
            Err(error) => Err(transaction.roll_back(error)),
        }
    }

    /// Returns all entries below `root`, with the contents of files.
    fn tree(root: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![root.to_owned()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().display().to_string();
                if path.is_dir() {
                    found.insert(name + "/", String::new());
                    open.push(path);
                } else {
                    found.insert(name, std::fs::read_to_string(&path).unwrap());
                }
            }
        }
        found
    }

    fn delivered(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        deliver(directory.path(), &[], names, &mut |_| Ok(())).unwrap();
        directory
    }

    fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
        let directory = delivered(old);
        let mut steps = Vec::new();
        let mut note = |step| {
            steps.push(step);
            Ok(())
        };
        deliver(directory.path(), old, new, &mut note).unwrap();
        assert_eq!(tree(directory.path()), tree(delivered(new).path()));
        steps
    }

    fn full() -> io::Error {
        io::Error::from(Errno::NOSPC)
    }

    #[test]
    fn error_at_any_step_restores_the_old_kind() {
        for (old, new) in [(A_FILE, A_DIRECTORY), (A_DIRECTORY, A_FILE)] {
            for (at, step) in steps(old, new).into_iter().enumerate() {
                let directory = delivered(old);
                let before = tree(directory.path());
                let mut count = 0;
                let mut fail_once = |_| {
                    count += 1;
                    if count == at + 1 { Err(full()) } else { Ok(()) }
                };
                let result = deliver(directory.path(), old, new, &mut fail_once);
                // The new files are in place by then. The next delivery removes the old ones.
                if step == Step::RemoveOld {
                    result.unwrap();
                    continue;
                }
                let error = result.unwrap_err();
                assert!(matches!(error, DiskError::Io { .. }), "{step:?}: {error}");
                assert_eq!(tree(directory.path()), before, "{at} {step:?}");
            }
        }
    }

    /// Tells a child of this test binary whether a file becomes a directory, at which step to abort, and where to write.
    const CRASH_AT: &str = "CFGSYNC_TEST_KIND_CRASH_AT";

    /// Not a test by itself: the body of the child process that crashes.
    #[test]
    fn crashing_child() {
        let Ok(order) = std::env::var(CRASH_AT) else {
            return;
        };
        let [is_file, at, root] = *order.splitn(3, ':').collect::<Vec<_>>() else {
            panic!("{order}");
        };
        let mut left: usize = at.parse().unwrap();
        let mut abort = |_| {
            if left == 0 {
                // Like SIGKILL or power loss: no cleanup runs.
                std::process::abort();
            }
            left -= 1;
            Ok(())
        };
        let (old, new) = match is_file {
            "true" => (A_FILE, A_DIRECTORY),
            _ => (A_DIRECTORY, A_FILE),
        };
        deliver(Path::new(root), old, new, &mut abort).unwrap();
    }

    #[test]
    fn after_a_crash_at_any_step_each_file_is_old_or_new_and_a_retry_converges() {
        for (old, new) in [(A_FILE, A_DIRECTORY), (A_DIRECTORY, A_FILE)] {
            let (before, after) = (tree(delivered(old).path()), tree(delivered(new).path()));
            for (at, step) in steps(old, new).into_iter().enumerate() {
                let directory = delivered(old);
                let root = directory.path();
                let order = format!("{}:{at}:{}", old == A_FILE, root.display());
                let child = std::process::Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "disk::kind_change::tests::crashing_child"])
                    .env(CRASH_AT, order)
                    .output()
                    .unwrap();
                assert!(!child.status.success(), "the child survived {at} {step:?}");
                for (name, content) in tree(root) {
                    let is_temporary = name.contains(".cfgsync-");
                    let known = [before.get(&name), after.get(&name)];
                    let is_known = known.contains(&Some(&content));
                    assert!(is_temporary || is_known, "{at} {step:?}: {name}");
                }
                deliver(root, old, new, &mut |_| Ok(())).unwrap();
                assert_eq!(tree(root), after, "{at} {step:?}");
            }
        }
    }

    #[test]
    fn what_is_not_of_a_delivery_stays() {
        // A file of somebody else in the directory.
        let directory = delivered(A_DIRECTORY);
        std::fs::write(directory.path().join("a/b/mine"), "mine").unwrap();
        let before = tree(directory.path());
        let refused = deliver(directory.path(), A_DIRECTORY, A_FILE, &mut |_| Ok(()));
        assert!(
            matches!(refused, Err(DiskError::IsDirectory { .. })),
            "{refused:?}"
        );
        assert_eq!(tree(directory.path()), before);

        // It appears after the files were staged.
        let directory = delivered(A_DIRECTORY);
        let mine = directory.path().join("a/mine");
        let mut write = |step| match step {
            Step::Remove if !mine.exists() => std::fs::write(&mine, "mine"),
            _ => Ok(()),
        };
        deliver(directory.path(), A_DIRECTORY, A_FILE, &mut write).unwrap_err();
        let mut before = tree(delivered(A_DIRECTORY).path());
        before.insert("a/mine".to_owned(), "mine".to_owned());
        assert_eq!(tree(directory.path()), before);

        // A changed file, and an empty directory that no delivery has used.
        let directory = delivered(A_FILE);
        std::fs::write(directory.path().join("a"), "mine").unwrap();
        let refused = deliver(directory.path(), A_FILE, A_DIRECTORY, &mut |_| Ok(()));
        assert!(refused.is_err_and(|error| error.is_not_a_directory()));
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("a")).unwrap();
        let refused = deliver(directory.path(), &[], A_FILE, &mut |_| Ok(()));
        assert!(
            matches!(refused, Err(DiskError::IsDirectory { .. })),
            "{refused:?}"
        );

        // The request to remove it names what it is.
        let mut transaction = Transaction::begin(None);
        let place = target(directory.path(), "a");
        let request = transaction.remove(&place, 0, Digest::of(b"")).unwrap();
        assert_eq!(request, RemovalRequest::NotAFile);
    }
}
