//! The reason why a state directory cannot be used.

use std::{io, path::PathBuf};

/// The reason why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    /// Another server uses the directory.
    #[error("{} is in use by {}", directory.display(), holder(*pid))]
    InUse {
        directory: PathBuf,
        /// The process that holds the lock, where the lock file names one.
        pid: Option<u32>,
    },
    /// The content differs from what was written, at a place where no crash can cause that.
    #[error("{} is damaged at byte {offset}: {what}", file.display())]
    Damaged {
        file: PathBuf,
        offset: u64,
        what: String,
    },
    /// A newer cfgsync wrote the file.
    #[error(
        "{} has format {version} and was written by {}; this is cfgsync {program}, which reads formats up to {known}",
        file.display(), writer(writer_version.as_deref())
    )]
    NewerFormat {
        file: PathBuf,
        version: u32,
        /// The version of the program that wrote the file, if the file says so.
        writer_version: Option<String>,
        /// The newest format that this program reads.
        known: u32,
        /// The version of this program.
        program: &'static str,
    },
    /// The directory holds the state of another cluster.
    #[error("{} holds the state of cluster {found:?}, not of {wanted:?}", directory.display())]
    AnotherCluster {
        directory: PathBuf,
        found: String,
        wanted: String,
    },
    /// The directory holds no state.
    #[error("{} is not a state directory: it contains no log", directory.display())]
    NoState { directory: PathBuf },
    /// Other users may read the directory, and it contains files that are not known to be ours.
    #[error(
        "{} has mode {mode:04o}, so other users can read the state that is kept in it",
        directory.display()
    )]
    Exposed { directory: PathBuf, mode: u32 },
    /// The directory is not the one that the last server used.
    #[error(
        "{} was copied or restored: its log is not the file that the last server wrote to",
        directory.display()
    )]
    Copied { directory: PathBuf },
    /// The record of the place is missing, and the log promises it.
    #[error(
        "{} was copied or restored without its file `place`, or that file was deleted",
        directory.display()
    )]
    NoPlace { directory: PathBuf },
    /// A copy into the directory was interrupted.
    #[error("{} is incomplete: a copy from {from} was interrupted", directory.display())]
    Incomplete { directory: PathBuf, from: String },
    /// The content was copied to another store, and continues there.
    #[error("{} was moved to {to}, and the cluster continues there", directory.display())]
    Moved { directory: PathBuf, to: String },
    /// A directory that must be new has data.
    #[error("{} already has the state of a cluster", directory.display())]
    NotEmpty { directory: PathBuf },
    /// The log ends before changes that were made.
    #[error("{}: {what}", directory.display())]
    LostTail { directory: PathBuf, what: String },
    /// An operation of the operating system failed.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// The operation that failed, such as `read`.
        action: &'static str,
        path: PathBuf,
        error: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("the server with process id {pid}"),
        None => "another server".to_owned(),
    }
}

fn writer(version: Option<&str>) -> String {
    match version {
        Some(version) => format!("cfgsync {version}"),
        None => "a newer cfgsync".to_owned(),
    }
}
