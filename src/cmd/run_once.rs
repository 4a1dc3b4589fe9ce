//! `cfgsync run-once`: of all nodes that call it, one at a time runs a program, and all get the result of one success.

mod child;

use std::{ffi::OsString, io, time::Duration};

use cfgsync_client::{CallError, Client};
use cfgsync_model::{ClaimId, Fence, GenerationNumber, Identifier, RunName};
use cfgsync_support::duration;
use cfgsync_wire::{ClaimBody, FENCED, RunAnswerState, RunBody, RunEntry, encode_claim};
use clap::Args;
use tokio::time::{Instant, sleep};

use super::{
    error::CommandError,
    exit::Exit,
    join::{EndedBy, Signals},
    node_client::{NodeArgs, WantedGeneration, may_succeed_later, retry},
    output::{Format, columns, print_as, print_document},
    parsers,
    server::block_on,
    threads::ThreadsError,
};
use child::{Child, Ended};

/// The longest wait of one request. The progress is logged after each one.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(30);

/// The first wait, so that the first line of progress comes soon.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The pause after a response that did not wait, or after an error.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The longest time for the report of a failure or a success.
const REPORT_TIMEOUT: Duration = Duration::from_mins(1);

/// Run a program once for all nodes
///
/// Of all nodes that call it with the same name, one at a time runs CMD. When CMD succeeds, all of them print its standard
/// output and exit with 0. If CMD fails, or if its node dies, the next node runs it. A node that was stopped may still run
/// CMD when the next one begins, so CMD must tolerate that. CFGSYNC_FENCE in its environment is a number that rises with
/// each runner.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cfgsync run-once create-cluster -- redis-cli --cluster create 10.0.0.1:6379 10.0.0.2:6379
  cfgsync run-once migrate --per-generation --tries 1 -- ./migrate.sh
  cfgsync run-once --list
  cfgsync run-once --forget migrate")]
pub(crate) struct RunOnceArgs {
    /// The name of the run: 1 to 64 of a-z, 0-9, '.', '_' and '-'
    #[arg(value_name = "NAME", required_unless_present_any = ["list", "forget"])]
    name: Option<RunName>,
    /// The number of failures after which this node gives up
    #[arg(
        long,
        env = "CFGSYNC_TRIES",
        value_name = "N",
        default_value = "3",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    tries: u32,
    /// Run it once for each generation, instead of once for the whole life of the cluster
    #[arg(long, env = "CFGSYNC_PER_GENERATION")]
    per_generation: bool,
    /// The generation for --per-generation: a number, or `newest` [default: newest]
    #[arg(long, env = "CFGSYNC_GENERATION", value_name = "N")]
    generation: Option<WantedGeneration>,
    /// How long to wait for another node that runs it; 0 means no limit. The time that CMD takes does not count
    #[arg(
        long,
        env = "CFGSYNC_TIMEOUT",
        value_name = "DURATION",
        default_value = "10m",
        value_parser = parsers::duration
    )]
    timeout: Duration,
    /// List the runs
    #[arg(long, env = "CFGSYNC_LIST", conflicts_with_all = ["name", "forget"])]
    list: bool,
    /// Forget a run, so that it is done once more; for operators
    #[arg(
        long,
        env = "CFGSYNC_FORGET",
        value_name = "NAME",
        conflicts_with = "name"
    )]
    forget: Option<RunName>,
    /// Output format of --list
    #[arg(
        short,
        long,
        env = "CFGSYNC_OUTPUT",
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
    #[command(flatten)]
    node: NodeArgs,
    /// The program
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// One node that takes part in a run.
struct Caller {
    client: Client,
    id: Identifier,
    name: RunName,
    claim: ClaimBody,
    command: Vec<OsString>,
    /// The time for which the caller waits for others.
    limit: Option<Duration>,
}

pub(crate) fn run(args: RunOnceArgs) -> Result<Exit, CommandError> {
    if args.list || args.forget.is_some() {
        let client = args.node.operator_client()?;
        return block_on(async move {
            if let Some(name) = &args.forget {
                client.forget_run(name).await?;
                tracing::info!("forgot {name}: the next caller runs it");
                return Ok(Exit::Done);
            }
            let runs = client.runs().await?.value;
            print_as(args.output, &runs, |runs| table(runs))?;
            Ok(Exit::Done)
        });
    }
    let Some(name) = args.name else {
        return Err(CommandError::usage("the name of the run is missing"));
    };
    if args.command.is_empty() {
        return Err(CommandError::usage(
            "the program is missing: add -- CMD at the end",
        ));
    }
    let mut signals = Signals::catch().map_err(ThreadsError::Other)?;
    let (id, client) = args.node.client()?;
    let caller = Caller {
        client,
        claim: ClaimBody {
            identifier: id.clone(),
            claim: String::new(),
            per_generation: args.per_generation,
            generation: args.generation.and_then(WantedGeneration::number),
            tries: args.tries,
        },
        id,
        name,
        command: args.command,
        limit: parsers::limit(args.timeout),
    };
    block_on(async move { caller.run(&mut signals).await })
}

impl Caller {
    /// Takes part until the run has a result.
    async fn run(mut self, signals: &mut Signals) -> Result<Exit, CommandError> {
        loop {
            // Each try is another process for the server.
            self.claim.claim = encode_claim(new_claim()?);
            let claimed = tokio::select! {
                biased;
                ended_by = signals.next() => return Err(ended(ended_by)),
                claimed = self.claim() => claimed?,
            };
            let body = match claimed.state {
                RunAnswerState::Done => {
                    tracing::info!("{}", claimed.message);
                    let Some(output) = claimed.output_bytes() else {
                        let message = "the server sent output that is not base64";
                        return Err(CommandError::new(Exit::Unusable, message));
                    };
                    print_document(output)?;
                    return Ok(Exit::Done);
                }
                RunAnswerState::Failed | RunAnswerState::Waiting => {
                    return Err(CommandError::new(Exit::ClusterFailed, claimed.message)
                        .hint("solve the cause; then an operator runs `cfgsync run-once --forget NAME`"));
                }
                RunAnswerState::Run => claimed,
            };
            self.run_program(&body, signals).await?;
        }
    }

    /// Asks until there is an answer other than "another node runs it".
    async fn claim(&self) -> Result<RunBody, CommandError> {
        let started = Instant::now();
        let mut longest = FIRST_WAIT;
        loop {
            let left = self
                .limit
                .map(|limit| limit.saturating_sub(started.elapsed()));
            let wait = left.map_or(longest, |left| left.min(longest));
            longest = REQUEST_WAIT_MAX;
            let asked = Instant::now();
            let claimed = self
                .client
                .claim_run(&self.name, &self.claim, Some(wait))
                .await;
            let last: CommandError = match claimed {
                Ok(response) if response.value.state != RunAnswerState::Waiting => {
                    return Ok(response.value);
                }
                Ok(response) => {
                    let message = response.value.message;
                    tracing::info!("waiting: {message}");
                    let limit = duration::text(self.limit.unwrap_or_default());
                    let message = format!("not done within {limit}: {message}");
                    CommandError::new(Exit::NotReady, message)
                }
                Err(error) if !may_succeed_later(&error) => return Err(error.into()),
                Err(error) => error.into(),
            };
            let is_late = |limit| started.elapsed() + RETRY_PAUSE >= limit;
            if self.limit.is_some_and(is_late) {
                return Err(last);
            }
            if asked.elapsed() < RETRY_PAUSE {
                sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Runs the program as the runner of `body`, and records the result.
    async fn run_program(&self, body: &RunBody, signals: &mut Signals) -> Result<(), CommandError> {
        let (Some(fence), Some(lease)) = (body.fence, body.lease_milliseconds) else {
            let message = "the server made this node the runner, but sent no fence or no lease";
            return Err(CommandError::new(Exit::Unusable, message));
        };
        let lease = Duration::from_millis(lease);
        // The claim may have been held, so the time of its answer does not say when the lease began.
        let renewed_at = Instant::now();
        let renewed = retry(Some(lease / 2), || {
            self.client.renew_run(&self.name, &self.id, fence)
        });
        if let Err(error) = renewed.await {
            tracing::warn!("not running {}: {error}", self.name);
            return Ok(());
        }
        tracing::info!("running {}, with fence {fence}", self.name);
        let mut child = match Child::spawn(&self.command, &self.id, fence) {
            Ok(child) => child,
            Err(error) => {
                self.report_failure(fence, &error.to_string()).await?;
                return Err(error.into());
            }
        };
        match child
            .supervise(self, fence, lease, renewed_at, signals)
            .await?
        {
            Ended::Exited(status) if status.success() => {
                let output = child.output().await;
                let finished = retry(Some(REPORT_TIMEOUT), || {
                    self.client.finish_run(&self.name, &self.id, fence, &output)
                });
                match finished.await {
                    Ok(_) => Ok(()),
                    Err(error) => after_refusal(error),
                }
            }
            Ended::Exited(status) => {
                let reason = child.failure(status).await;
                tracing::warn!("{} failed: {reason}", self.name);
                self.report_failure(fence, &reason).await
            }
            Ended::Lost(reason) => {
                tracing::warn!("killed CMD of {}: {reason}", self.name);
                Ok(())
            }
            Ended::Signal(ended_by) => {
                let reason = format!("ended by {}", ended_by.name);
                self.report_failure(fence, &reason).await?;
                Err(ended(ended_by))
            }
        }
    }

    async fn report_failure(&self, fence: Fence, reason: &str) -> Result<(), CommandError> {
        let failed = retry(Some(REPORT_TIMEOUT), || {
            self.client.fail_run(&self.name, &self.id, fence, reason)
        });
        match failed.await {
            Ok(_) => Ok(()),
            Err(error) => after_refusal(error),
        }
    }
}

/// Goes on after a result that was refused, because another node has begun meanwhile.
fn after_refusal(error: CallError) -> Result<(), CommandError> {
    match &error {
        CallError::Refused { body, .. } if body.reason.as_deref() == Some(FENCED) => {
            tracing::warn!("the result is not used: {}", body.message);
            Ok(())
        }
        _ => Err(error.into()),
    }
}

fn new_claim() -> Result<ClaimId, CommandError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let error = io::Error::other(error.to_string());
        CommandError::new(
            Exit::Unexpected,
            format!("cannot get random numbers: {error}"),
        )
    })?;
    Ok(ClaimId(bytes))
}

fn ended(ended_by: EndedBy) -> CommandError {
    let message = format!("ended by {}", ended_by.name);
    CommandError::new(Exit::of_signal(ended_by.number), message)
}

fn table(runs: &[RunEntry]) -> String {
    if runs.is_empty() {
        return "no run yet\n".to_owned();
    }
    let row = |run: &RunEntry| {
        vec![
            run.name.to_string(),
            run.state.clone(),
            run.runner.to_string(),
            run.fence.to_string(),
            run.generation
                .map_or_else(String::new, |number: GenerationNumber| number.to_string()),
            run.failures.to_string(),
            format!("{:.0}", run.at),
            run.last_error.clone().unwrap_or_default(),
        ]
    };
    columns(
        &[
            "NAME",
            "STATE",
            "RUNNER",
            "FENCE",
            "GENERATION",
            "FAILURES",
            "SINCE",
            "ERROR",
        ],
        &runs.iter().map(row).collect::<Vec<_>>(),
    )
}
