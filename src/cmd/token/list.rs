//! `cfgsync token list`: shows the tokens that a server accepts, and when each was last used.

use cfgsync_wire::TokenEntry;
use clap::Args;

use crate::cmd::{
    error::CommandError,
    exit::Exit,
    output::{Format, columns, print_as},
    server::{ServerArgs, block_on},
};

/// List the tokens that a server accepts: their names, roles and limits, and when and from where each was last used
///
/// The server keeps the last use in memory, so it begins anew when the server starts. Secrets and their hashes are not
/// shown. This needs an operator's token.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync token list --token-file operator.token
  cfgsync token list --token-file operator.token -o json | jq '.[] | select(.last_used == null).name'")]
pub(super) struct ListArgs {
    /// Output format
    #[arg(
        short,
        long,
        env = "CFGSYNC_OUTPUT",
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: ListArgs) -> Result<Exit, CommandError> {
    let client = args.server.client()?;
    block_on(async move {
        let tokens = client.tokens().await?.value;
        print_as(args.output, &tokens, |tokens| table(tokens))?;
        Ok(Exit::Done)
    })
}

fn table(tokens: &[TokenEntry]) -> String {
    if tokens.is_empty() {
        return "the server accepts no tokens\n".to_owned();
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let row = |token: &TokenEntry| {
        let used = token.last_used.as_ref();
        vec![
            token.name.clone(),
            if token.read_only {
                format!("{}, read-only", token.role)
            } else {
                token.role.clone()
            },
            or_dash(token.identifier.clone()),
            or_dash((!token.namespaces.is_empty()).then(|| token.namespaces.join(" "))),
            or_dash(token.expires.map(|at| at.to_string())),
            or_dash(used.map(|used| used.at.to_string())),
            or_dash(used.map(|used| used.from.to_string())),
        ]
    };
    let header = [
        "NAME",
        "ROLE",
        "NODES",
        "NAMESPACES",
        "EXPIRES",
        "LAST USED",
        "FROM",
    ];
    columns(&header, &tokens.iter().map(row).collect::<Vec<_>>())
}
