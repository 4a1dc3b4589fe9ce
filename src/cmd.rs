//! The command line: one file per subcommand, its arguments beside its `run` function.
//!
//! A command returns `anyhow::Result<Exit>`. Its errors are types (thiserror) named by whose fault they are;
//! [`report`] alone decides what they mean in messages, hints and exit codes. Every flag has an `env` called
//! `CFGSYNC_` and its name; [`settings`] reads those itself, so that flags that repeat (`Vec`) take one item per
//! line without splitting what stands on the command line.

pub(crate) mod names;
pub(crate) mod log;
pub(crate) mod exit;
pub(crate) mod values;
pub(crate) mod typed;
pub(crate) mod credentials;
pub(crate) mod tls;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod output;
pub(crate) mod manager;
pub(crate) mod signals;
pub(crate) mod reason;
pub(crate) mod progress;
pub(crate) mod diff;
pub(crate) mod keys;
pub(crate) mod serve;
pub(crate) mod join;
pub(crate) mod inspect;
pub(crate) mod plan;
pub(crate) mod rm;
pub(crate) mod fail;
pub(crate) mod reset;
pub(crate) mod release;
pub(crate) mod token;
pub(crate) mod key;
pub(crate) mod generate;
pub(crate) mod report;

use clap::{Parser, Subcommand};

use exit::Exit;

/// Turns "who showed up" into "the files they need"
///
/// `serve` says when a cluster is complete and which files each node then gets, `join` on each node registers,
/// waits and writes them, `inspect` shows everything, `plan` is the offline twin.
#[derive(Debug, Parser)]
#[command(
    name = "cfgsync",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Every flag can be set by its CFGSYNC_… variable, and in cfgsync/config.yaml under the \
                  user's configuration directory or /etc."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: log::LogArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(serve::ServeArgs),
    Join(join::JoinArgs),
    Inspect(inspect::InspectArgs),
    Plan(plan::PlanArgs),
    Rm(rm::RmArgs),
    Fail(fail::FailArgs),
    Reset(reset::ResetArgs),
    Release(release::ReleaseArgs),
    Token(token::TokenArgs),
    Key(key::KeyArgs),
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
}

/// Runs what was asked for.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Exit> {
    log::start(&cli.log);
    settings::warn_of_unknown_variables();
    match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Join(args) => join::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Plan(args) => plan::run(&args),
        Command::Rm(args) => rm::run(args),
        Command::Fail(args) => fail::run(args),
        Command::Reset(args) => reset::run(args),
        Command::Release(args) => release::run(args),
        Command::Token(args) => token::run(args),
        Command::Key(args) => key::run(&args),
        Command::Generate(args) => generate::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_finds_nothing_wrong() {
        Cli::command().debug_assert();
        settings::documented().debug_assert();
    }

    /// Kubernetes sets `CFGSYNC_PORT` and its like for a service called cfgsync.
    #[test]
    fn every_flag_has_its_variable_and_none_is_kubernetes_s() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long() else { continue };
                if (command.get_name(), long) == ("inspect", "state-dir") {
                    // CFGSYNC_STATE_DIR is the server's: beside it `inspect` and its health check ask the server.
                    assert_eq!(arg.get_env(), None);
                    continue;
                }
                let variable = arg
                    .get_env()
                    .map(|name| name.to_string_lossy().into_owned());
                let variable = variable.unwrap_or_else(|| panic!("--{long} has no variable"));
                let expected = match long {
                    "port-file" => "CFGSYNC_LISTEN_PORT_FILE".to_owned(),
                    long => format!("CFGSYNC_{}", long.to_uppercase().replace('-', "_")),
                };
                assert_eq!(variable, expected);
                assert_ne!(variable, "CFGSYNC_PORT");
                for injected in ["CFGSYNC_PORT_", "CFGSYNC_SERVICE_"] {
                    assert!(!variable.starts_with(injected), "{variable}");
                }
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
