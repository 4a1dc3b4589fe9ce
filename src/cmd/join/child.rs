//! CMD as a child process of `join --watch`: forwards signals, reloads or restarts it, and returns its exit code.

use std::{ffi::OsString, process::ExitStatus, rc::Rc};

use cfgsync_client::supervisor::{Ended, StopAction, Supervisor};
use rustix::process::{Pid, Signal};
use tracing::{error, info, warn};

use super::{
    JoinFailure,
    deliver::AddedVariables,
    handover,
    signals::EndedBy,
    watch::{Reload, WatchSettings},
};
use crate::cmd::{
    exit::Exit,
    orphans::OwnChildren,
    program::ProgramError,
    signal_name::{NamedSignal, TERMINATE},
};

/// The running CMD.
pub(super) struct Child<'a> {
    command: &'a [OsString],
    settings: &'a WatchSettings,
    own: Rc<OwnChildren>,
    supervisor: Supervisor,
    pid: Option<Pid>,
    /// The variables with which CMD was started.
    variables: AddedVariables,
    /// The variables of the next start, while CMD ends for a restart.
    restart: Option<AddedVariables>,
    is_stopping: bool,
}

/// The effect of a delivery on CMD.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// Nothing is left to do.
    Done,
    /// CMD ends for a restart. [`Child::ended`] starts it again.
    Restarting,
}

/// The reason why [`Child::ended`] returns.
pub(super) enum ChildEvent {
    /// CMD has ended, and `join` ends with it.
    Ended(Exit),
    /// CMD was started again.
    Restarted,
}

impl<'a> Child<'a> {
    /// Starts CMD with the delivered variables.
    pub(super) fn start(
        command: &'a [OsString],
        settings: &'a WatchSettings,
        variables: AddedVariables,
        own: Rc<OwnChildren>,
    ) -> Result<Self, ProgramError> {
        let supervisor = spawn(command, settings, &variables)?;
        let pid = supervisor.pid();
        own.note(pid);
        Ok(Self {
            command,
            settings,
            own,
            supervisor,
            pid,
            variables,
            restart: None,
            is_stopping: false,
        })
    }

    /// Forwards a signal. One that asks a process to end makes `join` end with CMD, and a second one kills CMD.
    pub(super) fn on_signal(&mut self, received: EndedBy) {
        let Some(signal) = received.asks_to_end() else {
            if let Some(signal) = Signal::from_named_raw(received.number) {
                self.supervisor.forward(signal);
            }
            return;
        };
        let is_restarting = self.restart.take().is_some();
        if is_restarting && !self.is_stopping {
            self.is_stopping = true;
            info!("{}: waiting for the command to exit", received.name);
            return;
        }
        self.is_stopping = true;
        let signal = self
            .settings
            .kill_signal
            .map_or(signal, |named| named.signal);
        match self.supervisor.stop(signal) {
            StopAction::Forwarded => info!("{}: forwarded to the command", received.name),
            StopAction::SentByTerminal => {
                info!("{}: waiting for the command to exit", received.name);
            }
            StopAction::Killed => warn!("killed the command: a second {}", received.name),
        }
    }

    /// Returns whether CMD was asked to end, and `join` ends with it.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Tells CMD of a delivery with these variables.
    pub(super) fn apply(&mut self, variables: AddedVariables, has_changes: bool) -> Applied {
        if self.is_stopping {
            return Applied::Done;
        }
        let is_restart = self.settings.reload == Reload::Restart && has_changes;
        if is_restart || variables.sent != self.restart.as_ref().unwrap_or(&self.variables).sent {
            self.begin_restart(variables);
            return Applied::Restarting;
        }
        if let (Reload::Signal(NamedSignal { name, signal }), true) =
            (self.settings.reload, has_changes)
        {
            info!("sent SIG{name} to the command, because its files have changed");
            self.supervisor.forward(signal);
        }
        Applied::Done
    }

    fn begin_restart(&mut self, variables: AddedVariables) {
        if self.restart.replace(variables).is_none() {
            let NamedSignal { name, signal } = self.settings.kill_signal.unwrap_or(TERMINATE);
            info!("restarting the command, because its files have changed: sent SIG{name}");
            self.supervisor.terminate(signal);
        }
    }

    /// Waits until CMD has ended, and starts it again if it ended for a restart.
    pub(super) async fn ended(&mut self) -> Result<ChildEvent, JoinFailure> {
        let status = loop {
            let ended = self.supervisor.wait_or_kill().await;
            match ended.map_err(JoinFailure::Wait)? {
                Ended::Exited(status) => break status,
                Ended::TimedOut => {
                    warn!("killed the command: it did not exit within --kill-timeout");
                }
            }
        };
        self.own.forget(self.pid);
        let Some(variables) = self.restart.take() else {
            self.log_end(status);
            return Ok(ChildEvent::Ended(Exit::of_status(status)));
        };
        self.supervisor.kill_rest();
        self.supervisor = spawn(self.command, self.settings, &variables)?;
        self.pid = self.supervisor.pid();
        self.own.note(self.pid);
        self.variables = variables;
        info!("the command was started again");
        Ok(ChildEvent::Restarted)
    }

    fn log_end(&self, status: ExitStatus) {
        let code = Exit::of_status(status).code();
        if code == 0 || self.is_stopping {
            info!(event = "command_ended", "the command ended with {code}");
        } else {
            error!(event = "command_ended", "the command ended with {code}");
        }
    }
}

fn spawn(
    command: &[OsString],
    settings: &WatchSettings,
    variables: &AddedVariables,
) -> Result<Supervisor, ProgramError> {
    let (path, command) = handover::prepare(command, variables)?;
    Supervisor::spawn(command.into(), settings.kill_timeout)
        .map_err(|error| crate::cmd::program::explain(&path, error))
}
