//! The file of a node's key.
//!
//! The first line is the key. A line `server NAME` follows for each pin or certificate name of the servers that the
//! key was created for.

use std::{
    fs::{DirBuilder, File, TryLockError},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
    thread,
    time::Duration,
};

use rustix::fs::{Mode, OFlags};
use secrecy::{ExposeSecret as _, SecretString};

use super::parent_directory;
use cfgsync_support::replace_file;

/// Random bytes in a new key.
const KEY_BYTES: usize = 32;
/// Shortest key that servers accept, in bytes of text.
const KEY_MIN_BYTES: usize = 16;
/// Longest key that servers accept, in bytes of text.
const KEY_MAX_BYTES: usize = 4_096;
/// Largest file that is read, in bytes: a key and a long list of servers.
const FILE_MAX_BYTES: u64 = 64 << 10;
/// The beginning of a line with a server's pin or name.
const SERVER_PREFIX: &str = "server ";
/// Mode of a new file.
pub(super) const FILE_MODE: u32 = 0o600;
/// Mode of new directories.
pub(super) const DIRECTORY_MODE: u32 = 0o700;
/// The mode bits of other users, none of which may be set.
const OTHERS_MASK: u32 = 0o007;
/// Attempts to lock the directory while another process writes the file, which takes milliseconds.
const LOCK_ATTEMPTS: usize = 100;
/// Pause between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The content of a key file.
pub(super) struct KeyFile {
    pub(super) key: SecretString,
    pub(super) servers: Vec<String>,
}

/// The behaviour of a write if the file exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IfExists {
    Keep,
    Replace,
}

impl KeyFile {
    /// Generates a key for the servers with these identities.
    pub(super) fn generate(identities: &[String]) -> io::Result<Self> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self {
            key: data_encoding::BASE64URL_NOPAD.encode(&bytes).into(),
            servers: identities.to_vec(),
        })
    }

    /// Reads the file. Refuses one that other users can read.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        // Without NONBLOCK, opening a pipe would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mode = metadata.permissions().mode();
        if mode & OTHERS_MASK != 0 {
            let problem = format!(
                "other users can access it (mode {:03o}); run: chmod 600",
                mode & 0o777
            );
            return Err(io::Error::other(problem));
        }
        let mut text = String::new();
        file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text)?;
        let text = SecretString::from(text);
        Self::parse(text.expose_secret()).map_err(io::Error::other)
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let (key, rest) = match text.trim().split_once('\n') {
            Some((key, rest)) => (key.trim_end(), rest),
            None => (text.trim(), ""),
        };
        let is_valid = (KEY_MIN_BYTES..=KEY_MAX_BYTES).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_graphic());
        let servers: Option<Vec<String>> = rest
            .lines()
            .map(|line| Some(line.strip_prefix(SERVER_PREFIX)?.trim().to_owned()))
            .collect();
        match servers {
            Some(servers) if is_valid => Ok(Self {
                key: key.to_owned().into(),
                servers,
            }),
            _ => Err("it is not a key, which is one word of at least 16 visible characters"),
        }
    }

    /// Adds the missing `identities` to the file at `path`, and keeps those that other processes have added since
    /// this file was read.
    pub(super) fn add_servers(&self, path: &Path, identities: &[String]) -> io::Result<()> {
        let _lock = DirectoryLock::acquire(parent_directory(path));
        let mut current = Self::read(path)?;
        let is_known = identities
            .iter()
            .any(|identity| current.servers.contains(identity));
        if !is_known || current.key.expose_secret() != self.key.expose_secret() {
            // The file was replaced by one with another key or other servers.
            return Ok(());
        }
        for identity in identities {
            if !current.servers.contains(identity) {
                current.servers.push(identity.clone());
            }
        }
        current.write(path, IfExists::Replace)
    }

    /// Writes the file atomically, and creates missing directories.
    pub(super) fn write(&self, path: &Path, if_exists: IfExists) -> io::Result<()> {
        let directory = parent_directory(path);
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let created: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)?;
        let servers = self.servers.iter();
        let servers = servers.map(|server| format!("{SERVER_PREFIX}{server}\n"));
        let text = format!(
            "{}\n{}",
            self.key.expose_secret(),
            servers.collect::<String>()
        );
        let text = SecretString::from(text);
        let bytes = text.expose_secret().as_bytes();
        match if_exists {
            IfExists::Replace => replace_file::replace(path, bytes, FILE_MODE)?,
            IfExists::Keep => match replace_file::create(path, bytes, FILE_MODE) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => created?,
            },
        }
        // A lost key is a lost identifier. Syncs the new directories, so that the file survives a power failure.
        created
            .iter()
            .try_for_each(|created| File::open(created.join(".."))?.sync_all())
    }
}

/// An exclusive lock on a directory.
struct DirectoryLock(File);

impl DirectoryLock {
    /// Returns `None` if the file system has no locks or another process holds its lock too long. The worst outcome
    /// is a lost line `server`, never a lost key.
    fn acquire(path: &Path) -> Option<Self> {
        let directory = File::open(path).ok()?;
        for _ in 0..LOCK_ATTEMPTS {
            match directory.try_lock() {
                Ok(()) => return Some(Self(directory)),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(_)) => return None,
            }
        }
        None
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread has just forked holds a copy of the descriptor.
        let _ = self.0.unlock();
    }
}
