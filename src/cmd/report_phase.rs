//! `cfgsync report`: records that this node has reached a phase.

use std::time::Duration;

use cfgsync_model::Phase;
use cfgsync_wire::ReportBody;
use clap::Args;

use super::{
    error::CommandError,
    exit::Exit,
    node_client::{NodeArgs, WantedGeneration, retry},
    parsers,
    server::block_on,
};

/// Report that this node has reached a phase
///
/// Other nodes wait for it with `cfgsync wait`. The phase `failed` ends their wait. In CMD of `join`, the command knows the
/// node, its generation and the server.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync report started
  cfgsync report failed --reason \"the disk is full\"
  cfgsync report healthy --id node-1 --server http://boot:4400")]
pub(crate) struct ReportArgs {
    /// The phase: 1 to 64 of a-z, 0-9, '.', '_' and '-'
    #[arg(value_name = "PHASE")]
    phase: Phase,
    /// The reason, for operators and for the nodes that wait
    #[arg(long, env = "CFGSYNC_REASON", value_name = "TEXT")]
    reason: Option<String>,
    /// The generation with whose files the node has reached the phase: a number, or `newest` for the last one that it
    /// received [default: newest]
    #[arg(long, env = "CFGSYNC_GENERATION", value_name = "N")]
    generation: Option<WantedGeneration>,
    /// How long to try while the server is not reachable; 0 means no limit
    #[arg(
        long,
        env = "CFGSYNC_TIMEOUT",
        value_name = "DURATION",
        default_value = "1m",
        value_parser = parsers::duration
    )]
    timeout: Duration,
    #[command(flatten)]
    node: NodeArgs,
}

pub(crate) fn run(args: ReportArgs) -> Result<Exit, CommandError> {
    let (id, client) = args.node.client()?;
    let report = ReportBody {
        generation: args.generation.and_then(WantedGeneration::number),
        reason: args.reason,
    };
    block_on(async move {
        let phase = &args.phase;
        let limit = parsers::limit(args.timeout);
        retry(limit, || client.report(&id, phase, &report)).await?;
        tracing::info!("{id} is {phase}");
        Ok(Exit::Done)
    })
}
