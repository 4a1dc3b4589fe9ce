//! The versions of one key.

use std::sync::Arc;

use imbl::Vector;

use cfgsync_model::{Revision, ValueVersion};

/// The size of a version without its content, in bytes of memory.
const VERSION_BYTES: usize = 256;

/// The versions of one key. They stay when the key is deleted.
#[derive(Debug, Clone)]
pub struct ValueHistory {
    /// The kept versions, oldest first. There is at least one, except in a new history.
    versions: Vector<Arc<ValueVersion>>,
    is_deleted: bool,
    /// The revision of the newest change.
    revision: Revision,
}

impl ValueHistory {
    /// Returns a new history. It needs a version at once.
    pub(crate) fn empty() -> Self {
        Self {
            versions: Vector::new(),
            is_deleted: false,
            revision: Revision::default(),
        }
    }

    /// Returns a recorded history. `None` if `versions` is empty.
    pub(crate) fn recorded(
        versions: Vec<Arc<ValueVersion>>,
        is_deleted: bool,
        revision: Revision,
    ) -> Option<Self> {
        (!versions.is_empty()).then(|| Self {
            versions: versions.into(),
            is_deleted,
            revision,
        })
    }

    /// Adds a version, and drops the oldest ones beyond `versions_max`. Returns the size of the dropped ones, in bytes of
    /// memory.
    pub(crate) fn push(
        &mut self,
        version: Arc<ValueVersion>,
        revision: Revision,
        versions_max: usize,
    ) -> usize {
        self.versions.push_back(version);
        self.is_deleted = false;
        self.revision = revision;
        let mut dropped_bytes = 0;
        while self.versions.len() > versions_max.max(1) {
            let oldest = self.versions.pop_front();
            dropped_bytes += oldest.map_or(0, |oldest| bytes_of(&oldest));
        }
        dropped_bytes
    }

    /// Deletes the current version. All versions stay.
    pub(crate) fn delete(&mut self, revision: Revision) {
        self.is_deleted = true;
        self.revision = revision;
    }

    /// Returns the current version. `None` if the key is deleted.
    pub fn current(&self) -> Option<&Arc<ValueVersion>> {
        (!self.is_deleted).then(|| self.newest())
    }

    /// Returns the kept versions, oldest first.
    pub fn versions(&self) -> &Vector<Arc<ValueVersion>> {
        &self.versions
    }

    /// Returns whether the key is deleted.
    pub fn is_deleted(&self) -> bool {
        self.is_deleted
    }

    /// Returns the revision of the newest change.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Returns the newest version, also of a deleted key.
    pub(crate) fn newest(&self) -> &Arc<ValueVersion> {
        self.versions.last().expect("a history has a version")
    }

    /// Returns the size of all versions, in bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.versions.iter().map(|version| bytes_of(version)).sum()
    }
}

/// Returns the size of a version, in bytes of memory.
pub(crate) fn bytes_of(version: &ValueVersion) -> usize {
    VERSION_BYTES + version.bytes.len()
}
