//! `cfgsync values ls`: lists namespaces, or the values of a namespace.

use cfgsync_client::Client;
use cfgsync_model::Namespace;
use cfgsync_wire::EntryBody;
use clap::Args;

use super::{
    address::PrefixAddress,
    error::empty_namespace,
    shown::{ShownValue, cell_of, time_of},
};
use crate::cmd::{
    error::CommandError,
    exit::Exit,
    output::{Format, columns, print_as},
};

/// List the namespaces, or the values of a namespace
///
/// The lists are sorted, and have only what the token may read. Each page comes from one request, so a long list may
/// show changes that were made while it was read. `cfgsync values export` shows one revision.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync values ls                    # the namespaces that have a value
  cfgsync values ls production         # the values of a namespace
  cfgsync values ls production/app/    # those whose key begins with app/
  cfgsync values ls production -o json | jq -r '.[].key'")]
pub(super) struct LsArgs {
    /// The namespace, and the beginning of the keys
    #[arg(value_name = "NAMESPACE[/PREFIX]")]
    address: Option<PrefixAddress>,
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

pub(super) async fn run(client: &Client, args: LsArgs) -> Result<Exit, CommandError> {
    let Some(PrefixAddress { namespace, prefix }) = &args.address else {
        let names = namespaces(client).await?;
        print_as(args.output, &names, |names| namespace_table(names))?;
        return Ok(Exit::Done);
    };
    let mut entries = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.values(namespace, prefix, &cursor, args.reveal);
        let page = page.await?.value;
        entries.extend(page.entries);
        if page.next_cursor.is_empty() {
            break;
        }
        cursor = page.next_cursor;
    }
    if entries.is_empty()
        && let Some(reason) = empty_namespace(client, namespace).await
    {
        tracing::warn!("{reason}");
    }
    if args.output == Format::Table {
        print_as(args.output, &(), |()| table(&entries))?;
    } else {
        let shown: Vec<ShownValue> = entries.into_iter().map(ShownValue::from).collect();
        print_as(args.output, &shown, |_| "")?;
    }
    Ok(Exit::Done)
}

/// Returns all namespaces with a value that the client may read.
async fn namespaces(client: &Client) -> Result<Vec<Namespace>, CommandError> {
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.namespaces(&cursor).await?.value;
        names.extend(page.namespaces);
        if page.next_cursor.is_empty() {
            return Ok(names);
        }
        cursor = page.next_cursor;
    }
}

fn namespace_table(names: &[Namespace]) -> String {
    let rows: Vec<_> = names.iter().map(|name| vec![name.to_string()]).collect();
    columns(&["NAMESPACE"], &rows)
}

fn table(entries: &[EntryBody]) -> String {
    let row = |entry: &EntryBody| {
        vec![
            entry.key.to_string(),
            entry.version.to_string(),
            entry.codec.to_string(),
            time_of(entry.updated_at),
            entry.expires_at.map_or_else(|| "-".to_owned(), time_of),
            cell_of(entry),
        ]
    };
    let header = ["KEY", "VERSION", "CODEC", "UPDATED", "EXPIRES", "VALUE"];
    columns(&header, &entries.iter().map(row).collect::<Vec<_>>())
}
