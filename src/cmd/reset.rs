//! `cfgsync reset`: ends a failure.

use clap::Args;

use super::{
    exit::Exit,
    server::{ServerArgs, block_on},
};

/// End a failure: what an operator declared, or a passed deadline or failed render, which is tried again
#[derive(Debug, Args)]
#[command(after_help = "Registrations and generations stay.\n\nExample:\n  cfgsync reset")]
pub(crate) struct ResetArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: ResetArgs) -> anyhow::Result<Exit> {
    block_on(async move {
        args.server.client()?.reset().await?;
        tracing::info!("the cluster is reset");
        Ok(Exit::Done)
    })
}
