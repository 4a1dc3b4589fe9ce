//! `cfgsync values watch`: prints the changes of values and aliases as they happen.

use cfgsync_client::{Client, WatchOptions};
use clap::Args;

use super::address::PrefixAddress;
use crate::cmd::{
    error::CommandError,
    event_lines::{Since, print_events},
    exit::Exit,
    output::Format,
};

/// The events of values and aliases.
const KINDS: [&str; 4] = ["set", "delete", "alias_set", "alias_delete"];

/// Print the changes of values and aliases as they happen
///
/// If the connection is lost, the command connects again and continues after the last change. If changes are missing,
/// for example because the server has another state, it prints a line `reset` with the revision after which it continues.
/// The contents of secrets are not shown.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync values watch                        # all values and aliases
  cfgsync values watch production/app/        # those of a namespace whose key begins with app/
  cfgsync values watch production --since 42  # also the changes after revision 42
  cfgsync values watch -o json | jq .data.key")]
pub(super) struct WatchArgs {
    /// The namespace, and the beginning of the keys
    #[arg(value_name = "NAMESPACE[/PREFIX]")]
    address: Option<PrefixAddress>,
    /// Begin after this revision or event; `oldest` prints all changes that the server has kept
    #[arg(
        long,
        env = "CFGSYNC_SINCE",
        value_name = "POSITION",
        default_value = "now"
    )]
    since: Since,
    /// Output format
    #[arg(
        short,
        long,
        env = "CFGSYNC_OUTPUT",
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
}

pub(super) async fn run(client: &Client, args: WatchArgs) -> Result<Exit, CommandError> {
    let mut options = WatchOptions {
        kinds: KINDS.map(str::to_owned).to_vec(),
        since: args.since.resolve(client).await?,
        ..WatchOptions::default()
    };
    if let Some(PrefixAddress { namespace, prefix }) = args.address {
        options.namespaces.push(namespace.to_string());
        if !prefix.is_empty() {
            options.prefixes.push(prefix);
        }
    }
    print_events(client, &options, args.output).await
}
