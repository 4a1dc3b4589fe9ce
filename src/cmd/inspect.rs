//! `cfgsync inspect`: shows the cluster, its nodes, generations and files.

mod offline;
mod source;
mod differences;
mod filter;
mod layout;
mod table;
mod cluster_table;
mod presentation;
mod record;
mod events;
mod poll;
mod watch;

use std::{path::PathBuf, time::Duration};

use cfgsync_model::{ArtifactPath, Digest, GenerationNumber, Identifier};
use cfgsync_store::DirectoryContents;
use cfgsync_support::{duration, nearest::nearest};
use clap::{Args, Subcommand};

use filter::{Filter, FilterArgs};
use poll::WaitFor;
use presentation::{InspectFormat, Presentation};
use source::Source;

use super::{
    error::CommandError,
    exit::Exit,
    output::{print, print_as, print_as_document, print_document},
    parsers::{self, limit},
    server::{ServerArgs, block_on},
    sources::WithSources,
};

/// Show the cluster: its state, its nodes and the nodes that are missing
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync inspect                             # the cluster as a table
  cfgsync inspect -o json                     # for scripts, and for `plan --nodes`
  cfgsync inspect --wait ready --timeout 5m   # in CI: wait until it has formed
  cfgsync inspect --watch                     # print it again after each change
  cfgsync inspect -o wide                     # all columns in full
  cfgsync inspect --only waiting              # the nodes that wait for their files now
  cfgsync inspect --only behind --name 'db-*' # of these nodes, those without the newest generation
  cfgsync inspect node node-2                 # the files of node-2, or why it waits
  cfgsync inspect file node-2 config.yaml     # the exact bytes of a file of node-2
  cfgsync inspect file node-2 key --reveal    # the same for a secret file
  cfgsync inspect generations                 # the sealed generations
  cfgsync inspect generations 2               # the files of generation 2
  cfgsync inspect diff 1 2                    # what changed; exit code 3 if anything did
  cfgsync inspect record                      # the timeline of the newest generation
  cfgsync inspect record -o svg > record.svg  # the same as an image; `-o junit` for CI systems
  cfgsync inspect events                      # what has happened: registrations, seals, deliveries
  cfgsync inspect events --follow -o json     # what happens, for scripts
  cfgsync inspect health                      # exit code 0 or 1, for HEALTHCHECK
  cfgsync inspect --state-dir /var/lib/cfgsync            # read a state directory instead
  cfgsync inspect --state-dir /var/lib/cfgsync --verify   # check all its checksums")]
pub(crate) struct InspectArgs {
    #[command(subcommand)]
    query: Option<Query>,
    /// Wait until the cluster is in this state, then print it: `ready`, `failed`, or a phase that all nodes of the newest
    /// generation must reach, such as `delivered` or `healthy`
    #[arg(long, env = "CFGSYNC_WAIT", value_name = "STATE")]
    wait: Option<WaitFor>,
    /// How long --wait waits; 0 means no limit
    #[arg(
        long,
        env = "CFGSYNC_TIMEOUT",
        value_name = "DURATION",
        default_value = "10m",
        value_parser = parsers::duration
    )]
    timeout: Duration,
    /// Print the cluster again after each change
    #[arg(long, conflicts_with = "wait")]
    watch: bool,
    #[command(flatten)]
    filter: WithSources<FilterArgs>,
    #[command(flatten)]
    output: WithSources<OutputArgs>,
    /// Read this state directory instead of asking a server, even while a server uses it
    ///
    /// This flag has no variable: if CFGSYNC_STATE_DIR is set for `serve`, `inspect` still asks the server.
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
    /// Verify every record and every sealed file in the state directory
    #[arg(long, env = "CFGSYNC_VERIFY")]
    verify: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct OutputArgs {
    /// Output format
    #[arg(
        short,
        long,
        env = "CFGSYNC_OUTPUT",
        value_name = "FORMAT",
        default_value = "table",
        global = true
    )]
    output: InspectFormat,
}

#[derive(Debug, Subcommand)]
enum Query {
    /// Check whether the server answers: exit code 0 or 1, within 2 s
    Health,
    /// Show a node: its files, or why it waits; exit code 3 if there is no such node
    Node {
        /// The identifier of the node
        #[arg(value_name = "ID")]
        identifier: Identifier,
    },
    /// Print the exact bytes of a file of a node
    File {
        /// The identifier of the node
        #[arg(value_name = "ID")]
        identifier: Identifier,
        /// The artifact path, with or without its leading slash
        path: ArtifactPath,
        /// The generation to take the file from [default: the newest]
        #[arg(long, env = "CFGSYNC_GENERATION", value_name = "NUMBER", value_parser = parsers::generation)]
        generation: Option<GenerationNumber>,
        #[command(flatten)]
        reveal: RevealArgs,
    },
    /// List the generations, newest first; or show the files of one
    Generations {
        /// The generation to show
        #[arg(value_name = "NUMBER", value_parser = parsers::generation)]
        number: Option<GenerationNumber>,
    },
    /// Print the flight record of a generation: which nodes came when, what was waited for, and how long everything took
    Record(record::RecordArgs),
    /// Print the events that the server has kept: registrations, seals, deliveries, values and so on
    Events(events::EventsArgs),
    /// Compare two generations; exit code 3 if anything differs
    Diff {
        /// The older generation
        #[arg(value_name = "G1", value_parser = parsers::generation)]
        from: GenerationNumber,
        /// The newer generation
        #[arg(value_name = "G2", value_parser = parsers::generation)]
        to: GenerationNumber,
        #[command(flatten)]
        reveal: RevealArgs,
    },
}

#[derive(Debug, Args)]
struct RevealArgs {
    /// Show the content of secret files
    #[arg(long, env = "CFGSYNC_REVEAL")]
    reveal: bool,
}

/// The reason why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectError {
    /// The cluster failed while `--wait ready` waited.
    #[error("the cluster failed: {0}")]
    Failed(String),
    /// The cluster was not in the wanted state within the timeout.
    #[error("not {wanted} within {}: {last}", duration::text(*.waited))]
    NotReady {
        /// The wanted state.
        wanted: &'static str,
        /// The timeout.
        waited: Duration,
        /// The last state of the cluster.
        last: String,
    },
    /// There is no node with this identifier.
    #[error("{0}")]
    NoNode(String),
    /// The node gets no files at present.
    #[error("there are no files for {identifier}: {reason}")]
    NoPayload {
        /// The identifier of the node.
        identifier: Identifier,
        /// The reason.
        reason: String,
    },
    /// The node has files, but not this one.
    #[error("{identifier} has no file {path}{hint}")]
    NoArtifact {
        /// The identifier of the node.
        identifier: Identifier,
        /// The artifact path.
        path: ArtifactPath,
        /// The nearest path, or all paths.
        hint: String,
    },
    /// The generation does not exist, or is no longer kept.
    #[error(
        "generation {0} does not exist or is no longer kept; `cfgsync inspect generations` lists the others"
    )]
    NoGeneration(GenerationNumber),
    /// The file is secret, and `--reveal` is missing.
    #[error(
        "{path} of {identifier} is secret ({bytes} bytes, sha256 {sha256}); add --reveal to print it"
    )]
    Secret {
        /// The identifier of the node.
        identifier: Identifier,
        /// The artifact path.
        path: ArtifactPath,
        /// The length of the file.
        bytes: usize,
        /// The checksum of the file.
        sha256: Digest,
    },
    /// The health check failed.
    #[error("not healthy: {0}")]
    Unhealthy(String),
}

pub(crate) fn run(args: InspectArgs) -> Result<Exit, CommandError> {
    block_on(inspect(args))
}

async fn inspect(args: InspectArgs) -> Result<Exit, CommandError> {
    if matches!(args.query, Some(Query::File { .. })) && args.output.is_on_command_line("output") {
        let message = "`inspect file` prints the bytes of the file: leave --output out";
        return Err(CommandError::usage(message));
    }
    let format = args.output.args.output;
    let is_given = args.output.is_on_command_line("output");
    if format.is_of_records() && is_given && !matches!(args.query, Some(Query::Record(_))) {
        let message = "only `inspect record` prints JUnit XML and SVG: choose another --output";
        return Err(CommandError::usage(message));
    }
    for (id, flag) in [("only", "--only"), ("name", "--name")] {
        if args.query.is_some() && args.filter.is_on_command_line(id) {
            let message =
                format!("{flag} selects nodes of the cluster's table: use it without a subcommand");
            return Err(CommandError::usage(message));
        }
    }
    let presentation = |filter: FilterArgs| Presentation {
        format: args.output.args.output,
        filter: Filter::from(filter),
    };
    if let Some(directory) = &args.state_dir {
        refuse_server_queries(&args)?;
        let contents = DirectoryContents::read(directory)?;
        let presentation = presentation(args.filter.args);
        if args.verify {
            contents.verify()?;
            let verified = offline::Verified::of(&contents);
            let format = presentation.format.data();
            print_as(format, &verified, offline::Verified::to_text)?;
            return Ok(Exit::Done);
        }
        if let Some(what) = &contents.lost_tail {
            tracing::warn!("{}: {what}", directory.display());
        }
        let source = Source::Directory(Box::new(contents));
        return show(&source, args.query, &presentation).await;
    }
    if args.verify {
        let message = "--verify needs --state-dir DIR, the directory to check";
        return Err(CommandError::usage(message));
    }
    let presentation = presentation(args.filter.args);
    let client = args.server.client()?;
    match args.query {
        Some(Query::Health) => poll::health(&client).await,
        Some(Query::Events(events)) => {
            events::run(&client, events, presentation.format.data()).await
        }
        None if args.watch => watch::watch(&client, &presentation).await,
        query => {
            if let (None, Some(wanted)) = (&query, args.wait) {
                let body = poll::wait(&client, &wanted, limit(args.timeout)).await?;
                print(presentation.cluster(&body))?;
                return Ok(Exit::Done);
            }
            show(&Source::Server(Box::new(client)), query, &presentation).await
        }
    }
}

/// Refuses the queries that only a server can answer.
fn refuse_server_queries(args: &InspectArgs) -> Result<(), CommandError> {
    let query = match &args.query {
        Some(Query::Health) => "health",
        Some(Query::Events(_)) => "events",
        Some(_) if args.verify => "a subcommand of inspect",
        _ if args.wait.is_some() => "--wait",
        _ if args.watch => "--watch",
        _ => return Ok(()),
    };
    let other = if args.verify {
        "--verify"
    } else {
        "--state-dir"
    };
    let message = format!("{query} cannot be used with {other}");
    Err(CommandError::usage(message))
}

/// Prints the answer of `source` to a query.
async fn show(
    source: &Source,
    query: Option<Query>,
    presentation: &Presentation,
) -> Result<Exit, CommandError> {
    let (format, layout) = (presentation.format.data(), presentation.layout());
    match query {
        Some(Query::Health | Query::Events(_)) => {
            unreachable!("only a server answers it, and it was asked")
        }
        Some(Query::Node { identifier }) => {
            let body = source.node(&identifier).await?;
            print_as(format, &body, |body| table::node(&identifier, body, layout))?;
            Ok(Exit::Done)
        }
        Some(Query::File {
            identifier,
            path,
            generation,
            reveal,
        }) => file(source, identifier, path, generation, reveal.reveal).await,
        Some(Query::Generations { number: None }) => {
            let all = source.generations().await?;
            print_as(format, &all, |all| table::generations(all, layout))?;
            Ok(Exit::Done)
        }
        Some(Query::Generations {
            number: Some(number),
        }) => {
            let body = source.generation(number).await?;
            print_as(format, &body, |body| table::generation(body, layout))?;
            Ok(Exit::Done)
        }
        Some(Query::Record(args)) => record::show(source, &args, presentation.format).await,
        Some(Query::Diff { from, to, reveal }) => {
            let found = differences::between(source, from, to, reveal.reveal).await?;
            print_as_document(format, &found, differences::Differences::to_text)?;
            Ok(if found.is_empty() {
                Exit::Done
            } else {
                Exit::No
            })
        }
        None => {
            print(presentation.cluster(&source.cluster().await?))?;
            Ok(Exit::Done)
        }
    }
}

async fn file(
    source: &Source,
    identifier: Identifier,
    path: ArtifactPath,
    generation: Option<GenerationNumber>,
    reveal: bool,
) -> Result<Exit, CommandError> {
    let number = if let Some(number) = generation {
        number
    } else {
        let node = source.node(&identifier).await?;
        node.generation.ok_or_else(|| InspectError::NoPayload {
            identifier: identifier.clone(),
            reason: node
                .reason
                .unwrap_or_else(|| "the node is not ready".to_owned()),
        })?
    };
    let payload = source.payload_of(number, &identifier, reveal).await?;
    if let Some(secret) = payload.withheld.iter().find(|file| file.path == path) {
        return Err(InspectError::Secret {
            identifier,
            path,
            bytes: secret.bytes,
            sha256: secret.sha256,
        }
        .into());
    }
    let Some(file) = payload.files.get(&path) else {
        let names: Vec<&str> = payload
            .files
            .files()
            .iter()
            .map(|f| f.path.name())
            .collect();
        let hint = match nearest(path.name(), names.iter().copied()) {
            Some(near) => format!("; did you mean {near}?"),
            None if names.is_empty() => "; it has no files".to_owned(),
            None => format!("; its files are {}", names.join(", ")),
        };
        return Err(InspectError::NoArtifact {
            identifier,
            path,
            hint,
        }
        .into());
    };
    for chunk in file.content.chunks() {
        print_document(chunk.bytes())?;
    }
    Ok(Exit::Done)
}
