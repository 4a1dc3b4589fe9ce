//! Runs a program: writes its input, reads its output within bounds, and kills it with all its children at the end.

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
use cfgsync_support::{duration, escape::escape_for_terminal};

/// The most that a program may print on its standard output, in bytes.
const STDOUT_MAX_BYTES: usize = 64 * 1024 * 1024;
/// The most of a program's standard error that is logged in a run, in bytes. More is read and dropped.
const STDERR_LOGGED_MAX_BYTES: usize = 1024 * 1024;
/// The bytes that each line counts in addition to its own, so that many short lines reach the limit as well.
const STDERR_LINE_OVERHEAD_BYTES: usize = 100;
/// The longest line of standard error that is logged in one piece, in bytes.
const STDERR_LINE_MAX_BYTES: usize = 4096;
/// The time to wait for the pipes to close after the program has ended: a child may keep them open.
const PIPES_GRACE: Duration = Duration::from_secs(1);

/// A program that is about to run.
pub(super) struct Run<'a> {
    pub(super) spec: &'a ExecSpec,
    /// The materializer's name, for the log.
    pub(super) name: &'a str,
    /// Whether the program's standard error is neither logged nor part of its failure.
    pub(super) hides_output: bool,
    /// Becomes true when the server stops.
    pub(super) stopping: watch::Receiver<bool>,
}

/// A program that has ended or was killed.
pub(super) struct Finished {
    /// The reason why its output must not be used.
    pub(super) failure: Option<String>,
    /// The bytes of its standard output.
    pub(super) stdout: Vec<u8>,
}

/// The output of a program that was read so far.
#[derive(Default)]
struct Output {
    stdout: Vec<u8>,
    /// The last line of its standard error that is not empty.
    last_line: Option<String>,
}

impl Run<'_> {
    /// Starts the program, writes `input` to it and waits until it ends. It blocks, so do not call it on a thread that
    /// runs async tasks.
    ///
    /// # Errors
    /// Fails if the program cannot be started. A program that fails is not an error here.
    pub(super) fn run_to_completion(&self, input: Vec<u8>) -> Result<Finished, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot create a runtime for the program: {error}"))?;
        let finished = runtime.block_on(self.run(input));
        // A thread may still wait for a process that SIGKILL does not end. Do not wait for that thread.
        runtime.shutdown_background();
        finished
    }

    async fn run(&self, input: Vec<u8>) -> Result<Finished, String> {
        let mut program = RunningProgram::start(self.spec)?;
        let mut output = Output::default();
        let limit = self.spec.timeout;
        let mut stopping = self.stopping.clone();
        let outcome = tokio::select! {
            outcome = timeout(limit, self.communicate(&mut program, input, &mut output)) => outcome,
            _ = stopping.wait_for(|stopping| *stopping) => {
                Ok(Err("was killed with its children because the server is stopping".to_owned()))
            }
        };
        // Kill the group before the program is reaped: afterwards another process may have its id.
        let status = program.kill_and_reap();
        let failure = match outcome {
            Err(_) => Some(format!(
                "gave no answer within {}, so it and its children were killed",
                duration::text(limit)
            )),
            Ok(Err(problem)) => Some(problem),
            Ok(Ok(())) => match status {
                Ok(status) if status.success() => None,
                Ok(status) => Some(describe_status(status)),
                Err(error) => Some(format!("cannot read its exit status: {error}")),
            },
        };
        let failure = failure.map(|failure| match &output.last_line {
            Some(line) => format!("{failure}; the last line of its standard error: {line}"),
            None => failure,
        });
        Ok(Finished {
            failure,
            stdout: output.stdout,
        })
    }

    /// Writes `input` and reads the output until the program has ended and its pipes are closed. If a child keeps the pipes
    /// open, it returns after [`PIPES_GRACE`].
    ///
    /// # Errors
    /// Fails if the program prints too much.
    async fn communicate(
        &self,
        program: &mut RunningProgram,
        input: Vec<u8>,
        output: &mut Output,
    ) -> Result<(), String> {
        let Pipes {
            stdin,
            stdout,
            stderr,
        } = program.take_pipes()?;
        let ended = program.ended();
        let Output {
            stdout: printed,
            last_line,
        } = output;
        let pipes = async {
            let ((), read, ()) = tokio::join!(
                write_stdin(stdin, input),
                read_bounded(stdout, printed),
                self.log_lines(stderr, last_line),
            );
            read
        };
        tokio::pin!(pipes, ended);
        tokio::select! {
            // If both are ready, read the rest of the output first.
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
                tracing::warn!(materializer = self.name, "a child of the program keeps its pipes open");
                Ok(())
            }
        }
    }

    /// Logs the lines of the program's standard error, and keeps the last one that is not empty.
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
            // The output of a program that knows secrets is read and dropped.
            if text.is_empty() || self.hides_output {
                continue;
            }
            let text = escape_for_terminal(text);
            let before = logged_bytes;
            logged_bytes += line.len() + STDERR_LINE_OVERHEAD_BYTES;
            if logged_bytes <= STDERR_LOGGED_MAX_BYTES {
                tracing::info!(materializer = self.name, "{text}");
            } else if before <= STDERR_LOGGED_MAX_BYTES {
                tracing::warn!(
                    materializer = self.name,
                    "more than {STDERR_LOGGED_MAX_BYTES} bytes on standard error; the rest is not logged"
                );
            }
            *last_line = Some(text);
        }
    }
}

async fn write_stdin(mut stdin: ChildStdin, input: Vec<u8>) {
    // A program may close its input without reading it.
    let _ = stdin.write_all(&input).await;
    let _ = stdin.shutdown().await;
}

async fn read_bounded(stdout: impl AsyncRead + Unpin, printed: &mut Vec<u8>) -> Result<(), String> {
    let mut bounded = stdout.take(STDOUT_MAX_BYTES as u64 + 1);
    bounded
        .read_to_end(printed)
        .await
        .map_err(|error| format!("cannot read its standard output: {error}"))?;
    if printed.len() > STDOUT_MAX_BYTES {
        let max_mib = STDOUT_MAX_BYTES / (1024 * 1024);
        return Err(format!("printed more than {max_mib} MiB, so it was killed"));
    }
    Ok(())
}

/// A program that runs, or that has ended and is not reaped yet.
struct RunningProgram {
    child: Option<Child>,
    group: Pid,
}

struct Pipes {
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

impl RunningProgram {
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
            .map_err(|error| format!("cannot start {}: {error}", spec.program.display()))?;
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
        let mut take = || -> io::Result<Pipes> {
            let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
            Ok(Pipes {
                stdin: ChildStdin::from_std(child.stdin.take().ok_or_else(closed)?)?,
                stdout: ChildStdout::from_std(child.stdout.take().ok_or_else(closed)?)?,
                stderr: ChildStderr::from_std(child.stderr.take().ok_or_else(closed)?)?,
            })
        };
        take().map_err(|error| format!("cannot use its pipes: {error}"))
    }

    /// Waits until the program has ended. It does not reap it, so that no other process gets its id.
    fn ended(&self) -> impl Future<Output = ()> + use<> {
        let id = WaitId::Pid(self.group);
        let waiting = tokio::task::spawn_blocking(move || {
            let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(id.clone(), how), Err(rustix::io::Errno::INTR)) {}
        });
        async {
            // The task neither panics nor is cancelled.
            let _ = waiting.await;
        }
    }

    /// Kills the remaining processes of the group, then reaps the program.
    fn kill_and_reap(&mut self) -> io::Result<ExitStatus> {
        let mut child = self
            .child
            .take()
            .expect("a program is reaped once, at its end");
        // The kill fails if no process is left, which is fine.
        let _ = kill_process_group(self.group, Signal::KILL);
        child.wait()
    }
}

/// Kills the program after a panic or an early return.
impl Drop for RunningProgram {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.kill_and_reap();
        }
    }
}

fn describe_status(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended with {status}"),
    }
}
