//! Where a node keeps its own key.

use std::{env, path::PathBuf};

use cfgsync_client::KeyPlace;
use clap::Args;

/// Where everything of the system's own user goes.
const SYSTEM: &str = "/var/lib/cfgsync";
/// The name below a user's own directory.
const OURS: &str = "cfgsync";

/// Where a node keeps its own key.
#[derive(Debug, Args)]
pub(super) struct IdentityArgs {
    /// Where this node's own key is kept, for a cluster that wants one; it is made when it is first asked for
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
    pub(super) fn place(&self) -> KeyPlace {
        if let Some(path) = &self.identity_file {
            return KeyPlace::File(path.clone());
        }
        if let Some(directories) = env::var_os("STATE_DIRECTORY") {
            // systemd lists several with colons.
            if let Some(first) = env::split_paths(&directories).next() {
                return KeyPlace::Under(first);
            }
        }
        if rustix::process::geteuid().is_root() {
            return KeyPlace::Under(SYSTEM.into());
        }
        let directories = directories::BaseDirs::new();
        let state = directories
            .as_ref()
            .and_then(directories::BaseDirs::state_dir);
        state.map_or(KeyPlace::Nowhere, |state| KeyPlace::Under(state.join(OURS)))
    }
}
