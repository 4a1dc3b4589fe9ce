//! Finds the place where the node's own key is stored.

use std::{env, path::PathBuf};

use cfgsync_client::KeyLocation;
use clap::Args;

/// The state directory of root.
const SYSTEM: &str = "/var/lib/cfgsync";
/// The name of the directory below another user's state directory.
const DIRECTORY: &str = "cfgsync";

#[derive(Debug, Args)]
pub(super) struct IdentityArgs {
    /// The file with the key of this node, for a cluster that requires one; created when it is first required
    /// [default: keys/CLUSTER/ID in systemd's state directory, /var/lib/cfgsync, or ~/.local/state/cfgsync]
    #[arg(
        long,
        env = "CFGSYNC_IDENTITY_FILE",
        value_name = "FILE",
        help_heading = "Access"
    )]
    identity_file: Option<PathBuf>,
}

impl IdentityArgs {
    /// Returns the location of the key.
    pub(super) fn location(&self) -> KeyLocation {
        if let Some(path) = &self.identity_file {
            return KeyLocation::File(path.clone());
        }
        if let Some(directories) = env::var_os("STATE_DIRECTORY") {
            // systemd separates several directories with colons.
            if let Some(first) = env::split_paths(&directories).next() {
                return KeyLocation::Directory(first);
            }
        }
        if rustix::process::geteuid().is_root() {
            return KeyLocation::Directory(SYSTEM.into());
        }
        let base = directories::BaseDirs::new();
        let state = base.as_ref().and_then(directories::BaseDirs::state_dir);
        state.map_or(KeyLocation::None, |state| {
            KeyLocation::Directory(state.join(DIRECTORY))
        })
    }
}
