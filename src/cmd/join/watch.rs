//! `--watch` and its flags: the node follows the cluster after the first delivery.

use std::time::Duration;

use clap::Args;

use super::JoinFailure;
use crate::cmd::{parsers, signal_name::NamedSignal};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Following")]
pub(crate) struct WatchArgs {
    /// Stay after the first delivery and write each new generation; with CMD, run it as a child process
    #[arg(long, env = "CFGSYNC_WATCH")]
    watch: bool,
    /// Send this signal to CMD after files have changed
    #[arg(
        long,
        env = "CFGSYNC_RELOAD_SIGNAL",
        value_name = "SIGNAL",
        conflicts_with = "restart_on_change"
    )]
    reload_signal: Option<NamedSignal>,
    /// Restart CMD after files have changed; a changed --env artifact always restarts it
    #[arg(long, env = "CFGSYNC_RESTART_ON_CHANGE")]
    restart_on_change: bool,
    /// The signal that asks CMD to end [default: TERM for a restart, else the signal that ends `join`]
    #[arg(long, env = "CFGSYNC_KILL_SIGNAL", value_name = "SIGNAL")]
    kill_signal: Option<NamedSignal>,
    /// How long CMD may take to end before it is killed
    #[arg(
        long,
        env = "CFGSYNC_KILL_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = parsers::duration
    )]
    kill_timeout: Duration,
}

/// The checked flags of a join that follows.
#[derive(Debug, Clone)]
pub(super) struct WatchSettings {
    /// The effect of a change on CMD.
    pub(super) reload: Reload,
    pub(super) kill_signal: Option<NamedSignal>,
    pub(super) kill_timeout: Duration,
}

/// The effect of a change on CMD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    /// None: CMD looks at its files itself.
    Nothing,
    /// It gets this signal.
    Signal(NamedSignal),
    /// It is restarted.
    Restart,
}

impl WatchArgs {
    /// Returns `None` without `--watch`.
    pub(super) fn resolve(self, has_command: bool) -> Result<Option<WatchSettings>, JoinFailure> {
        let usage = |problem: String| Err(JoinFailure::Usage(problem));
        let of_command = [
            ("--reload-signal", self.reload_signal.is_some()),
            ("--restart-on-change", self.restart_on_change),
            ("--kill-signal", self.kill_signal.is_some()),
        ];
        if let Some((flag, _)) = of_command.iter().find(|(_, is_given)| *is_given) {
            if !self.watch {
                return usage(format!("{flag} needs --watch"));
            }
            if !has_command {
                return usage(format!("{flag} needs a program: add -- CMD"));
            }
        }
        if !self.watch {
            return Ok(None);
        }
        Ok(Some(WatchSettings {
            reload: match self.reload_signal {
                Some(signal) => Reload::Signal(signal),
                None if self.restart_on_change => Reload::Restart,
                None => Reload::Nothing,
            },
            kill_signal: self.kill_signal,
            kill_timeout: self.kill_timeout,
        }))
    }
}
