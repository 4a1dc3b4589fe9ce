//! Whom a file is given to, and what is kept where nobody says.

use std::os::fd::AsFd;

use rustix::{
    fs::{self, Gid, Uid},
    io::Errno,
};

/// Who owns the files that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group; `None` keeps that of the replaced file, or the process' own.
    pub gid: Option<u32>,
}

/// What was tried when a file's owner could not be changed.
pub(super) const CHANGE_OWNER: &str = "change the owner of";

/// Gives an open file its owner.
pub(super) fn give(fd: impl AsFd, uid: u32, gid: Option<u32>) -> Result<(), Errno> {
    fs::fchown(fd, Some(Uid::from_raw(uid)), gid.map(Gid::from_raw))
}

/// Keeps owner and group where that is permitted, or at least the group.
pub(super) fn keep_owner(fd: impl AsFd, uid: u32, gid: u32) -> Result<(), Errno> {
    let stat = fs::fstat(&fd)?;
    if (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    match give(&fd, uid, Some(gid)) {
        Err(Errno::PERM) => match fs::fchown(fd, None, Some(Gid::from_raw(gid))) {
            Err(Errno::PERM) => Ok(()),
            other => other,
        },
        other => other,
    }
}
