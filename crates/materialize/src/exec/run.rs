//! One run of a program: fed, listened to, bounded, and ended with all its children.

use std::{
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{ChildStderr, ChildStdin, ChildStdout},
    sync::watch,
    time::timeout,
};

use cfgsync_spec::ExecSpec;

/// Most that a program may print on its standard output, in bytes.
const STDOUT_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Most of a program's standard error that is logged per run, in bytes. More is read and dropped.
const STDERR_LOGGED_MAX_BYTES: usize = 1024 * 1024;
/// What each line counts beside its own bytes: a flood of empty ones is a flood, too.
const STDERR_LINE_COSTS_BYTES: usize = 100;
/// Longest line of standard error that is logged in one piece, in bytes.
const STDERR_LINE_MAX_BYTES: usize = 4096;
/// How long a child that outlives the program may hold its pipes open.
const PIPES_GRACE: Duration = Duration::from_secs(1);

/// A program about to run.
pub(super) struct Run<'a> {
    pub(super) spec: &'a ExecSpec,
    /// What the log calls it.
    pub(super) name: &'a str,
    /// Becomes true when nobody waits for it any more.
    pub(super) stopping: watch::Receiver<bool>,
}

/// A program that has ended, of itself or not.
pub(super) struct Ended {
    /// Why what it printed is not to be used.
    pub(super) failure: Option<String>,
    /// What it printed.
    pub(super) stdout: Vec<u8>,
}

/// What was heard of a program up to now.
#[derive(Default)]
struct Heard {
    stdout: Vec<u8>,
    last_line: Option<String>,
}

impl Run<'_> {
    /// Starts the program, feeds it `input` and waits for its end. Blocks; not to be called on a thread that
    /// runs async tasks.
    pub(super) fn to_its_end(&self, input: Vec<u8>) -> Result<Ended, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime to watch the program with: {error}"))?;
        let ended = runtime.block_on(self.watch(input));
        // A thread that waits for a process which even SIGKILL does not end must not hold this one up.
        runtime.shutdown_background();
        ended
    }

    async fn watch(&self, input: Vec<u8>) -> Result<Ended, String> {
        let mut program = Running::start(self.spec)?;
        let mut heard = Heard::default();
        let limit = self.spec.timeout;
        let mut stopping = self.stopping.clone();
        let outcome = tokio::select! {
            outcome = timeout(limit, self.listen(&mut program, input, &mut heard)) => outcome,
            _ = stopping.wait_for(|stopping| *stopping) => {
                Ok(Err("was killed with its children, because the server stops".to_owned()))
            }
        };
        // The group is killed while the program's own id cannot be another's: before it is reaped.
        let status = program.end();
        let failure = match outcome {
            Err(_) => Some(format!(
                "gave no answer within {limit:?}, so it and its children were killed"
            )),
            Ok(Err(problem)) => Some(problem),
            Ok(Ok(())) => match status {
                Ok(status) if status.success() => None,
                Ok(status) => Some(in_words(status)),
                Err(error) => Some(format!("its end could not be told: {error}")),
            },
        };
        let failure = failure.map(|failure| match &heard.last_line {
            Some(line) => format!("{failure}; the last line of its standard error: {line}"),
            None => failure,
        });
        Ok(Ended {
            failure,
            stdout: heard.stdout,
        })
    }

    /// Until the program has ended and its pipes are closed, or held open by others for longer than the
    /// grace. Fails when it prints too much.
    async fn listen(
        &self,
        program: &mut Running,
        input: Vec<u8>,
        heard: &mut Heard,
    ) -> Result<(), String> {
        let Pipes {
            stdin,
            stdout,
            stderr,
        } = program.take_pipes()?;
        let ended = program.ended();
        let Heard {
            stdout: printed,
            last_line,
        } = heard;
        let pipes = async {
            let ((), read, ()) = tokio::join!(
                feed(stdin, input),
                read_bounded(stdout, printed),
                self.log_lines(stderr, last_line),
            );
            read
        };
        tokio::pin!(pipes, ended);
        tokio::select! {
            // What was printed counts before the end that came with it.
            biased;
            read = &mut pipes => {
                read?;
                ended.await;
                Ok(())
            }
            () = &mut ended => {
                if let Ok(read) = timeout(PIPES_GRACE, pipes).await {
                    return read;
                }
                tracing::warn!(materializer = self.name, "a child of the program holds its pipes");
                Ok(())
            }
        }
    }

    /// Logs the lines of a program's standard error, and keeps the last that is not empty.
    async fn log_lines(&self, stderr: ChildStderr, last_line: &mut Option<String>) {
        let mut stderr = BufReader::new(stderr);
        let mut logged_bytes = 0;
        loop {
            let mut line = Vec::new();
            let mut piece = (&mut stderr).take(STDERR_LINE_MAX_BYTES as u64);
            match piece.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            // What belongs to a secret is read and dropped.
            if text.is_empty() || self.spec.secret {
                continue;
            }
            *last_line = Some(text.escape_debug().to_string());
            let before = logged_bytes;
            logged_bytes += line.len() + STDERR_LINE_COSTS_BYTES;
            if logged_bytes <= STDERR_LOGGED_MAX_BYTES {
                tracing::info!(materializer = self.name, "{}", text.escape_debug());
            } else if before <= STDERR_LOGGED_MAX_BYTES {
                tracing::warn!(
                    materializer = self.name,
                    "more than {STDERR_LOGGED_MAX_BYTES} bytes on standard error; the rest is not logged"
                );
            }
        }
    }
}

async fn feed(mut stdin: ChildStdin, input: Vec<u8>) {
    // A program need not read its input: that it closed the pipe is no failure.
    let _ = stdin.write_all(&input).await;
    let _ = stdin.shutdown().await;
}

async fn read_bounded(stdout: impl AsyncRead + Unpin, printed: &mut Vec<u8>) -> Result<(), String> {
    let mut bounded = stdout.take(STDOUT_MAX_BYTES as u64 + 1);
    bounded
        .read_to_end(printed)
        .await
        .map_err(|error| format!("its standard output could not be read: {error}"))?;
    if printed.len() > STDOUT_MAX_BYTES {
        let max_mib = STDOUT_MAX_BYTES / (1024 * 1024);
        return Err(format!("printed more than {max_mib} MiB, so it was killed"));
    }
    Ok(())
}

/// A program that runs, or has ended and is not reaped yet.
struct Running {
    child: Option<Child>,
    group: Pid,
}

struct Pipes {
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

impl Running {
    fn start(spec: &ExecSpec) -> Result<Self, String> {
        let child = Command::new(&spec.program)
            .args(spec.command.iter().skip(1))
            .current_dir(&spec.directory)
            .env_clear()
            .envs(spec.env.iter().map(|(name, text)| (name, text)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", spec.program.display()))?;
        let group = Pid::from_child(&child);
        Ok(Self {
            child: Some(child),
            group,
        })
    }

    fn take_pipes(&mut self) -> Result<Pipes, String> {
        let child = self
            .child
            .as_mut()
            .expect("a program is reaped once, at its end");
        let taken = || -> io::Result<Pipes> {
            let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
            Ok(Pipes {
                stdin: ChildStdin::from_std(child.stdin.take().ok_or_else(closed)?)?,
                stdout: ChildStdout::from_std(child.stdout.take().ok_or_else(closed)?)?,
                stderr: ChildStderr::from_std(child.stderr.take().ok_or_else(closed)?)?,
            })
        };
        let mut taken = taken;
        taken().map_err(|error| format!("no pipes to it: {error}"))
    }

    /// Resolves when the program has ended. It is not reaped, so that its id stays its own.
    fn ended(&self) -> impl Future<Output = ()> + use<> {
        let id = WaitId::Pid(self.group);
        let waiting = tokio::task::spawn_blocking(move || {
            let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(id.clone(), how), Err(rustix::io::Errno::INTR)) {}
        });
        async {
            // It neither panics nor is cancelled; if it did, the program would count as ended.
            let _ = waiting.await;
        }
    }

    /// Kills whatever is left of the group, then reaps the program.
    fn end(&mut self) -> io::Result<ExitStatus> {
        let mut child = self
            .child
            .take()
            .expect("a program is reaped once, at its end");
        // An empty group cannot be killed, and need not.
        let _ = kill_process_group(self.group, Signal::KILL);
        child.wait()
    }
}

/// A panic or an early return leaves no program behind.
impl Drop for Running {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.end();
        }
    }
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended with {status}"),
    }
}
