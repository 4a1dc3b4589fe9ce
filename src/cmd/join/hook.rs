//! Runs the programs of `--check`, `--on-change` and `--probe`: with a time limit, a bound on their output, and without a token.

use std::{
    cell::{Cell, RefCell},
    ffi::{OsStr, OsString},
    fmt,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use cfgsync_support::{duration, escape::escape_for_terminal};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};
use tracing::info;

use super::facts::inherited_variables;
use crate::cmd::{orphans::OwnChildren, program};

/// The most that a program may print, in bytes.
const OUTPUT_MAX_BYTES: usize = 1 << 20;
/// The longest line that is logged in one piece, in bytes.
const LINE_MAX_BYTES: u64 = 4096;
/// The most lines that are logged in a run.
const LOGGED_LINES_MAX: usize = 100;
/// How long to read the rest of the output after the program has ended: a child may keep its pipes open.
const PIPES_GRACE: Duration = Duration::from_secs(1);

/// The flag whose program may leave processes, such as a service that it starts. Those of other programs are killed.
const MAY_LEAVE_PROCESSES: &str = "--on-change";

/// A program to run.
pub(super) struct Hook<'a> {
    /// The flag that names it.
    pub(super) flag: &'static str,
    /// The command line, for `sh -c`.
    pub(super) line: &'a str,
    pub(super) timeout: Duration,
    pub(super) own: &'a OwnChildren,
    /// Whether the output stays out of the log, and only standard error gives the last line.
    pub(super) is_quiet: bool,
}

/// The reason why a program failed.
pub(super) struct HookFailure {
    /// It cannot be started, it fails, or it takes too long or prints too much and was killed.
    pub(super) problem: String,
    /// The last line of its output.
    pub(super) output: Option<String>,
}

impl fmt::Display for HookFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        match &self.output {
            Some(line) => write!(f, ": {line}"),
            None => Ok(()),
        }
    }
}

impl Hook<'_> {
    /// Runs the program with these additional variables. Its output goes to the log.
    pub(super) async fn run(
        &self,
        variables: &[(&'static str, OsString)],
    ) -> Result<(), HookFailure> {
        let mut running = self.start(variables).map_err(|problem| HookFailure {
            problem,
            output: None,
        })?;
        let output = Output {
            is_quiet: self.is_quiet,
            ..Output::default()
        };
        let outcome = timeout(self.timeout, running.communicate(self.flag, &output)).await;
        let failure = match outcome {
            Err(_) => Some(format!(
                "did not end within {}, so it was killed",
                duration::text(self.timeout)
            )),
            Ok(Err(problem)) => Some(problem),
            Ok(Ok(status)) if status.success() => None,
            Ok(Ok(status)) => Some(describe_status(status)),
        };
        let Some(failure) = failure else {
            running.is_done = self.flag == MAY_LEAVE_PROCESSES;
            return Ok(());
        };
        Err(HookFailure {
            problem: format!("{} {failure}", self.flag),
            output: output.last_line.into_inner(),
        })
    }

    fn start(&self, variables: &[(&'static str, OsString)]) -> Result<Running<'_>, String> {
        let failed = |problem: String| format!("cannot run {}: {problem}", self.flag);
        let mut environment = inherited_variables();
        for (name, value) in variables {
            environment.insert((*name).into(), value.clone());
        }
        let shell = OsStr::new("sh");
        let search_path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
        let path = program::find(shell, search_path).map_err(|error| failed(error.to_string()))?;
        let arguments = ["-c".into(), self.line.into()];
        let command = program::command(&path, shell, &arguments, &environment);
        let child = command.and_then(|command| {
            Command::from(command)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
        });
        let child = child.map_err(|error| failed(program::explain(&path, error).to_string()))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let group = id.and_then(Pid::from_raw);
        self.own.note(group);
        Ok(Running {
            child,
            group,
            own: self.own,
            is_done: false,
        })
    }
}

/// The output of both pipes.
#[derive(Default)]
struct Output {
    is_quiet: bool,
    bytes: Cell<usize>,
    logged_lines: Cell<usize>,
    /// The last line that is not empty.
    last_line: RefCell<Option<String>>,
}

/// A running program. Unless it has succeeded and may leave processes, its process group is killed when this value is
/// dropped.
struct Running<'a> {
    child: Child,
    group: Option<Pid>,
    own: &'a OwnChildren,
    is_done: bool,
}

impl Running<'_> {
    /// Reads the output until the program has ended.
    async fn communicate(
        &mut self,
        flag: &'static str,
        output: &Output,
    ) -> Result<ExitStatus, String> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let (stdout, stderr) = stdout.zip(stderr).expect("both are piped");
        let pipes = async {
            tokio::try_join!(
                read_lines(stdout, flag, output, !output.is_quiet),
                read_lines(stderr, flag, output, true)
            )
        };
        tokio::pin!(pipes);
        tokio::select! {
            biased;
            read = &mut pipes => {
                read?;
                self.child.wait().await
            }
            status = self.child.wait() => {
                if let Ok(read) = timeout(PIPES_GRACE, pipes).await {
                    read?;
                }
                status
            }
        }
        .map_err(|error| format!("cannot be waited for: {error}"))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.is_done
            && let Some(group) = self.group
        {
            // Its children as well. The kernel gives the number to another group only after all others were used.
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.own.forget(self.group);
    }
}

/// Logs each line unless the program is quiet, and keeps the last one if `is_kept`.
async fn read_lines(
    pipe: impl AsyncRead + Unpin,
    flag: &'static str,
    output: &Output,
    is_kept: bool,
) -> Result<(), String> {
    let mut pipe = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        let mut piece = (&mut pipe).take(LINE_MAX_BYTES);
        match piece.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(read) => output.bytes.set(output.bytes.get() + read),
        }
        if output.bytes.get() > OUTPUT_MAX_BYTES {
            let max_mib = OUTPUT_MAX_BYTES >> 20;
            return Err(format!("printed more than {max_mib} MiB, so it was killed"));
        }
        let text = String::from_utf8_lossy(&line);
        let text = escape_for_terminal(text.trim_end());
        if !text.is_empty() && is_kept {
            output.last_line.replace(Some(text.clone()));
        }
        if !text.is_empty() && !output.is_quiet {
            let logged = output.logged_lines.replace(output.logged_lines.get() + 1);
            if logged < LOGGED_LINES_MAX {
                info!("{flag}: {text}");
            } else if logged == LOGGED_LINES_MAX {
                info!("{flag}: more lines are not logged");
            }
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
