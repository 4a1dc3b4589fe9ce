//! Where a server keeps its state.

use std::{env, path::PathBuf, sync::Arc};

use cfgsync::app;
use cfgsync_spec::Spec;
use cfgsync_store::{Store, StoreError};
use clap::Args;

/// Set by systemd where the unit says `StateDirectory=`; several are separated by colons.
const OF_SYSTEMD: &str = "STATE_DIRECTORY";

#[derive(Debug, Args)]
pub(super) struct StateArgs {
    /// Keep what is acknowledged in this directory, so that a server that is killed goes on where it was
    ///
    /// Made if need be, closed to others, held by one server at a time. Under systemd it is `$STATE_DIRECTORY`
    /// unless named. Without one everything is lost when the server ends: nodes register again then.
    #[arg(long, env = "CFGSYNC_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl StateArgs {
    /// The state directory, if there is to be one.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        let of_systemd = || {
            let all = env::var_os(OF_SYSTEMD)?;
            env::split_paths(&all).find(|path| !path.as_os_str().is_empty())
        };
        self.state_dir.clone().or_else(of_systemd)
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
