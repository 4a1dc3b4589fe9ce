//! The program that `serve SPEC -- CMD` runs, under the library's supervisor.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::process::ExitStatusExt as _,
    time::Duration,
};

use cfgsync_client::supervisor::{Ended, StopAction, Supervisor};
use rustix::process::Pid;

use super::signals::Stop;
use crate::cmd::{
    exit::Exit,
    program::{self, ProgramError},
};

/// The running program.
pub(super) struct Child {
    supervisor: Supervisor,
}

impl Child {
    /// Starts `program`, with the URL of the server in `CFGSYNC_SERVER`. After [`Self::stop`], it is killed if it has
    /// not exited within `kill_timeout`.
    pub(super) fn spawn(
        program: &OsStr,
        arguments: &[OsString],
        server: &str,
        kill_timeout: Duration,
    ) -> Result<Self, ProgramError> {
        let path = program::find(program, env::var_os("PATH").as_deref())?;
        let mut environment: BTreeMap<OsString, OsString> = env::vars_os().collect();
        environment.insert("CFGSYNC_SERVER".into(), server.into());
        let supervisor = program::command(&path, program, arguments, &environment)
            .and_then(|command| Supervisor::spawn(command.into(), kill_timeout))
            .map_err(|error| program::explain(&path, error))?;
        Ok(Self { supervisor })
    }

    /// Returns the process id while the program runs.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.supervisor.pid()
    }

    /// Waits until the program has exited. Returns its exit code, or 128 plus the number of the signal that ended it.
    pub(super) async fn wait(&mut self) -> io::Result<Exit> {
        let status = loop {
            match self.supervisor.wait_or_kill().await? {
                Ended::Exited(status) => break status,
                Ended::TimedOut => {
                    tracing::warn!("killed the command: it did not exit within --drain-timeout");
                }
            }
        };
        match (status.code(), status.signal()) {
            (Some(0), _) => tracing::info!(event = "command_ended", "the command exited with 0"),
            (Some(code), _) => tracing::error!(
                event = "command_ended",
                "the command exited with {code}, so the server stops with {code}; the output of the command may have the \
                 reason"
            ),
            (None, Some(signal)) => tracing::warn!(
                event = "command_ended",
                "the command was ended by signal {signal}"
            ),
            (None, None) => {}
        }
        Ok(Exit::of_status(status))
    }

    /// Forwards a signal that stops the server. A second one kills the program.
    pub(super) fn stop(&mut self, stop: Stop) {
        match self.supervisor.stop(stop.signal) {
            StopAction::Forwarded => {
                tracing::info!("{}: forwarded to the command", stop.name);
            }
            StopAction::SentByTerminal => {
                tracing::info!("{}: waiting for the command to exit", stop.name);
            }
            StopAction::Killed => tracing::warn!("killed the command: a second {}", stop.name),
        }
    }
}
