//! `--store` and `--state-dir`: where a server keeps its state.

use std::{env, path::PathBuf, sync::Arc};

use cfgsync::app::{self, History};
use cfgsync_spec::Spec;
use cfgsync_store::{Relocation, Store};
use clap::{Args, ValueEnum};

use crate::cmd::error::CommandError;
#[cfg(feature = "etcd")]
use crate::cmd::etcd::{self, EtcdArgs};

/// The variable that systemd sets for a unit with `StateDirectory=`. Colons separate several directories.
const SYSTEMD_VARIABLE: &str = "STATE_DIRECTORY";

/// Where the server keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StoreKind {
    /// In memory, lost when the server ends
    Memory,
    /// In the state directory
    Directory,
    /// In etcd, shared with other servers of the same cluster
    #[cfg(feature = "etcd")]
    Etcd,
}

#[derive(Debug, Args)]
pub(super) struct StateArgs {
    /// Where to keep the state
    ///
    /// The default is the state directory if there is one, and otherwise memory. With `etcd`, any number of servers with
    /// the same spec share one cluster. The state directory then has only the server's own certificate.
    #[arg(long, env = "CFGSYNC_STORE", value_name = "KIND", value_enum)]
    store: Option<StoreKind>,
    #[cfg(feature = "etcd")]
    #[command(flatten)]
    etcd: EtcdArgs,
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
    /// Continue with a state directory or an etcd that was restored from a backup, as a new instance
    ///
    /// Registrations, overrides, claims and bans stay, and the newest generation becomes generation 1 of the new instance. The
    /// nodes register again. Give this flag for one start: each start with it begins another instance. With etcd, give it
    /// to one server while no other one runs, and start the others without it.
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

/// Opens the store for `spec`. Returns none for a store in memory, which the server opens when it starts. Blocks the
/// calling thread, which is not one of the runtime's own.
pub(super) fn open(
    args: &StateArgs,
    spec: &Spec,
    history: History,
) -> Result<Option<Arc<dyn Store>>, CommandError> {
    let directory = args.directory();
    let kind = args.store.unwrap_or(match directory {
        Some(_) => StoreKind::Directory,
        None => StoreKind::Memory,
    });
    #[cfg(feature = "etcd")]
    if kind != StoreKind::Etcd && args.etcd.is_given() {
        return Err(CommandError::usage("--etcd-endpoints needs --store etcd"));
    }
    #[cfg(feature = "etcd")]
    if kind == StoreKind::Etcd && args.moved {
        return Err(CommandError::usage(
            "--moved is for state directories; use `cfgsync store copy` to move the data in etcd",
        ));
    }
    if kind == StoreKind::Memory && args.relocation() != Relocation::Unstated {
        return Err(CommandError::usage(
            "--moved needs --state-dir DIR, and --restored needs --state-dir DIR or --store etcd",
        ));
    }
    match kind {
        StoreKind::Memory => Ok(None),
        StoreKind::Directory => {
            let directory = directory
                .ok_or_else(|| CommandError::usage("--store directory needs --state-dir DIR"))?;
            let store = app::open_store(Some(directory), args.relocation(), spec, history);
            Ok(Some(store?))
        }
        #[cfg(feature = "etcd")]
        StoreKind::Etcd if !args.etcd.is_given() => Err(CommandError::usage(
            "--store etcd needs --etcd-endpoints http://HOST:2379",
        )),
        #[cfg(feature = "etcd")]
        StoreKind::Etcd => {
            let config = args.etcd.config(&spec.cluster, history)?;
            etcd::open(config, args.restored).map(Some)
        }
    }
}
