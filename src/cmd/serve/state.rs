//! `--state-dir`: where a server keeps its state.

use std::{env, path::PathBuf, sync::Arc};

use cfgsync::app::{self, History};
use cfgsync_spec::Spec;
use cfgsync_store::{Relocation, Store};
use clap::Args;

use crate::cmd::error::CommandError;

/// The variable that systemd sets for a unit with `StateDirectory=`. Colons separate several directories.
const SYSTEMD_VARIABLE: &str = "STATE_DIRECTORY";

#[derive(Debug, Args)]
pub(super) struct StateArgs {
    /// Keep the state in this directory, so that the server continues after a restart or a crash
    ///
    /// The server creates the directory if necessary, denies other users access to it, and locks it. Under systemd, the
    /// default is `$STATE_DIRECTORY`. Without a state directory, a restarted server has no registrations, and the nodes
    /// register again.
    #[arg(long, env = "CFGSYNC_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Continue with a state directory that was moved by a copy; no server may have used the original since
    ///
    /// The server refuses a directory whose log is another file than the one that it wrote to. Give this flag for one
    /// start.
    #[arg(long, env = "CFGSYNC_MOVED", conflicts_with = "restored")]
    moved: bool,
    /// Continue with a state directory that was restored from a backup, as a new instance
    ///
    /// Registrations, overrides, claims and bans stay, and the newest generation becomes generation 1 of the new instance. The
    /// nodes register again. Give this flag for one start: each start with it begins another instance.
    #[arg(long, env = "CFGSYNC_RESTORED")]
    restored: bool,
}

impl StateArgs {
    /// Returns the state directory, if one is configured.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        let from_systemd = || {
            let all = env::var_os(SYSTEMD_VARIABLE)?;
            env::split_paths(&all).find(|path| !path.as_os_str().is_empty())
        };
        self.state_dir.clone().or_else(from_systemd)
    }

    fn relocation(&self) -> Relocation {
        match (self.moved, self.restored) {
            (true, _) => Relocation::Moved,
            (false, true) => Relocation::Restored,
            (false, false) => Relocation::Unstated,
        }
    }
}

/// Opens the state directory for `spec`, if there is one. Otherwise the server opens a store in memory when it starts.
pub(super) fn open(
    args: &StateArgs,
    spec: &Spec,
    history: History,
) -> Result<Option<Arc<dyn Store>>, CommandError> {
    let Some(directory) = args.directory() else {
        return match args.relocation() {
            Relocation::Unstated => Ok(None),
            Relocation::Moved | Relocation::Restored => Err(CommandError::usage(
                "--moved and --restored need --state-dir DIR",
            )),
        };
    };
    let store = app::open_store(Some(directory), args.relocation(), spec, history);
    Ok(Some(store?))
}
