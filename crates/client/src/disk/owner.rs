//! The owner and group of files: looks names up, sets them, or keeps those of a replaced file.

use std::{collections::HashMap, os::fd::AsFd, path::Path};

use rustix::{
    fs::{self, Gid, Uid},
    io::Errno,
};

use cfgsync_model::{Account, Ownership};
use cfgsync_support::bounded_file;

/// The owner of files and directories that are created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user id. `None` keeps the owner of the replaced file, or uses the user of the process.
    pub uid: Option<u32>,
    /// The group id. `None` keeps the group of the replaced file, or uses the default group of new files.
    pub gid: Option<u32>,
}

/// The error for a name that this machine does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file} has no {kind} {name}")]
pub struct UnknownAccount {
    kind: &'static str,
    file: &'static str,
    name: Account,
}

/// The action in the error for an owner that cannot be changed.
pub(super) const CHANGE_OWNER: &str = "change the owner of";
/// Largest user database that is read, in bytes.
const DATABASE_MAX_BYTES: u64 = 16 << 20;

/// A user database in the form of passwd(5) and group(5), with the names that were looked up.
///
/// The program is static and loads no modules of the C library, so it knows no other databases.
struct Database {
    kind: &'static str,
    file: &'static str,
    known: HashMap<Account, u32>,
}

/// The user databases of this machine.
pub(super) struct Accounts {
    users: Database,
    groups: Database,
}

impl Owner {
    /// Looks up the names in `ownership` in /etc/passwd and /etc/group.
    ///
    /// # Errors
    /// Fails if there is no user or group of that name.
    pub fn of(ownership: &Ownership) -> Result<Self, UnknownAccount> {
        Accounts::new().complete(Self::default(), ownership)
    }
}

impl Accounts {
    pub(super) fn new() -> Self {
        let database = |kind, file| Database {
            kind,
            file,
            known: HashMap::new(),
        };
        Self {
            users: database("user", "/etc/passwd"),
            groups: database("group", "/etc/group"),
        }
    }

    /// Returns `owner`, with the parts of `ownership` that it does not give. Other names are not looked up.
    pub(super) fn complete(
        &mut self,
        owner: Owner,
        ownership: &Ownership,
    ) -> Result<Owner, UnknownAccount> {
        let mut owner = owner;
        if let (None, Some(name)) = (owner.uid, &ownership.owner) {
            owner.uid = Some(self.users.id(name)?);
        }
        if let (None, Some(name)) = (owner.gid, &ownership.group) {
            owner.gid = Some(self.groups.id(name)?);
        }
        Ok(owner)
    }
}

impl Database {
    fn id(&mut self, account: &Account) -> Result<u32, UnknownAccount> {
        let known = account
            .number()
            .or_else(|| self.known.get(account).copied());
        if let Some(id) = known {
            return Ok(id);
        }
        let content = bounded_file::read(Path::new(self.file), DATABASE_MAX_BYTES);
        // A file that cannot be read has no names.
        let id = find(&content.unwrap_or_default(), account.as_str());
        let id = id.ok_or_else(|| UnknownAccount {
            kind: self.kind,
            file: self.file,
            name: account.clone(),
        })?;
        self.known.insert(account.clone(), id);
        Ok(id)
    }
}

/// Returns the number of `name`. Both databases have lines that begin with `name:password:number:`.
fn find(database: &[u8], name: &str) -> Option<u32> {
    let mut lines = database.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        if fields.next()? != name.as_bytes() {
            return None;
        }
        std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()
    })
}

/// Sets the owner of an open file, as far as it is given.
pub(super) fn set_owner(fd: impl AsFd, owner: Owner) -> Result<(), Errno> {
    let Owner { uid, gid } = owner;
    if uid.is_none() && gid.is_none() {
        return Ok(());
    }
    fs::fchown(fd, uid.map(Uid::from_raw), gid.map(Gid::from_raw))
}

/// Sets user and group if the process may do so, or else only the group if it may.
pub(super) fn keep_owner(fd: impl AsFd, uid: u32, gid: u32) -> Result<(), Errno> {
    let stat = fs::fstat(&fd)?;
    if (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    let (uid, gid) = (Some(uid), Some(gid));
    match set_owner(&fd, Owner { uid, gid }) {
        Err(Errno::PERM) => match set_owner(fd, Owner { uid: None, gid }) {
            Err(Errno::PERM) => Ok(()),
            other => other,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_and_numbers_are_not() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\n# app:x:7:7\napp2:x:8:8::/:\nbad:x:-:8\napp:x:1000:1000::/:\n";
        for (name, id) in [
            ("root", Some(0)),
            ("app", Some(1000)),
            ("app2", Some(8)),
            ("bad", None),
            ("ap", None),
            ("", None),
        ] {
            assert_eq!(find(passwd, name), id, "{name}");
        }
        let ownership = |owner: &str, group: &str| Ownership {
            owner: Some(Account::new(owner).unwrap()),
            group: Some(Account::new(group).unwrap()),
        };
        let numbers = Owner::of(&ownership("12345", "23456")).unwrap();
        assert_eq!((numbers.uid, numbers.gid), (Some(12345), Some(23456)));
        assert_eq!(Owner::of(&ownership("root", "0")).unwrap().uid, Some(0));
        let error = Owner::of(&ownership("root", "no-such-group")).unwrap_err();
        assert_eq!(error.to_string(), "/etc/group has no group no-such-group");
    }
}
