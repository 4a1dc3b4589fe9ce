//! `cfgsync renew`: renews the lease of this node.

use std::time::Duration;

use clap::Args;

use super::{
    error::CommandError,
    exit::Exit,
    node_client::{NodeArgs, retry},
    parsers,
    server::block_on,
};

/// Renew the lease of this node
///
/// With `lease:` in the spec, the server removes a node that sends no requests. A `join` that waits or follows changes
/// renews the lease by itself. From its first renewal on, the lease also binds a node that has received its files.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync renew
  cfgsync renew --id node-1 --server http://boot:4400")]
pub(crate) struct RenewArgs {
    /// How long to try while the server is not reachable; 0 means no limit
    #[arg(
        long,
        env = "CFGSYNC_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = parsers::duration
    )]
    timeout: Duration,
    #[command(flatten)]
    node: NodeArgs,
}

pub(crate) fn run(args: RenewArgs) -> Result<Exit, CommandError> {
    let (id, client) = args.node.client()?;
    block_on(async move {
        let limit = parsers::limit(args.timeout);
        let body = retry(limit, || client.renew(&id)).await?.value;
        if let Some(seconds) = body.lease_seconds {
            tracing::info!("renewed the lease of {id} for {seconds}s");
        } else {
            tracing::info!("{id} needs no lease: the spec has no `lease`");
        }
        Ok(Exit::Done)
    })
}
