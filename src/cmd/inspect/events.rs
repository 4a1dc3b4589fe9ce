//! `cfgsync inspect events`: prints what has happened, and what happens.

use cfgsync_client::{Client, WatchOptions};
use cfgsync_cluster::EVENT_NAMES;
use cfgsync_model::Identifier;
use clap::{Args, builder::PossibleValuesParser};

use crate::cmd::{
    error::CommandError,
    event_lines::{Since, print_events},
    exit::Exit,
    output::Format,
};

/// Which events are printed.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Begin after this revision or event; `now` omits what has happened
    #[arg(
        long,
        env = "CFGSYNC_SINCE",
        value_name = "POSITION",
        default_value = "oldest"
    )]
    since: Since,
    /// Print the events that follow as well, as they happen
    #[arg(long, env = "CFGSYNC_FOLLOW")]
    follow: bool,
    /// Print only events with this name, such as node_registered; may be repeated
    #[arg(
        long,
        env = "CFGSYNC_KIND",
        value_name = "NAME",
        value_delimiter = '\n',
        value_parser = PossibleValuesParser::new(EVENT_NAMES),
        hide_possible_values = true
    )]
    kind: Vec<String>,
    /// Print only events of this node; may be repeated
    #[arg(
        long = "node",
        env = "CFGSYNC_NODE",
        value_name = "ID",
        value_delimiter = '\n'
    )]
    nodes: Vec<Identifier>,
}

pub(super) async fn run(
    client: &Client,
    args: EventsArgs,
    format: Format,
) -> Result<Exit, CommandError> {
    let options = WatchOptions {
        kinds: args.kind,
        identifiers: args.nodes.iter().map(ToString::to_string).collect(),
        since: args.since.resolve(client).await?,
        ends_with_newest: !args.follow,
        ..WatchOptions::default()
    };
    print_events(client, &options, format).await
}
