//! `cfgsync values diff`: compares two versions of a value.

use cfgsync_client::Client;
use cfgsync_model::ValueName;
use cfgsync_wire::EntryBody;
use clap::Args;
use serde::Serialize;

use super::{ValuesError, error::of_read, shown::bytes_of};
use crate::cmd::{
    diff::unified_bytes,
    error::CommandError,
    exit::Exit,
    output::{Format, print_as_document},
};

/// Compare two versions of a value; exit code 3 if content or codec differ
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync values diff production/app/timeout        # the newest version with the one before
  cfgsync values diff production/app/timeout 2      # version 2 with the newest one
  cfgsync values diff production/app/timeout 1 2")]
pub(super) struct DiffArgs {
    /// The namespace and the key, or an alias of the key
    #[arg(value_name = "NAMESPACE/KEY")]
    address: ValueName,
    /// The older version [default: the one before the newest]
    #[arg(value_name = "V1", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// The newer version [default: the newest]
    #[arg(value_name = "V2", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
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

/// The difference of two versions, as it is printed.
#[derive(Debug, Serialize)]
struct Difference {
    namespace: String,
    key: String,
    v1: u64,
    v2: u64,
    changed: bool,
    /// The unified diff of the contents. Empty if they are equal or hidden.
    diff: String,
}

pub(super) async fn run(client: &Client, args: DiffArgs) -> Result<Exit, CommandError> {
    let difference = compare(client, &args).await?;
    print_as_document(args.output, &difference, |it| it.diff.clone())?;
    Ok(if difference.changed {
        Exit::No
    } else {
        Exit::Done
    })
}

async fn compare(client: &Client, args: &DiffArgs) -> Result<Difference, CommandError> {
    let address = &args.address;
    let ValueName { namespace, key } = address;
    let (v1, v2) = match (args.from, args.to) {
        (Some(v1), Some(v2)) => (v1, v2),
        (from, to) => {
            let page = client.value_versions(namespace, key, "", false).await;
            let versions = match page {
                Ok(page) => page.value.entries.into_iter().map(|entry| entry.version),
                Err(error) => return Err(of_read(client, address, error).await),
            };
            let versions: Vec<u64> = versions.take(2).collect();
            let name = address.to_string();
            match (from, to, &versions[..]) {
                (Some(v1), None, [newest, ..]) => (v1, *newest),
                (None, None, [newest, before]) => (*before, *newest),
                _ => return Err(ValuesError::OneVersion { name }.into()),
            }
        }
    };
    let mut both = Vec::new();
    for version in [v1, v2] {
        match client
            .value_version(namespace, key, version, args.reveal)
            .await
        {
            Ok(response) => both.push(response.value),
            Err(error) => return Err(of_read(client, address, error).await),
        }
    }
    let [old, new] = &both[..] else {
        unreachable!("two versions were read")
    };
    let (changed, diff) = if old.hidden || new.hidden {
        let answer = client.value_diff(namespace, key, (v1, v2)).await?.value;
        let diff = format!(
            "{address} is a secret, and versions {v1} and {v2} differ; add --reveal to compare them\n"
        );
        (
            answer.changed,
            if answer.changed { diff } else { String::new() },
        )
    } else {
        let is_same = (&old.value, &old.codec) == (&new.value, &new.codec);
        (!is_same, document(address, old, new)?)
    };
    Ok(Difference {
        namespace: new.namespace.to_string(),
        key: new.key.to_string(),
        v1,
        v2,
        changed,
        diff,
    })
}

/// Returns the difference for people: a line for another codec, and the unified diff.
fn document(address: &ValueName, old: &EntryBody, new: &EntryBody) -> Result<String, ValuesError> {
    let mut text = String::new();
    if old.codec != new.codec {
        text.push_str(&format!("codec: {} → {}\n", old.codec, new.codec));
    }
    let [old_name, new_name] =
        [old, new].map(|entry| format!("{address} (version {})", entry.version));
    let (old, new) = (bytes_of(old)?, bytes_of(new)?);
    text.push_str(&unified_bytes(&old_name, Some(&old), &new_name, Some(&new)));
    Ok(text)
}
