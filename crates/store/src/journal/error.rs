//! What can be wrong with a state directory, each with the way out.

use std::{io, path::PathBuf};

use cfgsync_model::{Instance, InvalidArtifactPath, InvalidIdentifier};

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another server has it.
    #[error("{} is in use by {}", directory.display(), holder(*pid))]
    InUse {
        /// The state directory.
        directory: PathBuf,
        /// Who holds it, where that can be told.
        pid: Option<u32>,
    },
    /// Not what was written, in a place where no crash can have left it so.
    #[error("{} is damaged at byte {offset}: {what}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// Written by a later cfgsync.
    #[error("{} has format version {version}; this cfgsync reads version {known}", file.display())]
    Version {
        /// Which file.
        file: PathBuf,
        /// Its version.
        version: u32,
        /// The newest version that can be read.
        known: u32,
    },
    /// It holds the state of another cluster.
    #[error("{} holds the state of cluster {found:?}, not of {wanted:?}", directory.display())]
    AnotherCluster {
        /// The state directory.
        directory: PathBuf,
        /// Whose state it is.
        found: String,
        /// Whose was wanted.
        wanted: String,
    },
    /// There is no state in it.
    #[error("{} is no state directory: there is no log in it", directory.display())]
    NoState {
        /// The directory.
        directory: PathBuf,
    },
    /// Others than its owner may read it, and it is not known to be only ours to close.
    #[error("{} has mode {mode:04o}: others may read what is kept in it", directory.display())]
    Exposed {
        /// The directory.
        directory: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was to be done, such as `read`.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

/// Why a body that arrived whole is not one of ours: a bug, or a file that was made by hand.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("a body is not in this format")]
    Body(#[from] postcard::Error),
    #[error("a JSON value in it is none")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Identifier(#[from] InvalidIdentifier),
    #[error(transparent)]
    Path(#[from] InvalidArtifactPath),
    #[error("it belongs to instance {0}")]
    Instance(Instance),
    #[error("{0}")]
    Other(String),
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("the server with process id {pid}"),
        None => "another server".to_owned(),
    }
}
