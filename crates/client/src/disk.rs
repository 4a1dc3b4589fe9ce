//! Files on disk: each one old or new, never partial, and all of them new or all put back.
//!
//! The order: open (and make) the directories, remove what an earlier run that was killed left behind, stage
//! every changed file beside its target, exchange staged and old files one by one, rewrite in place what
//! cannot be exchanged, sync the directories, do what the caller wants done last, remove the old files. An error
//! on the way undoes all of it.
//!
//! The operator's own part of a path is followed through symbolic links; below it none is, and a target
//! that is a symbolic link is itself replaced, not what it points to.

mod step;
mod owner;
mod tree;
mod beside;
mod stage;
mod commit;
mod look;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use super::Target;
pub use beside::create_beside;
use cfgsync_model::{ArtifactFile, ArtifactPath};
pub use look::{Sum, sum};
use owner::CHANGE_OWNER;
pub use owner::Owner;
use step::Hook;
pub use step::Step;

/// What happened to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Which artifact.
    pub artifact: ArtifactPath,
    /// Where it stands.
    pub path: PathBuf,
    /// How it came there.
    pub outcome: Outcome,
}

/// How a file came to stand where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was none.
    Created,
    /// It took the place of an older one.
    Replaced,
    /// Bytes, mode and owner were as they should be; it was not touched.
    Unchanged,
    /// It is mounted by itself and was rewritten in place, which is not atomic.
    Overwritten,
}

/// Files that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The operating system said no.
    #[error("cannot {action} {}: {problem}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What it said.
        problem: io::Error,
    },
    /// There is a directory where the file should be.
    #[error("cannot write {}: it is a directory", path.display())]
    IsDirectory {
        /// The target.
        path: PathBuf,
    },
    /// There is a device, a pipe or a socket.
    #[error("cannot write {}: it is not a regular file", path.display())]
    NotAFile {
        /// The target.
        path: PathBuf,
    },
    /// A symbolic link among the parts that the server named.
    #[error("cannot write below {}: it is a symbolic link, which is not followed", path.display())]
    SymbolicLink {
        /// The link.
        path: PathBuf,
    },
    /// Two paths lead to one file.
    #[error("cannot write {}: it is the same file as {}", second.display(), first.display())]
    SameFile {
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A name that the next run would take for a leftover.
    #[error("cannot write {}: such names are kept for files that are being written", path.display())]
    Reserved {
        /// The target.
        path: PathBuf,
    },
    /// An error, and not everything could be put back.
    #[error("{cause}; and these could not be put back: {}", list(files))]
    NotPutBack {
        /// The error.
        cause: Box<DiskError>,
        /// The files that may be new, missing or under a staging name.
        files: Vec<PathBuf>,
    },
}

impl DiskError {
    /// The way out, where there is a usual one.
    pub fn hint(&self) -> Option<&'static str> {
        use io::ErrorKind as Kind;
        match self {
            Self::Io {
                action, problem, ..
            } if *action == CHANGE_OWNER && problem.kind() == Kind::PermissionDenied => {
                Some("only root can give files away: run as root, or leave --owner out")
            }
            Self::Io { problem, .. } => match problem.kind() {
                Kind::StorageFull | Kind::QuotaExceeded => {
                    Some("free some space and run it again; nothing was changed")
                }
                Kind::FileTooLarge => {
                    Some("raise the file size limit (ulimit -f) and run it again")
                }
                Kind::PermissionDenied => Some(
                    "run as a user who may write there, or choose another path with --out or --out-dir",
                ),
                Kind::ReadOnlyFilesystem => {
                    Some("mount it writable, or choose another path with --out or --out-dir")
                }
                _ => None,
            },
            Self::IsDirectory { .. } => {
                Some("name a file, or route a whole prefix with a '/' at the end of both sides")
            }
            Self::NotAFile { .. } => Some("to print an artifact, route it to '-'"),
            Self::SymbolicLink { .. } => Some(
                "name the directory that it points to with a route of its own (--out DIR/=PATH/)",
            ),
            Self::SameFile { .. } => Some("give each artifact a path of its own"),
            Self::Reserved { .. } => Some("rename the artifact in the spec"),
            Self::NotPutBack { .. } => Some("run it again: it converges before CMD starts"),
        }
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.to_owned();
        move |errno| Self::Io {
            action,
            path,
            problem: errno.into(),
        }
    }
}

fn list(files: &[PathBuf]) -> String {
    let names: Vec<_> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(", ")
}

/// Writes every file to its target, or none.
pub fn write(
    files: &[(&ArtifactFile, &Target)],
    owner: Option<Owner>,
) -> Result<Vec<Written>, DiskError> {
    write_and(files, owner, |_| Ok(()))
}

/// As [`write()`], with one thing more that must go well: `last` is done when the new files stand and the old
/// ones can still be put back. Its error puts them back.
pub fn write_and(
    files: &[(&ArtifactFile, &Target)],
    owner: Option<Owner>,
    last: impl FnOnce(&[Written]) -> Result<(), DiskError>,
) -> Result<Vec<Written>, DiskError> {
    run(files, owner, last, &mut |_| Ok(()))
}

/// As [`write()`], calling `hook` before each change to the disk. An error of the hook counts as one of the
/// change itself.
pub fn write_stepwise(
    files: &[(&ArtifactFile, &Target)],
    owner: Option<Owner>,
    hook: Hook<'_>,
) -> Result<Vec<Written>, DiskError> {
    run(files, owner, |_| Ok(()), hook)
}

fn run(
    files: &[(&ArtifactFile, &Target)],
    owner: Option<Owner>,
    last: impl FnOnce(&[Written]) -> Result<(), DiskError>,
    hook: Hook<'_>,
) -> Result<Vec<Written>, DiskError> {
    let mut tree = tree::Tree::new(owner);
    let mut staged = Vec::new();
    let outcome = stage_all(files, owner, &mut tree, &mut staged, hook)
        .and_then(|()| commit::commit(&mut tree, &mut staged, owner, hook))
        .and_then(|()| {
            let written: Vec<_> = staged.iter().map(stage::Staged::written).collect();
            last(&written).map(|()| written)
        });
    match outcome {
        Ok(written) => {
            commit::remove_old(&tree, &staged, hook);
            Ok(written)
        }
        Err(cause) => Err(commit::put_back(&tree, &staged, cause, hook)),
    }
}

fn stage_all(
    files: &[(&ArtifactFile, &Target)],
    owner: Option<Owner>,
    tree: &mut tree::Tree,
    staged: &mut Vec<stage::Staged>,
    hook: Hook<'_>,
) -> Result<(), DiskError> {
    let mut taken: HashMap<(usize, String), PathBuf> = HashMap::new();
    for (file, target) in files {
        let path = target.path();
        if target.below.iter().any(|part| tree::is_staging_name(part)) {
            return Err(DiskError::Reserved { path });
        }
        let (directory, name) = tree.open(target, hook)?;
        // Two spellings of one directory are one directory here.
        if let Some(first) = taken.insert((directory, name.clone()), path.clone()) {
            let second = path;
            return Err(DiskError::SameFile { first, second });
        }
        stage::stage(file, directory, name, path, owner, tree, staged, hook)?;
    }
    Ok(())
}
