//! `cfgsync fail`: declares the cluster failed.

use clap::{Args, builder::NonEmptyStringValueParser};

use super::{
    error::CommandError,
    exit::Exit,
    server::{ServerArgs, block_on},
};

/// Declare the cluster failed
///
/// Each node that joins or waits gets the reason, and `join` exits with code 70. `cfgsync reset` ends the failure.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cfgsync fail --reason 'wrong network'")]
pub(crate) struct FailArgs {
    /// The reason, which every node prints
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

pub(crate) fn run(args: FailArgs) -> Result<Exit, CommandError> {
    let client = args.server.client()?;
    block_on(async move {
        client.fail(&args.reason).await?;
        tracing::info!("declared the cluster failed: {}", args.reason);
        Ok(Exit::Done)
    })
}
