//! The error of opening or reading a store.

use std::io;

use crate::directory_error::DirectoryError;

/// Why a store cannot be opened or read. The message names the file or directory and the cause.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Directory(DirectoryError),
    #[error("cannot draw random numbers for the instance of the store: {0}")]
    Random(io::Error),
}

/// The kind of a [`StoreError`]. Callers choose the advice to the operator by it, so it is matched exhaustively.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Another server uses the store.
    InUse,
    /// Stored data are damaged. Nothing was changed.
    Damaged,
    /// A newer version of this program wrote the store.
    NewerFormat,
    /// The store belongs to another cluster.
    AnotherCluster,
    /// There is no store at this place.
    NotFound,
    /// Other users can read the place where the store is to be kept.
    Exposed,
    /// An operation of the operating system failed in this way.
    Io(io::ErrorKind),
}

impl StoreError {
    /// The kind of this error.
    pub fn kind(&self) -> StoreErrorKind {
        match &self.0 {
            Cause::Directory(error) => kind_of(error),
            Cause::Random(error) => StoreErrorKind::Io(error.kind()),
        }
    }

    /// The operating system supplies no random numbers.
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
        DirectoryError::Io { error, .. } => StoreErrorKind::Io(error.kind()),
    }
}

impl From<DirectoryError> for StoreError {
    fn from(error: DirectoryError) -> Self {
        Self(Cause::Directory(error))
    }
}
