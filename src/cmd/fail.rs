//! `cfgsync fail`: declares the cluster failed.

use clap::{Args, builder::NonEmptyStringValueParser};

use super::{
    exit::Exit,
    server::{ServerArgs, block_on},
};

/// Declare the cluster failed: every node is told why, until `reset`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cfgsync fail --reason 'wrong network'")]
pub(crate) struct FailArgs {
    /// Why, in words for whoever reads the nodes' logs
    #[arg(
        long,
        env = "CFGSYNC_REASON",
        value_name = "TEXT",
        required = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: FailArgs) -> anyhow::Result<Exit> {
    block_on(async move {
        args.server.client()?.fail(&args.reason).await?;
        tracing::info!("the cluster is declared failed: {}", args.reason);
        Ok(Exit::Done)
    })
}
