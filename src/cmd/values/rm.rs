//! `cfgsync values rm`: deletes a value.

use cfgsync_client::Client;
use cfgsync_model::ValueName;
use clap::Args;

use super::error::of_change;
use crate::cmd::{error::CommandError, exit::Exit};

/// Delete a value; its history stays, and a value that is set again continues with the next version
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync values rm production/app/timeout
  cfgsync values rm production/app/timeout --if-version 3")]
pub(super) struct RmArgs {
    /// The namespace and the key, or an alias of the key
    #[arg(value_name = "NAMESPACE/KEY")]
    address: ValueName,
    /// Delete the value only if this is its version now
    #[arg(
        long,
        env = "CFGSYNC_IF_VERSION",
        value_name = "VERSION",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    if_version: Option<u64>,
}

pub(super) async fn run(client: &Client, args: RmArgs) -> Result<Exit, CommandError> {
    let address = &args.address;
    let delete = client.delete_value(&address.namespace, &address.key, args.if_version);
    match delete.await {
        Ok(_) => {
            tracing::info!("deleted {address}");
            Ok(Exit::Done)
        }
        Err(error) => Err(of_change(client, address, error).await),
    }
}
