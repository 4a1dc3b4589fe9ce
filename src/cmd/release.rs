//! `cfgsync release`: gives a node's name free.

use cfgsync_model::Identifier;
use clap::Args;

use super::{
    exit::Exit,
    server::{ServerArgs, block_on},
};

/// Give a node's name free: the next machine to come with it has it
///
/// For a spec that says `identity: first-use`, when the machine that came first is gone, or has lost its key. Its
/// registration stays until another comes in its place.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  cfgsync release node-3")]
pub(crate) struct ReleaseArgs {
    /// The node
    #[arg(value_name = "ID")]
    identifier: Identifier,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: ReleaseArgs) -> anyhow::Result<Exit> {
    let client = args.server.client()?;
    block_on(async move {
        let identifier = &args.identifier;
        client.release(identifier).await?;
        tracing::info!("the name {identifier} is free");
        Ok(Exit::Done)
    })
}
