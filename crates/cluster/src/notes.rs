//! Notes for the flight record: what the cluster waited for, and why it failed. They are kept beside the state, because
//! they have no revision of their own and nothing depends on them. A store with a directory has a file for them, which
//! survives the end of the server.

use std::{
    collections::VecDeque,
    fs::OpenOptions,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant};

use cfgsync_model::{Failure, Instance, Progress, Revision};
use cfgsync_support::{bounded_file, clock::Timestamp, replace_file};

/// The number of notes that are kept. The oldest are dropped first.
const NOTES_MAX: usize = 2048;

/// The size of all notes that are kept, in bytes of JSON.
const NOTES_MAX_BYTES: usize = 1 << 20;

/// The size from which the file is written anew, in bytes.
const FILE_MAX_BYTES: usize = 4 << 20;

/// The shortest time between two notes about a wait, so that a burst of registrations makes few.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);

/// The mode of the file.
const FILE_MODE: u32 = 0o600;

/// One note.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// When it was made.
    pub at: Timestamp,
    /// The newest revision of the store at that time.
    pub revision: Revision,
    /// The subject.
    #[serde(flatten)]
    pub kind: NoteKind,
}

/// The subject of a note.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum NoteKind {
    /// The server has started.
    Started,
    /// The cluster waits for these conditions.
    Waiting {
        /// The conditions.
        progress: Progress,
    },
    /// The cluster waits for nothing.
    Ready,
    /// The cluster, or the newest render, has failed.
    Failed {
        /// The failure.
        failure: Failure,
    },
    /// The server has stopped.
    Stopped,
    /// A note of a newer program.
    #[serde(other)]
    Unknown,
}

/// The first line of the file.
#[derive(Serialize, Deserialize)]
struct Head {
    instance: Instance,
}

/// The newest notes, and those that the file does not have yet.
#[derive(Default)]
pub(crate) struct NoteLog {
    instance: Option<Instance>,
    path: Option<PathBuf>,
    /// Oldest first, each with its length as JSON.
    notes: VecDeque<(usize, Note)>,
    bytes: usize,
    /// The newest note about a wait, until it is time to keep it.
    pending: Option<Note>,
    kept_at: Option<Instant>,
    unwritten: String,
    file_bytes: usize,
    /// Whether the next write replaces the file.
    rewrites: bool,
}

/// The content for the file.
pub(crate) struct NoteWrite {
    path: PathBuf,
    text: String,
    replaces: bool,
}

impl NoteLog {
    /// Returns the notes in the file at `path`, if it has those of this instance.
    pub(crate) fn open(path: Option<PathBuf>, instance: Instance) -> Self {
        let found = path.as_deref().and_then(|path| read(path, instance));
        let mut log = Self {
            instance: Some(instance),
            path,
            // The file may end with an unfinished line, which must not be continued.
            rewrites: true,
            ..Self::default()
        };
        for note in found.into_iter().flatten() {
            log.keep(note);
        }
        log
    }

    /// Adds a note. Of several notes about waits in a short time, only the last one is kept.
    pub(crate) fn note(&mut self, note: Note, now: Instant) {
        if self.is_newest(&note.kind) {
            return;
        }
        let is_wait = matches!(note.kind, NoteKind::Waiting { .. });
        let is_early = self.kept_at.is_some_and(|at| now < at + WAIT_INTERVAL);
        if is_wait && is_early {
            self.pending = Some(note);
            return;
        }
        self.keep_pending();
        if is_wait {
            self.kept_at = Some(now);
        }
        self.keep(note);
    }

    /// Returns whether the newest note is of this kind.
    pub(crate) fn is_newest(&self, kind: &NoteKind) -> bool {
        let newest = self.pending.as_ref();
        let newest = newest.or_else(|| self.notes.back().map(|(_, note)| note));
        newest.is_some_and(|newest| newest.kind == *kind)
    }

    /// Keeps a note that waits for its time, if that has come. Returns its time otherwise.
    pub(crate) fn keep_if_due(&mut self, now: Instant) -> Option<Instant> {
        self.pending.as_ref()?;
        let due = self.kept_at? + WAIT_INTERVAL;
        if due > now {
            return Some(due);
        }
        self.kept_at = Some(now);
        self.keep_pending();
        None
    }

    /// Returns all notes, oldest first.
    pub(crate) fn all(&self) -> Vec<Note> {
        let kept = self.notes.iter().map(|(_, note)| note);
        kept.chain(&self.pending).cloned().collect()
    }

    /// Returns what the file does not have yet. The caller writes it.
    pub(crate) fn take_unwritten(&mut self) -> Option<NoteWrite> {
        let (path, instance) = (self.path.clone()?, self.instance?);
        if self.unwritten.is_empty() && !self.rewrites {
            return None;
        }
        let text = std::mem::take(&mut self.unwritten);
        let is_full = self.file_bytes + text.len() > FILE_MAX_BYTES;
        let replaces = std::mem::take(&mut self.rewrites) || is_full;
        let text = if replaces {
            let mut all = line(&Head { instance });
            all.extend(self.notes.iter().map(|(_, note)| line(note)));
            self.file_bytes = 0;
            all
        } else {
            text
        };
        self.file_bytes += text.len();
        Some(NoteWrite {
            path,
            text,
            replaces,
        })
    }

    /// Lets the next write replace the file, because the last one failed.
    pub(crate) fn on_write_failed(&mut self) {
        self.rewrites = true;
    }

    /// Keeps the note that waits for its time.
    pub(crate) fn keep_pending(&mut self) {
        if let Some(note) = self.pending.take() {
            self.keep(note);
        }
    }

    fn keep(&mut self, note: Note) {
        let line = line(&note);
        self.bytes += line.len();
        self.notes.push_back((line.len(), note));
        if self.path.is_some() && !self.rewrites {
            self.unwritten.push_str(&line);
        }
        if self.unwritten.len() > NOTES_MAX_BYTES {
            // The disk is slower than the notes, so write the newest ones later.
            self.unwritten.clear();
            self.rewrites = true;
        }
        while self.notes.len() > NOTES_MAX || (self.bytes > NOTES_MAX_BYTES && self.notes.len() > 1)
        {
            let oldest = self.notes.pop_front();
            self.bytes -= oldest.map_or(0, |(bytes, _)| bytes);
        }
    }
}

impl NoteWrite {
    /// Writes the file. It need not survive a power failure, so it is not synced.
    pub(crate) fn write(self) -> io::Result<()> {
        if self.replaces {
            return replace_file::replace(&self.path, self.text.as_bytes(), FILE_MODE);
        }
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        file.write_all(self.text.as_bytes())
    }
}

/// Returns the notes in the file at `path`. `None` if there is none, or if it has those of another instance. An unfinished
/// line at the end is left out.
pub fn read(path: &Path, instance: Instance) -> Option<Vec<Note>> {
    let max_bytes = 2 * FILE_MAX_BYTES as u64;
    let text = bounded_file::read_text_without_waiting(path, max_bytes).ok()?;
    let mut lines = text.lines();
    let head: Head = serde_json::from_str(lines.next()?).ok()?;
    if head.instance != instance {
        return None;
    }
    let notes = lines.filter_map(|line| serde_json::from_str(line).ok());
    Some(notes.collect())
}

fn line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).expect("map keys are strings");
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: Instance = Instance::from_bytes([1; 16]);

    fn waiting(registered: usize) -> Note {
        let progress = Progress {
            registered,
            needed: 9,
            ..Progress::default()
        };
        Note {
            at: Timestamp::UNIX_EPOCH,
            revision: Revision(registered as u64),
            kind: NoteKind::Waiting { progress },
        }
    }

    #[test]
    fn burst_of_waits_leaves_the_first_and_the_last() {
        let mut log = NoteLog::default();
        let start = Instant::now();
        for at in 0..5 {
            log.note(waiting(at), start);
            log.note(waiting(at), start);
        }
        assert_eq!(log.all(), [waiting(0), waiting(4)]);
        assert_eq!(log.keep_if_due(start), Some(start + WAIT_INTERVAL));
        assert_eq!(log.keep_if_due(start + WAIT_INTERVAL), None);
        log.note(waiting(5), start + 2 * WAIT_INTERVAL);
        assert_eq!(log.all(), [waiting(0), waiting(4), waiting(5)]);
    }

    #[test]
    fn notes_are_bounded() {
        let mut log = NoteLog::default();
        let start = Instant::now();
        for at in 0..NOTES_MAX + 7 {
            log.note(
                waiting(at),
                start + WAIT_INTERVAL * u32::try_from(at).unwrap(),
            );
        }
        let all = log.all();
        assert_eq!((all.len(), &all[0]), (NOTES_MAX, &waiting(7)));
    }

    #[test]
    fn file_is_continued_by_the_next_server_of_the_instance() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes");
        let now = Instant::now();
        for at in 0..3 {
            let mut log = NoteLog::open(Some(path.clone()), INSTANCE);
            log.note(waiting(2 * at), now);
            log.take_unwritten().unwrap().write().unwrap();
            log.note(waiting(2 * at + 1), now + WAIT_INTERVAL);
            log.take_unwritten().unwrap().write().unwrap();
            assert!(log.take_unwritten().is_none());
            let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
            torn.write_all(b"{\"at\": ").unwrap();
        }
        let expected: Vec<Note> = (0..6).map(waiting).collect();
        assert_eq!(read(&path, INSTANCE).unwrap(), expected);
        let other = Instance::from_bytes([2; 16]);
        assert!(read(&path, other).is_none());
        assert!(NoteLog::open(Some(path), other).all().is_empty());
    }
}
