//! `cfgsync completions`: prints the completions of a shell.

use clap::Args;
use clap_complete::Shell;

use super::{error::CommandError, exit::Exit, generate::visible, output, settings};

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync completions bash >/etc/bash_completion.d/cfgsync
  source <(cfgsync completions zsh)")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, CommandError> {
    let mut command = visible(&settings::documented());
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "cfgsync", &mut script);
    output::print_document(script)?;
    Ok(Exit::Done)
}
