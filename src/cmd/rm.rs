//! `cfgsync rm`: removes a node, or ends its override.

use cfgsync_model::Identifier;
use clap::Args;

use super::{
    error::CommandError,
    exit::Exit,
    server::{ServerArgs, block_on},
};

/// Remove a node from the cluster
///
/// The next generation has no files for the node, until it registers again. With `late: refuse` in the spec, the
/// server refuses to remove nodes of a sealed cluster.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cfgsync rm node-3\n  cfgsync rm node-3 --override   # end an override\n  \
                  cfgsync rm node-3 --ban        # and keep the node out"
)]
pub(crate) struct RmArgs {
    /// The identifier of the node
    #[arg(value_name = "ID")]
    identifier: Identifier,
    /// End the override of the node instead of removing it; the next generation has its own files again
    #[arg(long = "override", env = "CFGSYNC_OVERRIDE")]
    only_override: bool,
    /// Also refuse registrations of the node from now on, until `cfgsync unban`; the node need not be registered
    #[arg(long, env = "CFGSYNC_BAN", conflicts_with = "only_override")]
    ban: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: RmArgs) -> Result<Exit, CommandError> {
    let client = args.server.client()?;
    block_on(async move {
        let identifier = &args.identifier;
        if args.only_override {
            client.remove_override(identifier).await?;
            tracing::info!("ended the override of {identifier}");
        } else if args.ban {
            client.ban(identifier).await?;
            tracing::info!(
                "banned {identifier}: it is no member, and cannot register until `cfgsync unban {identifier}`"
            );
        } else {
            client.remove(identifier).await?;
            tracing::info!("removed {identifier}");
        }
        Ok(Exit::Done)
    })
}
