//! `cfgsync values alias`: lists, sets and deletes second names of keys.

use cfgsync_client::Client;
use cfgsync_model::ValueKey;
use cfgsync_wire::AliasBody;
use clap::{Args, Subcommand};

use super::{error::of_alias, shown::time_of};
use crate::cmd::{
    error::CommandError,
    exit::Exit,
    output::{Format, columns, print_as},
};

/// List, set and delete aliases: second names of keys, in every namespace
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync values alias set timeout app/timeout
  cfgsync values get production/timeout         # the value of app/timeout
  cfgsync values alias ls
  cfgsync values alias rm timeout")]
pub(super) struct AliasArgs {
    #[command(subcommand)]
    command: AliasCommand,
}

#[derive(Debug, Subcommand)]
enum AliasCommand {
    /// List all aliases
    Ls {
        /// Output format
        #[arg(
            short,
            long,
            env = "CFGSYNC_OUTPUT",
            value_name = "FORMAT",
            default_value = "table"
        )]
        output: Format,
    },
    /// Set an alias; a name that is an alias or a key already is refused
    Set {
        /// The second name
        #[arg(value_name = "ALIAS")]
        name: ValueKey,
        /// The key that it stands for
        #[arg(value_name = "KEY")]
        target: ValueKey,
    },
    /// Delete an alias; the value stays
    Rm {
        /// The second name
        #[arg(value_name = "ALIAS")]
        name: ValueKey,
    },
}

pub(super) async fn run(client: &Client, args: AliasArgs) -> Result<Exit, CommandError> {
    match args.command {
        AliasCommand::Ls { output } => {
            let aliases = client.aliases().await?.value.aliases;
            print_as(output, &aliases, |aliases| table(aliases))?;
        }
        AliasCommand::Set { name, target } => {
            let set = client.set_alias(&name, &target).await;
            set.map_err(of_alias)?;
            tracing::info!("{name} is an alias of {target}");
        }
        AliasCommand::Rm { name } => {
            client.delete_alias(&name).await.map_err(of_alias)?;
            tracing::info!("deleted the alias {name}");
        }
    }
    Ok(Exit::Done)
}

fn table(aliases: &[AliasBody]) -> String {
    let row = |alias: &AliasBody| {
        vec![
            alias.alias.to_string(),
            alias.target.to_string(),
            time_of(alias.created_at),
        ]
    };
    let rows: Vec<_> = aliases.iter().map(row).collect();
    columns(&["ALIAS", "KEY", "SET"], &rows)
}
