//! The audit log as the rest of the server uses it: a handle that queues lines for the writer's thread.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    audit_line::AuditLine,
    audit_target::AuditTarget,
    audit_writer::{AuditWriter, Message, QueuedLine},
};

/// How many lines may wait for the writer: those of ten thousand nodes that are released at once. Further lines are
/// lost, counted and reported; where the log is required, their senders wait instead.
const QUEUE_MAX_LINES: usize = 16_384;
/// How many bytes of lines may wait for the writer.
const QUEUE_MAX_BYTES: u32 = 16 << 20;
/// How long a server that stops waits for lines that are not written yet.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The audit log cannot be written, although the server may change nothing without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the audit log cannot be written, and the server refuses changes without it (--audit-required); its log gives \
     the reason"
)]
pub struct AuditUnavailable;

/// A handle to the audit log. Cloning is cheap.
#[derive(Clone)]
pub struct AuditLog {
    messages: mpsc::Sender<Message>,
    /// The bytes that the queue has left.
    free: Arc<Semaphore>,
    required: bool,
    lost: Arc<AtomicU64>,
}

impl AuditLog {
    /// Opens the log and starts its writer. If the log is `required`, [`Self::write_ahead`] waits until the line is on
    /// disk.
    ///
    /// # Errors
    /// If the file cannot be opened, or the thread cannot be started.
    pub fn open(target: AuditTarget, required: bool) -> io::Result<Self> {
        let (messages, received) = mpsc::channel(QUEUE_MAX_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = AuditWriter::open(target, required, Arc::clone(&lost))?;
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(received))?;
        Ok(Self {
            messages,
            free: Arc::new(Semaphore::new(QUEUE_MAX_BYTES as usize)),
            required,
            lost,
        })
    }

    /// Returns whether the server may change nothing without the log.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Announces a change before it is made. If the log is required, returns once the line is on disk; otherwise
    /// returns at once and writes nothing.
    ///
    /// # Errors
    /// If the line cannot be written. The change must not be made then.
    pub async fn write_ahead(
        &self,
        line: impl FnOnce() -> AuditLine,
    ) -> Result<(), AuditUnavailable> {
        if !self.required {
            return Ok(());
        }
        let (written, answer) = oneshot::channel();
        let text = to_text(&line());
        let free = Arc::clone(&self.free).acquire_many_owned(cost_of(&text));
        let room = free.await.map_err(|_| AuditUnavailable)?;
        let message = Message::Line(QueuedLine::new(text, room), Some(written));
        let sent = self.messages.send(message).await;
        if sent.is_ok() && answer.await.unwrap_or(false) {
            return Ok(());
        }
        Err(AuditUnavailable)
    }

    /// Queues the line of an operation that has ended. Never waits: if the queue is full, the line is lost, counted
    /// and reported.
    pub fn record(&self, line: &AuditLine) {
        let text = to_text(line);
        let free = Arc::clone(&self.free).try_acquire_many_owned(cost_of(&text));
        let sent = free.is_ok_and(|room| {
            let message = Message::Line(QueuedLine::new(text, room), None);
            self.messages.try_send(message).is_ok()
        });
        if !sent {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens the file again by its name, after a log rotation has moved it away. Lines queued before go into the old
    /// file.
    pub async fn reopen(&self) {
        // The writer lives as long as this handle, so sending cannot fail.
        let _ = self.messages.send(Message::Reopen).await;
    }

    /// Waits until all queued lines are written, for two seconds at most.
    pub async fn flush(&self) {
        let (flushed, answer) = oneshot::channel();
        let flush = async {
            if self.messages.send(Message::Flush(flushed)).await.is_ok() {
                let _ = answer.await;
            }
        };
        if tokio::time::timeout(FLUSH_TIMEOUT, flush).await.is_err() {
            tracing::error!(
                "the last lines of the audit log were not written within 2 s and may be missing"
            );
        }
    }
}

fn to_text(line: &AuditLine) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).expect("a line has string keys only");
    text.push(b'\n');
    text
}

/// Returns the bytes of the queue that a line takes. A line that is longer than the queue takes all of it.
fn cost_of(text: &[u8]) -> u32 {
    u32::try_from(text.len()).map_or(QUEUE_MAX_BYTES, |length| length.min(QUEUE_MAX_BYTES))
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditLog")
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, path::Path};

    use cfgsync_support::clock::Timestamp;

    use super::*;

    fn line(what: &str) -> AuditLine {
        AuditLine::for_server(Timestamp::UNIX_EPOCH, what)
    }

    fn open(path: &Path, required: bool) -> AuditLog {
        AuditLog::open(AuditTarget::File(path.to_owned()), required).unwrap()
    }

    /// The `what` of each line.
    fn operations(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty());
        let parsed = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        parsed
            .map(|line| line["what"].as_str().unwrap().to_owned())
            .collect()
    }

    #[tokio::test]
    async fn reopened_log_continues_in_the_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let log = open(&path, false);
        log.record(&line("one"));
        log.flush().await;
        let moved = directory.path().join("audit.1");
        std::fs::rename(&path, &moved).unwrap();
        log.record(&line("two"));
        log.reopen().await;
        log.record(&line("three"));
        log.flush().await;
        assert_eq!(operations(&moved), ["one", "two"]);
        assert_eq!(operations(&path), ["three"]);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn ten_thousand_nodes_released_at_once_lose_no_line() {
        const NODES: u64 = 10_000;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let log = open(&path, false);
        for _ in 0..NODES {
            log.record(&line("POST /node"));
        }
        log.flush().await;
        assert_eq!(log.lost.load(Ordering::Relaxed), 0);
        assert_eq!(operations(&path).len() as u64, NODES);
    }

    /// Lines of any length filled the memory while the disk was slow.
    #[test]
    fn queue_is_bounded_in_bytes() {
        // Nothing takes messages out of this queue.
        let (messages, _received) = mpsc::channel(QUEUE_MAX_LINES);
        let log = AuditLog {
            messages,
            free: Arc::new(Semaphore::new(QUEUE_MAX_BYTES as usize)),
            required: false,
            lost: Arc::default(),
        };
        let wide = line(&"x".repeat(1 << 20));
        for _ in 0..20 {
            log.record(&wide);
        }
        assert_eq!(
            log.lost.load(Ordering::Relaxed),
            5,
            "15 of 20 fit into 16 MiB"
        );
    }

    #[tokio::test]
    async fn required_log_refuses_what_it_cannot_write() {
        let full = Path::new("/dev/full");
        let refused = open(full, true).write_ahead(|| line("x")).await;
        assert_eq!(refused, Err(AuditUnavailable));
        let accepted = open(full, false).write_ahead(|| line("x")).await;
        assert_eq!(accepted, Ok(()));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        assert_eq!(open(&path, true).write_ahead(|| line("x")).await, Ok(()));
        assert_eq!(operations(&path), ["x"]);
    }

    /// A server that started again after a full disk appended to the line that its predecessor had not finished.
    #[tokio::test]
    async fn unfinished_line_of_another_server_is_ended_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let full = "{\"what\":\"full\"}\n";
        for (before, gap) in [("", ""), (full, ""), ("{\"wha", "\n")] {
            std::fs::write(&path, before).unwrap();
            let log = open(&path, false);
            log.record(&line("next"));
            log.flush().await;
            // The same for a file that was moved into place while the server ran.
            std::fs::rename(&path, directory.path().join("moved")).unwrap();
            std::fs::write(&path, before).unwrap();
            log.reopen().await;
            log.record(&line("next"));
            log.flush().await;
            for name in ["moved", "audit"] {
                let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
                let expected = format!("{before}{gap}{{\"at\":");
                assert!(text.starts_with(&expected), "{text}");
                assert!(text.ends_with("}\n"), "{text}");
            }
        }
    }
}
