//! `cfgsync rollout`: shows, stops and continues the roll-out of a generation.

use std::fmt::Write as _;

use cfgsync_client::Client;
use cfgsync_model::Identifier;
use cfgsync_support::escape::escape_line;
use cfgsync_wire::{RolloutBody, RolloutState};
use clap::{Args, Subcommand};

use super::{
    error::CommandError,
    exit::Exit,
    output::{Format, print_as},
    server::{ServerArgs, block_on},
};

/// The largest number of names on a line.
const NAMES_MAX: usize = 20;

/// Show, stop or continue the roll-out of a generation
///
/// With `rollout:` in the spec, nodes that follow changes get a new generation a few at a time. If a node fails or does
/// not report the phase in time, the roll-out stops there, until you resume it. To go back, restore the value or the
/// spec, which makes the next generation, and resume.
#[derive(Debug, Args)]
#[command(after_help = "Exit code 3: the roll-out is stopped.

Examples:
  cfgsync rollout status
  cfgsync rollout stop
  cfgsync rollout resume   # go on, and no longer wait for nodes that have failed or are late")]
pub(crate) struct RolloutArgs {
    #[command(subcommand)]
    command: RolloutCommand,
    #[command(flatten)]
    server: ServerArgs,
    /// Output format
    #[arg(
        short,
        long,
        env = "CFGSYNC_OUTPUT",
        value_name = "FORMAT",
        default_value = "table",
        global = true
    )]
    output: Format,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum RolloutCommand {
    /// Show which nodes have the newest generation, and what is waited for
    Status,
    /// Hand the generation to no further node
    Stop,
    /// Continue a roll-out that is stopped
    ///
    /// Nodes that have failed or are late are no longer waited for.
    Resume,
}

pub(crate) fn run(args: RolloutArgs) -> Result<Exit, CommandError> {
    let client = args.server.client()?;
    block_on(async move {
        match args.command {
            RolloutCommand::Status => {}
            RolloutCommand::Stop => drop(client.stop_rollout().await?),
            RolloutCommand::Resume => drop(client.resume_rollout().await?),
        }
        show(&client, args.command, args.output).await
    })
}

async fn show(
    client: &Client,
    command: RolloutCommand,
    format: Format,
) -> Result<Exit, CommandError> {
    let body = client.rollout().await?.value;
    print_as(format, &body, table)?;
    let is_stopped = body.state == RolloutState::Stopped;
    Ok(match command {
        RolloutCommand::Status | RolloutCommand::Resume if is_stopped => Exit::No,
        _ => Exit::Done,
    })
}

fn table(body: &RolloutBody) -> String {
    let Some(generation) = body.generation else {
        return "no roll-out since the server started\n".to_owned();
    };
    let state = match (body.state, &body.reason) {
        (RolloutState::Stopped, Some(reason)) => format!("stopped: {}", escape_line(reason)),
        (RolloutState::Stopped, None) => "stopped".to_owned(),
        (RolloutState::Done | RolloutState::None, _) => "done".to_owned(),
        (RolloutState::Running, _) => "running".to_owned(),
    };
    let mut text = format!("generation {generation}: {state}\n");
    let phase = body.wait_for.as_ref().map_or("", |phase| phase.as_str());
    let _ = writeln!(text, "have reported {phase}: {}", body.done);
    for (title, nodes) in [
        ("waited for", &body.in_progress),
        ("have older files", &body.held_back),
        ("not waited for", &body.skipped),
    ] {
        text.push_str(&line(title, nodes));
    }
    text
}

/// Returns a line with a title, the number of nodes and the first names. Empty if there are none.
fn line(title: &str, nodes: &[Identifier]) -> String {
    if nodes.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = (nodes.iter().take(NAMES_MAX))
        .map(Identifier::as_str)
        .collect();
    let more = match nodes.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{title}: {} ({}{more})\n", nodes.len(), names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_says_where_a_roll_out_stands() {
        let node = |name: &str| name.parse().unwrap();
        let body = RolloutBody {
            generation: Some(cfgsync_model::GenerationNumber(3)),
            state: RolloutState::Stopped,
            reason: Some("n-2 failed: port in use".to_owned()),
            wait_for: Some("healthy".parse().unwrap()),
            in_progress: vec![node("n-2")],
            held_back: (3..30).map(|at| node(&format!("n-{at}"))).collect(),
            skipped: vec![],
            done: 1,
        };
        insta::assert_snapshot!(table(&body), @"
        generation 3: stopped: n-2 failed: port in use
        have reported healthy: 1
        waited for: 1 (n-2)
        have older files: 27 (n-3, n-4, n-5, n-6, n-7, n-8, n-9, n-10, n-11, n-12, n-13, n-14, n-15, n-16, n-17, n-18, n-19, n-20, n-21, n-22 and 7 more)
        ");
        assert_eq!(
            table(&RolloutBody::none()),
            "no roll-out since the server started\n"
        );
    }
}
