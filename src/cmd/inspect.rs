//! `cfgsync inspect`: who is here, who is missing, what was made, for whom, and why.

mod offline;
mod source;
mod differences;
mod table;

use std::{path::PathBuf, time::Duration};

use cfgsync_client::{CallError, Client};
use cfgsync_model::{ArtifactPath, Digest, GenerationNumber, Identifier};
use cfgsync_store::DirectoryContents;
use cfgsync_wire::{ClusterBody, ClusterState, TLS_REQUIRED};
use clap::{Args, Subcommand, ValueEnum};
use tokio::time::{Instant, sleep, timeout};

use source::Source;

use super::{
    exit::{Exit, UsageError},
    output::{self, Format, print, print_as},
    server::{ServerArgs, block_on},
    settings::nearest,
    typed::Typed,
    values::{duration, limit},
};

/// How long a health check may take: whoever asks has a timeout of its own.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the server is asked while something is waited for.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Show the cluster: who is here, who is missing, what was made
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync inspect                             # the cluster as a table
  cfgsync inspect -o json                     # for scripts, and for `plan --nodes`
  cfgsync inspect --wait ready --timeout 5m   # in CI: until it is formed
  cfgsync inspect --watch                     # again with every change
  cfgsync inspect node node-2                 # what node-2 gets, or why it waits
  cfgsync inspect file node-2 config.yaml     # the exact bytes that node-2 gets
  cfgsync inspect file node-2 key --reveal    # also of a secret file
  cfgsync inspect generations                 # what was sealed
  cfgsync inspect generations 2               # one of them, file by file
  cfgsync inspect diff 1 2                    # what changed; exit code 3 if anything did
  cfgsync inspect health                      # exit code 0 or 1, for HEALTHCHECK
  cfgsync inspect --state-dir /var/lib/cfgsync            # what a server left, or keeps, on disk
  cfgsync inspect --state-dir /var/lib/cfgsync --verify   # whether all of it is intact")]
pub(crate) struct InspectArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// Wait until the cluster is in this state
    #[arg(long, env = "CFGSYNC_WAIT", value_name = "STATE")]
    wait: Option<WaitFor>,
    /// How long to wait; 0 is forever
    #[arg(
        long,
        env = "CFGSYNC_TIMEOUT",
        value_name = "DURATION",
        default_value = "10m",
        value_parser = duration
    )]
    timeout: Duration,
    /// Print again whenever something has changed
    #[arg(long, env = "CFGSYNC_WATCH", conflicts_with = "wait")]
    watch: bool,
    #[command(flatten)]
    output: Typed<OutputArgs>,
    /// Look into this state directory instead of asking a server; one may be at work in it
    ///
    /// No variable sets it: where CFGSYNC_STATE_DIR says what `serve` keeps, `inspect` still asks the server.
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
    /// Check every frame and every sealed file in the state directory
    #[arg(long, env = "CFGSYNC_VERIFY")]
    verify: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct OutputArgs {
    /// Table, or what the server said as JSON or YAML
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

#[derive(Debug, Subcommand)]
enum What {
    /// Whether the server answers: exit code 0 or 1, at once
    Health,
    /// One node: its files, or why it waits; exit code 3 if nothing is known by that name
    Node {
        /// The node
        #[arg(value_name = "ID")]
        identifier: Identifier,
    },
    /// The exact bytes of one of a node's files, on stdout
    File {
        /// The node
        #[arg(value_name = "ID")]
        identifier: Identifier,
        /// The artifact, with or without its leading slash
        path: ArtifactPath,
        /// As it was in this generation instead of the newest
        #[arg(long, env = "CFGSYNC_GENERATION", value_name = "NUMBER", value_parser = generation)]
        generation: Option<GenerationNumber>,
        #[command(flatten)]
        reveal: RevealArgs,
    },
    /// What was sealed, newest first; or one generation, file by file
    Generations {
        /// Only this one
        #[arg(value_name = "NUMBER", value_parser = generation)]
        number: Option<GenerationNumber>,
    },
    /// What changed from one generation to another; exit code 3 if anything did
    Diff {
        /// The older one
        #[arg(value_name = "G1", value_parser = generation)]
        from: GenerationNumber,
        /// The newer one
        #[arg(value_name = "G2", value_parser = generation)]
        to: GenerationNumber,
        #[command(flatten)]
        reveal: RevealArgs,
    },
}

#[derive(Debug, Args)]
struct RevealArgs {
    /// Show the contents of secret files
    #[arg(long, env = "CFGSYNC_REVEAL")]
    reveal: bool,
}

/// A state to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WaitFor {
    /// A generation is served.
    Ready,
    /// The cluster has failed.
    Failed,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectError {
    /// Waiting for `ready` is in vain.
    #[error("the cluster failed: {0}")]
    Failed(String),
    /// The state that was waited for did not come.
    #[error("not {wanted} within {waited:?}: {last}")]
    NotReady {
        /// The state.
        wanted: &'static str,
        /// How long it was waited for.
        waited: Duration,
        /// What the cluster was like at last.
        last: String,
    },
    /// Nothing is known by that name.
    #[error("{0}")]
    NoNode(String),
    /// The node gets nothing now.
    #[error("there is no payload for {identifier}: {reason}")]
    NoPayload {
        /// The node.
        identifier: Identifier,
        /// Why.
        reason: String,
    },
    /// The node gets files, but not this one.
    #[error("{identifier} has no file {path}{hint}")]
    NoArtifact {
        /// The node.
        identifier: Identifier,
        /// The name asked for.
        path: ArtifactPath,
        /// The nearest name, or all.
        hint: String,
    },
    /// There is no such generation.
    #[error(
        "there is no generation {0}, or it is no longer kept; `inspect generations` lists those that are"
    )]
    NoGeneration(GenerationNumber),
    /// The file is there, and secret.
    #[error("{path} of {identifier} is secret ({bytes} bytes, sha256 {sha256}); --reveal shows it")]
    Secret {
        /// The node.
        identifier: Identifier,
        /// The file.
        path: ArtifactPath,
        /// Its length.
        bytes: usize,
        /// Its sum.
        sha256: Digest,
    },
    /// No answer to the health check.
    #[error("not healthy: {0}")]
    Unhealthy(String),
}

pub(crate) fn run(args: InspectArgs) -> anyhow::Result<Exit> {
    block_on(inspect(args))
}

async fn inspect(args: InspectArgs) -> anyhow::Result<Exit> {
    if matches!(args.what, Some(What::File { .. })) && args.output.has("output") {
        let message = "`inspect file` prints the bytes of the file as they are: leave --output out";
        return Err(UsageError(message.to_owned()).into());
    }
    let format = args.output.args.output;
    if let Some(directory) = &args.state_dir {
        refuse_what_asks_a_server(&args)?;
        let contents = DirectoryContents::read(directory)?;
        if args.verify {
            contents.verify()?;
            let verified = offline::Verified::of(&contents);
            print_as(format, &verified, offline::Verified::to_text)?;
            return Ok(Exit::Done);
        }
        let source = Source::Directory(Box::new(contents));
        return show(&source, args.what, format).await;
    }
    if args.verify {
        let message = "--verify needs --state-dir: it checks the files in a state directory";
        return Err(UsageError(message.to_owned()).into());
    }
    let client = args.server.client()?;
    match args.what {
        Some(What::Health) => health(&client).await,
        None if args.watch => watch(&client, format).await,
        None if args.wait.is_some() => {
            let wanted = args.wait.expect("asked for");
            let body = wait(&client, wanted, limit(args.timeout)).await?;
            print_as(format, &body, table::cluster)?;
            Ok(Exit::Done)
        }
        what => show(&Source::Server(Box::new(client)), what, format).await,
    }
}

/// What a directory cannot answer.
fn refuse_what_asks_a_server(args: &InspectArgs) -> Result<(), UsageError> {
    let asked = match &args.what {
        Some(What::Health) => "health",
        Some(_) if args.verify => "one of inspect's subcommands",
        _ if args.wait.is_some() => "--wait",
        _ if args.watch => "--watch",
        _ => return Ok(()),
    };
    let other = match args.verify {
        true => "--verify",
        false => "--state-dir",
    };
    Err(UsageError(format!("{asked} does not go with {other}")))
}

/// Shows what `source` says.
async fn show(source: &Source, what: Option<What>, format: Format) -> anyhow::Result<Exit> {
    match what {
        Some(What::Health) => unreachable!("a server is asked for that"),
        Some(What::Node { identifier }) => {
            let body = source.node(&identifier).await?;
            print_as(format, &body, |body| table::node(&identifier, body))?;
            Ok(Exit::Done)
        }
        Some(What::File {
            identifier,
            path,
            generation,
            reveal,
        }) => file(source, identifier, path, generation, reveal.reveal).await,
        Some(What::Generations { number: None }) => {
            let all = source.generations().await?;
            print_as(format, &all, |all| table::generations(all))?;
            Ok(Exit::Done)
        }
        Some(What::Generations {
            number: Some(number),
        }) => {
            let body = source.generation(number).await?;
            print_as(format, &body, table::generation)?;
            Ok(Exit::Done)
        }
        Some(What::Diff { from, to, reveal }) => {
            let found = differences::between(source, from, to, reveal.reveal).await?;
            print_as(format, &found, differences::Differences::to_text)?;
            Ok(if found.is_empty() {
                Exit::Done
            } else {
                Exit::No
            })
        }
        None => {
            print_as(format, &source.cluster().await?, table::cluster)?;
            Ok(Exit::Done)
        }
    }
}

async fn health(client: &Client) -> anyhow::Result<Exit> {
    let unhealthy = match timeout(HEALTH_TIMEOUT, client.livez()).await {
        Ok(Ok(answer)) => {
            print(format!("{} answers\n", answer.meta.server))?;
            return Ok(Exit::Done);
        }
        // Who looks from beside a server that speaks TLS may have neither its pin nor a certificate.
        Ok(Err(CallError::Refused { body, meta, .. }))
            if body.reason.as_deref() == Some(TLS_REQUIRED) =>
        {
            print(format!("{} answers, over TLS\n", meta.server))?;
            return Ok(Exit::Done);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {HEALTH_TIMEOUT:?}"),
    };
    Err(InspectError::Unhealthy(unhealthy).into())
}

async fn file(
    source: &Source,
    identifier: Identifier,
    path: ArtifactPath,
    generation: Option<GenerationNumber>,
    reveal: bool,
) -> anyhow::Result<Exit> {
    let number = if let Some(number) = generation {
        number
    } else {
        let node = source.node(&identifier).await?;
        node.generation.ok_or_else(|| InspectError::NoPayload {
            identifier: identifier.clone(),
            reason: node.reason.unwrap_or_else(|| "it is not ready".to_owned()),
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
            None if names.is_empty() => "; it has none at all".to_owned(),
            None => format!("; it has {}", names.join(", ")),
        };
        return Err(InspectError::NoArtifact {
            identifier,
            path,
            hint,
        }
        .into());
    };
    for chunk in file.content.chunks() {
        print(chunk.bytes())?;
    }
    Ok(Exit::Done)
}

/// Asks until the cluster is in the state, also while the server cannot be reached: it may start still.
async fn wait(
    client: &Client,
    wanted: WaitFor,
    patience: Option<Duration>,
) -> anyhow::Result<ClusterBody> {
    let started = Instant::now();
    loop {
        let left = patience.map(|patience| patience.saturating_sub(started.elapsed()));
        let asked = match left {
            // One question is always asked, however short the time.
            Some(left) => timeout(left.max(ASK_EVERY), client.snapshot()).await.ok(),
            None => Some(client.snapshot().await),
        };
        let last: anyhow::Error = match asked {
            Some(Ok(answer)) => {
                let body = answer.value;
                match (wanted, body.state) {
                    (WaitFor::Ready, ClusterState::Ready)
                    | (WaitFor::Failed, ClusterState::Failed) => return Ok(body),
                    (WaitFor::Ready, ClusterState::Failed) => {
                        let failure = body.failure.map(|failure| failure.reason);
                        return Err(InspectError::Failed(failure.unwrap_or_default()).into());
                    }
                    _ => InspectError::NotReady {
                        wanted: match wanted {
                            WaitFor::Ready => "ready",
                            WaitFor::Failed => "failed",
                        },
                        waited: patience.unwrap_or_default(),
                        last: format!("{} {}", table::state(body.state), body.progress),
                    }
                    .into(),
                }
            }
            Some(Err(error @ CallError::Unreachable { .. })) => error.into(),
            Some(Err(error)) => return Err(error.into()),
            None => CallError::Unreachable {
                server: client.server().clone(),
                problem: "no answer within the timeout".to_owned(),
            }
            .into(),
        };
        if patience.is_some_and(|patience| started.elapsed() + ASK_EVERY >= patience) {
            return Err(last);
        }
        sleep(ASK_EVERY).await;
    }
}

/// Prints whenever something has changed, until somebody ends it.
async fn watch(client: &Client, format: Format) -> anyhow::Result<Exit> {
    let mut shown: Option<ClusterBody> = None;
    let mut reachable = true;
    loop {
        match client.snapshot().await {
            Ok(answer) => {
                reachable = true;
                if shown.as_ref() != Some(&answer.value) {
                    print(reprinted(format, &answer.value, shown.is_none()))?;
                    shown = Some(answer.value);
                }
            }
            Err(error @ CallError::Unreachable { .. }) if shown.is_some() => {
                if std::mem::take(&mut reachable) {
                    tracing::warn!("{error}; trying again");
                }
            }
            Err(error) => return Err(error.into()),
        }
        sleep(ASK_EVERY).await;
    }
}

/// A screen of its own on a terminal; elsewhere one after the other, each as its format separates documents.
fn reprinted(format: Format, body: &ClusterBody, first: bool) -> String {
    use std::io::IsTerminal;
    match format {
        Format::Json => serde_json::to_string(body).expect("map keys are strings") + "\n",
        Format::Yaml => format!("---\n{}", output::render(format, body, table::cluster)),
        Format::Table if std::io::stdout().is_terminal() => {
            format!("\x1b[2J\x1b[H{}", table::cluster(body))
        }
        Format::Table if first => table::cluster(body),
        Format::Table => format!("\n{}", table::cluster(body)),
    }
}

fn generation(text: &str) -> Result<GenerationNumber, String> {
    match text.parse() {
        Ok(number) if number >= 1 => Ok(GenerationNumber(number)),
        _ => Err("expected the number of a generation, from 1".to_owned()),
    }
}
