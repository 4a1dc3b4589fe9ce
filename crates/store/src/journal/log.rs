//! The append-only file: one frame per batch, synced before the next is written, cut after a snapshot.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    disk::{Disk, DiskFile, Trouble, put},
    entry,
    error::{JournalError, Unreadable},
    frame::{self, FIXED_MARKER, Found, Kind, Marker},
};
use cfgsync_model::Instance;

/// Its name in the directory.
pub(super) const LOG: &str = "log";

/// Space is taken in steps of so many bytes, ahead of what is written.
const STEP_BYTES: u64 = 1 << 20;

/// What its first frame says; it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogHead {
    /// Whose revisions these are.
    pub(super) instance: Instance,
    /// What begins the frames after this one.
    pub(super) marker: Marker,
    /// The cluster's name.
    pub(super) cluster: String,
}

#[derive(Serialize, Deserialize)]
struct HeadEntry<'a> {
    instance: [u8; 16],
    marker: Marker,
    cluster: &'a str,
}

impl LogHead {
    /// A log that holds nothing but this head.
    fn to_file(&self) -> Vec<u8> {
        frame::whole_file(Kind::Log, |body| {
            let head = HeadEntry {
                instance: *self.instance.as_bytes(),
                marker: self.marker,
                cluster: &self.cluster,
            };
            entry::write(body, &head);
        })
    }

    /// Reads the head of `file`; answers the format version as well, and where the batches begin.
    pub(super) fn read(
        file: &[u8],
        path: impl Fn() -> PathBuf,
    ) -> Result<(Self, u32, usize), JournalError> {
        read_first(file, Kind::Log, path, |version, body, end| {
            let (head, _): (HeadEntry, _) = entry::read(body)?;
            let head = Self {
                instance: Instance::from_bytes(head.instance),
                marker: head.marker,
                cluster: head.cluster.to_owned(),
            };
            Ok((head, version, end))
        })
    }
}

/// Reads the first line and the first frame of a file of the directory; `contents` gets the format version, the frame's
/// body and where it ends.
pub(super) fn read_first<'a, T>(
    file: &'a [u8],
    kind: Kind,
    path: impl Fn() -> PathBuf,
    contents: impl FnOnce(u32, &'a [u8], usize) -> Result<T, Unreadable>,
) -> Result<T, JournalError> {
    let (version, start) = read_first_line(file, kind, &path)?;
    let damaged = |what: String| JournalError::Damaged {
        file: path(),
        offset: start as u64,
        what,
    };
    match frame::read(file, start, FIXED_MARKER) {
        Found::Frame { body, end } => {
            contents(version, body, end).map_err(|error| damaged(error.to_string()))
        }
        Found::End => Err(damaged("there is nothing".to_owned())),
        Found::Bad(what) => Err(damaged(what.to_owned())),
    }
}

fn read_first_line(
    file: &[u8],
    kind: Kind,
    path: impl Fn() -> PathBuf,
) -> Result<(u32, usize), JournalError> {
    frame::read_first_line(file, kind).map_err(|wrong| match wrong {
        frame::WrongLine::Version(version) => JournalError::Version {
            file: path(),
            version,
            known: frame::VERSION,
        },
        frame::WrongLine::Other => JournalError::Damaged {
            file: path(),
            offset: 0,
            what: "its first line is not one of cfgsync's".to_owned(),
        },
    })
}

/// A log to append to.
pub(super) struct Log {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    /// What begins each frame.
    pub(super) marker: Marker,
    /// Where the batches begin.
    start: u64,
    /// Where the next one goes.
    end: u64,
    /// Up to where space is taken: the file's length.
    taken: u64,
    /// A write failed: what stands after `end` must go first.
    is_torn: bool,
}

impl Log {
    /// Makes a log that holds `head` and then `frames`, in place of one that may be there.
    pub(super) fn create(disk: &dyn Disk, head: &LogHead, frames: &[u8]) -> Result<Self, Trouble> {
        let bytes = head.to_file();
        put(disk, LOG, &[&bytes, frames])?;
        let start = bytes.len() as u64;
        let end = start + frames.len() as u64;
        Self::open(disk, head.marker, start, end, end)
    }

    /// Opens a log that was read: its batches stand from `start` to `end`, and it is `taken` bytes long.
    pub(super) fn open(
        disk: &dyn Disk,
        marker: Marker,
        start: u64,
        end: u64,
        taken: u64,
    ) -> Result<Self, Trouble> {
        let path = disk.path(LOG);
        let file = disk.open(LOG).map_err(|error| Trouble::Refused {
            path: path.clone(),
            error,
        })?;
        Ok(Self {
            file,
            path,
            marker,
            start,
            end,
            taken,
            is_torn: false,
        })
    }

    /// How many bytes of batches there are.
    pub(super) fn len_bytes(&self) -> u64 {
        self.end - self.start
    }

    /// Makes sure that what was read is on the disk, and nothing behind it. A server that was killed before it synced
    /// its `last` frame leaves it where this one reads it, and a power cut would take it away; a disk that failed to
    /// take it may no longer know that it should, so it is written once more.
    pub(super) fn make_sure(&mut self, last: &[u8]) -> Result<(), Trouble> {
        let at = self.end - last.len() as u64;
        let written = self.file.write_at(last, at);
        written.map_err(|error| self.refused(error))?;
        self.is_torn = true;
        self.mend()?;
        self.sync()
    }

    /// Appends `frame` and syncs it. When it is refused, the log is as it was before.
    pub(super) fn append(&mut self, frame: &[u8]) -> Result<(), Trouble> {
        self.mend()?;
        let end = self.end + frame.len() as u64;
        self.take(end)?;
        if let Err(error) = self.file.write_at(frame, self.end) {
            self.is_torn = true;
            // If this fails as well, the next batch begins with it.
            let _ = self.mend();
            return Err(self.refused(error));
        }
        self.sync()?;
        self.end = end;
        Ok(())
    }

    /// Removes all batches: a snapshot that is durable holds what they said.
    pub(super) fn empty(&mut self) -> Result<(), Trouble> {
        let cut = self.file.cut(self.start);
        cut.map_err(|error| self.refused(error))?;
        (self.end, self.taken) = (self.start, self.start);
        self.is_torn = false;
        // Where there is no room now, the next batch finds out.
        let _ = self.take(self.start);
        // Before anything is written over them: old batches must not come back behind new ones.
        self.sync()
    }

    /// Takes space up to `end` and a step beyond.
    fn take(&mut self, end: u64) -> Result<(), Trouble> {
        if end < self.taken {
            return Ok(());
        }
        let wanted = (end / STEP_BYTES + 1) * STEP_BYTES;
        if let Err(error) = self.file.allocate(self.taken, wanted) {
            self.is_torn = true;
            let _ = self.mend();
            return Err(self.refused(error));
        }
        self.taken = wanted;
        Ok(())
    }

    /// Goes back to the last good frame.
    fn mend(&mut self) -> Result<(), Trouble> {
        if self.is_torn {
            let cut = self.file.cut(self.end);
            cut.map_err(|error| self.refused(error))?;
            self.taken = self.end;
            self.is_torn = false;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Trouble> {
        self.file.sync().map_err(|error| Trouble::Fatal {
            path: self.path.clone(),
            error,
        })
    }

    fn refused(&self, error: std::io::Error) -> Trouble {
        Trouble::Refused {
            path: self.path.clone(),
            error,
        }
    }
}
