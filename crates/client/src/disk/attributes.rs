//! Keeps the POSIX ACL and the extended attributes of a replaced file, as far as the process may set them.

use std::{os::fd::AsFd, path::Path};

use rustix::{
    fs::{self, Mode, XattrFlags},
    io::Errno,
};

/// Longest list of names that the kernel returns, and the longest value.
const XATTR_MAX_BYTES: usize = 64 << 10;
/// The attribute that holds the ACL.
const ACL: &str = "system.posix_acl_access";
/// Labels that the machine's policy reads. Other attributes of `security.` belong to the old content, such as the
/// capabilities of a program.
const LABELS: [&str; 2] = ["security.selinux", "security.SMACK64"];
/// The attributes of users.
const USER_PREFIX: &str = "user.";

/// The kept attributes of a file.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    acl: Option<Acl>,
    others: Vec<(String, Vec<u8>)>,
}

/// An ACL as the kernel encodes it: a version of four bytes, and entries of eight bytes.
#[derive(Debug)]
struct Acl(Vec<u8>);

const HEADER_BYTES: usize = 4;
const ENTRY_BYTES: usize = 8;
/// The kinds of entries whose permissions are those of the mode.
const OWNER: u16 = 0x01;
const GROUP: u16 = 0x04;
const OTHER: u16 = 0x20;

impl Attributes {
    /// Reads the attributes of an open file. Attributes that cannot be read are left out.
    pub(super) fn of(file: impl AsFd) -> Self {
        let mut names = vec![0; XATTR_MAX_BYTES];
        let Ok(length) = fs::flistxattr(&file, &mut names[..]) else {
            return Self::default();
        };
        let mut kept = Self::default();
        for name in names[..length].split(|byte| *byte == 0) {
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            if name == ACL {
                kept.acl = Acl::of(&file);
            } else if (name.starts_with(USER_PREFIX) || LABELS.contains(&name))
                && let Some(value) = value(&file, name)
            {
                kept.others.push((name.to_owned(), value));
            }
        }
        kept
    }

    /// Sets the attributes except the ACL, and warns about those that cannot be set.
    pub(super) fn apply(&self, file: impl AsFd, path: &Path) {
        for (name, value) in &self.others {
            if let Err(errno) = fs::fsetxattr(&file, name.as_str(), value, XattrFlags::empty()) {
                warn_of_loss(path, name, errno);
            }
        }
    }

    /// Sets the ACL, with the permissions of `mode` for the owner, the group and others. Call it after the mode was set,
    /// which would change the ACL. Returns whether there is an ACL.
    pub(super) fn apply_acl(&self, file: impl AsFd, mode: Mode, path: &Path) -> bool {
        let Some(acl) = &self.acl else {
            return false;
        };
        let Acl(value) = acl.with_mode(mode);
        if let Err(errno) = fs::fsetxattr(file, ACL, &value, XattrFlags::empty()) {
            warn_of_loss(path, "the ACL", errno);
        }
        true
    }

    /// Sets the ACL exactly as it was, as far as permitted.
    pub(super) fn restore_acl(&self, file: impl AsFd) {
        if let Some(Acl(value)) = &self.acl {
            let _ = fs::fsetxattr(file, ACL, value, XattrFlags::empty());
        }
    }

    /// Returns the mode of a file whose `mode` the kernel has reported. With an ACL, the kernel reports the mask in place
    /// of the group's permissions.
    pub(super) fn mode_behind_acl(&self, mode: Mode) -> Mode {
        self.acl.as_ref().map_or(mode, |acl| acl.mode(mode))
    }
}

impl Acl {
    fn of(file: impl AsFd) -> Option<Self> {
        let value = value(file, ACL)?;
        let entries = value.len().checked_sub(HEADER_BYTES)?;
        entries.is_multiple_of(ENTRY_BYTES).then_some(Self(value))
    }

    fn with_mode(&self, mode: Mode) -> Self {
        let mut value = self.0.clone();
        for entry in value[HEADER_BYTES..].chunks_exact_mut(ENTRY_BYTES) {
            if let Some(shift) = shift_of(entry) {
                let permissions = (mode.bits() >> shift & 0o7) as u16;
                entry[2..4].copy_from_slice(&permissions.to_le_bytes());
            }
        }
        Self(value)
    }

    fn mode(&self, reported: Mode) -> Mode {
        let mut bits = reported.bits() & !0o777;
        for entry in self.0[HEADER_BYTES..].chunks_exact(ENTRY_BYTES) {
            if let Some(shift) = shift_of(entry) {
                bits |= u32::from(entry[2] & 0o7) << shift;
            }
        }
        Mode::from_raw_mode(bits)
    }
}

/// Returns the position of an entry's permissions in a mode.
fn shift_of(entry: &[u8]) -> Option<u32> {
    match u16::from_le_bytes([entry[0], entry[1]]) {
        OWNER => Some(6),
        GROUP => Some(3),
        OTHER => Some(0),
        _ => None,
    }
}

fn value(file: impl AsFd, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; XATTR_MAX_BYTES];
    let length = fs::fgetxattr(file, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

fn warn_of_loss(path: &Path, what: &str, errno: Errno) {
    let problem = std::io::Error::from(errno);
    tracing::warn!("cannot keep {what} of {}: {problem}", path.display());
}
