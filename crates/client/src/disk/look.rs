//! Looking at what stands at a target, along the way that the writer takes; changes nothing.

use std::path::PathBuf;

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::{DiskError, stage::read};
use crate::Target;
use cfgsync_model::Digest;

const OPEN: &str = "open the directory";

/// What stands at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// No regular file.
    Absent,
    /// A file of another length than was asked for; it was not read.
    OtherLength,
    /// A file of that length with this sum.
    Of(Digest),
}

/// The sum of the file at `target` if it is `bytes` long. Symbolic links are followed in the operator's own part
/// of the path alone.
pub fn sum(target: &Target, bytes: u64) -> Result<Sum, DiskError> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut path: PathBuf = target.root.clone();
    let (name, parts) = target.below.split_last().expect("a target has a name");
    let mut directory = match fs::open(&path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Sum::Absent),
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
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Sum::Absent),
            Err(errno) => return Err(DiskError::io(OPEN, &path)(errno)),
        };
    }
    path.push(name);
    let stat = match fs::statat(&directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Sum::Absent),
        Err(errno) => return Err(DiskError::io("look at", &path)(errno)),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Sum::Absent);
    }
    if u64::try_from(stat.st_size) != Ok(bytes) {
        return Ok(Sum::OtherLength);
    }
    Ok(Sum::Of(Digest::of(&read(&directory, name, &path)?)))
}
