//! The steps of a run, and who is asked before each.

use std::{io, path::Path};

use super::DiskError;

/// A change to the disk that is about to be made; tests stop or fail the writer here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Removing what a killed run left.
    RemoveLeftover,
    /// Making a directory.
    MakeDirectory,
    /// Creating a staged file.
    Stage,
    /// Writing a piece of it.
    Write,
    /// Giving it its owner.
    Own,
    /// Giving it its mode.
    Mode,
    /// Syncing it.
    Sync,
    /// Exchanging staged and old file, atomically.
    Exchange,
    /// Renaming a staged file to its target.
    Rename,
    /// Copying an old file, where the filesystem cannot exchange.
    BackUp,
    /// Rewriting a file that is mounted by itself.
    Overwrite,
    /// Syncing a directory.
    SyncDirectory,
    /// Removing an old file.
    RemoveOld,
    /// Putting one file back.
    PutBack,
}

/// Called before each change.
pub(super) type Hook<'h> = &'h mut dyn FnMut(Step) -> io::Result<()>;

/// Asks the hook before a change.
pub(super) fn ask(
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
