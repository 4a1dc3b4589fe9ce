//! The audit log: one JSON line for each change and each refusal, written by a thread of its own.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::fs::OFlags;
use tokio::sync::{mpsc, oneshot};

use super::line::AuditLine;

/// How many lines may wait to be written: those of ten thousand nodes that are released at one instant. Beyond that
/// they are lost, counted and told; where the log is required, their senders wait.
const LINES_WAITING_MAX: usize = 16_384;
/// How many lines are written at once.
const LINES_AT_ONCE_MAX: u64 = 256;
/// How long a server that ends waits for what is not yet written.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Its mode, when it is made.
const FILE_MODE: u32 = 0o600;

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    /// At the end of this file, which is made if it is not there, with mode 0600.
    File(PathBuf),
    /// To standard output.
    Stdout,
}

/// The log cannot be written, and may not be done without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the audit log cannot be written, and this server changes nothing without it (--audit-required)"
)]
pub struct AuditUnavailable;

/// The audit log. Cloning is cheap.
#[derive(Clone)]
pub struct Audit {
    messages: mpsc::Sender<Message>,
    required: bool,
    lost: Arc<AtomicU64>,
}

enum Message {
    Line(Box<AuditLine>, Option<oneshot::Sender<bool>>),
    Reopen,
    Flush(oneshot::Sender<bool>),
}

impl Audit {
    /// Opens the log. If it is `required`, no change is made that is not in it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(target: AuditTarget, required: bool) -> io::Result<Self> {
        let output = target.open(required)?;
        let (messages, received) = mpsc::channel(LINES_WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            required,
            output: Some(output),
            is_torn: ends_in_half_a_line(&target).unwrap_or(false),
            target,
            lost: Arc::clone(&lost),
            told: false,
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(received))?;
        Ok(Self {
            messages,
            required,
            lost,
        })
    }

    /// Before a change: where the log is required, answers once the line is on disk.
    ///
    /// # Errors
    /// When it cannot be; the change must not be made then.
    pub async fn asked(&self, line: impl FnOnce() -> AuditLine) -> Result<(), AuditUnavailable> {
        if !self.required {
            return Ok(());
        }
        let (written, answer) = oneshot::channel();
        let message = Message::Line(Box::new(line()), Some(written));
        let sent = self.messages.send(message).await;
        match sent.is_ok() && answer.await.unwrap_or(false) {
            true => Ok(()),
            false => Err(AuditUnavailable),
        }
    }

    /// After it, or instead of it. Never waits: a line for which there is no room is lost, counted and told.
    pub fn note(&self, line: AuditLine) {
        let message = Message::Line(Box::new(line), None);
        if self.messages.try_send(message).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens the file again, by its name: for whoever moved it away.
    pub async fn reopen(&self) {
        // The thread lives as long as this does.
        let _ = self.messages.send(Message::Reopen).await;
    }

    /// Waits, for two seconds at most, until what was said is written.
    pub async fn flush(&self) {
        let (flushed, answer) = oneshot::channel();
        let flush = async {
            if self.messages.send(Message::Flush(flushed)).await.is_ok() {
                let _ = answer.await;
            }
        };
        if tokio::time::timeout(FLUSH_MAX, flush).await.is_err() {
            tracing::error!("the last lines of the audit log could not be written in time");
        }
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Audit")
    }
}

impl AuditTarget {
    fn open(&self, lasting: bool) -> io::Result<Box<dyn Output>> {
        match self {
            Self::Stdout => Ok(Box::new(io::stdout())),
            Self::File(path) => Ok(Box::new(open(path, lasting)?)),
        }
    }
}

impl std::fmt::Display for AuditTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What lines are written to.
trait Output: Write + Send {
    /// Answers once a power cut does not take back what was written, as far as its kind knows of that.
    fn sync(&self) -> io::Result<()>;
}

impl Output for File {
    fn sync(&self) -> io::Result<()> {
        match self.metadata()?.is_file() {
            true => self.sync_data(),
            // A pipe or a device, which keeps nothing.
            false => Ok(()),
        }
    }
}

impl Output for io::Stdout {
    /// Whoever reads it keeps it.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens the file at its end. `lasting`: one that is made is still there after a power cut.
fn open(path: &Path, lasting: bool) -> io::Result<File> {
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(FILE_MODE);
    // A pipe that nobody reads is an error, and not a reason to wait.
    let never_waits = OFlags::NONBLOCK.bits();
    options.custom_flags(never_waits.cast_signed());
    let file = options.open(path)?;
    if is_new && lasting {
        let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(file)
}

/// Whether what is written next would stand on a line that somebody else, or an earlier server on a full disk, did not
/// end. Where that cannot be read, an empty line is better than two in one; `None` where there is no end to look at.
fn ends_in_half_a_line(target: &AuditTarget) -> Option<bool> {
    let last_byte = |path: &Path| -> io::Result<Option<u8>> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(None);
        }
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(Some(last[0]))
    };
    match target {
        // A pipe would even be waited for.
        AuditTarget::File(path) if path.is_file() => {
            Some(last_byte(path).map_or(true, |last| last.is_some_and(|last| last != b'\n')))
        }
        AuditTarget::File(_) | AuditTarget::Stdout => None,
    }
}

struct Writer {
    target: AuditTarget,
    required: bool,
    /// `None` once it failed: it is opened again for the next line.
    output: Option<Box<dyn Output>>,
    /// Whether the last write may have left half a line.
    is_torn: bool,
    lost: Arc<AtomicU64>,
    /// Whether it was told that lines are lost.
    told: bool,
}

impl Writer {
    fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        while let Some(first) = messages.blocking_recv() {
            let mut next = Some(first);
            let mut text = Vec::new();
            let mut lines: u64 = 0;
            let mut waiting = Vec::new();
            let mut reopens = false;
            while let Some(message) = next {
                match message {
                    Message::Line(line, answer) => {
                        let written = serde_json::to_writer(&mut text, &line);
                        written.expect("a line has string keys only, and memory takes it");
                        text.push(b'\n');
                        lines += 1;
                        waiting.extend(answer);
                    }
                    Message::Flush(answer) => waiting.push(answer),
                    Message::Reopen => reopens = true,
                }
                // What came before belongs into the file that was open then.
                let is_full = reopens || lines >= LINES_AT_ONCE_MAX;
                next = (!is_full).then(|| messages.try_recv().ok()).flatten();
            }
            let written = self.write(&text, lines, !waiting.is_empty());
            for answer in waiting {
                // Whoever does not wait any more needs no answer.
                let _ = answer.send(written);
            }
            if reopens {
                self.output = None;
                self.write(&[], 0, false);
            }
        }
    }

    /// Whether all of `text` is written, and on disk if it `must_stay`.
    fn write(&mut self, text: &[u8], lines: u64, must_stay: bool) -> bool {
        let written = self.try_write(text, must_stay);
        if written.is_ok() && text.is_empty() {
            // Nothing was written, so nobody knows whether the next line will be.
            return true;
        }
        let lost = match &written {
            Ok(()) => self.lost.swap(0, Ordering::Relaxed),
            Err(_) => self.lost.fetch_add(lines, Ordering::Relaxed),
        };
        match written {
            Ok(()) => {
                if lost > 0 || self.told {
                    self.told = false;
                    tracing::error!(
                        "{lost} lines of the audit log {} were lost; it is written again",
                        self.target
                    );
                }
                true
            }
            Err(error) => {
                self.output = None;
                if !self.told {
                    self.told = true;
                    tracing::error!("cannot write the audit log {}: {error}", self.target);
                }
                false
            }
        }
    }

    fn try_write(&mut self, text: &[u8], must_stay: bool) -> io::Result<()> {
        if self.output.is_none() {
            self.output = Some(self.target.open(self.required)?);
            self.is_torn = ends_in_half_a_line(&self.target).unwrap_or(self.is_torn);
        }
        let output = self.output.as_mut().expect("opened if need be");
        if !text.is_empty() {
            if self.is_torn {
                output.write_all(b"\n")?;
            }
            self.is_torn = true;
            output.write_all(text)?;
            output.flush()?;
            self.is_torn = false;
        }
        match must_stay {
            true => output.sync(),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cfgsync_support::clock::Timestamp;

    fn line(what: &str) -> AuditLine {
        AuditLine::of_the_server(Timestamp::UNIX_EPOCH, what)
    }

    fn whats(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty());
        let read = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        read.map(|line| line["what"].as_str().unwrap().to_owned())
            .collect()
    }

    #[tokio::test]
    async fn lines_go_where_the_log_is_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let audit = Audit::open(AuditTarget::File(path.clone()), false).unwrap();
        audit.note(line("one"));
        audit.flush().await;
        let moved = directory.path().join("audit.1");
        std::fs::rename(&path, &moved).unwrap();
        audit.note(line("two"));
        audit.reopen().await;
        audit.note(line("three"));
        audit.flush().await;
        assert_eq!(whats(&moved), ["one", "two"]);
        assert_eq!(whats(&path), ["three"]);
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, FILE_MODE);
    }

    /// A server hung before it listened, and each change after the log had been opened again.
    #[test]
    fn a_pipe_that_nobody_reads_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        assert!(Audit::open(AuditTarget::File(path), true).is_err());
    }

    #[tokio::test]
    async fn ten_thousand_nodes_that_are_released_at_once_lose_no_line() {
        const NODES: u64 = 10_000;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let audit = Audit::open(AuditTarget::File(path.clone()), false).unwrap();
        for _ in 0..NODES {
            audit.note(line("POST /node"));
        }
        audit.flush().await;
        assert_eq!(audit.lost.load(Ordering::Relaxed), 0);
        assert_eq!(whats(&path).len() as u64, NODES);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_not_done_where_the_log_is_required() {
        let full = || AuditTarget::File("/dev/full".into());
        let audit = Audit::open(full(), true).unwrap();
        assert_eq!(audit.asked(|| line("x")).await, Err(AuditUnavailable));
        let audit = Audit::open(full(), false).unwrap();
        assert_eq!(audit.asked(|| line("x")).await, Ok(()));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let audit = Audit::open(AuditTarget::File(path.clone()), true).unwrap();
        assert_eq!(audit.asked(|| line("x")).await, Ok(()));
        assert_eq!(whats(&path), ["x"]);
    }

    /// A line that was promised to be there before the change was in the system's memory alone.
    #[test]
    fn what_somebody_waits_for_is_synced_and_nothing_else() {
        /// What was done to it.
        struct Watched(Arc<std::sync::Mutex<Vec<&'static str>>>);

        impl Write for Watched {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().push("written");
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        impl Output for Watched {
            fn sync(&self) -> io::Result<()> {
                let mut done = self.0.lock().unwrap();
                done.push("synced");
                match done.len() {
                    ..4 => Ok(()),
                    _ => Err(io::Error::other("the disk is broken")),
                }
            }
        }

        let done = Arc::new(std::sync::Mutex::new(vec![]));
        let mut writer = writer(Box::new(Watched(Arc::clone(&done))), "/dev/null".into());
        assert!(writer.write(b"noted\n", 1, false));
        assert!(writer.write(b"asked\n", 1, true));
        assert_eq!(*done.lock().unwrap(), ["written", "written", "synced"]);
        assert!(!writer.write(b"asked\n", 1, true), "it is not on disk");
        // What was written is whole, whether it lasts or not.
        assert!(!writer.is_torn && writer.output.is_none());
    }

    fn writer(output: Box<dyn Output>, path: PathBuf) -> Writer {
        Writer {
            target: AuditTarget::File(path),
            required: true,
            output: Some(output),
            is_torn: false,
            lost: Arc::default(),
            told: false,
        }
    }

    /// Takes some bytes, and fails in the middle of a line when told so.
    struct Moody(Arc<std::sync::Mutex<(Vec<u8>, bool)>>);

    impl Write for Moody {
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

    impl Output for Moody {
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn half_a_line_does_not_spoil_the_next_one() {
        let state = Arc::new(std::sync::Mutex::new((vec![], false)));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let mut reader = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut writer = writer(Box::new(Moody(Arc::clone(&state))), path);
        assert!(!writer.write(b"{\"what\":1}\n", 1, true));
        assert_eq!(writer.lost.load(Ordering::Relaxed), 1);
        assert!(writer.write(b"{\"what\":2}\n", 1, true));
        let mut after = [0; 12];
        reader.read_exact(&mut after).unwrap();
        assert_eq!(&after, b"\n{\"what\":2}\n");
        assert_eq!(writer.lost.load(Ordering::Relaxed), 0);
    }

    /// A server that started again with room on the disk wrote on where its predecessor had broken off.
    #[tokio::test]
    async fn a_line_that_another_server_did_not_end_does_not_spoil_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let full = "{\"what\":\"full\"}\n";
        for (before, gap) in [("", ""), (full, ""), ("{\"wha", "\n")] {
            std::fs::write(&path, before).unwrap();
            let audit = Audit::open(AuditTarget::File(path.clone()), false).unwrap();
            audit.note(line("next"));
            audit.flush().await;
            // Neither does one that was moved in beside it.
            std::fs::rename(&path, directory.path().join("moved")).unwrap();
            std::fs::write(&path, before).unwrap();
            audit.reopen().await;
            audit.note(line("next"));
            audit.flush().await;
            for name in ["moved", "audit"] {
                let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
                let expected = format!("{before}{gap}{{\"at\":");
                assert!(text.starts_with(&expected), "{text}");
                assert!(text.ends_with("}\n"), "{text}");
            }
        }
    }
}
