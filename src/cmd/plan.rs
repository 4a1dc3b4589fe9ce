//! `cfgsync plan`: the offline twin of `serve`. It runs the very same code on nodes that are written down.

mod nodes;
mod tree;

use std::{collections::BTreeMap, fmt::Write, path::PathBuf, sync::Arc};

use cfgsync_cluster::{
    readiness::ReadinessTracker,
    render::{Pipeline, Rendered},
};
use cfgsync_materialize::{self, MaterializeError};
use cfgsync_model::{Digest, Identifier, MaterializedArtifacts, Progress, Revision};
use cfgsync_spec::{Spec, SpecError};
use cfgsync_template::Draw;
use cfgsync_wire::ArtifactEntry;
use clap::Args;
use serde::Serialize;

use super::{
    exit::{Exit, UsageError},
    output::{Format, columns, print, print_as},
};
use nodes::{Nodes, Refused};
use tree::Difference;

/// Say offline what a spec would give: is it valid, would the set be ready, which files would be made
///
/// Without nodes it only reads the spec. What is drawn once (`once:`) is replaced by placeholders; timers
/// (settle, deadline) are not waited for.
#[derive(Debug, Args)]
#[command(
    after_help = "The nodes file is a list of {identifier, ip, metadata}, or what `inspect -o json` prints.

Exit code 3: the set would not be ready, a node would be refused, or --diff found differences.
Exit code 78: the spec has a mistake.

Examples:
  cfgsync plan cluster.yaml
  cfgsync plan cluster.yaml --fake 5
  cfgsync plan cluster.yaml --nodes nodes.yaml --out-dir rendered/
  cfgsync plan cluster.yaml --nodes nodes.yaml --diff expected/
  cfgsync inspect -o json | cfgsync plan cluster.yaml --nodes -"
)]
pub(crate) struct PlanArgs {
    /// The spec: the YAML file that `serve` is to be given
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// Who would be registered: a YAML or JSON file, or `-` for stdin
    #[arg(
        long,
        env = "CFGSYNC_NODES",
        value_name = "FILE",
        conflicts_with = "fake"
    )]
    nodes: Option<PathBuf>,
    /// Invent so many nodes from the spec's `metadata:` rules
    #[arg(long, env = "CFGSYNC_FAKE", value_name = "COUNT", value_parser = count)]
    fake: Option<usize>,
    /// Write the files to DIR/NODE/PATH, shared ones to DIR/_shared/PATH
    #[arg(long, env = "CFGSYNC_OUT_DIR", value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// Compare with the files in DIR, laid out as --out-dir does
    #[arg(long, env = "CFGSYNC_DIFF", value_name = "DIR")]
    diff: Option<PathBuf>,
    /// How the answer is printed
    #[arg(
        short,
        long,
        env = "CFGSYNC_OUTPUT",
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
}

/// Why a plan has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// The nodes file has a mistake.
    #[error(transparent)]
    Nodes(#[from] SpecError),
    /// A materializer failed, as it would under `serve`.
    #[error("the render fails: {0}")]
    Render(MaterializeError),
    /// The files cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// The files to compare with cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
}

/// What a plan says.
#[derive(Debug, Serialize)]
struct Answer {
    cluster: String,
    /// The spec's digest.
    spec: Digest,
    /// Whether there were nodes to look at, and they would be ready.
    ready: Option<bool>,
    progress: Progress,
    /// What a materializer waits for beyond the rule.
    waiting_for: Option<String>,
    /// Nodes that could not register, and why.
    refused: Vec<Refused>,
    /// Each node's own files.
    nodes: BTreeMap<Identifier, Vec<ArtifactEntry>>,
    /// The files of all.
    shared: Vec<ArtifactEntry>,
    /// What differs from `--diff DIR`; absent when nobody asked.
    differences: Option<Vec<Difference>>,
}

pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<Exit> {
    let spec = Arc::new(Spec::load(&args.spec)?);
    let nodes = match (&args.nodes, args.fake) {
        (Some(_), Some(_)) => {
            let message =
                "--nodes and --fake exclude each other (also as CFGSYNC_NODES, CFGSYNC_FAKE)";
            return Err(UsageError(message.to_owned()).into());
        }
        (Some(file), None) => Some(nodes::read(file).map_err(PlanError::Nodes)?),
        (None, Some(count)) => Some(nodes::invent(&spec, count)?),
        // Files that are known beforehand need no nodes.
        (None, None) if spec.ready.is_none() => Some(Nodes::default()),
        (None, None) if args.out_dir.is_some() || args.diff.is_some() => {
            let message =
                "there is nothing to render without nodes: name them with --nodes or --fake";
            return Err(UsageError(message.to_owned()).into());
        }
        (None, None) => None,
    };
    let pipeline = Pipeline::new(spec.clone(), cfgsync_materialize::build(&spec));
    let (mut answer, artifacts) = match nodes {
        Some(nodes) => judge(&pipeline, nodes)?,
        None => (Answer::valid(&spec), None),
    };
    if let Some(artifacts) = &artifacts {
        if let Some(directory) = &args.out_dir {
            tree::write(directory, artifacts)?;
        }
        if let Some(directory) = &args.diff {
            answer.differences = Some(tree::compare(directory, artifacts)?);
        }
    }
    match (args.output, &answer.differences) {
        (Format::Table, Some(differences)) => {
            let diffs: String = differences.iter().map(|file| file.diff.as_str()).collect();
            print(diffs)?;
        }
        _ => print_as(args.output, &answer, |answer| answer.table(args))?,
    }
    Ok(answer.exit())
}

/// The route of `serve`, without store and wire.
fn judge(
    pipeline: &Pipeline,
    nodes: Nodes,
) -> Result<(Answer, Option<MaterializedArtifacts>), PlanError> {
    let spec = &pipeline.spec;
    let mut answer = Answer::valid(spec);
    let mut tracker = ReadinessTracker::new(spec.clone());
    for node in nodes.registrations {
        match nodes::refusal(pipeline, &node) {
            Some(refused) => answer.refused.push(refused),
            None => tracker.insert(Arc::new(node)),
        }
    }
    // The rule may look at what was drawn before; before the first seal that is nothing.
    let readiness = tracker.readiness(&serde_json::Map::new());
    answer.progress = readiness.progress().clone();
    answer.ready = Some(readiness.is_ready());
    if !readiness.is_ready() {
        return Ok((answer, None));
    }
    let mut snapshot =
        tracker
            .members()
            .snapshot(Revision(1), &nodes.seats, serde_json::Map::new());
    snapshot.once = pipeline
        .draw_once(&snapshot, &Draw::Placeholder)
        .map_err(PlanError::Render)?;
    match pipeline
        .render(&snapshot, &BTreeMap::new())
        .map_err(PlanError::Render)?
    {
        Rendered::NotReady(message) => {
            answer.ready = Some(false);
            answer.waiting_for = Some(message);
            Ok((answer, None))
        }
        Rendered::Ready(artifacts) => {
            let entries = |files: &cfgsync::ArtifactSet, shared| {
                let files = files.files().iter();
                files.map(|file| ArtifactEntry::of(file, shared)).collect()
            };
            answer.nodes = artifacts
                .nodes
                .iter()
                .map(|(identifier, files)| (identifier.clone(), entries(files, false)))
                .collect();
            answer.shared = entries(&artifacts.shared, true);
            Ok((answer, Some(artifacts)))
        }
    }
}

impl Answer {
    /// A spec without mistakes, of which nothing more is known.
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
        }
    }

    fn exit(&self) -> Exit {
        let differs = self
            .differences
            .as_ref()
            .is_some_and(|found| !found.is_empty());
        match self.ready == Some(false) || !self.refused.is_empty() || differs {
            true => Exit::No,
            false => Exit::Done,
        }
    }

    fn table(&self, args: &PlanArgs) -> String {
        let mut text = format!("{}: valid, cluster {}\n", args.spec.display(), self.cluster);
        for Refused { identifier, reason } in &self.refused {
            let _ = writeln!(text, "{identifier} would be refused: {reason}");
        }
        match self.ready {
            None => {
                text.push_str("would these nodes be ready? Name some with --nodes or --fake\n");
                return text;
            }
            Some(false) => {
                let _ = writeln!(text, "would not be ready: {}", self.progress);
                if let Some(message) = &self.waiting_for {
                    let _ = writeln!(text, "waiting for {message}");
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
                match file.secret {
                    true => format!("{} secret", file.mode),
                    false => file.mode.to_string(),
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

fn count(text: &str) -> Result<usize, String> {
    let wanted = || "expected how many nodes to invent, such as `3`".to_owned();
    text.parse().map_err(|_| wanted())
}
