//! The thread that writes the audit log. It batches lines, syncs those that a caller waits for, and recovers when the
//! target cannot be written for a while.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::audit_target::{AuditOutput, AuditTarget};

/// How many lines are written with one system call at most.
const BATCH_MAX_LINES: u64 = 256;

/// A message to the writer's thread.
pub(super) enum Message {
    /// Write a line. The sender, if there is one, learns whether the line is on disk.
    Line(QueuedLine, Option<oneshot::Sender<bool>>),
    /// Open the file again by its name.
    Reopen,
    /// Tell the sender when everything before this message is written.
    Flush(oneshot::Sender<bool>),
}

/// A line that waits for the writer, and the part of the queue that it takes until then.
pub(super) struct QueuedLine {
    /// The line, with its end.
    text: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl QueuedLine {
    pub(super) fn new(text: Vec<u8>, room: OwnedSemaphorePermit) -> Self {
        Self { text, _room: room }
    }
}

pub(super) struct AuditWriter {
    target: AuditTarget,
    required: bool,
    /// `None` after a failure. The target is opened again for the next line.
    output: Option<Box<dyn AuditOutput>>,
    /// Whether the output may end in an unfinished line.
    ends_mid_line: bool,
    /// How many lines were lost since the last successful write; the handles add to it as well.
    lost: Arc<AtomicU64>,
    /// Whether the loss of lines was reported, so that it is reported once.
    is_loss_reported: bool,
}

impl AuditWriter {
    /// Opens the target.
    pub(super) fn open(
        target: AuditTarget,
        required: bool,
        lost: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        Ok(Self {
            required,
            output: Some(target.open(required)?),
            ends_mid_line: target.ends_mid_line().unwrap_or(false),
            target,
            lost,
            is_loss_reported: false,
        })
    }

    /// Writes until all handles are dropped.
    pub(super) fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        while let Some(first) = messages.blocking_recv() {
            let mut next = Some(first);
            let mut text = Vec::new();
            let mut lines: u64 = 0;
            let mut waiting = Vec::new();
            let mut reopens = false;
            while let Some(message) = next {
                match message {
                    Message::Line(line, answer) => {
                        text.extend_from_slice(&line.text);
                        lines += 1;
                        waiting.extend(answer);
                    }
                    Message::Flush(answer) => waiting.push(answer),
                    Message::Reopen => reopens = true,
                }
                // A reopen ends the batch, because the lines before it belong into the old file.
                let is_full = reopens || lines >= BATCH_MAX_LINES;
                next = if is_full {
                    None
                } else {
                    messages.try_recv().ok()
                };
            }
            let written = self.write(&text, lines, !waiting.is_empty());
            for answer in waiting {
                // A sender that no longer waits needs no answer.
                let _ = answer.send(written);
            }
            if reopens {
                self.output = None;
                self.write(&[], 0, false);
            }
        }
    }

    /// Writes `text`, which has this number of `lines`, and syncs it if a caller waits for that. Returns whether that
    /// succeeded; a failure is counted and reported.
    fn write(&mut self, text: &[u8], lines: u64, sync: bool) -> bool {
        match self.try_write(text, sync) {
            // Nothing was written, so it is not known whether the next line will be.
            Ok(()) if text.is_empty() => true,
            Ok(()) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 || self.is_loss_reported {
                    self.is_loss_reported = false;
                    tracing::error!(
                        event = "audit_log_works",
                        "the audit log {} can be written again; {lost} lines were lost",
                        self.target
                    );
                }
                true
            }
            Err(error) => {
                self.lost.fetch_add(lines, Ordering::Relaxed);
                self.output = None;
                if !self.is_loss_reported {
                    self.is_loss_reported = true;
                    tracing::error!(
                        event = "audit_log_failed",
                        reason = %error,
                        "cannot write the audit log {}: {error}; its lines are lost until it can be written again",
                        self.target
                    );
                }
                false
            }
        }
    }

    fn try_write(&mut self, text: &[u8], sync: bool) -> io::Result<()> {
        if self.output.is_none() {
            self.output = Some(self.target.open(self.required)?);
            self.ends_mid_line = self.target.ends_mid_line().unwrap_or(self.ends_mid_line);
        }
        let output = self.output.as_mut().expect("opened above");
        if !text.is_empty() {
            if self.ends_mid_line {
                output.write_all(b"\n")?;
            }
            // Stays set if the write fails in the middle.
            self.ends_mid_line = true;
            output.write_all(text)?;
            output.flush()?;
            self.ends_mid_line = false;
        }
        if sync { output.sync() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::OpenOptions,
        io::{Read as _, Write},
        path::PathBuf,
        sync::Mutex,
    };

    use super::*;

    fn writer(output: Box<dyn AuditOutput>, path: PathBuf) -> AuditWriter {
        AuditWriter {
            target: AuditTarget::File(path),
            required: true,
            output: Some(output),
            ends_mid_line: false,
            lost: Arc::default(),
            is_loss_reported: false,
        }
    }

    /// Notes each call, and fails the second sync.
    struct RecordingOutput(Arc<Mutex<Vec<&'static str>>>);

    impl Write for RecordingOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push("written");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl AuditOutput for RecordingOutput {
        fn sync(&self) -> io::Result<()> {
            let mut calls = self.0.lock().unwrap();
            calls.push("synced");
            if calls.len() < 4 {
                return Ok(());
            }
            Err(io::Error::other("the disk is broken"))
        }
    }

    /// A line that was promised to be on disk was only in the operating system's memory.
    #[test]
    fn only_awaited_lines_are_synced() {
        let calls = Arc::new(Mutex::new(vec![]));
        let mut writer = writer(
            Box::new(RecordingOutput(Arc::clone(&calls))),
            "/dev/null".into(),
        );
        assert!(writer.write(b"recorded\n", 1, false));
        assert!(writer.write(b"awaited\n", 1, true));
        assert_eq!(*calls.lock().unwrap(), ["written", "written", "synced"]);
        assert!(!writer.write(b"awaited\n", 1, true), "it is not on disk");
        // The line is complete, although it may not survive a power failure.
        assert!(!writer.ends_mid_line && writer.output.is_none());
    }

    /// Takes half of the first write, and fails all later ones.
    struct FailingOutput(Arc<Mutex<(Vec<u8>, bool)>>);

    impl Write for FailingOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.lock().unwrap();
            if state.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let half = bytes.len().div_ceil(2);
            state.0.extend_from_slice(&bytes[..half]);
            state.1 = true;
            Ok(half)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl AuditOutput for FailingOutput {
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn line_after_an_unfinished_one_starts_on_its_own_line() {
        let state = Arc::new(Mutex::new((vec![], false)));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let mut reader = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut writer = writer(Box::new(FailingOutput(Arc::clone(&state))), path);
        assert!(!writer.write(b"{\"what\":1}\n", 1, true));
        assert_eq!(writer.lost.load(Ordering::Relaxed), 1);
        assert!(writer.write(b"{\"what\":2}\n", 1, true));
        let mut after = [0; 12];
        reader.read_exact(&mut after).unwrap();
        assert_eq!(&after, b"\n{\"what\":2}\n");
        assert_eq!(writer.lost.load(Ordering::Relaxed), 0);
    }
}
