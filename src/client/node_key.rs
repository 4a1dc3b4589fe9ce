//! A node's own key: made once, kept in a file that only its owner reads.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret as _, SecretString};

use crate::model::Identifier;

/// How much chance is in a key, in bytes.
const KEY_BYTES: usize = 32;
/// Shortest text that is a key, in bytes: what a server takes for one.
const TEXT_MIN_BYTES: usize = 16;
/// Longest, in bytes.
const TEXT_MAX_BYTES: u64 = 4_096;
/// The mode of the file.
const FILE_MODE: u32 = 0o600;
/// The mode of directories that are made for it.
const DIRECTORY_MODE: u32 = 0o700;
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

/// A key that cannot be had or kept. What was read is never shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this node's own key cannot be kept in {place}: {problem}")]
pub struct KeyError {
    place: String,
    problem: String,
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
            Self::Nowhere => Err(KeyError {
                place: "this user's directories".to_owned(),
                problem: "there are none (HOME is not set)".to_owned(),
            }),
        }
    }

    /// The key, which is made if there is none.
    pub(super) fn key(
        &self,
        cluster: Option<&str>,
        identifier: &Identifier,
    ) -> Result<SecretString, KeyError> {
        let path = self.path(cluster, identifier)?;
        let failed = |problem: String| KeyError {
            place: path.display().to_string(),
            problem,
        };
        match read(&path) {
            Ok(text) => return check(text).map_err(|problem| failed(problem.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error.to_string())),
        }
        make(&path).map_err(|error| failed(error.to_string()))?;
        // Of two that made one at once, the first is kept.
        let text = read(&path).map_err(|error| failed(error.to_string()))?;
        check(text).map_err(|problem| failed(problem.to_owned()))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & OTHERS != 0 {
        let problem = format!("anybody may read it (mode {:03o}): chmod 600", mode & 0o777);
        return Err(io::Error::other(problem));
    }
    let mut text = String::new();
    file.take(TEXT_MAX_BYTES + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn check(text: String) -> Result<SecretString, &'static str> {
    let key = SecretString::from(text.trim().to_owned());
    drop(SecretString::from(text));
    let word = key.expose_secret();
    let fits = word.len() >= TEXT_MIN_BYTES && word.len() as u64 <= TEXT_MAX_BYTES;
    match fits && word.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(key),
        false => Err("it is no key: one word of 16 letters and digits at least"),
    }
}

/// Puts a new key at `path`, unless there is one by then. Whole or not at all.
fn make(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let made: Vec<&Path> = directory.ancestors().take_while(missing).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)?;
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let text = SecretString::from(data_encoding::BASE64URL_NOPAD.encode(&bytes) + "\n");
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut staged = std::ffi::OsString::from(".");
    staged.push(name);
    staged.push(format!(".{}", std::process::id()));
    let staged = directory.join(staged);
    let put = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE);
        let mut file = options.open(&staged)?;
        file.write_all(text.expose_secret().as_bytes())?;
        file.sync_all()?;
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
                .key(cluster, &node())
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
    fn what_cannot_be_a_key_is_told_and_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let place = KeyPlace::File(path.clone());
        for (text, mode, problem) in [
            ("PLANTED", 0o600, "it is no key"),
            ("", 0o600, "it is no key"),
            ("PLANTED PLANTED PLANTED", 0o600, "it is no key"),
            (
                "PLANTEDPLANTEDPLANTED",
                0o604,
                "anybody may read it (mode 604)",
            ),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let told = place.key(None, &node()).unwrap_err().to_string();
            assert!(
                told.contains(problem) && !told.contains("PLANTED"),
                "{told}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(place.key(None, &node()).is_ok());
        assert!(KeyPlace::Nowhere.key(None, &node()).is_err());
    }
}
