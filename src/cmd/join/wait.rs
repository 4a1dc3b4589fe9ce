//! Runs the session and shows its events, until there is a payload, a failure, a signal, or a reason to continue with
//! the previous delivery.

use std::time::Duration;

use cfgsync_client::{JoinError, PreviousDelivery, Session};
use cfgsync_support::duration;
use cfgsync_wire::ReceivedPayload;
use tracing::{info, warn};

use super::{
    describe_files,
    fallback::{self, Verified},
    resolve::Plan,
    signals::{EndedBy, Signals},
};
use crate::cmd::progress::Progress;

/// The reason why the wait is over.
pub(super) enum Outcome {
    /// The server delivered the payload.
    Payload(Box<ReceivedPayload>),
    /// The session failed.
    Failed(JoinError),
    /// The node continues with the files of the previous delivery.
    Previous(Box<PreviousDelivery>),
    /// A signal arrived.
    Ended(EndedBy),
}

/// Runs `session` to its end.
pub(super) async fn wait(
    session: &mut Session,
    plan: &Plan,
    signals: &mut Signals,
    mut progress: Progress,
) -> Outcome {
    let fallback = plan.receipt.as_ref().and_then(|receipt| receipt.fallback);
    let outcome = run(session, plan, signals, &mut progress, fallback).await;
    progress.finish();
    match outcome {
        Outcome::Failed(error) if fallback.is_some() && error.is_expiry() => {
            tokio::select! {
                biased;
                ended_by = signals.next() => Outcome::Ended(ended_by),
                outcome = after_expiry(error, plan) => outcome,
            }
        }
        outcome => outcome,
    }
}

async fn run(
    session: &mut Session,
    plan: &Plan,
    signals: &mut Signals,
    progress: &mut Progress,
    fallback: Option<Duration>,
) -> Outcome {
    let mut ticks = tokio::time::interval(progress.tick_every());
    let mut events = session.start();
    let verified = async {
        match fallback {
            Some(after) => {
                tokio::time::sleep(after).await;
                (after, fallback::verify(&plan.delivery, &plan.options).await)
            }
            None => std::future::pending().await,
        }
    };
    tokio::pin!(verified);
    let mut is_verified = false;
    loop {
        tokio::select! {
            biased;
            ended_by = signals.next() => return Outcome::Ended(ended_by),
            event = events.next() => match event {
                Some(event) => progress.event(event),
                None => break,
            },
            (after, verified) = &mut verified, if !is_verified => {
                is_verified = true;
                if let Some(previous) = after_timeout(after, verified, plan, progress) {
                    return Outcome::Previous(previous);
                }
            }
            _ = ticks.tick() => progress.tick(),
        }
    }
    match events.finish().await {
        Ok(payload) => Outcome::Payload(Box::new(payload)),
        Err(error) => Outcome::Failed(error),
    }
}

/// Continues with the previous delivery because the fallback time has passed, or says why not.
fn after_timeout(
    after: Duration,
    verified: Verified,
    plan: &Plan,
    progress: &Progress,
) -> Option<Box<PreviousDelivery>> {
    let after = duration::text(after);
    match verified {
        Verified::Files(previous) => {
            let kept = describe_files(previous.files.len(), previous.receipt.generation);
            progress.line(|| {
                warn!(
                    "nothing was delivered within {after}: continuing with the previous delivery, {kept}, unchanged \
                     since"
                );
            });
            return Some(previous);
        }
        Verified::NoReceipt => progress.line(|| {
            let receipt = plan.delivery.receipt().unwrap_or("".as_ref()).display();
            info!(
                "nothing was delivered within {after}, and there is no receipt {receipt} of a previous delivery; \
                 still waiting"
            );
        }),
        Verified::Different(problem) => progress.line(|| {
            warn!("nothing was delivered within {after}, and {problem}; still waiting");
        }),
    }
    None
}

/// Continues with the previous delivery at once. The server will deliver nothing, because a credential has expired, but
/// no operator has rejected this node.
async fn after_expiry(error: JoinError, plan: &Plan) -> Outcome {
    match fallback::verify(&plan.delivery, &plan.options).await {
        Verified::Files(previous) => {
            let kept = describe_files(previous.files.len(), previous.receipt.generation);
            warn!("{error}");
            warn!(
                "the server delivers nothing until the credential is renewed: continuing with the previous delivery, \
                 {kept}, unchanged since"
            );
            Outcome::Previous(previous)
        }
        Verified::NoReceipt => Outcome::Failed(error),
        Verified::Different(problem) => {
            warn!("{problem}");
            Outcome::Failed(error)
        }
    }
}
