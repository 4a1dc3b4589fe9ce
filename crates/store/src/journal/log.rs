//! The log: an append-only file of frames. Each frame is synced before the next one is written. After a snapshot the
//! log is cleared.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskFile, WriteError, replace_file};
use crate::{
    directory_error::DirectoryError,
    encoding::{
        entry,
        frame::Marker,
        header::{self, FileKind},
    },
};
use cfgsync_model::Instance;

/// The name of the log in the directory.
pub(super) const LOG: &str = "log";

/// Space is reserved ahead of the written frames, in steps of this size.
const RESERVE_STEP_BYTES: u64 = 1 << 20;

/// The content of the first frame of a log. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogHead {
    pub(super) instance: Instance,
    /// The marker of the frames after this one.
    pub(super) marker: Marker,
    pub(super) cluster: String,
    /// Whether the record of the place is written before the first change. Older programs did not write it. Stored as a
    /// second value after the entry, and only if it is true.
    pub(super) has_place: bool,
}

#[derive(Serialize, Deserialize)]
struct HeadEntry<'a> {
    instance: [u8; 16],
    marker: Marker,
    cluster: &'a str,
}

/// The head of a log file, read from disk.
pub(super) struct ReadHead {
    pub(super) head: LogHead,
    pub(super) format: u32,
    /// The position at which the frames of changes begin.
    pub(super) end: usize,
}

impl LogHead {
    /// Returns the bytes of a log that holds only this head.
    fn to_file(&self) -> Vec<u8> {
        header::new_file(FileKind::Log, |body| {
            let head = HeadEntry {
                instance: *self.instance.as_bytes(),
                marker: self.marker,
                cluster: &self.cluster,
            };
            entry::write(body, &head);
            if self.has_place {
                entry::write(body, &true);
            }
        })
    }

    /// Reads the head of the log `file`. `path` is for error messages.
    pub(super) fn read(
        file: &[u8],
        path: impl Fn() -> PathBuf,
    ) -> Result<ReadHead, DirectoryError> {
        header::read_file(file, FileKind::Log, path, |frame| {
            let (head, rest): (HeadEntry, _) = entry::read(frame.body)?;
            let has_place = !rest.is_empty() && entry::read(rest)?.0;
            Ok(ReadHead {
                head: Self {
                    instance: Instance::from_bytes(head.instance),
                    marker: head.marker,
                    cluster: head.cluster.to_owned(),
                    has_place,
                },
                format: frame.format,
                end: frame.end,
            })
        })
    }
}

/// A log that is open for writing.
pub(super) struct Log {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    /// The marker that begins each frame.
    pub(super) marker: Marker,
    /// The position at which the frames begin.
    start: u64,
    /// The position of the next frame.
    end: u64,
    /// The length of the file, including the reserved space.
    reserved_end: u64,
    /// Whether a write failed, so that the file must be truncated to `end` before the next write.
    is_torn: bool,
}

impl Log {
    /// Creates a log that holds `head` and then `frames`. An existing log is replaced atomically.
    pub(super) fn create(
        disk: &dyn Disk,
        head: &LogHead,
        frames: &[u8],
    ) -> Result<Self, WriteError> {
        let file = head.to_file();
        replace_file(disk, LOG, &[&file, frames])?;
        let start = file.len() as u64;
        let end = start + frames.len() as u64;
        Self::open(disk, head.marker, start, end, end)
    }

    /// Opens a log that was read: its frames are from `start` to `end`, and the file ends at `reserved_end`.
    pub(super) fn open(
        disk: &dyn Disk,
        marker: Marker,
        start: u64,
        end: u64,
        reserved_end: u64,
    ) -> Result<Self, WriteError> {
        let path = disk.path(LOG);
        let file = disk.open(LOG).map_err(|error| WriteError::NotWritten {
            path: path.clone(),
            error,
        })?;
        Ok(Self {
            file,
            path,
            marker,
            start,
            end,
            reserved_end,
            is_torn: false,
        })
    }

    /// Returns the length of all frames, in bytes.
    pub(super) fn len_bytes(&self) -> u64 {
        self.end - self.start
    }

    /// Makes the frames that were read durable, and removes the bytes after them. If a server was killed before it
    /// synced its `last` frame, that frame may be only in the page cache. A power failure would lose it. After a failed
    /// write the kernel may no longer know that the page is dirty, so the frame is written once more.
    pub(super) fn make_durable(&mut self, last: &[u8]) -> Result<(), WriteError> {
        let at = self.end - last.len() as u64;
        let written = self.file.write_at(last, at);
        written.map_err(|error| self.not_written(error))?;
        self.is_torn = true;
        self.truncate_torn_tail()?;
        self.sync()
    }

    /// Appends `frame` and syncs it. After [`WriteError::NotWritten`] the log is unchanged.
    pub(super) fn append(&mut self, frame: &[u8]) -> Result<(), WriteError> {
        self.truncate_torn_tail()?;
        let end = self.end + frame.len() as u64;
        self.reserve(end)?;
        if let Err(error) = self.file.write_at(frame, self.end) {
            return Err(self.undo(error));
        }
        self.sync()?;
        self.end = end;
        Ok(())
    }

    /// Removes all frames. A durable snapshot must hold their content.
    pub(super) fn clear(&mut self) -> Result<(), WriteError> {
        let truncated = self.file.truncate(self.start);
        truncated.map_err(|error| self.not_written(error))?;
        (self.end, self.reserved_end) = (self.start, self.start);
        self.is_torn = false;
        // If there is no space now, the next append reports it.
        let _ = self.reserve(self.start);
        // Sync before new frames are written, so that no old frame can reappear after a new one.
        self.sync()
    }

    /// Reserves space up to `end` and to the next step after it.
    fn reserve(&mut self, end: u64) -> Result<(), WriteError> {
        if end < self.reserved_end {
            return Ok(());
        }
        let wanted = (end / RESERVE_STEP_BYTES + 1) * RESERVE_STEP_BYTES;
        if let Err(error) = self.file.allocate(self.reserved_end, wanted) {
            return Err(self.undo(error));
        }
        self.reserved_end = wanted;
        Ok(())
    }

    /// Removes what a failed write has left. Returns the error of the append.
    fn undo(&mut self, error: std::io::Error) -> WriteError {
        self.is_torn = true;
        match self.truncate_torn_tail() {
            Err(not_synced @ WriteError::NotSynced { .. }) => not_synced,
            // If the bytes cannot be removed, the next append tries again.
            _ => self.not_written(error),
        }
    }

    /// Removes the bytes that a failed write left after the last intact frame, durably. Otherwise a refused frame could
    /// reappear after a crash.
    fn truncate_torn_tail(&mut self) -> Result<(), WriteError> {
        if self.is_torn {
            let truncated = self.file.truncate(self.end);
            truncated.map_err(|error| self.not_written(error))?;
            self.reserved_end = self.end;
            self.sync()?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Whether a refused frame may still be in the file.
    pub(super) fn is_torn(&self) -> bool {
        self.is_torn
    }

    fn sync(&mut self) -> Result<(), WriteError> {
        self.file.sync().map_err(|error| WriteError::NotSynced {
            path: self.path.clone(),
            error,
        })
    }

    fn not_written(&self, error: std::io::Error) -> WriteError {
        WriteError::NotWritten {
            path: self.path.clone(),
            error,
        }
    }
}
