//! `cfgsync values`: reads and changes operators' values and aliases.

mod address;
mod error;
mod shown;
mod get;
mod set;
mod rm;
mod ls;
mod history;
mod diff;
mod alias;
mod watch;
mod value_file;
mod export;
mod import;

pub(crate) use error::ValuesError;
pub(crate) use value_file::{FILE_MAX_BYTES, ValueFile};

use clap::{Args, Subcommand};

use super::{
    error::CommandError,
    exit::Exit,
    server::{ServerArgs, block_on},
};

/// Read and change operators' values
///
/// A value has a namespace and a key, written NAMESPACE/KEY. A key may contain `/`: in `production/app/timeout`, the
/// namespace is `production` and the key is `app/timeout`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync values set production/app/timeout 30
  cfgsync values get production/app/timeout
  cfgsync values ls production
  cfgsync values history production/app/timeout
  cfgsync values diff production/app/timeout 1 2
  cfgsync values rm production/app/timeout
  cfgsync values export production production.yaml
  cfgsync values import production.yaml --dry-run
  cfgsync values watch production")]
pub(crate) struct ValuesArgs {
    #[command(subcommand)]
    command: ValuesCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum ValuesCommand {
    Get(get::GetArgs),
    Set(set::SetArgs),
    Rm(rm::RmArgs),
    Ls(ls::LsArgs),
    History(history::HistoryArgs),
    Diff(diff::DiffArgs),
    Alias(alias::AliasArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    Watch(watch::WatchArgs),
}

pub(crate) fn run(args: ValuesArgs) -> Result<Exit, CommandError> {
    let client = args.server.client()?;
    block_on(async move {
        match args.command {
            ValuesCommand::Get(args) => get::run(&client, args).await,
            ValuesCommand::Set(args) => set::run(&client, args).await,
            ValuesCommand::Rm(args) => rm::run(&client, args).await,
            ValuesCommand::Ls(args) => ls::run(&client, args).await,
            ValuesCommand::History(args) => history::run(&client, args).await,
            ValuesCommand::Diff(args) => diff::run(&client, args).await,
            ValuesCommand::Alias(args) => alias::run(&client, args).await,
            ValuesCommand::Import(args) => import::run(&client, args).await,
            ValuesCommand::Export(args) => export::run(&client, args).await,
            ValuesCommand::Watch(args) => watch::run(&client, args).await,
        }
    })
}
