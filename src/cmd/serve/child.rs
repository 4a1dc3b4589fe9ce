//! The command that a server runs beside itself (`serve SPEC -- CMD`).

use std::{
    ffi::{OsStr, OsString},
    io::{self, IsTerminal},
    os::unix::process::ExitStatusExt,
};

use rustix::process::{Pid, Signal, kill_process};

use super::signals::Stop;
use crate::cmd::exit::Exit;

/// A program that was to be run and could not.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {program}: {error}")]
pub(crate) struct SpawnError {
    /// As it was named.
    pub(crate) program: String,
    /// What the operating system said.
    pub(crate) error: io::Error,
}

/// A running command.
pub(super) struct Child {
    process: tokio::process::Child,
}

impl Child {
    /// Starts `program`, which finds the server in `CFGSYNC_SERVER`.
    pub(super) fn spawn(
        program: &OsStr,
        arguments: &[OsString],
        server: &str,
    ) -> Result<Self, SpawnError> {
        let process = tokio::process::Command::new(program)
            .args(arguments)
            .env("CFGSYNC_SERVER", server)
            // Should this process end early, the command does not stay behind.
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| SpawnError {
                program: program.to_string_lossy().into_owned(),
                error,
            })?;
        Ok(Self { process })
    }

    /// Its process id, while it runs.
    pub(super) fn pid(&self) -> Option<Pid> {
        let id = i32::try_from(self.process.id()?).ok()?;
        Pid::from_raw(id)
    }

    /// Waits for its end: its exit code, or 128 and the signal that ended it.
    pub(super) async fn wait(&mut self) -> io::Result<Exit> {
        let status = self.process.wait().await?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(match (code, status.signal()) {
            (Some(code), _) => Exit::Child(code),
            (None, Some(signal)) => Exit::of_signal(signal),
            (None, None) => Exit::Unexpected,
        })
    }

    /// Gives it a signal that was meant for both. A terminal's Ctrl-C has reached it already.
    pub(super) fn pass_on(&self, stop: Stop) {
        let typed = stop.signal == Signal::INT && io::stdin().is_terminal();
        if let (false, Some(pid)) = (typed, self.pid()) {
            tracing::info!("{}: passed on to the command", stop.name);
            // It may have ended in between.
            let _ = kill_process(pid, stop.signal);
        }
    }

    /// Ends it, because `why`.
    pub(super) fn kill(&mut self, why: &str) {
        tracing::warn!("the command is killed: {why}");
        // It may have ended in between.
        let _ = self.process.start_kill();
    }
}
