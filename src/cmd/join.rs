//! `cfgsync join`: register, wait, receive, write, hand over.

mod environment;
mod identity;
mod metadata;
mod receipt;
mod trust;
mod resolve;
mod document;

use std::{
    cell::RefCell, ffi::OsString, net::IpAddr, os::unix::process::CommandExt, path::PathBuf,
    process::Command, time::Duration,
};

use cfgsync::{ArtifactFile, Identifier};
use cfgsync_client::{
    Join, JoinError, OutputMap, Placement, Receipt, ServerUrl, Target,
    disk::{self, DiskError, Owner, Written},
};
use cfgsync_model::{ArtifactPath, GenerationNumber, check_node_address};
use cfgsync_wire::ReceivedPayload;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind};
use tracing::{debug, info, warn};

use super::{
    credentials::{self, CredentialError, TokenSource},
    exit::Exit,
    manager::Manager,
    output,
    progress::{Progress, counted},
    server::UrlParser,
    signals::catch,
    tls::{ClientTlsArgs, TrustFailure},
    typed::Typed,
    values,
};
use document::Document;
use receipt::Existing;

/// So many written files are named one by one in the log.
const NAMED_MAX: usize = 10;

/// Register this node, wait until the cluster is complete, write its files, and hand over to CMD
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync join --server http://boot:4400 --out config.yaml=/etc/app/config.yaml
  cfgsync join --server http://boot:4400 --id node-1 --meta role=validator --meta port:=9000 \\
      --out-dir /etc/app -- /usr/bin/app --config /etc/app/config.yaml")]
pub(crate) struct JoinArgs {
    /// The join URL that `serve` prints, or any other URL of the server: instead of --server
    #[arg(value_name = "URL", value_parser = UrlParser, conflicts_with = "server")]
    url: Option<ServerUrl>,
    /// Where the server is; repeat it for servers that are tried in turn
    #[arg(long, env = "CFGSYNC_SERVER", value_name = "URL", value_parser = UrlParser)]
    server: Vec<ServerUrl>,
    #[command(flatten)]
    credentials: TokenSource,
    #[command(flatten)]
    identity: identity::IdentityArgs,
    /// Insist that the server serves this cluster
    #[arg(long, env = "CFGSYNC_CLUSTER", value_name = "NAME")]
    cluster: Option<String>,
    /// This node's identifier [default: the host's name]
    #[arg(
        long,
        env = "CFGSYNC_ID",
        value_name = "ID",
        help_heading = "This node"
    )]
    id: Option<Identifier>,
    /// The address under which others reach it [default: the local address that reaches the server]
    #[arg(long, env = "CFGSYNC_IP", value_name = "IP", value_parser = address, help_heading = "This node")]
    ip: Option<IpAddr>,
    #[command(flatten)]
    facts: Typed<metadata::FactArgs>,
    /// Where an artifact goes: ARTIFACT=PATH, DIR/=PATH/ for all below, ARTIFACT=- for stdout
    #[arg(
        long,
        env = "CFGSYNC_OUT",
        value_name = "ARTIFACT=PATH",
        value_parser = route,
        help_heading = "Files"
    )]
    out: Vec<String>,
    /// Where all other artifacts go, under their own names
    #[arg(
        long,
        env = "CFGSYNC_OUT_DIR",
        value_name = "DIR",
        value_parser = directory,
        help_heading = "Files"
    )]
    out_dir: Option<PathBuf>,
    /// Who owns the files [default: who owned the replaced ones]
    #[arg(
        long,
        env = "CFGSYNC_OWNER",
        value_name = "UID[:GID]",
        value_parser = owner,
        help_heading = "Files"
    )]
    owner: Option<Owner>,
    /// How long to try; 0 is forever
    #[arg(
        long,
        env = "CFGSYNC_TIMEOUT",
        value_name = "DURATION",
        default_value = "10m",
        value_parser = values::duration
    )]
    timeout: Duration,
    /// A dotenv artifact that becomes CMD's environment instead of a file
    #[arg(
        long,
        env = "CFGSYNC_ENV",
        value_name = "ARTIFACT",
        help_heading = "Files"
    )]
    env: Vec<ArtifactPath>,
    #[command(flatten)]
    receipt: receipt::ReceiptArgs,
    #[command(flatten)]
    trust: trust::TrustArgs,
    /// Print what was written to stdout
    #[arg(short, long, env = "CFGSYNC_OUTPUT", value_name = "FORMAT")]
    output: Option<JoinFormat>,
    #[command(flatten)]
    tls: ClientTlsArgs,
    /// The program that takes this process' place once the files are there
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// How `join` tells what it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum JoinFormat {
    /// One JSON document.
    Json,
}

/// Why `join` ended without handing over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinFailure {
    /// What was typed makes no sense (2).
    #[error("{0}")]
    Usage(String),
    /// A setting outside the command line is wrong (78).
    #[error("{0}")]
    Setting(String),
    /// The token cannot be had (78).
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// On the way to the files; each variant has its own code.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A dotenv artifact that cannot be CMD's environment (65).
    #[error("{0}")]
    Environment(String),
    /// Whom to trust is said in a way that cannot be followed.
    #[error(transparent)]
    Trust(#[from] TrustFailure),
    /// SIGINT (130) or SIGTERM (143).
    #[error("ended by {}", .0.name())]
    Ended(EndedBy),
    /// CMD does not exist (127).
    #[error("{}: command not found", if .0.is_empty() { "\"\"" } else { .0 })]
    CommandNotFound(String),
    /// CMD exists and cannot be executed (126).
    #[error("cannot execute {0}: {1}")]
    CommandNotExecutable(String, std::io::Error),
}

/// Which signal ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndedBy {
    Interrupt,
    Terminate,
}

impl EndedBy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// Joins, and hands over.
pub(crate) fn run(args: JoinArgs) -> anyhow::Result<Exit> {
    let mut signals = Signals::catch()?;
    let progress = Progress::new();
    let is_interactive = progress.is_interactive();
    // One thread: a node that waits costs its machine nothing.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        // Beside the signals: what files and programs feed into it may be long in coming.
        let resolving = tokio::task::spawn_blocking(move || resolve::plan(args, is_interactive));
        let plan = tokio::select! {
            ended_by = signals.next() => return Err(JoinFailure::Ended(ended_by).into()),
            plan = resolving => plan??,
        };
        let variables = join(&plan, &mut signals, progress).await?;
        anyhow::Ok((plan.command, variables))
    });
    // A name that is still being looked up does not hold up the program.
    runtime.shutdown_background();
    if let Err(error) = &done {
        Manager::from_environment().status(&error.to_string());
    }
    let (command, variables) = done?;
    match command.split_first() {
        None => Ok(Exit::Done),
        Some((program, arguments)) => Err(execute(program, arguments, variables).into()),
    }
}

/// Up to the files on disk; answers with CMD's additional environment.
async fn join(
    plan: &resolve::Plan,
    signals: &mut Signals,
    progress: Progress,
) -> anyhow::Result<Vec<(String, String)>> {
    let mut join = Join::new(plan.client.clone(), plan.options.clone());
    let mut ticks = tokio::time::interval(progress.tick_every());
    let progress = RefCell::new(progress);
    let outcome = {
        let run = join.run(|event| progress.borrow_mut().event(event));
        tokio::pin!(run);
        let existing = existing(plan, &progress);
        tokio::pin!(existing);
        loop {
            tokio::select! {
                biased;
                ended_by = signals.next() => break Outcome::Ended(ended_by),
                outcome = &mut run => break Outcome::Answered(outcome),
                existing = &mut existing => break Outcome::Existing(existing),
                _ = ticks.tick() => progress.borrow_mut().tick(),
            }
        }
    };
    progress.borrow_mut().finish();
    let outcome = match (outcome, &plan.receipt) {
        (Outcome::Answered(Err(error)), Some(keeping)) if error.is_of_time() => tokio::select! {
            biased;
            ended_by = signals.next() => Outcome::Ended(ended_by),
            existing = keeping.instead(&error, &plan.options, &plan.outputs) => match existing {
                Some(existing) => Outcome::Existing(existing),
                None => Outcome::Answered(Err(error)),
            },
        },
        (outcome, _) => outcome,
    };
    // What was waited for would stand in `systemctl status` for as long as the unit is active.
    let manager = Manager::from_environment();
    let variables = match outcome {
        Outcome::Answered(payload) => {
            let payload = payload.map_err(JoinFailure::Join)?;
            let variables = deliver(plan, &join, &payload)?;
            let delivered = amount(payload.files.files().len(), payload.generation);
            manager.status(&format!("delivered: {delivered}"));
            variables
        }
        Outcome::Existing(Existing { receipt, standing }) => {
            let kept = amount(standing.len(), receipt.generation);
            manager.status(&format!("going on with what was delivered before: {kept}"));
            // The registration stays: this node is a member, and the others may be waiting for it.
            if plan.json {
                let document = Document::of_existing(&join, &receipt, &standing);
                print_file(document.to_json()).map_err(|error| JoinFailure::Join(error.into()))?;
            }
            vec![]
        }
        Outcome::Ended(ended_by) => {
            if let Err(error) = join.withdraw().await {
                warn!("could not take the registration back: {error}");
            }
            return Err(JoinFailure::Ended(ended_by).into());
        }
    };
    // One that came while the files were written.
    match signals.pending().await {
        Some(ended_by) => Err(JoinFailure::Ended(ended_by).into()),
        None => Ok(variables),
    }
}

/// How the waiting came to an end.
enum Outcome {
    /// By the server, or by the time.
    Answered(Result<ReceivedPayload, JoinError>),
    /// With the files of an earlier delivery.
    Existing(Existing),
    /// By a signal.
    Ended(EndedBy),
}

/// Completes if it is time to go on with the files of an earlier delivery.
async fn existing(plan: &resolve::Plan, progress: &RefCell<Progress>) -> Existing {
    let Some(keeping) = &plan.receipt else {
        return std::future::pending().await;
    };
    let say = |write: &dyn Fn()| progress.borrow().line(write);
    let existing = keeping.existing(&plan.options, &plan.outputs, say);
    existing.await
}

/// Routes everything before anything is written, then writes, prints and tells; answers with CMD's additional
/// environment.
fn deliver(
    plan: &resolve::Plan,
    join: &Join,
    payload: &ReceivedPayload,
) -> Result<Vec<(String, String)>, JoinFailure> {
    let placed = plan
        .outputs
        .plan(&payload.files)
        .map_err(JoinError::Route)?;
    let mut variables = Vec::new();
    for file in plan
        .env
        .iter()
        .filter_map(|artifact| payload.files.get(artifact))
    {
        variables.extend(environment::read(file).map_err(JoinFailure::Environment)?);
    }
    let mut files: Vec<(&ArtifactFile, &Target)> = Vec::new();
    let mut printed = Vec::new();
    for placed in &placed {
        match &placed.placement {
            Placement::File(target) => files.push((placed.file, target)),
            Placement::Stdout => printed.push(placed.file.content.to_bytes()),
            Placement::Consumed => {}
        }
    }
    // Nobody is told of the receipt as of a file of the payload.
    let told = files.len();
    let receipt = plan.receipt.as_ref().map(|keeping| {
        let receipt = Receipt::of(&plan.options.identifier, join.cluster(), payload, &placed);
        (receipt.to_file(), keeping.target())
    });
    files.extend(receipt.as_ref().map(|(file, target)| (file, target)));
    let written = disk::write_and(&files, plan.owner, |written| {
        for bytes in printed {
            print_file(bytes)?;
        }
        if plan.json {
            let document = Document::of(plan, join, payload, &written[..told]);
            print_file(document.to_json())?;
        }
        Ok(())
    });
    tell(&written.map_err(JoinError::Disk)?[..told]);
    Ok(variables)
}

/// `2 files of generation 7`; servers of the older protocol do not say which.
fn amount(files: usize, generation: Option<GenerationNumber>) -> String {
    let files = counted(files, "file");
    match generation {
        Some(number) => format!("{files} of generation {number}"),
        None => files,
    }
}

/// Prints what somebody routed here: where it does not arrive, it was not delivered.
fn print_file(bytes: impl AsRef<[u8]>) -> Result<(), DiskError> {
    output::write(bytes).map_err(|problem| DiskError::Io {
        action: "write to",
        path: "standard output".into(),
        problem,
    })
}

fn tell(written: &[Written]) {
    let changed = written
        .iter()
        .filter(|file| file.outcome != disk::Outcome::Unchanged);
    let count = changed.clone().count();
    for file in changed
        .clone()
        .filter(|file| file.outcome == disk::Outcome::Overwritten)
    {
        warn!(
            "{} is mounted by itself and was rewritten in place: not atomic",
            file.path.display()
        );
    }
    for file in changed {
        if count <= NAMED_MAX {
            info!("wrote {}", file.path.display());
        } else {
            debug!("wrote {}", file.path.display());
        }
    }
    if count > NAMED_MAX {
        info!("wrote {}", counted(count, "file"));
    }
    if count < written.len() {
        info!("{} unchanged", counted(written.len() - count, "file"));
    }
}

fn execute(
    program: &OsString,
    arguments: &[OsString],
    variables: Vec<(String, String)>,
) -> JoinFailure {
    let mut command = Command::new(program);
    // The token was this program's, not its successor's.
    command.args(arguments);
    for variable in credentials::with_a_token() {
        command.env_remove(variable);
    }
    let error = command.envs(variables).exec();
    let program = program.to_string_lossy().into_owned();
    match error.kind() {
        std::io::ErrorKind::NotFound => JoinFailure::CommandNotFound(program),
        _ => JoinFailure::CommandNotExecutable(program, error),
    }
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// See [`catch`].
    fn catch() -> std::io::Result<Self> {
        let [interrupt, terminate] = catch([SignalKind::interrupt(), SignalKind::terminate()])?;
        Ok(Self {
            interrupt,
            terminate,
        })
    }

    async fn next(&mut self) -> EndedBy {
        tokio::select! {
            _ = self.interrupt.recv() => EndedBy::Interrupt,
            _ = self.terminate.recv() => EndedBy::Terminate,
        }
    }

    /// One that is already there.
    async fn pending(&mut self) -> Option<EndedBy> {
        // Gives the runtime the turn in which it notices.
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            ended_by = self.next() => Some(ended_by),
            () = std::future::ready(()) => None,
        }
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text
        .parse()
        .map_err(|_| "expected an address such as `10.0.0.1` or `fd00::1`".to_owned())?;
    check_node_address(ip).map_err(|error| error.to_string())
}

fn route(text: &str) -> Result<String, String> {
    match OutputMap::new().route(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn directory(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("expected a directory; `.` is this one".to_owned()),
        _ => Ok(text.into()),
    }
}

fn owner(text: &str) -> Result<Owner, String> {
    const EXPECTED: &str = "expected numbers: UID or UID:GID";
    let number = |digits: &str| digits.parse().map_err(|_| EXPECTED.to_owned());
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (number(uid)?, Some(number(gid)?)),
        None => (number(text)?, None),
    };
    // The kernel takes this for "leave it as it is".
    if uid == u32::MAX || gid == Some(u32::MAX) {
        return Err(format!("{} is not an owner", u32::MAX));
    }
    Ok(Owner { uid, gid })
}
