//! Sets the owner of a file, or keeps that of the file that it replaces.

use std::os::fd::AsFd;

use rustix::{
    fs::{self, Gid, Uid},
    io::Errno,
};

/// The owner of files and directories that are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The numeric user id.
    pub uid: u32,
    /// The group id. `None` keeps the group of the replaced file, or uses the group of the process.
    pub gid: Option<u32>,
}

/// The action in the error for an owner that cannot be changed.
pub(super) const CHANGE_OWNER: &str = "change the owner of";

/// Sets the owner of an open file.
pub(super) fn set_owner(fd: impl AsFd, uid: u32, gid: Option<u32>) -> Result<(), Errno> {
    fs::fchown(fd, Some(Uid::from_raw(uid)), gid.map(Gid::from_raw))
}

/// Sets user and group if the process may do so, or else only the group if it may.
pub(super) fn keep_owner(fd: impl AsFd, uid: u32, gid: u32) -> Result<(), Errno> {
    let stat = fs::fstat(&fd)?;
    if (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    match set_owner(&fd, uid, Some(gid)) {
        Err(Errno::PERM) => match fs::fchown(fd, None, Some(Gid::from_raw(gid))) {
            Err(Errno::PERM) => Ok(()),
            other => other,
        },
        other => other,
    }
}
