//! The crash mark: a file that exists while a render runs. A server that finds it at startup knows that the one before
//! ended during that render, and does not repeat it at once.
//!
//! A template can need more stack or memory than the machine has, and then the process is killed. Without the mark, each
//! restart would render the same inputs and end in the same way.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::render_key::RenderKey;
use cfgsync_support::bounded_file;

/// Maximum length of the file, in bytes.
const MARK_MAX_BYTES: u64 = 1 << 10;

/// The crash mark of a store. Without a file it does nothing.
pub(super) struct CrashMark {
    path: Option<PathBuf>,
    /// The render that the file named at startup, and how often it was started.
    found: Option<(String, u32)>,
    /// Whether the server stops. A render that starts now is not marked.
    is_closed: Mutex<bool>,
}

impl CrashMark {
    /// Reads the mark that the server before may have left at `path`.
    pub(super) fn open(path: Option<PathBuf>) -> Self {
        let text = path
            .as_ref()
            .and_then(|path| bounded_file::read_text(path, MARK_MAX_BYTES).ok());
        let found = text.and_then(|text| {
            let (render, starts) = text.trim_end().rsplit_once(' ')?;
            Some((render.to_owned(), starts.parse().ok()?))
        });
        Self {
            path,
            found,
            is_closed: Mutex::new(false),
        }
    }

    /// Returns how many servers in a row ended while they rendered these inputs.
    pub(super) fn crashes_of(&self, key: RenderKey) -> u32 {
        match &self.found {
            Some((render, starts)) if *render == name_of(key) => *starts,
            _ => 0,
        }
    }

    /// Sets the mark until the guard is dropped. It need not survive a power failure, so it is not synced.
    pub(super) fn set(&self, key: RenderKey) -> impl Drop + '_ {
        let starts = self.crashes_of(key).saturating_add(1);
        let is_closed = self
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = self.path.as_ref().filter(|_| !*is_closed)
            && let Err(error) = fs::write(path, format!("{} {starts}\n", name_of(key)))
        {
            // The render itself needs no disk, so it goes on.
            tracing::warn!("cannot write {}: {error}", path.display());
        }
        drop(is_closed);
        Guard(self)
    }

    /// Removes the mark, and sets it no more, because the server stops.
    pub(super) fn close(&self) {
        let mut is_closed = self
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *is_closed = true;
        self.remove();
    }

    fn remove(&self) {
        if let Some(path) = &self.path {
            // If it stays, the next server only waits before it renders.
            let _ = fs::remove_file(path);
        }
    }
}

struct Guard<'a>(&'a CrashMark);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// Returns the text that names the inputs of a render. Rereading the same spec gives the same text.
fn name_of(key: RenderKey) -> String {
    let RenderKey {
        inputs,
        values,
        spec,
        ..
    } = key;
    format!(
        "{} {} {} {values} {spec}",
        inputs.registrations, inputs.overrides, inputs.redraws
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt_failure::InputRevisions;
    use cfgsync_model::{Digest, Revision};

    fn key(registrations: u64) -> RenderKey {
        RenderKey {
            inputs: InputRevisions {
                registrations: Revision(registrations),
                overrides: Revision(2),
                redraws: Revision(0),
            },
            values: Revision(0),
            spec: Digest::of(b"spec"),
            spec_reading: 0,
        }
    }

    #[test]
    fn counts_servers_that_ended_during_the_same_render() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rendering");
        for crashes in 0..3 {
            let mark = CrashMark::open(Some(path.clone()));
            assert_eq!(mark.crashes_of(key(7)), crashes);
            assert_eq!(mark.crashes_of(key(8)), 0, "another input");
            let ended = mark.set(key(7));
            std::mem::forget(ended);
        }
        let mark = CrashMark::open(Some(path.clone()));
        drop(mark.set(key(7)));
        assert!(!path.exists(), "the render has ended");
    }

    #[test]
    fn server_that_stops_leaves_no_mark() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rendering");
        let mark = CrashMark::open(Some(path.clone()));
        let running = mark.set(key(7));
        assert!(path.exists());
        mark.close();
        assert!(!path.exists());
        let late = mark.set(key(8));
        assert!(!path.exists());
        drop((running, late));
        drop(CrashMark::open(None).set(key(7)));
    }
}
