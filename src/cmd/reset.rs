//! `cfgsync reset`: ends a failure of the cluster.

use clap::Args;

use super::{
    error::CommandError,
    exit::Exit,
    server::{ServerArgs, block_on},
};

/// End a failure of the cluster
///
/// Use it after `cfgsync fail`, a missed deadline or a failed render. The server then starts a new attempt. It keeps
/// all registrations and generations.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cfgsync reset")]
pub(crate) struct ResetArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: ResetArgs) -> Result<Exit, CommandError> {
    let client = args.server.client()?;
    block_on(async move {
        client.reset().await?;
        tracing::info!("ended the failure of the cluster");
        Ok(Exit::Done)
    })
}
