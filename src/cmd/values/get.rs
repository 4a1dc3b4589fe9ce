//! `cfgsync values get`: prints a value.

use cfgsync_client::Client;
use cfgsync_model::ValueName;
use clap::{Args, ValueEnum};

use super::{
    error::of_read,
    shown::{ShownValue, bytes_of},
};
use crate::cmd::{
    error::CommandError,
    exit::Exit,
    output::{Format, print_as, print_document},
};

/// Print a value; exit code 3 if there is none
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync values get production/app/timeout
  cfgsync values get production/app/timeout 2    # version 2, also after the value was deleted
  cfgsync values get production/app/timeout -o json | jq .version
  cfgsync values get production/db/password --reveal")]
pub(super) struct GetArgs {
    /// The namespace and the key, or an alias of the key
    #[arg(value_name = "NAMESPACE/KEY")]
    address: ValueName,
    /// The version to print [default: the current one]
    #[arg(value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
    number: Option<u64>,
    /// Output format
    #[arg(
        short,
        long,
        env = "CFGSYNC_OUTPUT",
        value_name = "FORMAT",
        default_value = "raw"
    )]
    output: ValueFormat,
    /// Show the content of secrets; the audit log of the server records it
    #[arg(long, env = "CFGSYNC_REVEAL")]
    reveal: bool,
}

/// The formats of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ValueFormat {
    /// The exact bytes of the content
    Raw,
    /// JSON with the decoded content, for scripts
    Json,
    /// YAML with the decoded content
    Yaml,
}

pub(super) async fn run(client: &Client, args: GetArgs) -> Result<Exit, CommandError> {
    let ValueName { namespace, key } = &args.address;
    let found = match args.number {
        None => client.value(namespace, key, args.reveal).await,
        Some(number) => {
            let version = client.value_version(namespace, key, number, args.reveal);
            version.await
        }
    };
    let entry = match found {
        Ok(response) => response.value,
        Err(error) => return Err(of_read(client, &args.address, error).await),
    };
    let format = match args.output {
        ValueFormat::Raw => {
            print_document(bytes_of(&entry)?)?;
            return Ok(Exit::Done);
        }
        ValueFormat::Json => Format::Json,
        ValueFormat::Yaml => Format::Yaml,
    };
    print_as(format, &ShownValue::from(entry), |_| "")?;
    Ok(Exit::Done)
}
