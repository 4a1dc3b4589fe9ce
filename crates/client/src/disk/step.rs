//! The steps of a transaction, and the hook with which tests stop or fail it before each of them.

use std::{io, path::Path};

use super::DiskError;

/// A change to the disk that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Remove a file that a killed process left.
    RemoveLeftover,
    /// Create a directory.
    MakeDirectory,
    /// Create a staged file.
    Stage,
    /// Write a part of its content.
    Write,
    /// Set its owner.
    Own,
    /// Set its mode.
    Mode,
    /// Sync it.
    Sync,
    /// Exchange the staged and the old file atomically.
    Exchange,
    /// Rename the staged file to its target.
    Rename,
    /// Copy the old file, if the file system cannot exchange two files.
    BackUp,
    /// Rename a file aside that is to be removed.
    Remove,
    /// Rewrite a bind-mounted file in place.
    Overwrite,
    /// Sync a directory.
    SyncDirectory,
    /// Remove an old file.
    RemoveOld,
    /// Restore one file during a rollback.
    Restore,
}

/// Called before each change. Its error counts as an error of the change.
pub(super) type Hook<'h> = &'h mut dyn FnMut(Step) -> io::Result<()>;

/// Calls the hook before a change to `path`.
pub(super) fn before(
    hook: Hook<'_>,
    step: Step,
    action: &'static str,
    path: &Path,
) -> Result<(), DiskError> {
    hook(step).map_err(|problem| DiskError::Io {
        action,
        path: path.to_owned(),
        problem,
    })
}
