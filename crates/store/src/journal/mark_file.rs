//! The file that exists while a server renders. The next server reads it when it starts.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::RenderMark;
use cfgsync_support::bounded_file;

/// Maximum length of the file, in bytes.
const FILE_MAX_BYTES: u64 = 1 << 10;

/// The file, and the mark that it had when the store was opened.
pub(super) struct MarkFile {
    path: PathBuf,
    left: Mutex<Option<RenderMark>>,
}

impl MarkFile {
    /// Reads the mark that the server before may have left at `path`.
    pub(super) fn open(path: PathBuf) -> Self {
        let text = bounded_file::read_text(&path, FILE_MAX_BYTES).ok();
        let left = text.and_then(|text| {
            let (render, starts) = text.trim_end().rsplit_once(' ')?;
            Some(RenderMark {
                render: render.to_owned(),
                starts: starts.parse().ok()?,
            })
        });
        Self {
            path,
            left: Mutex::new(left),
        }
    }

    /// Returns the mark that the server before has left, until this server sets its own.
    pub(super) fn left(&self) -> Option<RenderMark> {
        self.lock().clone()
    }

    /// Writes a mark. It need not survive a power failure, so it is not synced.
    pub(super) fn set(&self, mark: &RenderMark) -> Result<(), String> {
        *self.lock() = None;
        let written = fs::write(&self.path, format!("{} {}\n", mark.render, mark.starts));
        written.map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }

    /// Removes the mark.
    pub(super) fn clear(&self) {
        // If it stays, the next server only waits before it renders.
        let _ = fs::remove_file(&self.path);
    }

    fn lock(&self) -> MutexGuard<'_, Option<RenderMark>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_server_finds_the_mark_that_was_not_cleared() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rendering");
        let mark = RenderMark {
            render: "7 2 0 x".to_owned(),
            starts: 2,
        };
        let killed = MarkFile::open(path.clone());
        assert_eq!(killed.left(), None);
        killed.set(&mark).unwrap();
        assert_eq!(killed.left(), None, "its own mark is none that was left");

        let next = MarkFile::open(path.clone());
        assert_eq!(next.left(), Some(mark.clone()));
        next.set(&mark).unwrap();
        assert_eq!(next.left(), None);
        next.clear();
        assert_eq!(MarkFile::open(path.clone()).left(), None);

        fs::write(&path, "not a mark\n").unwrap();
        assert_eq!(MarkFile::open(path).left(), None);
    }
}
