//! `cfgsync retry`: lets a node try a generation again that it has refused.

use cfgsync_model::Identifier;
use clap::Args;

use super::{
    error::CommandError,
    exit::Exit,
    server::{ServerArgs, block_on},
};

/// Let a node try the generation again that it has refused
///
/// A node that runs `join --watch` refuses a generation if its --check fails or its routes do not fit. It waits for the next
/// generation then. With this command, it tries the same one again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cfgsync retry node-3")]
pub(crate) struct RetryArgs {
    /// The identifier of the node
    #[arg(value_name = "ID")]
    identifier: Identifier,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: RetryArgs) -> Result<Exit, CommandError> {
    let client = args.server.client()?;
    block_on(async move {
        let identifier = &args.identifier;
        client.retry(identifier).await?;
        tracing::info!("{identifier} tries the refused generation again");
        Ok(Exit::Done)
    })
}
