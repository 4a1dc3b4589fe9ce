//! A node's own key: created once and stored in a file that only its owner can read. It is sent only to the servers
//! that it was created for.
//!
//! Over TLS, the key file lists the pins or certificate names of those servers. A server that proves none of them
//! does not receive the key, whatever name it gives its cluster. A file without such a list was written by hand, by
//! an earlier cfgsync, or for plain HTTP. Such a key is sent to any server of the cluster.

mod key_file;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

use cfgsync_model::Identifier;
use key_file::{IfExists, KeyFile};

/// The place where a node stores its key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyLocation {
    /// In this file, for every cluster and identifier.
    File(PathBuf),
    /// In `DIRECTORY/keys/CLUSTER/IDENTIFIER`. Each cluster has a key of its own, so that the server of one cluster
    /// cannot use the key at another.
    Directory(PathBuf),
    /// Nowhere. A server that requires a key makes the join fail.
    None,
}

/// The reason why the node's key cannot be used. The messages never show the content of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key file cannot be read or written.
    #[error("cannot use the node key in {place}: {problem}")]
    File {
        /// The path of the file, or a description if there is none.
        place: String,
        /// The error of the operating system, or the fault in the file.
        problem: String,
    },
    /// The key was created for other servers.
    #[error(
        "the node key in {} is for the server identified by {}; it is not sent to a server identified by {}",
        path.display(), listed(.stored), listed(.presented)
    )]
    OtherServer {
        /// The key file, which lists its servers.
        path: PathBuf,
        /// The pins and names in the file.
        stored: Vec<String>,
        /// The pins and names of the current servers. Empty for plain HTTP.
        presented: Vec<String>,
    },
}

impl KeyLocation {
    /// Returns the file with the key of `identifier` in `cluster`, the name that the server gives.
    pub(crate) fn path(
        &self,
        cluster: Option<&str>,
        identifier: &Identifier,
    ) -> Result<PathBuf, KeyError> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Directory(directory) => {
                // A name from the server must not lead out of the directory. Identifiers are safe directory names.
                let cluster = cluster.and_then(|name| Identifier::new(name).ok());
                let cluster = cluster.as_ref().map_or("_", Identifier::as_str);
                Ok(directory
                    .join("keys")
                    .join(cluster)
                    .join(identifier.as_str()))
            }
            Self::None => Err(KeyError::File {
                place: "this user's state directory".to_owned(),
                problem: "there is none, because HOME is not set".to_owned(),
            }),
        }
    }

    /// Returns the key for servers with these `identities` (pins and certificate names), and creates it if there is
    /// no file. The servers must share one identity with the file. Their other identities are then added to it, so
    /// that a server's key can be replaced.
    pub(crate) fn key(
        &self,
        cluster: Option<&str>,
        identifier: &Identifier,
        identities: &[String],
    ) -> Result<SecretString, KeyError> {
        let path = self.path(cluster, identifier)?;
        let failed = |error: io::Error| KeyError::File {
            place: path.display().to_string(),
            problem: error.to_string(),
        };
        let file = match KeyFile::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = KeyFile::generate(identities).map_err(failed)?;
                new.write(&path, IfExists::Keep).map_err(failed)?;
                // If another process created the file first, its key wins.
                KeyFile::read(&path).map_err(failed)?
            }
            read => read.map_err(failed)?,
        };
        let (known, new): (Vec<String>, Vec<String>) =
            (identities.iter().cloned()).partition(|identity| file.servers.contains(identity));
        if !file.servers.is_empty() && known.is_empty() {
            return Err(KeyError::OtherServer {
                path,
                stored: file.servers,
                presented: new,
            });
        }
        if !known.is_empty() && !new.is_empty() {
            // Writes through a symbolic link, not over it. A read-only file does not prevent the use of the key.
            let path = fs::canonicalize(&path).map_err(failed)?;
            let _added = file.add_servers(&path, identities);
        }
        Ok(file.key)
    }
}

/// Returns the key in the file `path`, for servers with these `identities`. It changes nothing.
pub(crate) fn existing(path: &Path, identities: &[String]) -> Result<SecretString, KeyError> {
    let file = KeyFile::read(path).map_err(|error| KeyError::File {
        place: path.display().to_string(),
        problem: error.to_string(),
    })?;
    let is_known = |identity: &String| file.servers.contains(identity);
    if !file.servers.is_empty() && !identities.iter().any(is_known) {
        return Err(KeyError::OtherServer {
            path: path.to_owned(),
            stored: file.servers,
            presented: identities.to_vec(),
        });
    }
    Ok(file.key)
}

/// Returns the directory of `path`, `.` for a bare file name.
fn parent_directory(path: &Path) -> &Path {
    let parent = path.parent();
    let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Lists at most four servers and counts the rest.
fn listed(servers: &[String]) -> String {
    const SERVERS_MAX: usize = 4;
    let shown: Vec<&str> = servers.iter().map(String::as_str).collect();
    match shown.len() {
        0 => "nothing (plain HTTP)".to_owned(),
        1..=SERVERS_MAX => shown.join(", "),
        more => {
            let more = more - SERVERS_MAX;
            format!("{} and {more} more", shown[..SERVERS_MAX].join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, thread};

    use secrecy::ExposeSecret as _;

    use super::{
        key_file::{DIRECTORY_MODE, FILE_MODE},
        *,
    };

    fn node() -> Identifier {
        "node-1".parse().unwrap()
    }

    #[test]
    fn creates_one_key_for_each_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let location = KeyLocation::Directory(directory.path().join("state"));
        let key = |cluster| {
            location
                .key(cluster, &node(), &[])
                .unwrap()
                .expose_secret()
                .to_owned()
        };
        let first = key(Some("devnet"));
        assert_eq!(key(Some("devnet")), first);
        assert_ne!(key(Some("mainnet")), first);
        // Cluster names that would lead out of the directory are replaced.
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
    fn key_is_sent_only_to_the_servers_it_was_created_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let location = KeyLocation::File(path.clone());
        let key = |identities: &[&str]| {
            let identities: Vec<String> = identities.iter().map(|&name| name.to_owned()).collect();
            let key = location.key(Some("devnet"), &node(), &identities);
            key.map(|key| key.expose_secret().to_owned())
        };
        let first = key(&["sha256-a"]).unwrap();
        let text = || fs::read_to_string(&path).unwrap();
        assert_eq!(text(), format!("{first}\nserver sha256-a\n"));
        for others in [&[][..], &["sha256-b"], &["boot.example"]] {
            let message = key(others).unwrap_err().to_string();
            assert!(
                message.contains("is for the server identified by sha256-a"),
                "{message}"
            );
            assert!(!message.contains(&first), "{message}");
        }
        // A new pin is added beside a known one.
        assert_eq!(key(&["sha256-a", "sha256-b"]).as_ref(), Ok(&first));
        assert_eq!(
            text(),
            format!("{first}\nserver sha256-a\nserver sha256-b\n")
        );
        assert_eq!(key(&["sha256-b"]).as_ref(), Ok(&first));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

        // A symbolic link stays, and its target is rewritten.
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let linked = KeyLocation::File(link.clone());
        let both = ["sha256-b", "sha256-c"].map(str::to_owned);
        let again = linked.key(Some("devnet"), &node(), &both).unwrap();
        assert_eq!(again.expose_secret(), first);
        assert!(link.is_symlink() && text().ends_with("server sha256-c\n"));
        fs::remove_file(&link).unwrap();

        // A file without a list of servers stays unchanged, and its key is sent to every server of the cluster.
        fs::write(&path, "0123456789abcdef\n").unwrap();
        for identities in [&["sha256-c"][..], &[]] {
            assert_eq!(key(identities).as_deref(), Ok("0123456789abcdef"));
        }
        assert_eq!(text(), "0123456789abcdef\n");
    }

    /// Each process used to write what it had read, and lost what others had added in between.
    #[test]
    fn concurrent_additions_are_all_kept() {
        const NODES: usize = 4;
        for _ in 0..8 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("key");
            let location = KeyLocation::File(path.clone());
            let first = location.key(None, &node(), &["sha256-a".to_owned()]);
            let first = first.unwrap().expose_secret().to_owned();
            let barrier = std::sync::Barrier::new(NODES);
            thread::scope(|scope| {
                for number in 0..NODES {
                    let (location, barrier, first) = (&location, &barrier, &first);
                    scope.spawn(move || {
                        let identities = ["sha256-a".to_owned(), format!("sha256-{number}")];
                        barrier.wait();
                        let key = location.key(None, &node(), &identities).unwrap();
                        assert_eq!(key.expose_secret(), first);
                    });
                }
            });
            let text = fs::read_to_string(&path).unwrap();
            for number in 0..NODES {
                let added = format!("server sha256-{number}\n");
                assert_eq!(text.matches(&added).count(), 1, "{text}");
            }
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    /// The staging name used to contain the process id, so another user could plant a symbolic link there.
    #[test]
    fn planted_symbolic_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "theirs").unwrap();
        let planted = directory
            .path()
            .join(format!(".key.{}", std::process::id()));
        std::os::unix::fs::symlink(&victim, &planted).unwrap();
        let location = KeyLocation::File(directory.path().join("key"));
        assert!(location.key(None, &node(), &[]).is_ok());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs");
        assert!(planted.is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn invalid_key_file_is_reported_without_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let location = KeyLocation::File(path.clone());
        for (text, mode, problem) in [
            ("PLANTED", 0o600, "it is not a key"),
            ("", 0o600, "it is not a key"),
            ("PLANTED PLANTED PLANTED", 0o600, "it is not a key"),
            ("PLANTEDPLANTEDPLANTED\nPLANTED x", 0o600, "it is not a key"),
            (
                "PLANTEDPLANTEDPLANTED",
                0o604,
                "other users can access it (mode 604)",
            ),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let message = location.key(None, &node(), &[]).unwrap_err().to_string();
            assert!(
                message.contains(problem) && !message.contains("PLANTED"),
                "{message}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(location.key(None, &node(), &[]).is_ok());
        assert!(KeyLocation::None.key(None, &node(), &[]).is_err());
    }
}
