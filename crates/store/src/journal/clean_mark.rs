//! The file `clean`: the mark of a clean stop. It says how far the log reaches.
//!
//! The store writes it when it is closed, and removes it durably before the first change after a start. Therefore a log
//! that ends before the mark has lost its end.

use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use super::{
    disk::{Disk, WriteError, replace_file},
    small_file,
};
use crate::{
    State,
    directory_error::DirectoryError,
    encoding::{
        entry,
        header::{self, FileKind},
    },
};
use cfgsync_model::{GenerationNumber, Instance, Revision};

/// The name of the mark in the directory.
pub(super) const CLEAN: &str = "clean";

/// The newest state at a clean stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CleanMark {
    pub(super) instance: Instance,
    pub(super) revision: Revision,
    /// The newest generation. `None` if none was sealed.
    pub(super) generation: Option<GenerationNumber>,
}

#[derive(Serialize, Deserialize)]
struct MarkEntry {
    instance: [u8; 16],
    revision: u64,
    generation: Option<u64>,
}

impl CleanMark {
    /// Returns the mark of a stop at `state`.
    pub(super) fn of(instance: Instance, state: &State) -> Self {
        Self {
            instance,
            revision: state.revision,
            generation: state.generation().map(|newest| newest.number),
        }
    }

    /// Reads the mark. `None` if there is none.
    pub(super) fn read(disk: &dyn Disk) -> Result<Option<Self>, DirectoryError> {
        small_file::read(disk, CLEAN, FileKind::Clean, |body| {
            let (mark, _): (MarkEntry, _) = entry::read(body)?;
            Ok(Self {
                instance: Instance::from_bytes(mark.instance),
                revision: Revision(mark.revision),
                generation: mark.generation.map(GenerationNumber),
            })
        })
    }

    /// Writes the mark durably.
    pub(super) fn write(&self, disk: &dyn Disk) -> Result<(), WriteError> {
        let file = header::new_file(FileKind::Clean, |body| {
            let mark = MarkEntry {
                instance: *self.instance.as_bytes(),
                revision: self.revision.0,
                generation: self.generation.map(|number| number.0),
            };
            entry::write(body, &mark);
        });
        replace_file(disk, CLEAN, &[&file])
    }
}

/// Removes the mark durably.
pub(super) fn remove(disk: &dyn Disk) -> Result<(), WriteError> {
    match disk.remove(CLEAN) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let path = disk.path(CLEAN);
            return Err(WriteError::NotWritten { path, error });
        }
        _ => {}
    }
    disk.sync_directory("")
        .map_err(|error| WriteError::NotSynced {
            path: disk.path(""),
            error,
        })
}
