//! `--state-dir`: where a server keeps its state.

use std::{env, path::PathBuf, sync::Arc};

use cfgsync::app;
use cfgsync_spec::Spec;
use cfgsync_store::{Store, StoreError};
use clap::Args;

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
}

/// Opens the state directory for `spec`, if there is one. Otherwise the server opens a store in memory when it starts.
pub(super) fn open(
    args: &StateArgs,
    spec: &Spec,
    history: u16,
) -> Result<Option<Arc<dyn Store>>, StoreError> {
    let Some(directory) = args.directory() else {
        return Ok(None);
    };
    app::open_store(Some(directory), spec, history.into()).map(Some)
}
