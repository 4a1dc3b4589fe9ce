//! Writes files as one transaction: each file is old or new, never partial, and all are new or all are restored.
//!
//! The order of a transaction:
//!
//! 1. Open the directories, create missing ones, lock them, and remove what a killed process left in them.
//! 2. Stage each changed file beside its target, with its final owner and mode, and sync it.
//! 3. Commit: rename the files and directories aside that are to be removed, exchange each staged file with the old one, rewrite in place
//!    what cannot be exchanged (bind-mounted files), and sync the directories.
//! 4. Finish: delete the old files. Until then, the caller can roll back.
//!
//! One transaction at a time writes to a directory. The caller can keep the locks until it executes a program that
//! reads the files.
//!
//! Symbolic links are followed in the operator's part of a path, and nowhere below it. If a target itself is a symbolic
//! link, the link is replaced, not the file that it points to.

mod step;
mod owner;
mod attributes;
mod mode;
mod leftovers;
mod tree;
mod stage;
mod removal;
mod kind_change;
mod install;
mod transaction;
mod checksum;
mod preview;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::Target;
use cfgsync_model::{ArtifactFile, ArtifactPath};
use cfgsync_support::duration;
pub use checksum::{Checksum, checksum};
use mode::CHANGE_MODE;
use owner::CHANGE_OWNER;
pub use owner::{Owner, UnknownAccount};
pub(crate) use preview::check_directory;
pub(crate) use removal::RemovalRequest;
#[doc(hidden)]
pub use step::Step;
pub(crate) use transaction::TargetPlace;
pub use transaction::{CommittedTransaction, Transaction};
pub use tree::DirectoryLocks;

/// A file of a finished transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrittenFile {
    /// The artifact of the payload, or `receipt` for a receipt.
    pub artifact: ArtifactPath,
    /// The path of the target, as the routes give it.
    pub path: PathBuf,
    /// The change to the target.
    pub outcome: Outcome,
}

/// The change to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was created.
    Created,
    /// It was replaced by a new file.
    Replaced,
    /// Its content, mode and owner were already right. It was not touched.
    Unchanged,
    /// It is bind-mounted and was rewritten in place, which is not atomic.
    Overwritten,
}

/// The reason why files could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The operating system reports an error.
    #[error("cannot {action} {}: {problem}", path.display())]
    Io {
        /// The failed action, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        problem: io::Error,
    },
    /// The target is a directory.
    #[error("cannot write {}: it is a directory", path.display())]
    IsDirectory {
        /// The path that a route gives for a file.
        path: PathBuf,
    },
    /// A directory of the target's path is a file that an earlier delivery wrote.
    #[error("cannot write below {}: it is a file of an earlier delivery", path.display())]
    DeliveredFile {
        /// The path of the delivered file.
        path: PathBuf,
    },
    /// The target is a directory with files that an earlier delivery wrote.
    #[error("cannot write {}: it is a directory with files of an earlier delivery", path.display())]
    DeliveredDirectory {
        /// The path of the directory.
        path: PathBuf,
    },
    /// The target is a device, a pipe or a socket, or a symbolic link to one.
    #[error("cannot write {}: it is not a regular file", path.display())]
    NotAFile {
        /// The path of the device, pipe, socket or symbolic link.
        path: PathBuf,
    },
    /// A component of the path that may come from the server is a symbolic link.
    #[error("cannot write below {}: it is a symbolic link, which is not followed", path.display())]
    SymbolicLink {
        /// The path of the symbolic link itself.
        path: PathBuf,
    },
    /// Two targets are the same file.
    #[error("cannot write {}: it is the same file as {}", second.display(), first.display())]
    SameFile {
        /// The path of the target that was staged first.
        first: PathBuf,
        /// The path that leads to the same directory and name.
        second: PathBuf,
    },
    /// The name has the form of a staged file's name. The next transaction would remove it.
    #[error("cannot write {}: this form of name is reserved for temporary files of cfgsync", path.display())]
    Reserved {
        /// The path with the reserved name.
        path: PathBuf,
    },
    /// The spec gives the file to a user or group that this machine does not know.
    #[error("cannot change the owner of {}: {problem}", path.display())]
    UnknownAccount {
        /// The path of the target.
        path: PathBuf,
        /// The name that is not known.
        problem: UnknownAccount,
    },
    /// Another transaction writes to the directory, or another program has locked it.
    #[error(
        "cannot write to {}: another delivery or program has locked the directory{}", path.display(), Waited(*.waited)
    )]
    Locked {
        /// The locked directory.
        path: PathBuf,
        /// The time that was spent waiting for the lock.
        waited: Duration,
    },
    /// The transaction was dropped before it was finished.
    #[error("the transaction was cancelled")]
    Cancelled,
    /// There was an error, and not every file could be restored.
    #[error("{cause}; cannot restore {}", list(files))]
    RollbackFailed {
        /// The error that caused the rollback.
        cause: Box<DiskError>,
        /// The files that may be new, missing or still under a staging name.
        files: Vec<PathBuf>,
    },
}

impl DiskError {
    /// Whether a part of a path is no directory.
    pub(crate) fn is_not_a_directory(&self) -> bool {
        matches!(self, Self::Io { problem, .. } if problem.kind() == io::ErrorKind::NotADirectory)
    }

    /// Returns what an operator can do about it, in terms of the program's flags.
    pub fn hint(&self) -> Option<&'static str> {
        use io::ErrorKind as Kind;
        match self {
            Self::Io {
                action, problem, ..
            } if *action == CHANGE_OWNER && problem.kind() == Kind::PermissionDenied => Some(
                "only root can give a file to another user: run as root, omit --owner, or remove `owner` and `group` \
                     from the file in the spec",
            ),
            Self::Io {
                action, problem, ..
            } if *action == CHANGE_MODE
                && matches!(
                    problem.kind(),
                    Kind::PermissionDenied | Kind::Unsupported | Kind::InvalidInput
                ) =>
            {
                Some(
                    "write the secret to a file system that keeps modes, such as a tmpfs, with --out or --out-dir",
                )
            }
            Self::Io { problem, .. } => match problem.kind() {
                Kind::StorageFull | Kind::QuotaExceeded => {
                    Some("free some space and run the command again; no file was changed")
                }
                Kind::FileTooLarge => {
                    Some("raise the file size limit (ulimit -f) and run the command again")
                }
                Kind::PermissionDenied => Some(
                    "run as a user who may write there, or choose another path with --out or --out-dir",
                ),
                Kind::NotADirectory => {
                    Some("remove that file, or choose another path with --out or --out-dir")
                }
                Kind::ReadOnlyFilesystem => {
                    Some("mount it writable, or choose another path with --out or --out-dir")
                }
                _ => None,
            },
            Self::IsDirectory { .. } => {
                Some("name a file, or route a whole prefix with '/' at the end of both sides")
            }
            Self::DeliveredFile { .. } => Some(
                "the payload now has a directory of this name, but the file has changed or --keep-stale is given: remove it and run the command again",
            ),
            Self::DeliveredDirectory { .. } => Some(
                "the payload now has a file of this name, but the directory has other or changed files, or --keep-stale is given: remove it and run the command again",
            ),
            Self::NotAFile { .. } => Some("to print an artifact, route it to '-'"),
            Self::SymbolicLink { .. } => {
                Some("add a route for the directory that it points to: --out DIR/=PATH/")
            }
            Self::SameFile { .. } => Some("give each artifact a path of its own"),
            Self::Reserved { .. } => Some("rename the artifact in the spec"),
            Self::UnknownAccount { .. } => Some(
                "create the user or group on this node, or choose another owner with --owner USER:GROUP",
            ),
            Self::Locked { .. } => Some(
                "wait until the other `join` has started its program, and run the command again; \
                 `fuser -v DIR` names the processes that have the directory open",
            ),
            Self::Cancelled => None,
            Self::RollbackFailed { .. } => {
                Some("run the command again: it writes all files before it starts CMD")
            }
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

/// Shows for how long a transaction waited for a lock, if it did.
struct Waited(Duration);

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return Ok(());
        }
        write!(f, " for more than {}", duration::text(self.0))
    }
}

fn list(files: &[PathBuf]) -> String {
    let names: Vec<_> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(", ")
}

/// Writes each file to its target, or none of them: stages, commits and finishes a [`Transaction`].
pub fn write(
    files: &[(&ArtifactFile, &Target)],
    owner: Option<Owner>,
) -> Result<Vec<WrittenFile>, DiskError> {
    Ok(Transaction::stage(files, owner)?.commit()?.finish())
}
