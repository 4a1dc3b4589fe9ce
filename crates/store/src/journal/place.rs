//! The file `place`: the identity of the log file, by which the store notices that its directory was copied or restored.
//!
//! The identity is the inode of the log, not that of the directory: a mount point has the same inode on every volume,
//! and a restore into an existing directory replaces only the files. Device numbers are not recorded, because the volume
//! of a container may have another one at each mount.

use serde::{Deserialize, Serialize};

use super::{
    disk::{Disk, FileIdentity, WriteError, replace_file},
    log::LOG,
    small_file,
};
use crate::{
    directory_error::DirectoryError,
    encoding::{
        entry,
        header::{self, FileKind},
    },
};

/// The name of the record in the directory.
pub(super) const PLACE: &str = "place";

/// The content of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The identity of the log. `None` if its filesystem does not keep identities.
    log: Option<FileIdentity>,
}

impl Place {
    /// Returns the place where the log is now.
    pub(super) fn now(disk: &dyn Disk) -> Self {
        Self {
            log: disk.identity(LOG),
        }
    }

    /// Reads the record. `None` if there is none: an older program wrote the directory.
    pub(super) fn recorded(disk: &dyn Disk) -> Result<Option<Self>, DirectoryError> {
        small_file::read(
            disk,
            PLACE,
            FileKind::Place,
            |body| Ok(entry::read(body)?.0),
        )
    }

    /// Whether the log at `self` is certainly not the one at `recorded`.
    pub(super) fn differs_from(&self, recorded: &Self) -> bool {
        let (Some(now), Some(recorded)) = (self.log, recorded.log) else {
            return false;
        };
        let created = now.created_nanoseconds.zip(recorded.created_nanoseconds);
        now.inode != recorded.inode || created.is_some_and(|(now, recorded)| now != recorded)
    }

    /// Whether this place can be recognized later.
    pub(super) fn is_known(&self) -> bool {
        self.log.is_some()
    }

    /// Writes the record durably.
    pub(super) fn write(&self, disk: &dyn Disk) -> Result<(), WriteError> {
        let file = header::new_file(FileKind::Place, |body| entry::write(body, self));
        replace_file(disk, PLACE, &[&file])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_differs_only_if_both_identities_are_known_and_unequal() {
        let at = |inode, created_nanoseconds| Place {
            log: Some(FileIdentity {
                inode,
                created_nanoseconds,
            }),
        };
        let unknown = Place { log: None };
        for (now, recorded, differs) in [
            (at(7, Some(1)), at(7, Some(1)), false),
            (at(8, Some(1)), at(7, Some(1)), true),
            // The inode number of a removed file was used again.
            (at(7, Some(2)), at(7, Some(1)), true),
            (at(7, None), at(7, Some(1)), false),
            (at(8, None), at(7, Some(1)), true),
            (unknown, at(7, Some(1)), false),
            (at(7, Some(1)), unknown, false),
            (unknown, unknown, false),
        ] {
            assert_eq!(now.differs_from(&recorded), differs, "{now:?} {recorded:?}");
        }
    }
}
