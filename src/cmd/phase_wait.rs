//! Waits until nodes have reached a phase, for `wait` and `inspect --wait`.

use std::time::Duration;

use cfgsync_client::{Client, PhaseQuestion};
use cfgsync_support::duration;
use cfgsync_wire::PhaseState;
use tokio::time::{Instant, sleep};

use super::{error::CommandError, exit::Exit, node_client::may_succeed_later};

/// The longest wait of one request. The progress is logged after each one.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(30);

/// The first wait, so that the first line of progress comes soon.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// The pause after a response that did not wait, or after an error.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Waits until the nodes have reached the phase, for at most `limit`. Returns the progress in one line.
///
/// The generation is the newest one of the first response, so that a node that joins later delays nothing.
pub(crate) async fn wait(
    client: &Client,
    mut question: PhaseQuestion,
    limit: Option<Duration>,
) -> Result<String, CommandError> {
    let started = Instant::now();
    let mut longest = FIRST_WAIT;
    let mut instance = None;
    let mut last: Option<CommandError> = None;
    loop {
        let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
        // The server waits whole seconds.
        let wait = left.map_or(longest, |left| left.min(longest));
        let is_last = left.is_some_and(|left| left <= RETRY_PAUSE);
        let asked = client.phase(&question, Some(wait));
        let answer = match left {
            Some(left) => tokio::time::timeout(left.max(RETRY_PAUSE), asked)
                .await
                .ok(),
            None => Some(asked.await),
        };
        let has_waited =
            matches!(&answer, Some(Ok(response)) if response.meta.waited && wait.as_secs() > 0);
        match answer {
            Some(Ok(response)) => {
                if instance.is_some() && instance != response.meta.instance {
                    return Err(CommandError::new(
                        Exit::NotReady,
                        "the server has another state than before, so its generations are others: join again",
                    ));
                }
                instance = response.meta.instance;
                let body = response.value;
                question.generation.get_or_insert(body.phase.generation);
                match body.state {
                    PhaseState::Reached => return Ok(body.message),
                    PhaseState::Failed => {
                        return Err(CommandError::new(Exit::ClusterFailed, body.message).hint(
                            "solve the cause on the node that failed, and report the phase again",
                        ));
                    }
                    PhaseState::Waiting => {
                        let limit = duration::text(limit.unwrap_or_default());
                        let message = format!("not reached within {limit}: {}", body.message);
                        last = Some(CommandError::new(Exit::NotReady, message).hint(
                            "the nodes that are missing have not reported the phase; `cfgsync inspect` shows them",
                        ));
                        if !is_last {
                            tracing::info!("waiting: {}", body.message);
                        }
                    }
                }
            }
            Some(Err(error)) if !may_succeed_later(&error) => return Err(error.into()),
            Some(Err(error)) => last = Some(error.into()),
            None => {}
        }
        longest = REQUEST_WAIT_MAX;
        if is_last || limit.is_some_and(|limit| started.elapsed() >= limit) {
            return Err(last.unwrap_or_else(|| {
                CommandError::new(
                    Exit::Unreachable,
                    format!("{} does not respond", client.server()),
                )
            }));
        }
        if !has_waited {
            sleep(RETRY_PAUSE).await;
        }
    }
}
