//! Delivers a payload: writes the files, prints what is routed to stdout, and reports what was written.

use cfgsync_client::{
    CommittedDelivery, JoinError, PreviousDelivery, Session,
    disk::{DiskError, Outcome, WrittenFile},
};
use cfgsync_wire::ReceivedPayload;
use tracing::{debug, info, warn};

use super::{JoinFailure, document::Document, environment, resolve::Plan};
use crate::cmd::{output, progress::counted};

/// Up to this number of files, the log names each of them.
const NAMED_MAX: usize = 10;

/// Delivers the payload of `session`. Returns the additional environment of CMD.
pub(super) fn deliver(
    plan: &Plan,
    session: &Session,
    payload: &ReceivedPayload,
) -> Result<Vec<(String, String)>, JoinFailure> {
    let mut variables = Vec::new();
    for file in plan
        .env
        .iter()
        .filter_map(|artifact| payload.files.get(artifact))
    {
        variables
            .extend(environment::read(file, &plan.env_allow).map_err(JoinFailure::Environment)?);
    }
    let committed = plan.delivery.commit(session, payload)?;
    // The printed content is part of the delivery: if stdout does not accept it, the files are restored.
    if let Err(error) = print(plan, session, payload, &committed) {
        return Err(JoinError::from(committed.roll_back(error)).into());
    }
    log_written(&committed.finish().written);
    Ok(variables)
}

/// Prints the report of a previous delivery, if a report is requested.
pub(super) fn report_previous(
    plan: &Plan,
    session: &Session,
    previous: &PreviousDelivery,
) -> Result<(), JoinFailure> {
    if plan.json {
        let document = Document::of_previous(session, previous);
        let written = output::write(document.to_json()).map_err(stdout_error);
        written.map_err(JoinError::from)?;
    }
    Ok(())
}

fn print(
    plan: &Plan,
    session: &Session,
    payload: &ReceivedPayload,
    committed: &CommittedDelivery<'_>,
) -> Result<(), DiskError> {
    for bytes in committed.stdout() {
        output::write_document(bytes).map_err(stdout_error)?;
    }
    if plan.json {
        let document = Document::of_delivery(session, payload, committed.written());
        output::write(document.to_json()).map_err(stdout_error)?;
    }
    Ok(())
}

fn stdout_error(problem: std::io::Error) -> DiskError {
    DiskError::Io {
        action: "write to",
        path: "standard output".into(),
        problem,
    }
}

fn log_written(written: &[WrittenFile]) {
    let changed: Vec<&WrittenFile> = written
        .iter()
        .filter(|file| file.outcome != Outcome::Unchanged)
        .collect();
    for file in &changed {
        let path = file.path.display();
        if file.outcome == Outcome::Overwritten {
            warn!("{path} is bind-mounted and was rewritten in place, which is not atomic");
        }
        if changed.len() <= NAMED_MAX {
            info!("wrote {path}");
        } else {
            debug!("wrote {path}");
        }
    }
    if changed.len() > NAMED_MAX {
        info!("wrote {}", counted(changed.len(), "file"));
    }
    if changed.len() < written.len() {
        let unchanged = written.len() - changed.len();
        info!("{} unchanged", counted(unchanged, "file"));
    }
}
