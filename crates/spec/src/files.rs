//! Reads the files that a spec names, and computes the digest of the spec and these files.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use cfgsync_model::{Digest, SpecSources};
use cfgsync_support::bounded_file::{self, ReadError};

/// The largest spec, template and settings file, in bytes.
pub(super) const TEXT_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The largest artifacts file, in bytes. It contains all files of all nodes.
pub(super) const ARTIFACTS_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// The part of an `exec` program that is a part of the spec's digest, in bytes.
const PROGRAM_DIGESTED_BYTES: u64 = 64 * 1024 * 1024;

/// The files that a spec names, relative to its directory.
pub(super) struct SpecFiles {
    directory: PathBuf,
    /// The name and the content's digest of each file that was read.
    read: Vec<(String, Digest)>,
}

impl SpecFiles {
    pub(super) fn new(directory: &Path) -> Self {
        // `Path::parent` returns the empty path for a bare file name.
        let is_here = directory.as_os_str().is_empty();
        let directory = if is_here { Path::new(".") } else { directory };
        Self {
            directory: directory.to_owned(),
            read: Vec::new(),
        }
    }

    /// Returns the spec's directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the path of the file that the spec calls `name`, as messages show it.
    pub(super) fn resolve(&self, name: &str) -> PathBuf {
        let name = name.trim_start_matches("./");
        if self.directory.as_os_str() == "." {
            return PathBuf::from(name);
        }
        self.directory.join(name)
    }

    /// Reads the text of the file that the spec calls `name`.
    pub(super) fn read_text(
        &mut self,
        name: &str,
        max_bytes: u64,
    ) -> Result<String, UnreadableFile> {
        let path = self.resolve(name);
        let text = read_text(&path, max_bytes)?;
        self.read
            .push((name.to_owned(), Digest::of(text.as_bytes())));
        Ok(text)
    }

    /// Adds the program that the spec calls `name` to the digest: a spec with a changed program is another spec.
    pub(super) fn add_program(&mut self, name: &str, path: &Path) {
        let mut bytes = Vec::new();
        // A program may be executable but not readable. Then only its name, in the spec's text, is a part of the digest.
        let read = File::open(path)
            .and_then(|file| file.take(PROGRAM_DIGESTED_BYTES).read_to_end(&mut bytes));
        if read.is_ok() {
            self.read.push((name.to_owned(), Digest::of(&bytes)));
        }
    }

    /// Returns the digest of the spec's `text`, and those of all files that were read.
    pub(super) fn sources(&self, text: &str) -> SpecSources {
        SpecSources::new(Digest::of(text.as_bytes()), self.read.iter().cloned())
    }

    /// Returns the digest of the spec's `text` and of all files that were read.
    pub(super) fn digest(&self, text: &str) -> Digest {
        let files = self
            .read
            .iter()
            .flat_map(|(name, digest)| [name.as_bytes(), digest.as_bytes().as_slice()]);
        Digest::of_parts(std::iter::once(text.as_bytes()).chain(files))
    }
}

/// A file that cannot be read.
pub(super) struct UnreadableFile {
    /// The message, with the file's path.
    pub(super) message: String,
    /// Whether there is no such file: then the path may be wrong.
    pub(super) is_missing: bool,
}

/// Returns the text of the file at `path`, without a byte order mark at its beginning: some editors write one, and it
/// must not become a part of a rendered file.
pub(super) fn read_text(path: &Path, max_bytes: u64) -> Result<String, UnreadableFile> {
    without_mark(path, bounded_file::read_text(path, max_bytes))
}

/// Returns the text of the file at `path` as [`read_text`] does, but refuses a named pipe.
pub(super) fn read_text_without_waiting(
    path: &Path,
    max_bytes: u64,
) -> Result<String, UnreadableFile> {
    without_mark(
        path,
        bounded_file::read_text_without_waiting(path, max_bytes),
    )
}

fn without_mark(path: &Path, text: Result<String, ReadError>) -> Result<String, UnreadableFile> {
    let text = text.map_err(|error| UnreadableFile {
        message: format!("cannot read {}: {error}", path.display()),
        is_missing: matches!(error, ReadError::Missing),
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}
