//! `cfgsync plan`: shows what a spec gives. It runs the code of `serve` on nodes from a file, or on those of a server.

mod groups;
mod nodes;
mod tree;
mod values;
mod live;

use std::{collections::BTreeMap, fmt::Write, path::PathBuf, sync::Arc};

use cfgsync_client::ServerUrl;
use cfgsync_cluster::{
    RecordedValues,
    readiness::ReadinessTracker,
    render::{Pipeline, Rendered},
};
use cfgsync_materialize::MaterializeError;
use cfgsync_model::{
    Digest, Identifier, MaterializedArtifacts, Progress, Revision, Unmet, ValueReader, ValueSource,
};
use cfgsync_spec::{Spec, SpecError};
use cfgsync_support::clock::Timestamp;
use cfgsync_template::OnceSource;
use cfgsync_wire::ArtifactEntry;
use clap::Args;
use serde::Serialize;

use super::{
    credentials::TokenSource,
    error::CommandError,
    exit::Exit,
    output::{Format, columns, print_as, print_document},
    progress::counted,
    server::{UrlParser, block_on},
    spec_file,
    tls::ClientTlsArgs,
};
use live::{Live, Renders};
use nodes::{Nodes, Refused};
use tree::Difference;
use values::PlannedValues;

/// Check a spec: whether it is valid, whether nodes would be ready, and which files they would get
///
/// Without nodes, `plan` only validates the spec. With --server, it shows what the spec would change on a running
/// cluster. Placeholders replace the values of `once:`. The timers `settle` and
/// `deadline` do not apply.
#[derive(Debug, Args)]
#[command(
    after_help = "The nodes file is a list of {identifier, ip, metadata}, or the output of `inspect -o json`.

Exit code 3: the nodes would not be ready, a node would be refused, or --diff or --server found differences.
Exit code 78: the spec has a mistake.

Examples:
  cfgsync plan cluster.yaml
  cfgsync plan cluster.yaml --fake 5
  cfgsync plan cluster.yaml --nodes nodes.yaml --out-dir rendered/
  cfgsync plan cluster.yaml --nodes nodes.yaml --diff expected/
  cfgsync plan cluster.yaml --fake 5 --values production.yaml   # values that templates read
  cfgsync inspect -o json | cfgsync plan cluster.yaml --nodes -
  cfgsync plan cluster.yaml --server http://127.0.0.1:4400   # what would a reload change?"
)]
pub(crate) struct PlanArgs {
    /// The spec, a YAML file as for `serve`
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// The nodes to register: a YAML or JSON file, or `-` for stdin
    #[arg(
        long,
        env = "CFGSYNC_NODES",
        value_name = "FILE",
        conflicts_with = "fake"
    )]
    nodes: Option<PathBuf>,
    /// Register this many invented nodes, with metadata that the spec accepts and, if possible, that match its groups
    #[arg(long, env = "CFGSYNC_FAKE", value_name = "COUNT", value_parser = count)]
    fake: Option<usize>,
    /// The operators' values of a namespace: a file as `cfgsync values export` writes it; repeatable
    #[arg(
        long,
        env = "CFGSYNC_VALUES",
        value_name = "FILE",
        value_delimiter = '\n'
    )]
    values: Vec<PathBuf>,
    /// Write the files to DIR/NODE/PATH, and shared files to DIR/_shared/PATH
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// Compare with the files in DIR, which has the layout of --out-dir
    #[arg(long, env = "CFGSYNC_DIFF", value_name = "DIR")]
    diff: Option<PathBuf>,
    /// Compare with the files that the nodes of this server have; repeatable: the servers are tried in order
    ///
    /// This needs the role of an operator. The flag has no variable: if CFGSYNC_SERVER is set for other commands, `plan`
    /// still asks no server.
    #[arg(
        long,
        value_name = "URL",
        value_parser = UrlParser,
        conflicts_with_all = ["nodes", "fake", "diff", "values"]
    )]
    server: Vec<ServerUrl>,
    #[command(flatten)]
    credentials: TokenSource,
    #[command(flatten)]
    tls: ClientTlsArgs,
    /// Output format
    #[arg(
        short,
        long,
        env = "CFGSYNC_OUTPUT",
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
}

/// The reason why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// The nodes file has a mistake.
    #[error(transparent)]
    Nodes(#[from] SpecError),
    /// A materializer failed, as it would under `serve`.
    #[error("the render failed: {0}")]
    Render(MaterializeError),
    /// The server has another cluster, so it would refuse the spec.
    #[error("the spec is for the cluster {spec}, but the server has {served} and would refuse it")]
    AnotherCluster {
        /// The cluster of the spec.
        spec: String,
        /// The cluster of the server.
        served: String,
    },
    /// A rendered file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        error: std::io::Error,
    },
    /// A file to compare with cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        error: std::io::Error,
    },
}

/// The result of a plan, as `-o json` prints it.
#[derive(Debug, Serialize)]
struct Plan {
    cluster: String,
    /// The digest of the spec.
    spec: Digest,
    /// Whether the nodes would be ready; `None` without nodes.
    ready: Option<bool>,
    progress: Progress,
    /// The condition that a materializer waits for, if the rule is satisfied.
    waiting_for: Option<String>,
    /// Nodes that the server would refuse.
    refused: Vec<Refused>,
    /// The own files of each node.
    nodes: BTreeMap<Identifier, Vec<ArtifactEntry>>,
    /// The files that all nodes share.
    shared: Vec<ArtifactEntry>,
    /// The differences to `--diff DIR` or `--server URL`; `None` without these flags.
    differences: Option<Vec<Difference>>,
    /// Secret files that depend on values of `once`, which the server does not show.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_compared: Vec<String>,
}

pub(crate) fn run(args: &PlanArgs) -> Result<Exit, CommandError> {
    let spec = Arc::new(spec_file::load(&args.spec)?);
    if !args.server.is_empty() {
        return block_on(compare_with_server(args, spec));
    }
    let nodes = match (&args.nodes, args.fake) {
        (Some(_), Some(_)) => {
            let message =
                "--nodes and --fake cannot be used together (nor CFGSYNC_NODES and CFGSYNC_FAKE)";
            return Err(CommandError::usage(message));
        }
        (Some(file), None) => Some(nodes::read(file).map_err(PlanError::Nodes)?),
        (None, Some(count)) => Some(nodes::invent(&spec, count)?),
        // A spec without a rule has files that need no nodes.
        (None, None) if spec.ready.is_none() => Some(Nodes::default()),
        (None, None) if args.out_dir.is_some() || args.diff.is_some() => {
            let message = "without nodes there are no files: add --nodes FILE or --fake COUNT";
            return Err(CommandError::usage(message));
        }
        (None, None) => None,
    };
    let pipeline = Pipeline::new(spec.clone(), cfgsync_materialize::build(&spec));
    let (mut plan, artifacts) = match nodes {
        Some(nodes) => {
            let values: Arc<dyn ValueSource> = Arc::new(PlannedValues::read(&args.values)?);
            evaluate(&pipeline, nodes, &values, &OnceSource::Placeholder)?
        }
        None => (Plan::valid(&spec), None),
    };
    if let Some(artifacts) = &artifacts {
        if let Some(directory) = &args.out_dir {
            tree::write(directory, artifacts)?;
        }
        if let Some(directory) = &args.diff {
            plan.differences = Some(tree::compare(directory, artifacts)?);
        }
    }
    plan.print(args)
}

/// Shows what the spec would change on a running cluster.
async fn compare_with_server(args: &PlanArgs, spec: Arc<Spec>) -> Result<Exit, CommandError> {
    let client = args.tls.client(args.server.clone())?;
    let live = Live::read(args.credentials.add_to(client)?).await?;
    if live.cluster() != spec.cluster {
        return Err(PlanError::AnotherCluster {
            spec: spec.cluster.clone(),
            served: live.cluster().to_owned(),
        }
        .into());
    }
    let pipeline = Pipeline::new(spec.clone(), cfgsync_materialize::build(&spec));
    let values: Arc<dyn ValueSource> = Arc::new(live.values(&pipeline).await?);
    let placeholder = OnceSource::Placeholder;
    let (mut plan, first) = evaluate(&pipeline, live.nodes(), &values, &placeholder)?;
    for Refused { identifier, reason } in &plan.refused {
        tracing::warn!("{identifier} would be refused: {reason}");
    }
    let now = OnceSource::Real(Timestamp::now());
    let (_, second) = evaluate(&pipeline, live.nodes(), &values, &now)?;
    if let (Some(first), Some(second)) = (first, second) {
        if let Some(directory) = &args.out_dir {
            tree::write(directory, &first)?;
        }
        let compared = live.compare(&Renders { first, second }).await?;
        plan.differences = Some(compared.differences);
        plan.not_compared = compared.not_compared;
        if !plan.not_compared.is_empty() {
            tracing::info!(
                "not compared, because they are secret and depend on values of `once`: {}",
                plan.not_compared.join(", ")
            );
        }
        let files = plan.differences.as_ref().map_or(0, Vec::len);
        let generation = live.generation().map_or_else(
            || "there is no generation yet".to_owned(),
            |number| format!("generation {number} is served"),
        );
        tracing::info!("{} would change; {generation}", counted(files, "file"));
    }
    plan.print(args)
}

/// Does what `serve` does with these nodes, without store and network.
fn evaluate(
    pipeline: &Pipeline,
    nodes: Nodes,
    values: &Arc<dyn ValueSource>,
    once: &OnceSource,
) -> Result<(Plan, Option<MaterializedArtifacts>), PlanError> {
    let spec = &pipeline.spec;
    let mut plan = Plan::valid(spec);
    let mut tracker = ReadinessTracker::new(spec.clone());
    for node in nodes.registrations {
        match nodes::refusal(pipeline, &node) {
            Some(refused) => plan.refused.push(refused),
            None => tracker.insert(Arc::new(node)),
        }
    }
    // A rule may use the values of `once:`. Before the first seal there are none.
    let readiness = tracker.readiness(&serde_json::Map::new(), &ValueReader::new(values.clone()));
    plan.progress = readiness.progress().clone();
    plan.ready = Some(readiness.is_ready());
    if !readiness.is_ready() {
        return Ok((plan, None));
    }
    let mut snapshot =
        tracker
            .members()
            .snapshot(Revision(1), &nodes.seats, serde_json::Map::new());
    snapshot.once = pipeline
        .draw_once(&snapshot, once)
        .map_err(PlanError::Render)?;
    match pipeline
        .render(
            &mut snapshot,
            &mut RecordedValues::new(values.clone()),
            &BTreeMap::new(),
        )
        .map_err(PlanError::Render)?
    {
        Rendered::NotReady(message) => {
            plan.ready = Some(false);
            plan.waiting_for = Some(message);
            Ok((plan, None))
        }
        Rendered::Ready(artifacts) => {
            let entries = |files: &cfgsync::ArtifactSet, shared| {
                let files = files.files().iter();
                files.map(|file| ArtifactEntry::of(file, shared)).collect()
            };
            plan.nodes = artifacts
                .nodes
                .iter()
                .map(|(identifier, files)| (identifier.clone(), entries(files, false)))
                .collect();
            plan.shared = entries(&artifacts.shared, true);
            Ok((plan, Some(artifacts)))
        }
    }
}

impl Plan {
    /// The plan of a valid spec without nodes.
    fn valid(spec: &Spec) -> Self {
        Self {
            cluster: spec.cluster.clone(),
            spec: spec.digest,
            ready: None,
            progress: Progress::default(),
            waiting_for: None,
            refused: vec![],
            nodes: BTreeMap::new(),
            shared: vec![],
            differences: None,
            not_compared: vec![],
        }
    }

    /// Prints the plan, and returns the exit code.
    fn print(&self, args: &PlanArgs) -> Result<Exit, CommandError> {
        match (args.output, &self.differences) {
            (Format::Table, Some(differences)) => {
                let diffs: String = differences.iter().map(|file| file.diff.as_str()).collect();
                print_document(diffs)?;
            }
            _ => print_as(args.output, self, |plan| plan.table(args))?,
        }
        Ok(self.exit())
    }

    fn exit(&self) -> Exit {
        let differs = self
            .differences
            .as_ref()
            .is_some_and(|found| !found.is_empty());
        if self.ready == Some(false) || !self.refused.is_empty() || differs {
            Exit::No
        } else {
            Exit::Done
        }
    }

    fn table(&self, args: &PlanArgs) -> String {
        let mut text = format!("{}: valid, cluster {}\n", args.spec.display(), self.cluster);
        for Refused { identifier, reason } in &self.refused {
            let _ = writeln!(text, "{identifier} would be refused: {reason}");
        }
        match self.ready {
            None => {
                text.push_str("no nodes to register: add --nodes FILE or --fake COUNT\n");
                return text;
            }
            Some(false) => {
                let _ = writeln!(text, "would not be ready: {}", self.progress);
                if let Some(message) = &self.waiting_for {
                    let _ = writeln!(text, "waiting for {message}");
                }
                if args.fake.is_some() && self.progress.unmet.iter().any(depends_on_metadata) {
                    text.push_str(
                        "--fake found no metadata with which this many nodes satisfy the rule: invent more nodes, or \
                         pass your own with --nodes\n",
                    );
                }
                return text;
            }
            Some(true) => {
                let _ = writeln!(text, "would be ready: {} nodes", self.progress);
            }
        }
        let own = self.nodes.iter().flat_map(|(identifier, files)| {
            files.iter().map(move |file| (identifier.as_str(), file))
        });
        let shared = self.shared.iter().map(|file| (super::diff::SHARED, file));
        let row = |(whose, file): (&str, &ArtifactEntry)| {
            vec![
                whose.to_owned(),
                file.path.to_string(),
                if file.secret {
                    format!("{} secret", file.mode)
                } else {
                    file.mode.to_string()
                },
                file.bytes.to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = own.chain(shared).map(row).collect();
        text.push('\n');
        text.push_str(&columns(&["NODE", "PATH", "MODE", "BYTES"], &rows));
        if let Some(directory) = &args.out_dir {
            let _ = writeln!(text, "\nwritten to {}", directory.display());
        }
        text
    }
}

/// Returns whether other metadata of the nodes could satisfy the condition.
fn depends_on_metadata(unmet: &Unmet) -> bool {
    matches!(
        unmet,
        Unmet::Group { .. }
            | Unmet::WhenFalse { .. }
            | Unmet::WhenMessage(_)
            | Unmet::WhenError { .. }
    )
}

fn count(text: &str) -> Result<usize, String> {
    let wanted = || "expected a number of nodes, such as `3`".to_owned();
    text.parse().map_err(|_| wanted())
}
