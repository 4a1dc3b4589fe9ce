//! The routes of runs.

use std::pin::pin;

use axum::body::Body;
use hyper::StatusCode;
use tokio::time::Instant;

use super::{
    super::{
        context::Context,
        rejection::Rejection,
        reply::{self, RoutedReply},
        request_headers::prefer_wait,
    },
    bounded_body,
    node::hold,
    small_body,
};
use cfgsync_cluster::{RunAnswer, RunRequest};
use cfgsync_model::RUN_OUTPUT_MAX_BYTES;
use cfgsync_wire::{RunAnswerState, RunBody, encode_output, read_claim, read_runner};

/// The longest body of a runner, in bytes. The output in it is encoded as base64.
const RUNNER_BODY_MAX_BYTES: usize = RUN_OUTPUT_MAX_BYTES / 3 * 4 + (16 << 10);

type Routed = Result<RoutedReply, Rejection>;

/// `GET /v1/run-once`.
pub(in super::super) async fn list(context: Context) -> RoutedReply {
    reply::json(&context.server().coordinator.runs()).into()
}

/// `DELETE /v1/run-once/{run}`.
pub(in super::super) async fn forget(context: Context) -> Routed {
    let name = context.path_run()?;
    context.announce().await?;
    context.server().coordinator.forget_run(name).await?;
    Ok(reply::accepted().into())
}

/// `POST /v1/run-once/{run}/claim`. With `Prefer: wait` it is held until the process may run the program, or until the run
/// has a result.
pub(in super::super) async fn claim(mut context: Context, mut body: Body) -> Routed {
    let name = context.path_run()?;
    let (claim, process) = read_claim(&small_body(&context, &mut body).await?)?;
    context.authorize_identifier(&claim.identifier)?;
    let request = RunRequest {
        name,
        runner: claim.identifier.clone(),
        claim: process,
        is_per_generation: claim.per_generation,
        generation: claim.generation,
        tries_max: claim.tries,
    };
    let preferred = prefer_wait(&context.head.headers);
    let connection = context.connection().clone();
    let server = &*connection.server;
    let wait = preferred.unwrap_or_default().min(server.config.wait_max);
    let coordinator = &server.coordinator;
    let claiming = pin!(coordinator.claim_run(&request, Instant::now() + wait));
    let answer = hold(&context, claiming).await?;
    // A runner whose token was revoked meanwhile learns no output. Its lease ends by itself.
    context.authorize_identifier(&claim.identifier)?;
    let name = &request.name;
    let mut reply = match answer {
        RunAnswer::Run { fence, lease } => {
            let message = format!("{} runs {name}, with fence {fence}", claim.identifier);
            reply::json(&RunBody {
                fence: Some(fence),
                lease_milliseconds: u64::try_from(lease.as_millis()).ok(),
                ..RunBody::new(RunAnswerState::Run, message)
            })
        }
        RunAnswer::Done {
            fence,
            runner,
            output,
        } => {
            let message = format!("{name} was done by {runner}, with fence {fence}");
            reply::json(&RunBody {
                fence: Some(fence),
                output: Some(encode_output(&output)),
                ..RunBody::new(RunAnswerState::Done, message)
            })
        }
        RunAnswer::Waiting(runner) => {
            let message = format!("{runner} runs {name}");
            let body = RunBody::new(RunAnswerState::Waiting, message);
            let mut reply = with_status(StatusCode::TOO_EARLY, &body);
            reply::retry_after_wait(&mut reply, wait);
            reply
        }
        RunAnswer::Exhausted {
            failures,
            runner,
            reason,
        } => {
            let tries = if failures == 1 { "try" } else { "tries" };
            let message =
                format!("{name} failed after {failures} {tries}, last on {runner}: {reason}");
            with_status(
                StatusCode::GONE,
                &RunBody::new(RunAnswerState::Failed, message),
            )
        }
        RunAnswer::Failed(failure) => reply::failed(&failure),
        RunAnswer::Draining => return Err(Rejection::Stopping),
    };
    if preferred.is_some() {
        reply::preference_applied(&mut reply);
    }
    Ok(reply.into())
}

/// `POST /v1/run-once/{run}/renew`.
pub(in super::super) async fn renew(mut context: Context, mut body: Body) -> Routed {
    let name = context.path_run()?;
    let (runner, _) = read_runner(&small_body(&context, &mut body).await?)?;
    context.authorize_identifier(&runner.identifier)?;
    let coordinator = &context.server().coordinator;
    let lease = coordinator.renew_run(&name, &runner.identifier, runner.fence)?;
    let message = format!(
        "{} runs {name}, with fence {}",
        runner.identifier, runner.fence
    );
    let body = RunBody {
        fence: Some(runner.fence),
        lease_milliseconds: u64::try_from(lease.as_millis()).ok(),
        ..RunBody::new(RunAnswerState::Run, message)
    };
    Ok(reply::json(&body).into())
}

/// `POST /v1/run-once/{run}/done`.
pub(in super::super) async fn done(mut context: Context, mut body: Body) -> Routed {
    let name = context.path_run()?;
    let limit = context.server().config.body_timeout;
    let body = bounded_body(&context, &mut body, RUNNER_BODY_MAX_BYTES, limit).await?;
    let (runner, output) = read_runner(&body)?;
    context.authorize_identifier(&runner.identifier)?;
    context.announce().await?;
    let coordinator = &context.server().coordinator;
    let (identifier, fence) = (runner.identifier, runner.fence);
    coordinator
        .finish_run(name, identifier, fence, output)
        .await?;
    Ok(reply::accepted().into())
}

/// `POST /v1/run-once/{run}/failed`.
pub(in super::super) async fn failed(mut context: Context, mut body: Body) -> Routed {
    let name = context.path_run()?;
    let (runner, _) = read_runner(&small_body(&context, &mut body).await?)?;
    context.authorize_identifier(&runner.identifier)?;
    context.announce().await?;
    let coordinator = &context.server().coordinator;
    let (identifier, fence) = (runner.identifier, runner.fence);
    let reason = runner.reason.unwrap_or_else(|| "it failed".to_owned());
    coordinator
        .fail_run(name, identifier, fence, reason)
        .await?;
    Ok(reply::accepted().into())
}

fn with_status(status: StatusCode, body: &RunBody) -> reply::Reply {
    let bytes = serde_json::to_vec(body).expect("the bodies of `wire` have string keys only");
    reply::json_bytes(status, bytes.into())
}
