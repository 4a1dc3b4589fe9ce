//! `cfgsync unban`: lets a banned node register again.

use cfgsync_model::Identifier;
use clap::Args;

use super::{
    error::CommandError,
    exit::Exit,
    server::{ServerArgs, block_on},
};

/// Let a node register again that `cfgsync rm --ban` keeps out
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cfgsync unban node-3")]
pub(crate) struct UnbanArgs {
    /// The identifier of the node
    #[arg(value_name = "ID")]
    identifier: Identifier,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: UnbanArgs) -> Result<Exit, CommandError> {
    let client = args.server.client()?;
    block_on(async move {
        let identifier = &args.identifier;
        client.unban(identifier).await?;
        tracing::info!("{identifier} may register again");
        Ok(Exit::Done)
    })
}
