//! `cfgsync release`: ends the ownership of a node's name.

use cfgsync_model::Identifier;
use clap::Args;

use super::{
    error::CommandError,
    exit::Exit,
    server::{ServerArgs, block_on},
};

/// Release a node's name, so that another machine can register with it
///
/// With `identity: first-use` in the spec, a name belongs to the key of the first machine that registers with it. Use
/// `release` if that machine is gone or has lost its key. The registration stays until another machine registers with
/// the name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cfgsync release node-3")]
pub(crate) struct ReleaseArgs {
    /// The identifier of the node
    #[arg(value_name = "ID")]
    identifier: Identifier,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: ReleaseArgs) -> Result<Exit, CommandError> {
    let client = args.server.client()?;
    block_on(async move {
        let identifier = &args.identifier;
        client.release(identifier).await?;
        tracing::info!(
            "released the name {identifier}; the next node that registers with it owns it"
        );
        Ok(Exit::Done)
    })
}
