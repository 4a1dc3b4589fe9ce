//! `cfgsync inspect record`: prints the flight record of a generation.

use clap::Args;

use super::{presentation::InspectFormat, source::Source};
use crate::cmd::{
    error::CommandError,
    exit::Exit,
    node_client::WantedGeneration,
    output::{Format, print_as, print_document},
    record,
};

/// Which record is printed.
#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// The generation: a number, or `newest`. Without any generation, the record is about the attempt to reach the first
    #[arg(
        long,
        env = "CFGSYNC_GENERATION",
        value_name = "NUMBER",
        default_value = "newest"
    )]
    generation: WantedGeneration,
    /// Print all nodes and all lines of the timeline as a table
    #[arg(long, env = "CFGSYNC_ALL")]
    all: bool,
}

/// Prints the record that `source` has.
pub(super) async fn show(
    source: &Source,
    args: &RecordArgs,
    format: InspectFormat,
) -> Result<Exit, CommandError> {
    let body = source.record(args.generation.number()).await?;
    match format {
        InspectFormat::Junit => print_document(record::junit(&body))?,
        InspectFormat::Svg => print_document(record::svg(&body))?,
        InspectFormat::Table | InspectFormat::Wide => {
            let all = args.all || format == InspectFormat::Wide;
            print_as(Format::Table, &body, |body| record::table(body, all))?;
        }
        InspectFormat::Json | InspectFormat::Yaml => {
            print_as(format.data(), &body, |body| record::table(body, true))?;
        }
    }
    Ok(Exit::Done)
}
