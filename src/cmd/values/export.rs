//! `cfgsync values export`: writes the values of a namespace to a file.

use std::{io, path::PathBuf};

use cfgsync_client::Client;
use cfgsync_model::Namespace;
use cfgsync_support::replace_file;
use clap::Args;

use super::{ValuesError, error::empty_namespace, value_file::ValueFile};
use crate::cmd::{error::CommandError, exit::Exit, output::print_document};

/// Write all values of a namespace, at one revision, as a YAML file for `cfgsync values import`
///
/// A plain value is JSON. A value with another codec, a secret and a value that expires have the tag `!value`. Without
/// --reveal, secrets are listed without content, and an import leaves them as they are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync values export production                        # to standard output
  cfgsync values export production production.yaml
  cfgsync values export production backup.yaml --reveal   # with secrets; the file has mode 0600")]
pub(super) struct ExportArgs {
    /// The namespace
    #[arg(value_name = "NAMESPACE")]
    namespace: Namespace,
    /// The file to write; `-` is standard output
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Write the content of secrets; the audit log of the server records it
    #[arg(long, env = "CFGSYNC_REVEAL")]
    reveal: bool,
}

pub(super) async fn run(client: &Client, args: ExportArgs) -> Result<Exit, CommandError> {
    let snapshot = client.values_snapshot(&args.namespace, args.reveal);
    let entries = snapshot.await?.value.entries;
    if entries.is_empty()
        && let Some(reason) = empty_namespace(client, &args.namespace).await
    {
        tracing::warn!("{reason}");
    }
    let text = ValueFile::render(&args.namespace, &entries);
    if args.file.as_os_str() == "-" {
        print_document(text)?;
        return Ok(Exit::Done);
    }
    let shows_secrets = entries
        .iter()
        .any(|entry| entry.is_secret() && !entry.hidden);
    let mode = if shows_secrets { 0o600 } else { 0o644 };
    let written = replace_file::replace(&args.file, text.as_bytes(), mode);
    written.map_err(|problem: io::Error| ValuesError::Write {
        path: args.file,
        problem,
    })?;
    Ok(Exit::Done)
}
