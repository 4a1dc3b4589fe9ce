//! CMD of `run-once`: runs it in a process group of its own for as long as the lease is renewed, and collects its output.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
    os::fd::OwnedFd,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use cfgsync_client::CallError;
use cfgsync_model::{Fence, Identifier, RUN_OUTPUT_MAX_BYTES};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{
    process::{self, Command},
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::Caller;
use crate::cmd::{
    credentials,
    error::CommandError,
    exit::Exit,
    join::{EndedBy, Signals},
    node_client::may_succeed_later,
    output,
    program::{self, ProgramError},
};

/// The variable with the fence of the runner.
const FENCE_VARIABLE: &str = "CFGSYNC_FENCE";

/// The time that CMD has to end after a signal.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause before `run-once` looks again whether the process group of CMD has ended.
const GROUP_POLL: Duration = Duration::from_millis(20);

/// The longest wait for the rest of the output after the end of CMD. A process that CMD left behind may keep it open.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest last line of standard error that is kept, in bytes.
const LAST_LINE_MAX_BYTES: usize = 500;

/// The running CMD.
pub(super) struct Child {
    process: process::Child,
    group: Option<Pid>,
    stdout: Arc<Collected>,
    stderr: Arc<Collected>,
}

/// The reason why [`Child::supervise`] returns. CMD has ended.
pub(super) enum Ended {
    Exited(ExitStatus),
    /// CMD was killed, because the lease could not be renewed.
    Lost(String),
    Signal(EndedBy),
}

/// Bytes that a thread collects from a pipe.
#[derive(Default)]
struct Collected {
    bytes: Mutex<Vec<u8>>,
    ended: Notify,
}

impl Collected {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the bytes once the pipe is closed, or after a timeout.
    async fn take(&self) -> Vec<u8> {
        let _ = timeout(OUTPUT_TIMEOUT, self.ended.notified()).await;
        std::mem::take(&mut *self.lock())
    }
}

impl Child {
    /// Starts CMD. Its standard error is passed on.
    pub(super) fn spawn(
        words: &[OsString],
        id: &Identifier,
        fence: Fence,
    ) -> Result<Self, ProgramError> {
        let (name, arguments) = words.split_first().expect("there is a CMD");
        let mut environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        for variable in credentials::variables_with_token() {
            environment.remove(OsStr::new(variable));
        }
        environment.insert("CFGSYNC_ID".into(), id.to_string().into());
        environment.insert(FENCE_VARIABLE.into(), fence.to_string().into());
        let search_path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
        let path = program::find(name, search_path)?;
        let command = program::command(&path, name, arguments, &environment);
        let mut command = Command::from(command.map_err(|error| program::explain(&path, error))?);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut process = command
            .spawn()
            .map_err(|error| program::explain(&path, error))?;
        let id = process.id().and_then(|id| i32::try_from(id).ok());
        let stdout = process
            .stdout
            .take()
            .and_then(|pipe| pipe.into_owned_fd().ok());
        let stderr = process
            .stderr
            .take()
            .and_then(|pipe| pipe.into_owned_fd().ok());
        Ok(Self {
            process,
            group: id.and_then(Pid::from_raw),
            stdout: collect(stdout, keep_first),
            stderr: collect(stderr, keep_last_line),
        })
    }

    /// Renews the lease, which was renewed at `renewed_at` or later, until CMD ends. If it cannot be renewed, or if a signal arrives, ends CMD.
    pub(super) async fn supervise(
        &mut self,
        caller: &Caller,
        fence: Fence,
        lease: Duration,
        mut renewed_at: Instant,
        signals: &mut Signals,
    ) -> Result<Ended, CommandError> {
        loop {
            // Before the lease ends, so that no other runner has begun.
            let kill_at = renewed_at + lease * 3 / 4;
            let asked = renewed_at + lease / 3;
            let renewed = async {
                sleep_until(asked).await;
                loop {
                    let at = Instant::now();
                    let renewal = caller.client.renew_run(&caller.name, &caller.id, fence);
                    match timeout_at(kill_at, renewal).await {
                        Ok(Ok(_)) => return Ok(at),
                        Ok(Err(error)) if !may_succeed_later(&error) => return Err(error),
                        _ => sleep(lease / 20).await,
                    }
                }
            };
            let renewal: Result<Instant, CallError> = tokio::select! {
                biased;
                status = self.process.wait() => {
                    let status = exit_status(status)?;
                    if !status.success() {
                        // The rest of it must not run beside the next runner.
                        self.signal(Signal::KILL);
                    }
                    return Ok(Ended::Exited(status));
                }
                ended_by = signals.next() => {
                    self.end(kill_at).await?;
                    return Ok(Ended::Signal(ended_by));
                }
                () = sleep_until(kill_at) => {
                    self.kill().await?;
                    return Ok(Ended::Lost("its lease could not be renewed".to_owned()));
                }
                renewal = renewed => renewal,
            };
            match renewal {
                Ok(at) => renewed_at = at,
                Err(error) => {
                    self.kill().await?;
                    return Ok(Ended::Lost(error.to_string()));
                }
            }
        }
    }

    /// Returns the standard output of CMD, which has ended. Longer output is cut.
    pub(super) async fn output(&self) -> Vec<u8> {
        let mut output = self.stdout.take().await;
        if output.len() > RUN_OUTPUT_MAX_BYTES {
            output.truncate(RUN_OUTPUT_MAX_BYTES);
            tracing::warn!(
                "the output of CMD is longer than {RUN_OUTPUT_MAX_BYTES} bytes, and is cut"
            );
        }
        output
    }

    /// Returns why CMD, which has ended, has failed.
    pub(super) async fn failure(&self, status: ExitStatus) -> String {
        let end = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "failed".to_owned(),
        };
        let line = self.stderr.take().await;
        let line = String::from_utf8_lossy(&line);
        match line.trim() {
            "" => end,
            line => format!("{end}: {line}"),
        }
    }

    /// Asks CMD to end. At `kill_at`, or after a timeout, kills what is left of its process group.
    async fn end(&mut self, kill_at: Instant) -> Result<(), CommandError> {
        self.signal(Signal::TERM);
        let kill_at = kill_at.min(Instant::now() + KILL_TIMEOUT);
        let all_ended = async {
            let _ = self.process.wait().await;
            while self.has_processes() {
                sleep(GROUP_POLL).await;
            }
        };
        let _ = timeout_at(kill_at, all_ended).await;
        self.kill().await
    }

    /// Returns whether the process group of CMD has processes, also after CMD was waited for.
    fn has_processes(&self) -> bool {
        self.group
            .is_some_and(|group| test_kill_process_group(group).is_ok())
    }

    /// Kills the process group of CMD.
    async fn kill(&mut self) -> Result<(), CommandError> {
        self.signal(Signal::KILL);
        exit_status(self.process.wait().await).map(drop)
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // The group may have ended meanwhile.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // After CMD was waited for, its process id may belong to another process.
        if self.process.id().is_some() {
            self.signal(Signal::KILL);
        }
    }
}

fn exit_status(waited: std::io::Result<ExitStatus>) -> Result<ExitStatus, CommandError> {
    waited.map_err(|error| {
        CommandError::new(Exit::Unexpected, format!("cannot wait for CMD: {error}"))
    })
}

/// Reads a pipe on a thread of its own, and passes what it reads to `keep`.
fn collect(pipe: Option<OwnedFd>, keep: fn(&mut Vec<u8>, &[u8])) -> Arc<Collected> {
    let collected = Arc::<Collected>::default();
    let into = collected.clone();
    let Some(pipe) = pipe else {
        collected.ended.notify_one();
        return collected;
    };
    let mut pipe = File::from(pipe);
    let read = move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            keep(&mut into.lock(), &buffer[..length]);
        }
        into.ended.notify_one();
    };
    if thread::Builder::new().spawn(read).is_err() {
        // Without a reader, CMD gets an error when it writes.
        collected.ended.notify_one();
    }
    collected
}

/// Keeps one byte more than allowed, which shows that the output is longer.
fn keep_first(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = RUN_OUTPUT_MAX_BYTES + 1 - kept.len();
    kept.extend_from_slice(&bytes[..room.min(bytes.len())]);
}

/// Passes `bytes` on to standard error, and keeps the last line that is not empty.
fn keep_last_line(kept: &mut Vec<u8>, bytes: &[u8]) {
    // If nobody reads it, CMD runs all the same.
    let _ = output::pass_to_stderr(bytes);
    for &byte in bytes {
        if kept.last() == Some(&b'\n') && byte != b'\n' {
            kept.clear();
        }
        if kept.len() < LAST_LINE_MAX_BYTES && !(byte == b'\n' && kept.is_empty()) {
            kept.push(byte);
        } else if byte == b'\n' {
            // The line is longer than what is kept of it.
            if let Some(last) = kept.last_mut() {
                *last = byte;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_line_that_is_not_empty_is_kept() {
        let long = "x".repeat(2 * LAST_LINE_MAX_BYTES);
        for (text, expected) in [
            ("", ""),
            ("one\ntwo\n\n\n", "two"),
            ("one\n\ntwo", "two"),
            (&*format!("{long}\nend\n"), "end"),
        ] {
            let mut kept = vec![];
            for part in text.as_bytes().chunks(7) {
                keep_last_line(&mut kept, part);
            }
            assert_eq!(String::from_utf8(kept).unwrap().trim(), expected);
        }
    }
}
