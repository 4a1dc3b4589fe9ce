//! `cfgsync wait`: waits until nodes have reached a phase.

use std::time::Duration;

use cfgsync_client::{PhaseNodes, PhaseQuestion};
use cfgsync_model::{Identifier, Phase};
use clap::Args;

use super::{
    error::CommandError,
    exit::Exit,
    node_client::{NodeAccessArgs, WantedGeneration},
    parsers, phase_wait,
    server::block_on,
};

/// Wait until nodes have reached a phase
///
/// The command is about the nodes of one generation that are still registered: in CMD of `join`, those of this node's
/// generation, elsewhere those of the newest one. It exits with 124 if nodes are missing after --timeout, and with 70 if a
/// node that is needed has failed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync wait started --all
  cfgsync wait healthy --count 3 --timeout 5m
  cfgsync wait healthy --nodes db-1,db-2
  cfgsync wait delivered --generation newest")]
pub(crate) struct WaitArgs {
    /// The phase that nodes report, or `delivered`
    #[arg(value_name = "PHASE")]
    phase: Phase,
    /// Wait for all nodes (the default)
    #[arg(long, env = "CFGSYNC_ALL", conflicts_with_all = ["count", "nodes"])]
    all: bool,
    /// Wait for at least so many nodes
    #[arg(
        long,
        env = "CFGSYNC_COUNT",
        value_name = "N",
        conflicts_with = "nodes",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    count: Option<u32>,
    /// Wait for these nodes, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    nodes: Vec<Identifier>,
    /// The generation: a number, or `newest` [default: newest]
    #[arg(long, env = "CFGSYNC_GENERATION", value_name = "N")]
    generation: Option<WantedGeneration>,
    /// How long to wait; 0 means no limit
    #[arg(
        long,
        env = "CFGSYNC_TIMEOUT",
        value_name = "DURATION",
        default_value = "10m",
        value_parser = parsers::duration
    )]
    timeout: Duration,
    #[command(flatten)]
    access: NodeAccessArgs,
}

pub(crate) fn run(args: WaitArgs) -> Result<Exit, CommandError> {
    let client = args.access.client()?;
    let question = PhaseQuestion {
        phase: args.phase,
        generation: args.generation.and_then(WantedGeneration::number),
        nodes: match (args.count, args.nodes) {
            (Some(count), _) => PhaseNodes::Count(count as usize),
            (None, nodes) if !nodes.is_empty() => PhaseNodes::Named(nodes),
            _ => PhaseNodes::All,
        },
    };
    let limit = parsers::limit(args.timeout);
    block_on(async move {
        let line = phase_wait::wait(&client, question, limit).await?;
        tracing::info!("{line}");
        Ok(Exit::Done)
    })
}
