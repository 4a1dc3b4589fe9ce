//! `--watch` and its flags: the node follows the cluster after the first delivery.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    JoinFailure,
    probe::{ProbeArgs, ProbeSettings},
};
use crate::cmd::{parsers, signal_name::NamedSignal};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Following")]
pub(crate) struct WatchArgs {
    /// Stay after the first delivery and write each new generation; with CMD, run it as a child process
    #[arg(long, env = "CFGSYNC_WATCH")]
    watch: bool,
    /// Run this shell command before files are replaced; if it fails, the old files stay. $CFGSYNC_STAGED is a directory
    /// with the new files
    #[arg(long, env = "CFGSYNC_CHECK", value_name = "COMMAND")]
    check: Option<String>,
    /// How long --check may take
    #[arg(
        long,
        env = "CFGSYNC_CHECK_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = parsers::duration
    )]
    check_timeout: Duration,
    /// Run this shell command after files have changed
    #[arg(
        long,
        env = "CFGSYNC_ON_CHANGE",
        value_name = "COMMAND",
        conflicts_with_all = ["signal", "reload_signal", "restart_on_change"]
    )]
    on_change: Option<String>,
    /// Send this signal to the process of --pid-file after files have changed
    #[arg(
        long,
        env = "CFGSYNC_SIGNAL",
        value_name = "SIGNAL",
        conflicts_with_all = ["reload_signal", "restart_on_change"]
    )]
    signal: Option<NamedSignal>,
    /// The file with the process id for --signal
    #[arg(long, env = "CFGSYNC_PID_FILE", value_name = "FILE")]
    pid_file: Option<PathBuf>,
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
    /// Spread the change of the nodes over this time: each node waits for its own part of it
    #[arg(
        long,
        env = "CFGSYNC_SPLAY",
        value_name = "DURATION",
        default_value = "0s",
        value_parser = parsers::duration
    )]
    splay: Duration,
    /// Shortest time from one change of the files to the next
    #[arg(
        long,
        env = "CFGSYNC_MIN_INTERVAL",
        value_name = "DURATION",
        default_value = "0s",
        value_parser = parsers::duration
    )]
    min_interval: Duration,
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
    #[command(flatten)]
    probe: ProbeArgs,
}

/// The checked flags of a join that follows.
#[derive(Debug, Clone)]
pub(super) struct WatchSettings {
    /// The check before files are replaced.
    pub(super) check: Option<Check>,
    pub(super) action: Action,
    /// The effect of a change on CMD.
    pub(super) reload: Reload,
    pub(super) splay: Duration,
    pub(super) min_interval: Duration,
    pub(super) kill_signal: Option<NamedSignal>,
    pub(super) kill_timeout: Duration,
    /// The checks of the service.
    pub(super) probe: Option<ProbeSettings>,
}

/// The program that decides whether new files are used.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) line: String,
    pub(super) timeout: Duration,
}

/// The action after a change, besides the effect on CMD.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Nothing,
    /// Runs a shell command.
    Run(String),
    /// Sends a signal to the process of a file.
    Signal {
        signal: NamedSignal,
        pid_file: PathBuf,
    },
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

impl WatchSettings {
    /// Returns whether something must follow a change of the files.
    pub(super) fn acts(&self) -> bool {
        !matches!(self.action, Action::Nothing) || self.reload != Reload::Nothing
    }
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
        let others = [
            ("--check", self.check.is_some()),
            ("--on-change", self.on_change.is_some()),
            ("--signal", self.signal.is_some()),
            ("--pid-file", self.pid_file.is_some()),
            ("--splay", !self.splay.is_zero()),
            ("--min-interval", !self.min_interval.is_zero()),
            ("--probe", self.probe.is_given()),
        ];
        if !self.watch {
            let mut given = of_command.iter().chain(&others);
            return match given.find(|(_, is_given)| *is_given) {
                Some((flag, _)) => usage(format!("{flag} needs --watch")),
                None => Ok(None),
            };
        }
        if let Some((flag, _)) = of_command.iter().find(|(_, is_given)| *is_given)
            && !has_command
        {
            return usage(format!("{flag} needs a program: add -- CMD"));
        }
        let action = match (self.on_change, self.signal, self.pid_file) {
            (Some(line), _, None) => Action::Run(line),
            (None, Some(signal), Some(pid_file)) => Action::Signal { signal, pid_file },
            (None, None, None) => Action::Nothing,
            (None, Some(_), None) => {
                return usage(
                    "--signal needs --pid-file FILE, or --reload-signal for CMD".to_owned(),
                );
            }
            (_, _, Some(_)) => {
                return usage("--pid-file needs --signal SIGNAL".to_owned());
            }
        };
        let timeout = self.check_timeout;
        Ok(Some(WatchSettings {
            check: self.check.map(|line| Check { line, timeout }),
            action,
            reload: match self.reload_signal {
                Some(signal) => Reload::Signal(signal),
                None if self.restart_on_change => Reload::Restart,
                None => Reload::Nothing,
            },
            splay: self.splay,
            min_interval: self.min_interval,
            kill_signal: self.kill_signal,
            kill_timeout: self.kill_timeout,
            probe: self.probe.resolve(),
        }))
    }
}
