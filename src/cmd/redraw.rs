//! `cfgsync redraw`: evaluates a value of `once` again.

use clap::Args;

use super::{
    error::CommandError,
    exit::Exit,
    server::{ServerArgs, block_on},
};

/// Evaluate a value of `once` again, for the next generation
///
/// The values of `once` normally never change. Use `redraw` if a value has become known to others, or after you have
/// changed its expression. Other values that were computed from it stay. The command returns when the next generation is
/// sealed. Nodes receive it at their next `join`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cfgsync redraw cookie")]
pub(crate) struct RedrawArgs {
    /// The name of the value in the section `once` of the spec
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: RedrawArgs) -> Result<Exit, CommandError> {
    let client = args.server.client()?;
    block_on(async move {
        client.redraw(&args.key).await?;
        let pending = client.snapshot().await?.value.redraws;
        if pending.contains(&args.key) {
            tracing::warn!(
                "once.{} is evaluated again with the next generation, which is not sealed yet; `cfgsync inspect` shows why",
                args.key
            );
        } else {
            tracing::info!("evaluated once.{} again, in a new generation", args.key);
        }
        Ok(Exit::Done)
    })
}
