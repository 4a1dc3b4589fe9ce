//! The command line: one file per subcommand, its arguments beside its `run` function.
//!
//! A command returns `Result<Exit, CommandError>`. [`failures`] alone gives each error type its exit code and its
//! hint, and [`report`] prints them. Every flag has a variable, `CFGSYNC_` and the name of the flag. [`settings`] reads the
//! variables, because a repeatable flag takes one value per line from its variable.

pub(crate) mod names;
pub(crate) mod ignored;
pub(crate) mod program;
pub(crate) mod log;
pub(crate) mod exit;
pub(crate) mod error;
pub(crate) mod parsers;
pub(crate) mod sources;
pub(crate) mod credentials;
pub(crate) mod tls;
pub(crate) mod threads;
pub(crate) mod server;
#[cfg(feature = "etcd")]
pub(crate) mod etcd;
pub(crate) mod settings;
pub(crate) mod output;
pub(crate) mod manager;
pub(crate) mod signals;
pub(crate) mod signal_name;
pub(crate) mod orphans;
pub(crate) mod reason;
pub(crate) mod progress;
pub(crate) mod diff;
pub(crate) mod keys;
pub(crate) mod spec_file;
pub(crate) mod node_client;
pub(crate) mod phase_wait;
pub(crate) mod event_lines;
pub(crate) mod record;
pub(crate) mod serve;
pub(crate) mod join;
pub(crate) mod inspect;
pub(crate) mod rollout;
pub(crate) mod values;
pub(crate) mod plan;
pub(crate) mod rm;
pub(crate) mod unban;
pub(crate) mod retry;
pub(crate) mod replace;
pub(crate) mod fail;
pub(crate) mod reset;
pub(crate) mod reload;
pub(crate) mod release;
pub(crate) mod redraw;
pub(crate) mod report_phase;
pub(crate) mod renew;
pub(crate) mod wait_phase;
pub(crate) mod run_once;
#[cfg(feature = "etcd")]
pub(crate) mod store;
pub(crate) mod token;
pub(crate) mod key;
pub(crate) mod generate;
pub(crate) mod completions;
pub(crate) mod failures;
pub(crate) mod report;

use clap::{Parser, Subcommand};

use error::CommandError;
use exit::Exit;

/// Form a cluster: wait until all nodes have registered, then give each node its files
///
/// `serve` reads a spec, which says when the set of nodes is complete and which files each node gets. `join` runs on
/// each node: it registers the node, waits, writes its files and starts a program. `inspect` shows the cluster. `plan`
/// checks a spec offline and shows which files each node would get.
#[derive(Debug, Parser)]
#[command(
    name = "cfgsync",
    version,
    max_term_width = 100,
    after_help = "You can also set each flag with its CFGSYNC_… variable, or in cfgsync/config.yaml in your \
                  configuration directory or in /etc."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: log::LogArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Box<serve::ServeArgs>),
    Join(Box<join::JoinArgs>),
    Inspect(inspect::InspectArgs),
    Plan(plan::PlanArgs),
    Rm(rm::RmArgs),
    Unban(unban::UnbanArgs),
    Retry(retry::RetryArgs),
    Replace(replace::ReplaceArgs),
    Fail(fail::FailArgs),
    Reset(reset::ResetArgs),
    Reload(reload::ReloadArgs),
    Release(release::ReleaseArgs),
    Redraw(redraw::RedrawArgs),
    Rollout(rollout::RolloutArgs),
    Report(report_phase::ReportArgs),
    Renew(renew::RenewArgs),
    Wait(wait_phase::WaitArgs),
    RunOnce(run_once::RunOnceArgs),
    Values(values::ValuesArgs),
    #[cfg(feature = "etcd")]
    Store(store::StoreArgs),
    Token(token::TokenArgs),
    Key(key::KeyArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
}

/// Starts the log, and runs the command.
pub(crate) fn run(cli: Cli) -> Result<Exit, CommandError> {
    log::start(&cli.log);
    settings::warn_of_unknown_variables();
    match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Join(args) => join::run(*args),
        Command::Inspect(args) => inspect::run(args),
        Command::Plan(args) => plan::run(&args),
        Command::Rm(args) => rm::run(args),
        Command::Unban(args) => unban::run(args),
        Command::Retry(args) => retry::run(args),
        Command::Replace(args) => replace::run(args),
        Command::Fail(args) => fail::run(args),
        Command::Reset(args) => reset::run(args),
        Command::Reload(args) => reload::run(args),
        Command::Release(args) => release::run(args),
        Command::Redraw(args) => redraw::run(args),
        Command::Rollout(args) => rollout::run(args),
        Command::Report(args) => report_phase::run(args),
        Command::Renew(args) => renew::run(args),
        Command::Wait(args) => wait_phase::run(args),
        Command::RunOnce(args) => run_once::run(args),
        Command::Values(args) => values::run(args),
        #[cfg(feature = "etcd")]
        Command::Store(args) => store::run(args),
        Command::Token(args) => token::run(args),
        Command::Key(args) => key::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Generate(args) => generate::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_accepts_the_commands() {
        Cli::command().debug_assert();
        settings::documented().debug_assert();
    }

    /// Kubernetes sets `CFGSYNC_PORT` and similar variables for a service with the name cfgsync.
    #[test]
    fn every_flag_has_a_variable_that_kubernetes_does_not_set() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long() else { continue };
                // Where CFGSYNC_STATE_DIR is set for the server, `inspect` must still ask the server. Where
                // CFGSYNC_OUT_DIR is set for `join`, no other command may write into the application's directory.
                let without = [
                    ("inspect", "state-dir"),
                    ("plan", "out-dir"),
                    // Where CFGSYNC_WATCH is set for `join`, `inspect` must still be able to wait.
                    ("inspect", "watch"),
                    // Where CFGSYNC_SERVER is set for other commands, `plan` asks no server.
                    ("plan", "server"),
                    // CFGSYNC_NODES is the file of `plan`.
                    ("wait", "nodes"),
                    ("new", "out-dir"),
                ];
                if without.contains(&(command.get_name(), long)) {
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
