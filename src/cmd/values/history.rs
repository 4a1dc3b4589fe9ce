//! `cfgsync values history`: lists the versions of a value.

use cfgsync_client::Client;
use cfgsync_model::ValueName;
use cfgsync_wire::EntryBody;
use clap::Args;

use super::{
    error::of_read,
    shown::{ShownValue, cell_of, time_of},
};
use crate::cmd::{
    error::CommandError,
    exit::Exit,
    output::{Format, columns, print_as},
};

/// List the versions of a value that the server keeps, newest first, also after the value was deleted
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync values history production/app/timeout
  cfgsync values get production/app/timeout 2 | cfgsync values set production/app/timeout -   # go back to version 2")]
pub(super) struct HistoryArgs {
    /// The namespace and the key, or an alias of the key
    #[arg(value_name = "NAMESPACE/KEY")]
    address: ValueName,
    /// Output format
    #[arg(
        short,
        long,
        env = "CFGSYNC_OUTPUT",
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
    /// Show the content of secrets; the audit log of the server records it
    #[arg(long, env = "CFGSYNC_REVEAL")]
    reveal: bool,
}

pub(super) async fn run(client: &Client, args: HistoryArgs) -> Result<Exit, CommandError> {
    let ValueName { namespace, key } = &args.address;
    let mut entries = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.value_versions(namespace, key, &cursor, args.reveal);
        let page = match page.await {
            Ok(page) => page.value,
            Err(error) => return Err(of_read(client, &args.address, error).await),
        };
        entries.extend(page.entries);
        if page.next_cursor.is_empty() {
            break;
        }
        cursor = page.next_cursor;
    }
    if args.output == Format::Table {
        print_as(args.output, &(), |()| table(&entries))?;
    } else {
        let shown: Vec<ShownValue> = entries.into_iter().map(ShownValue::from).collect();
        print_as(args.output, &shown, |_| "")?;
    }
    Ok(Exit::Done)
}

fn table(entries: &[EntryBody]) -> String {
    let row = |entry: &EntryBody| {
        vec![
            entry.version.to_string(),
            entry.codec.to_string(),
            time_of(entry.updated_at),
            entry.expires_at.map_or_else(|| "-".to_owned(), time_of),
            cell_of(entry),
        ]
    };
    let header = ["VERSION", "CODEC", "SET", "EXPIRES", "VALUE"];
    columns(&header, &entries.iter().map(row).collect::<Vec<_>>())
}
