//! `cfgsync join`: registers the node, waits, writes the files, and replaces itself with CMD.
//!
//! This file resolves the arguments and runs the steps. [`wait`] runs the library's session, [`deliver`] writes what it
//! received, [`handover`] executes CMD.

mod identity;
mod metadata;
mod probe;
mod watch;
mod spread;
mod memory;
mod trust;
mod fallback;
mod dotenv;
mod environment;
mod resolve;
mod signals;
mod wait;
mod document;
mod facts;
mod mirror;
mod hook;
mod deliver;
mod refusal;
mod prober;
mod action;
mod handover;
mod child;
mod lease;
mod follow;

use std::{ffi::OsString, net::IpAddr, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use cfgsync::Identifier;
use cfgsync_client::{FailureKind, JoinError, OutputMap, ServerUrl, Session};
use cfgsync_model::{Account, ArtifactPath, GenerationNumber, Ownership, check_node_address};
use cfgsync_wire::ReceivedPayload;
use clap::{Args, ValueEnum};
use tracing::warn;

use super::{
    credentials::{CredentialError, TokenSource},
    error::CommandError,
    exit::Exit,
    manager::Manager,
    orphans::OwnChildren,
    parsers,
    program::ProgramError,
    progress::{Progress, counted},
    server::UrlParser,
    sources::WithSources,
    threads::{self, ThreadsError},
    tls::{ClientTlsArgs, TrustFailure},
};
use deliver::Delivered;

pub(crate) use signals::{EndedBy, Signals};
use wait::Outcome;

/// Register this node, wait until the cluster is complete, write its files, and run CMD
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync join --server http://boot:4400 --out config.yaml=/etc/app/config.yaml
  cfgsync join --server http://boot:4400 --id node-1 --meta role=validator --meta port:=9000 \\
      --out-dir /etc/app -- /usr/bin/app --config /etc/app/config.yaml
  cfgsync join --server http://boot:4400 --out-dir /etc/app --watch --reload-signal HUP -- /usr/bin/app")]
pub(crate) struct JoinArgs {
    /// The join URL that `serve` prints, or another URL of the server; replaces --server
    #[arg(value_name = "URL", value_parser = UrlParser, conflicts_with = "server")]
    url: Option<ServerUrl>,
    /// The URL of the server; repeatable: each node prefers one of them, and uses another if that one cannot serve it
    #[arg(long, env = "CFGSYNC_SERVER", value_name = "URL", value_parser = UrlParser)]
    server: Vec<ServerUrl>,
    #[command(flatten)]
    credentials: TokenSource,
    #[command(flatten)]
    identity: identity::IdentityArgs,
    /// The cluster that the server must serve
    #[arg(long, env = "CFGSYNC_CLUSTER", value_name = "NAME")]
    cluster: Option<String>,
    /// The identifier of this node [default: the host name]
    #[arg(
        long,
        env = "CFGSYNC_ID",
        value_name = "ID",
        help_heading = "This node"
    )]
    id: Option<Identifier>,
    /// The address at which the other nodes reach this one [default: the local address that reaches the server]
    #[arg(long, env = "CFGSYNC_IP", value_name = "IP", value_parser = address, help_heading = "This node")]
    ip: Option<IpAddr>,
    #[command(flatten)]
    metadata: WithSources<metadata::MetadataArgs>,
    /// Write an artifact to a path; DIR/=PATH/ routes all artifacts below DIR, ARTIFACT=- prints to stdout; repeatable
    #[arg(
        long,
        env = "CFGSYNC_OUT",
        value_name = "ARTIFACT=PATH",
        value_parser = route,
        help_heading = "Files"
    )]
    out: Vec<String>,
    /// Accept an artifact without writing it; DIR/ discards all artifacts below DIR; repeatable
    #[arg(
        long,
        env = "CFGSYNC_DISCARD",
        value_name = "ARTIFACT",
        help_heading = "Files"
    )]
    discard: Vec<String>,
    /// Write all other artifacts below this directory, under their own names
    #[arg(
        long,
        env = "CFGSYNC_OUT_DIR",
        value_name = "DIR",
        value_parser = directory,
        help_heading = "Files"
    )]
    out_dir: Option<PathBuf>,
    /// The owner of the files: names or numbers [default: that of the spec, or of the replaced file]
    #[arg(
        long,
        env = "CFGSYNC_OWNER",
        value_name = "USER[:GROUP]",
        value_parser = owner,
        help_heading = "Files"
    )]
    owner: Option<Arc<Ownership>>,
    /// How long to try, until the first delivery; 0 means no limit
    #[arg(
        long,
        env = "CFGSYNC_TIMEOUT",
        value_name = "DURATION",
        default_value = "10m",
        value_parser = parsers::duration
    )]
    timeout: Duration,
    /// Pass the variables in this dotenv artifact to CMD, instead of writing it to a file; repeatable
    #[arg(
        long,
        env = "CFGSYNC_ENV",
        value_name = "ARTIFACT",
        help_heading = "Files"
    )]
    env: Vec<ArtifactPath>,
    /// Let --env set only these variables; PREFIX_* names all with this prefix; repeatable
    #[arg(
        long,
        env = "CFGSYNC_ENV_ALLOW",
        value_name = "NAME|PREFIX_*",
        help_heading = "Files"
    )]
    env_allow: Vec<environment::EnvPattern>,
    #[command(flatten)]
    receipt: fallback::ReceiptArgs,
    #[command(flatten)]
    watch: watch::WatchArgs,
    #[command(flatten)]
    trust: trust::TrustArgs,
    /// Print a report of the delivery to stdout, in this format
    #[arg(short, long, env = "CFGSYNC_OUTPUT", value_name = "FORMAT")]
    output: Option<JoinFormat>,
    #[command(flatten)]
    tls: ClientTlsArgs,
    /// The program that replaces this process once the files are written; with --watch, a child process
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// The format of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum JoinFormat {
    /// One JSON document.
    Json,
}

/// The reason why `join` ended without executing CMD.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinFailure {
    /// The command line contradicts itself or lacks something (2).
    #[error("{0}")]
    Usage(String),
    /// A setting outside the command line is wrong (78).
    #[error("{0}")]
    Setting(String),
    /// The token cannot be read (78).
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The session or the delivery failed. The exit code depends on the kind.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A dotenv artifact cannot be the environment of CMD (65).
    #[error("{0}")]
    Environment(String),
    /// The TLS flags cannot be followed.
    #[error(transparent)]
    Trust(#[from] TrustFailure),
    /// `--check` refuses the files (65).
    #[error("{problem}{}", output.as_ref().map(|line| format!(": {line}")).unwrap_or_default())]
    Check {
        /// The reason.
        problem: String,
        /// The last line of its output.
        output: Option<String>,
    },
    /// The process can wait neither for signals nor for CMD (1).
    #[error("cannot wait for signals and processes: {0}")]
    Wait(std::io::Error),
    /// A signal (128 and its number).
    #[error("ended by {}", .0.name)]
    Ended(EndedBy),
    /// CMD cannot be run (126 or 127).
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// The result of the asynchronous part.
enum Joined {
    /// The files are written, and CMD is still to be executed.
    Delivered(Vec<OsString>, Box<Delivered>),
    /// The node has followed the cluster until this end.
    Followed(Exit),
}

/// Joins the cluster and executes CMD. Returns only if there is no CMD, or after a failure.
pub(crate) fn run(args: JoinArgs) -> Result<Exit, CommandError> {
    let mut signals = Signals::catch().map_err(ThreadsError::Other)?;
    let mut progress = Progress::new();
    let is_interactive = progress.is_interactive();
    // One thread is enough for one session, and costs the machine less than a pool.
    let runtime = threads::client_runtime()?;
    let done = runtime.block_on(async {
        // On a thread of its own: reading arguments from files and pipes may take long, and signals are handled
        // meanwhile.
        let resolving = tokio::task::spawn_blocking(move || resolve::plan(args, is_interactive));
        let plan = tokio::select! {
            ended_by = signals.next() => return Err(JoinFailure::Ended(ended_by).into()),
            plan = resolving => plan??,
        };
        progress.set_node(&plan.options.identifier);
        let mut session = Session::new(plan.client.clone(), plan.options.clone());
        let own = Rc::<OwnChildren>::default();
        let delivered = join(&plan, &mut session, &mut signals, progress, &own).await?;
        let Some(settings) = &plan.watch else {
            return Ok(Joined::Delivered(plan.command, Box::new(delivered)));
        };
        let ended =
            follow::run(&plan, settings, &mut session, &mut signals, delivered, own).await?;
        Ok::<_, CommandError>(Joined::Followed(ended))
    });
    // Does not wait for a name resolution that is still running.
    runtime.shutdown_background();
    if let Err(error) = &done {
        Manager::from_environment().status(&error.to_string());
    }
    let (command, delivered) = match done? {
        Joined::Followed(exit) => return Ok(exit),
        Joined::Delivered(command, delivered) => (command, delivered),
    };
    if command.is_empty() {
        return Ok(Exit::Done);
    }
    let failed = handover::execute(&command, *delivered);
    Err(JoinFailure::Program(failed).into())
}

/// Joins the cluster and writes the files.
async fn join(
    plan: &resolve::Plan,
    session: &mut Session,
    signals: &mut Signals,
    progress: Progress,
    own: &OwnChildren,
) -> Result<Delivered, CommandError> {
    let outcome = wait::wait(session, plan, signals, progress).await;
    // A status that is not replaced here would stay in `systemctl status` for as long as the unit is active.
    let manager = Manager::from_environment();
    let delivered = match outcome {
        Outcome::Payload(payload) => {
            let delivered = tokio::select! {
                biased;
                ended_by = signals.next() => return Err(JoinFailure::Ended(ended_by).into()),
                delivered = deliver_first(plan, session, &payload, own) => delivered?,
            };
            let files = describe_files(payload.files.files().len(), payload.generation);
            manager.status(&format!("delivered: {files}"));
            delivered
        }
        Outcome::Previous(previous) => {
            let kept = describe_files(previous.files.len(), previous.receipt.generation);
            manager.status(&format!("continuing with the previous delivery: {kept}"));
            // The registration stays: this node is a member, and the other nodes may be waiting for it.
            deliver::report_previous(plan, session, &previous)?;
            deliver::continue_with(plan, session, *previous)
        }
        Outcome::Failed(error) => {
            withdraw_after(&error, session).await;
            return Err(JoinFailure::Join(error).into());
        }
        Outcome::Ended(ended_by) => {
            if let Err(error) = session.withdraw().await {
                warn!("cannot withdraw the registration: {error}");
            }
            return Err(JoinFailure::Ended(ended_by).into());
        }
    };
    // A signal may have arrived while the files were written.
    match signals.pending().await {
        Some(ended_by) => Err(JoinFailure::Ended(ended_by).into()),
        None => Ok(delivered),
    }
}

/// Delivers the first payload. If `--check` refuses it, continues with the files of the receipt, if they are unchanged.
async fn deliver_first(
    plan: &resolve::Plan,
    session: &Session,
    payload: &ReceivedPayload,
    own: &OwnChildren,
) -> Result<Delivered, JoinFailure> {
    let refused = match deliver::deliver(plan, session, payload, own).await {
        Err(error @ JoinFailure::Check { .. }) => error,
        other => return other,
    };
    refusal::report(session, payload, &refused).await;
    let previous = match fallback::verify(&plan.delivery, &plan.options).await {
        fallback::Verified::Files(previous) if plan.env.is_empty() => previous,
        _ => return Err(refused),
    };
    let kept = describe_files(previous.files.len(), previous.receipt.generation);
    warn!("{refused}; continuing with the previous delivery, {kept}, unchanged since");
    deliver::report_previous(plan, session, &previous)?;
    Ok(Delivered {
        // It is not tried again before an operator asks for it.
        refused: payload.digest,
        ..deliver::continue_with(plan, session, *previous)
    })
}

/// Withdraws the registration of a join that failed, so that the cluster does not count a node that no longer waits.
async fn withdraw_after(error: &JoinError, session: &Session) {
    // A missed deadline ends the wait of all nodes. They stay members, so that the set can still become complete.
    if matches!(error, JoinError::Failed { .. }) {
        return;
    }
    match session.withdraw().await {
        // The server responded until now, so the other nodes may still count this one.
        Err(problem) if error.kind() == FailureKind::NotReady => {
            warn!("cannot withdraw the registration: {problem}");
        }
        // Otherwise `error` already says that the server cannot be reached, or that it does not accept this node.
        _ => {}
    }
}

/// Returns for example `2 files of generation 7`. Servers of the older protocol give no generation.
fn describe_files(files: usize, generation: Option<GenerationNumber>) -> String {
    let files = counted(files, "file");
    match generation {
        Some(number) => format!("{files} of generation {number}"),
        None => files,
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text
        .parse()
        .map_err(|_| "expected an address such as `10.0.0.1` or `fd00::1`".to_owned())?;
    check_node_address(ip).map_err(|error| error.to_string())
}

fn route(text: &str) -> Result<String, String> {
    match OutputMap::new().parse_route(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("expected a directory; for the current one, use `.`".to_owned());
    }
    Ok(text.into())
}

fn owner(text: &str) -> Result<Arc<Ownership>, String> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let account = |text: &str| match text {
        "" => Ok(None),
        text => Account::new(text)
            .map(Some)
            .map_err(|error| error.to_string()),
    };
    let ownership = Ownership::of(account(user)?, account(group)?);
    ownership.ok_or_else(|| "expected USER, USER:GROUP or :GROUP".to_owned())
}
