//! A node's own key: made once, kept in a file that only its owner reads, and shown to the servers that it was made
//! for.
//!
//! The file's first line is the key. A line `server NAME` follows for each pin, or name in a certificate, by which the
//! node knew its servers over TLS. Whoever proves to be none of them is not shown it, whatever it calls its cluster. A
//! key without such lines was made in the clear, by an earlier cfgsync, or by hand: it goes to whoever is the cluster's
//! server.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::fs::{Mode, OFlags};
use secrecy::{ExposeSecret as _, SecretString};

use super::disk::create_beside;
use cfgsync_model::Identifier;

/// How much chance is in a key, in bytes.
const KEY_BYTES: usize = 32;
/// Shortest text that is a key, in bytes: what a server takes for one.
const TEXT_MIN_BYTES: usize = 16;
/// Longest, in bytes.
const TEXT_MAX_BYTES: usize = 4_096;
/// Largest file, in bytes: the key, and the servers of a long list.
const FILE_MAX_BYTES: u64 = 64 << 10;
/// What stands in front of a server's pin or name.
const SERVER: &str = "server ";
/// The mode of the file.
const FILE_MODE: u32 = 0o600;
/// The mode of directories that are made for it.
const DIRECTORY_MODE: u32 = 0o700;
/// How often somebody else's lock is tried, who is done in a moment.
const LOCK_TRIES: usize = 100;
/// How long between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// What anybody else may do with it must be nothing.
const OTHERS: u32 = 0o007;

/// Where a node keeps its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// In this file.
    File(PathBuf),
    /// In `DIRECTORY/keys/CLUSTER/IDENTIFIER`: a key for each cluster, so that the server of one can do nothing
    /// with it at another.
    Under(PathBuf),
    /// Nowhere: this machine has no directory for it.
    Nowhere,
}

/// A key that cannot be had, kept or shown. What was read is never shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Its file cannot be used.
    #[error("this node's own key cannot be kept in {place}: {problem}")]
    Place {
        /// Where.
        place: String,
        /// Why not.
        problem: String,
    },
    /// It is for other servers.
    #[error(
        "this node's own key in {} is for the server known by {}, and is not shown to one known by {}",
        path.display(), listed(.noted), listed(.known_by)
    )]
    OtherServer {
        /// The key's file.
        path: PathBuf,
        /// The pins and names that stand in it.
        noted: Vec<String>,
        /// Those of the servers now; none for plain HTTP.
        known_by: Vec<String>,
    },
}

/// What a file of a key holds.
struct Kept {
    key: SecretString,
    servers: Vec<String>,
}

impl KeyPlace {
    /// The file with the key for `identifier` in `cluster`, as its server calls itself.
    fn path(&self, cluster: Option<&str>, identifier: &Identifier) -> Result<PathBuf, KeyError> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Under(directory) => {
                // What comes from a server is a name of a directory only if it is an identifier.
                let cluster = cluster.and_then(|name| Identifier::new(name).ok());
                let cluster = cluster.as_ref().map_or("_", Identifier::as_str);
                Ok(directory
                    .join("keys")
                    .join(cluster)
                    .join(identifier.as_str()))
            }
            Self::Nowhere => Err(KeyError::Place {
                place: "this user's directories".to_owned(),
                problem: "there are none (HOME is not set)".to_owned(),
            }),
        }
    }

    /// The key, which is made if there is none, for servers that are known by these pins and names. It is theirs if
    /// they share one with those that it was made for: then the others are noted as well, so that pins may change.
    pub(super) fn key(
        &self,
        cluster: Option<&str>,
        identifier: &Identifier,
        known_by: &[String],
    ) -> Result<SecretString, KeyError> {
        let path = self.path(cluster, identifier)?;
        let failed = |error: io::Error| KeyError::Place {
            place: path.display().to_string(),
            problem: error.to_string(),
        };
        let kept = match Kept::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = Kept::new(known_by).map_err(failed)?;
                new.put(&path, Put::UnlessThere).map_err(failed)?;
                // Of two that made one at once, the first is kept.
                Kept::read(&path).map_err(failed)?
            }
            read => read.map_err(failed)?,
        };
        let (shared, new): (Vec<String>, Vec<String>) =
            (known_by.iter().cloned()).partition(|server| kept.servers.contains(server));
        if !kept.servers.is_empty() && shared.is_empty() {
            return Err(KeyError::OtherServer {
                path,
                noted: kept.servers,
                known_by: new,
            });
        }
        if !shared.is_empty() && !new.is_empty() {
            // Behind a link, if it is one. Where nothing can be written the key is theirs all the same.
            let path = fs::canonicalize(&path).map_err(failed)?;
            let _noted = kept.note(&path, known_by);
        }
        Ok(kept.key)
    }
}

impl Kept {
    fn new(known_by: &[String]) -> io::Result<Self> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self {
            key: data_encoding::BASE64URL_NOPAD.encode(&bytes).into(),
            servers: known_by.to_vec(),
        })
    }

    fn read(path: &Path) -> io::Result<Self> {
        // A pipe without a writer would be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let facts = file.metadata()?;
        if !facts.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mode = facts.permissions().mode();
        if mode & OTHERS != 0 {
            let problem = format!("anybody may read it (mode {:03o}): chmod 600", mode & 0o777);
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
        let fits = (TEXT_MIN_BYTES..=TEXT_MAX_BYTES).contains(&key.len());
        let servers = rest.lines().map(|line| line.strip_prefix(SERVER));
        let servers: Option<Vec<String>> = servers
            .map(|server| Some(server?.trim().to_owned()))
            .collect();
        match servers {
            Some(servers) if fits && key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Self {
                key: key.to_owned().into(),
                servers,
            }),
            _ => Err("it is no key: one word of 16 letters and digits at least"),
        }
    }

    /// Adds those of `known_by` to `path` that are missing there, beside what others have noted since this was read.
    fn note(&self, path: &Path, known_by: &[String]) -> io::Result<()> {
        let _locked = Locked::directory(directory_of(path));
        let mut now = Self::read(path)?;
        let is_theirs = known_by.iter().any(|server| now.servers.contains(server));
        if !is_theirs || now.key.expose_secret() != self.key.expose_secret() {
            // Somebody has put another file there, of which nothing was asked.
            return Ok(());
        }
        for server in known_by {
            if !now.servers.contains(server) {
                now.servers.push(server.clone());
            }
        }
        now.put(path, Put::Over)
    }

    /// Writes it to `path`: whole or not at all.
    fn put(&self, path: &Path, how: Put) -> io::Result<()> {
        let directory = directory_of(path);
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let made: Vec<&Path> = directory.ancestors().take_while(missing).collect();
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)?;
        let servers = self.servers.iter();
        let servers = servers.map(|server| format!("{SERVER}{server}\n"));
        let text = format!(
            "{}\n{}",
            self.key.expose_secret(),
            servers.collect::<String>()
        );
        let text = SecretString::from(text);
        let (staged, mut file) = create_beside(path, FILE_MODE)?;
        let mut put = || -> io::Result<()> {
            file.write_all(text.expose_secret().as_bytes())?;
            file.sync_all()?;
            if how == Put::Over {
                return fs::rename(&staged, path);
            }
            match fs::hard_link(&staged, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Ok(()) => {}
                // Not every file system has links.
                Err(_) => return fs::rename(&staged, path),
            }
            fs::remove_file(&staged)
        };
        put().inspect_err(|_| {
            // The error that is told is the first one.
            let _ = fs::remove_file(&staged);
        })?;
        // A key that is lost is a name that is lost: its directories must last as well.
        File::open(directory)?.sync_all()?;
        made.iter()
            .try_for_each(|made| File::open(made.join(".."))?.sync_all())
    }
}

/// A directory in which nobody else notes anything meanwhile.
struct Locked(File);

impl Locked {
    /// `None` where there are no locks, or somebody keeps theirs: what could be lost is a note, not the key.
    fn directory(path: &Path) -> Option<Self> {
        let directory = File::open(path).ok()?;
        for _ in 0..LOCK_TRIES {
            match directory.try_lock() {
                Ok(()) => return Some(Self(directory)),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(_)) => return None,
            }
        }
        None
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // A child that another thread has just forked has a copy of the descriptor, which closing would leave locked.
        let _ = self.0.unlock();
    }
}

fn directory_of(path: &Path) -> &Path {
    let parent = path.parent();
    let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    /// It stays.
    UnlessThere,
    /// It is replaced.
    Over,
}

/// At most as many as a person reads.
fn listed(servers: &[String]) -> String {
    const SERVERS_MAX: usize = 4;
    let shown: Vec<&str> = servers.iter().map(String::as_str).collect();
    match shown.len() {
        0 => "nothing, over plain HTTP".to_owned(),
        1..=SERVERS_MAX => shown.join(", "),
        more => {
            let more = more - SERVERS_MAX;
            format!("{} and {more} more", shown[..SERVERS_MAX].join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Identifier {
        "node-1".parse().unwrap()
    }

    #[test]
    fn a_key_is_made_once_for_each_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let place = KeyPlace::Under(directory.path().join("state"));
        let key = |cluster| {
            place
                .key(cluster, &node(), &[])
                .unwrap()
                .expose_secret()
                .to_owned()
        };
        let first = key(Some("devnet"));
        assert_eq!(key(Some("devnet")), first);
        assert_ne!(key(Some("mainnet")), first);
        // A name that leads out of the directory is none.
        for cluster in [None, Some("../x"), Some("..")] {
            key(cluster);
        }
        let keys = directory.path().join("state/keys");
        let mut clusters: Vec<_> = fs::read_dir(&keys)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        clusters.sort();
        assert_eq!(clusters, ["_", "devnet", "mainnet"]);
        let file = keys.join("devnet/node-1");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&keys)), (FILE_MODE, DIRECTORY_MODE));
        assert_eq!(fs::read_dir(keys.join("devnet")).unwrap().count(), 1);
    }

    #[test]
    fn a_key_is_for_the_servers_that_it_was_made_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let place = KeyPlace::File(path.clone());
        let key = |known_by: &[&str]| {
            let known_by: Vec<String> = known_by.iter().map(|&name| name.to_owned()).collect();
            let key = place.key(Some("devnet"), &node(), &known_by);
            key.map(|key| key.expose_secret().to_owned())
        };
        let first = key(&["sha256-a"]).unwrap();
        let text = || fs::read_to_string(&path).unwrap();
        assert_eq!(text(), format!("{first}\nserver sha256-a\n"));
        for others in [&[][..], &["sha256-b"], &["boot.example"]] {
            let told = key(others).unwrap_err().to_string();
            assert!(
                told.contains("is for the server known by sha256-a"),
                "{told}"
            );
            assert!(!told.contains(&first), "{told}");
        }
        // A pin that is about to be another's place is noted beside it.
        assert_eq!(key(&["sha256-a", "sha256-b"]).as_ref(), Ok(&first));
        assert_eq!(
            text(),
            format!("{first}\nserver sha256-a\nserver sha256-b\n")
        );
        assert_eq!(key(&["sha256-b"]).as_ref(), Ok(&first));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

        // Where a link leads to is written, and nothing need be for one that is known.
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let linked = KeyPlace::File(link.clone());
        let both = ["sha256-b", "sha256-c"].map(str::to_owned);
        let again = linked.key(Some("devnet"), &node(), &both).unwrap();
        assert_eq!(again.expose_secret(), first);
        assert!(link.is_symlink() && text().ends_with("server sha256-c\n"));
        fs::remove_file(&link).unwrap();

        // One of an earlier cfgsync stays as it is, and is everybody's of that cluster.
        fs::write(&path, "0123456789abcdef\n").unwrap();
        for known_by in [&["sha256-c"][..], &[]] {
            assert_eq!(key(known_by).as_deref(), Ok("0123456789abcdef"));
        }
        assert_eq!(text(), "0123456789abcdef\n");
    }

    /// Each wrote what it had read, and its own: the notes of those in between were gone.
    #[test]
    fn what_several_note_at_once_is_all_noted() {
        const NODES: usize = 4;
        for _ in 0..8 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("key");
            let place = KeyPlace::File(path.clone());
            let first = place.key(None, &node(), &["sha256-a".to_owned()]);
            let first = first.unwrap().expose_secret().to_owned();
            let all_are_here = std::sync::Barrier::new(NODES);
            thread::scope(|scope| {
                for number in 0..NODES {
                    let (place, all_are_here, first) = (&place, &all_are_here, &first);
                    scope.spawn(move || {
                        let known_by = ["sha256-a".to_owned(), format!("sha256-{number}")];
                        all_are_here.wait();
                        let key = place.key(None, &node(), &known_by).unwrap();
                        assert_eq!(key.expose_secret(), first);
                    });
                }
            });
            let text = fs::read_to_string(&path).unwrap();
            for number in 0..NODES {
                let noted = format!("server sha256-{number}\n");
                assert_eq!(text.matches(&noted).count(), 1, "{text}");
            }
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    /// The name of the staged file was the process' number, and what stood there was written through.
    #[test]
    fn what_others_planted_is_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "theirs").unwrap();
        let planted = directory
            .path()
            .join(format!(".key.{}", std::process::id()));
        std::os::unix::fs::symlink(&victim, &planted).unwrap();
        let place = KeyPlace::File(directory.path().join("key"));
        assert!(place.key(None, &node(), &[]).is_ok());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs");
        assert!(planted.is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_cannot_be_a_key_is_told_and_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let place = KeyPlace::File(path.clone());
        for (text, mode, problem) in [
            ("PLANTED", 0o600, "it is no key"),
            ("", 0o600, "it is no key"),
            ("PLANTED PLANTED PLANTED", 0o600, "it is no key"),
            ("PLANTEDPLANTEDPLANTED\nPLANTED x", 0o600, "it is no key"),
            (
                "PLANTEDPLANTEDPLANTED",
                0o604,
                "anybody may read it (mode 604)",
            ),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let told = place.key(None, &node(), &[]).unwrap_err().to_string();
            assert!(
                told.contains(problem) && !told.contains("PLANTED"),
                "{told}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(place.key(None, &node(), &[]).is_ok());
        assert!(KeyPlace::Nowhere.key(None, &node(), &[]).is_err());
    }
}
