//! The files that a spec names: read beside it, bounded, and remembered for its digest.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use cfgsync_model::Digest;

/// Largest spec and template file, in bytes.
pub(super) const TEXT_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Largest artifacts file, in bytes: it holds all files of all nodes.
pub(super) const ARTIFACTS_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// How much of an `exec` program enters the spec's digest, in bytes.
const PROGRAM_DIGESTED_BYTES: u64 = 64 * 1024 * 1024;

/// The files beside a spec.
pub(super) struct Files {
    directory: PathBuf,
    /// What each was called, and what stood in it.
    read: Vec<(String, Digest)>,
}

impl Files {
    pub(super) fn beside(directory: &Path) -> Self {
        // The empty path is what `Path::parent` makes of a bare file name.
        let is_here = directory.as_os_str().is_empty();
        let directory = if is_here { Path::new(".") } else { directory };
        Self {
            directory: directory.to_owned(),
            read: Vec::new(),
        }
    }

    /// The spec's directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the file that the spec calls `name` lies, as messages show it.
    pub(super) fn resolve(&self, name: &str) -> PathBuf {
        let name = name.trim_start_matches("./");
        if self.directory.as_os_str() == "." {
            return PathBuf::from(name);
        }
        self.directory.join(name)
    }

    /// The text of the file that the spec calls `name`, or why it cannot be had.
    pub(super) fn read_text(&mut self, name: &str, max_bytes: u64) -> Result<String, Unreadable> {
        let path = self.resolve(name);
        let text = read_text(&path, max_bytes)?;
        self.read
            .push((name.to_owned(), Digest::of(text.as_bytes())));
        Ok(text)
    }

    /// Remembers the program that the spec calls `name`: a mended program is another spec.
    pub(super) fn note_program(&mut self, name: &str, path: &Path) {
        let mut bytes = Vec::new();
        // A program that may be run but not read is noted by its name alone.
        let read = File::open(path)
            .and_then(|file| file.take(PROGRAM_DIGESTED_BYTES).read_to_end(&mut bytes));
        if read.is_ok() {
            self.read.push((name.to_owned(), Digest::of(&bytes)));
        }
    }

    /// The digest of `text` and all that was read with it.
    pub(super) fn digest(&self, text: &str) -> Digest {
        let files = self
            .read
            .iter()
            .flat_map(|(name, digest)| [name.as_bytes(), digest.as_bytes().as_slice()]);
        Digest::of_parts(std::iter::once(text.as_bytes()).chain(files))
    }
}

/// Why a file's text cannot be had.
pub(super) struct Unreadable {
    /// In words, with the file's path.
    pub(super) problem: String,
    /// Whether there is no such file, so that it may be looked for in the wrong place.
    pub(super) is_absent: bool,
}

impl Unreadable {
    fn because(path: &Path, problem: impl std::fmt::Display) -> Self {
        Self {
            problem: format!("cannot read {}: {problem}", path.display()),
            is_absent: false,
        }
    }

    fn io(path: &Path, error: &io::Error) -> Self {
        Self {
            is_absent: error.kind() == io::ErrorKind::NotFound,
            ..Self::because(path, in_words(error))
        }
    }
}

/// The text of the file at `path`.
pub(super) fn read_text(path: &Path, max_bytes: u64) -> Result<String, Unreadable> {
    let io = |error: io::Error| Unreadable::io(path, &error);
    if path.metadata().map_err(io)?.is_dir() {
        return Err(Unreadable::because(path, "it is a directory"));
    }
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > max_bytes {
        let max_mib = max_bytes / (1024 * 1024);
        let problem = format!("it is larger than {max_mib} MiB");
        return Err(Unreadable::because(path, problem));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Unreadable::because(path, format!("it is not UTF-8 text (byte {at})"))
    })
}

/// An error of the file system in words, without its number.
pub(super) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
