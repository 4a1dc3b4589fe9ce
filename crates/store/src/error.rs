//! The error of opening or reading a store.

use std::io;

use crate::directory_error::DirectoryError;

/// The reason why a store cannot be opened or read. The message names the file or directory and the cause.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Directory(DirectoryError),
    #[error("cannot get random numbers for the identity of the store: {0}")]
    Random(io::Error),
}

/// The kind of a [`StoreError`]. Callers choose their advice to the operator by the kind and match it exhaustively.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Another server uses the store.
    InUse,
    /// Stored data is damaged. Nothing was changed.
    Damaged,
    /// A newer version of this program wrote the store.
    NewerFormat,
    /// The store belongs to another cluster.
    AnotherCluster,
    /// There is no store at this path.
    NotFound,
    /// Other users can read the directory of the store.
    Exposed,
    /// The directory of the store was copied or restored, and the configuration does not say how to continue it.
    Copied,
    /// A copy into the store was interrupted.
    Incomplete,
    /// The content was copied to another store, and continues there.
    Moved,
    /// A store that must be new has data.
    NotEmpty,
    /// The newest changes of the store are lost. A server that opens it begins a new instance.
    LostTail,
    /// An operation of the operating system failed with this kind of error.
    Io(io::ErrorKind),
}

impl StoreError {
    /// Returns the kind of this error.
    pub fn kind(&self) -> StoreErrorKind {
        match &self.0 {
            Cause::Directory(error) => kind_of(error),
            Cause::Random(error) => StoreErrorKind::Io(error.kind()),
        }
    }

    /// Returns the error for an operating system that provides no random numbers.
    pub(crate) fn random(error: io::Error) -> Self {
        Self(Cause::Random(error))
    }
}

fn kind_of(error: &DirectoryError) -> StoreErrorKind {
    match error {
        DirectoryError::InUse { .. } => StoreErrorKind::InUse,
        DirectoryError::Damaged { .. } => StoreErrorKind::Damaged,
        DirectoryError::NewerFormat { .. } => StoreErrorKind::NewerFormat,
        DirectoryError::AnotherCluster { .. } => StoreErrorKind::AnotherCluster,
        DirectoryError::NoState { .. } => StoreErrorKind::NotFound,
        DirectoryError::Exposed { .. } => StoreErrorKind::Exposed,
        DirectoryError::Copied { .. } | DirectoryError::NoPlace { .. } => StoreErrorKind::Copied,
        DirectoryError::Incomplete { .. } => StoreErrorKind::Incomplete,
        DirectoryError::Moved { .. } => StoreErrorKind::Moved,
        DirectoryError::NotEmpty { .. } => StoreErrorKind::NotEmpty,
        DirectoryError::LostTail { .. } => StoreErrorKind::LostTail,
        DirectoryError::Io { error, .. } => StoreErrorKind::Io(error.kind()),
    }
}

impl From<DirectoryError> for StoreError {
    fn from(error: DirectoryError) -> Self {
        Self(Cause::Directory(error))
    }
}
