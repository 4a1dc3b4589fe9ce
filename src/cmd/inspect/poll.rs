//! Asks a server until something is the case: `inspect health` and `--wait`.

use std::{str::FromStr, time::Duration};

use cfgsync_client::{CallError, Client, PhaseNodes, PhaseQuestion, UnreachableCause};
use cfgsync_model::Phase;
use cfgsync_support::{duration, nearest::did_you_mean};
use cfgsync_wire::{ClusterBody, ClusterState, TLS_REQUIRED};
use tokio::time::{Instant, sleep, timeout};

use super::{InspectError, cluster_table};
use crate::cmd::{error::CommandError, exit::Exit, output::print, phase_wait};

/// How long a health check may take. Container runtimes have a timeout of their own for it.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the server is asked.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A state to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WaitFor {
    /// The server has a generation.
    Ready,
    /// The cluster has failed.
    Failed,
    /// All nodes of the newest generation have reached this phase.
    Phase(Phase),
}

impl FromStr for WaitFor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ready" => return Ok(Self::Ready),
            "failed" => return Ok(Self::Failed),
            _ => {}
        }
        // A misspelled state would be a phase that no node ever reports.
        if let Some(question) = did_you_mean(text, ["ready", "failed"]) {
            return Err(question);
        }
        let phase = Phase::new(text).map_err(|error| error.to_string())?;
        Ok(Self::Phase(phase))
    }
}

/// Checks whether the server answers.
pub(super) async fn health(client: &Client) -> Result<Exit, CommandError> {
    let unhealthy = match timeout(HEALTH_TIMEOUT, client.livez()).await {
        Ok(Ok(answer)) => {
            print(format!("{} answers\n", answer.meta.server))?;
            return Ok(Exit::Done);
        }
        // A health check next to a TLS server may have neither its pin nor a client certificate.
        Ok(Err(CallError::Refused { body, meta, .. }))
            if body.reason.as_deref() == Some(TLS_REQUIRED) =>
        {
            print(format!("{} answers, over TLS\n", meta.server))?;
            return Ok(Exit::Done);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {}", duration::text(HEALTH_TIMEOUT)),
    };
    Err(InspectError::Unhealthy(unhealthy).into())
}

/// Waits until the cluster is in the state `wanted`, for at most `limit`. Also waits while the server is unreachable,
/// because it may still be starting.
pub(super) async fn wait(
    client: &Client,
    wanted: &WaitFor,
    limit: Option<Duration>,
) -> Result<ClusterBody, CommandError> {
    if let WaitFor::Phase(phase) = wanted {
        let question = PhaseQuestion {
            phase: phase.clone(),
            generation: None,
            nodes: PhaseNodes::All,
        };
        phase_wait::wait(client, question, limit).await?;
        return Ok(client.snapshot().await?.value);
    }
    let started = Instant::now();
    loop {
        let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
        let asked = match left {
            // Even with a very short limit, the server is asked once.
            Some(left) => timeout(left.max(POLL_INTERVAL), client.snapshot())
                .await
                .ok(),
            None => Some(client.snapshot().await),
        };
        let last: CommandError = match asked {
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
                        wanted: if *wanted == WaitFor::Ready {
                            "ready"
                        } else {
                            "failed"
                        },
                        waited: limit.unwrap_or_default(),
                        last: format!("{} {}", cluster_table::state(body.state), body.progress),
                    }
                    .into(),
                }
            }
            Some(Err(error @ (CallError::Unreachable { .. } | CallError::Broken { .. }))) => {
                error.into()
            }
            Some(Err(error)) => return Err(error.into()),
            None => CallError::Unreachable {
                server: client.server(),
                problem: "no answer within the timeout".to_owned(),
                cause: UnreachableCause::Response,
            }
            .into(),
        };
        if limit.is_some_and(|limit| started.elapsed() + POLL_INTERVAL >= limit) {
            return Err(last);
        }
        sleep(POLL_INTERVAL).await;
    }
}
