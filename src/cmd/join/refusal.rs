//! Tells the server that this node does not use a generation: the node reports the phase `failed` about it.

use std::time::Duration;

use cfgsync_client::Session;
use cfgsync_model::{PHASE_REASON_MAX_BYTES, Phase};
use cfgsync_wire::{ReceivedPayload, ReportBody};
use tokio::time::timeout;
use tracing::warn;

use super::{JoinFailure, deliver::has_secrets};

/// The longest time for the report. The node follows the server again afterwards.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Reports that the node does not use `payload`, once. The output of `--check` is left out if a file is secret, because
/// the reason is shown to operators and to other nodes.
pub(super) async fn report(session: &Session, payload: &ReceivedPayload, error: &JoinFailure) {
    let has_secrets = has_secrets(payload);
    let mut reason = match error {
        JoinFailure::Check { problem, .. } if has_secrets => problem.clone(),
        JoinFailure::Environment(_) if has_secrets => {
            "an --env artifact has a mistake; the log of the node names it".to_owned()
        }
        error => error.to_string(),
    };
    reason.truncate(reason.floor_char_boundary(PHASE_REASON_MAX_BYTES));
    let phase: Phase = "failed".parse().expect("a valid name");
    let body = ReportBody {
        generation: payload.generation,
        reason: Some(reason),
    };
    match timeout(REPORT_TIMEOUT, session.report(&phase, &body)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => warn!("cannot report the failure: {error}"),
        Err(_) => warn!("cannot report the failure: the server did not respond in time"),
    }
}
