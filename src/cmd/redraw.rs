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
/// sealed, or with 70 or 124 if it is not. Nodes receive it at their next `join`.
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
        let cluster = client.snapshot().await?.value;
        let key = &args.key;
        if !cluster.redraws.contains(key) {
            tracing::info!("evaluated once.{key} again, in a new generation");
            return Ok(Exit::Done);
        }
        Err(match cluster.failure {
            Some(failure) => CommandError::new(
                Exit::ClusterFailed,
                format!(
                    "once.{key} keeps its value, because the render failed: {}",
                    failure.reason
                ),
            )
            .hint("correct the spec; the next render that succeeds evaluates the value again"),
            None => CommandError::new(
                Exit::NotReady,
                format!("once.{key} keeps its value, because no new generation is sealed yet"),
            )
            .hint("`cfgsync inspect` shows why; the next generation evaluates the value again"),
        })
    })
}
