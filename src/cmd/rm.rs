//! `cfgsync rm`: takes a node out, or ends its override.

use cfgsync_model::Identifier;
use clap::Args;

use super::{
    exit::Exit,
    server::{ServerArgs, block_on},
};

/// Take a node out of the cluster
///
/// It leaves the next generation, and is not ready until it registers again. With `late: refuse` a sealed
/// cluster lets no node go.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cfgsync rm node-3\n  cfgsync rm node-3 --override   # end an override"
)]
pub(crate) struct RmArgs {
    /// The node
    #[arg(value_name = "ID")]
    identifier: Identifier,
    /// End the node's override instead: its own files come back with the next generation
    #[arg(long = "override", env = "CFGSYNC_OVERRIDE")]
    only_override: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: RmArgs) -> anyhow::Result<Exit> {
    block_on(async move {
        let client = args.server.client()?;
        let identifier = &args.identifier;
        if args.only_override {
            client.remove_override(identifier).await?;
            tracing::info!("the override of {identifier} has ended");
        } else {
            client.remove(identifier).await?;
            tracing::info!("{identifier} is removed");
        }
        Ok(Exit::Done)
    })
}
