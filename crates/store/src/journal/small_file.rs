//! Reads the files of a state directory that have one frame.

use super::disk::Disk;
use crate::{
    directory_error::DirectoryError,
    encoding::{
        error::DecodeError,
        header::{self, FileKind},
    },
};

/// Reads a file with one frame from `disk`, and decodes its body. `None` if there is no such file.
pub(super) fn read<T>(
    disk: &dyn Disk,
    name: &str,
    kind: FileKind,
    decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
) -> Result<Option<T>, DirectoryError> {
    let path = || disk.path(name);
    let file = disk.read(name).map_err(|error| DirectoryError::Io {
        action: "read",
        path: path(),
        error,
    })?;
    let read = file.map(|file| header::read_file(&file, kind, path, |frame| decode(frame.body)));
    read.transpose()
}
