//! `cfgsync store`: moves the state of a cluster between a directory and etcd.

mod copy;

use clap::{Args, Subcommand};

use super::{error::CommandError, exit::Exit};

/// Move the state of a cluster between a state directory and etcd
#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    Copy(Box<copy::CopyArgs>),
}

pub(crate) fn run(args: StoreArgs) -> Result<Exit, CommandError> {
    match args.command {
        StoreCommand::Copy(args) => copy::run(&args),
    }
}
