//! Reads a target as the transaction would write it, without following symbolic links, and changes nothing.

use std::path::PathBuf;

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::{DiskError, stage::read};
use crate::Target;
use cfgsync_model::Digest;

const OPEN: &str = "open the directory";

/// The state of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// There is no regular file.
    Absent,
    /// The file has another length than the caller gave. Its content was not read.
    OtherLength,
    /// The file has the given length and this SHA-256 checksum.
    Sha256(Digest),
}

/// Returns the checksum of the file at `target` if it is `bytes` long. Symbolic links are followed in the operator's
/// part of the path only.
pub fn checksum(target: &Target, bytes: u64) -> Result<Checksum, DiskError> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut path: PathBuf = target.root.clone();
    let (name, parts) = target.below.split_last().expect("a target has a name");
    let mut directory = match fs::open(&path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Checksum::Absent),
        Err(errno) => return Err(DiskError::io(OPEN, &path)(errno)),
    };
    for part in parts {
        path.push(part);
        directory = match fs::openat(
            &directory,
            part.as_str(),
            flags | OFlags::NOFOLLOW,
            Mode::empty(),
        ) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Checksum::Absent),
            Err(errno) => return Err(DiskError::io(OPEN, &path)(errno)),
        };
    }
    path.push(name);
    let stat = match fs::statat(&directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Checksum::Absent),
        Err(errno) => return Err(DiskError::io("inspect", &path)(errno)),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Checksum::Absent);
    }
    if u64::try_from(stat.st_size) != Ok(bytes) {
        return Ok(Checksum::OtherLength);
    }
    Ok(Checksum::Sha256(Digest::of(&read(
        &directory, name, &path,
    )?)))
}
