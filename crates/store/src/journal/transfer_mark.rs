//! The file `transfer`: the mark of a directory whose content was copied to another store, or is being copied into it.

use serde::{Deserialize, Serialize};

use super::{
    disk::{Disk, WriteError, replace_file},
    small_file,
};
use crate::{
    directory_error::DirectoryError,
    encoding::{
        entry,
        header::{self, FileKind},
    },
};
use cfgsync_model::Instance;

/// The name of the mark in the directory.
const TRANSFER: &str = "transfer";

/// The mark. No server uses a directory that has one. The order of the variants is the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TransferMark {
    /// The content is being copied into the directory.
    Incoming {
        /// The instance that is copied.
        instance: [u8; 16],
        /// The place that it comes from, for messages.
        from: String,
    },
    /// The content was copied to this place, and continues there.
    Moved { to: String },
}

impl TransferMark {
    pub(super) fn incoming(instance: Instance, from: &str) -> Self {
        Self::Incoming {
            instance: *instance.as_bytes(),
            from: from.to_owned(),
        }
    }

    /// Reads the mark, if the directory has one.
    pub(super) fn read(disk: &dyn Disk) -> Result<Option<Self>, DirectoryError> {
        small_file::read(disk, TRANSFER, FileKind::Transfer, |body| {
            Ok(entry::read(body)?.0)
        })
    }

    /// Writes the mark durably.
    pub(super) fn write(&self, disk: &dyn Disk) -> Result<(), WriteError> {
        let file = header::new_file(FileKind::Transfer, |body| entry::write(body, self));
        replace_file(disk, TRANSFER, &[&file])
    }

    /// Removes the mark durably.
    pub(super) fn remove(disk: &dyn Disk) -> Result<(), WriteError> {
        let path = || disk.path(TRANSFER);
        disk.remove(TRANSFER)
            .map_err(|error| WriteError::NotWritten {
                path: path(),
                error,
            })?;
        let synced = disk.sync_directory("");
        synced.map_err(|error| WriteError::NotSynced {
            path: path(),
            error,
        })
    }

    /// Returns the error of a server that finds this mark in its directory.
    pub(super) fn refusal(self, disk: &dyn Disk) -> DirectoryError {
        let directory = disk.path("");
        match self {
            Self::Incoming { from, .. } => DirectoryError::Incomplete { directory, from },
            Self::Moved { to } => DirectoryError::Moved { directory, to },
        }
    }
}
