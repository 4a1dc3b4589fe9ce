//! Delivers a payload: writes the files, prints what is routed to stdout, and reports what was written.

use std::ffi::OsString;

use cfgsync::ArtifactFile;
use cfgsync_client::{
    CommittedDelivery, DeliveredGeneration, JoinError, PreviousDelivery, Session, StaleFile,
    StaleOutcome,
    disk::{DirectoryLocks, DiskError, Outcome, WrittenFile},
};
use cfgsync_model::Digest;
use cfgsync_wire::ReceivedPayload;
use tracing::{debug, info, warn};

use super::{
    JoinFailure,
    document::Document,
    environment,
    facts::Given,
    hook::{Hook, HookFailure},
    mirror::Mirror,
    resolve::Plan,
    watch::Check,
};
use crate::cmd::{
    orphans::OwnChildren, output, progress::counted, settings::variables::STAGED_VARIABLE,
};

/// Up to this number of files, the log names each of them.
const NAMED_MAX: usize = 10;

/// The variables that a delivery adds to the environment of CMD.
#[derive(Debug, Clone)]
pub(super) struct AddedVariables {
    /// Those of `--env` artifacts.
    pub(super) sent: Vec<(String, String)>,
    /// The facts about the node. They count if both have a variable.
    pub(super) facts: Vec<(&'static str, OsString)>,
}

/// The result of a delivery, for the start of CMD.
pub(super) struct Delivered {
    /// What CMD gets in its environment.
    pub(super) variables: AddedVariables,
    /// Keeps other deliveries from changing the files until CMD has started.
    pub(super) locks: Option<DirectoryLocks>,
    /// The digest of the payload. `None` from servers of the older protocol.
    pub(super) held: Option<Digest>,
    /// The generation, so that no older one is accepted later.
    pub(super) generation: Option<DeliveredGeneration>,
    /// Whether a file was created, changed or removed.
    pub(super) has_changes: bool,
    /// Whether the receipt says that an action must follow.
    pub(super) is_action_pending: bool,
    /// The newer payload that was refused, if these are the files of an earlier one.
    pub(super) refused: Option<Digest>,
    /// Whether a file is secret.
    pub(super) has_secrets: bool,
}

/// Returns the result of continuing with a previous delivery.
pub(super) fn continue_with(
    plan: &Plan,
    session: &Session,
    previous: PreviousDelivery,
) -> Delivered {
    Delivered {
        variables: AddedVariables {
            sent: vec![],
            facts: Given::by_receipt(&previous.receipt).variables(plan, session),
        },
        locks: Some(previous.locks),
        held: previous.receipt.digest,
        generation: previous.receipt.delivered(),
        has_changes: false,
        is_action_pending: previous.receipt.action_pending,
        refused: None,
        has_secrets: previous.receipt.files.iter().any(|file| file.secret),
    }
}

/// Delivers the payload of `session`, after other deliveries to the same directories.
pub(super) async fn deliver(
    plan: &Plan,
    session: &Session,
    payload: &ReceivedPayload,
    own: &OwnChildren,
) -> Result<Delivered, JoinFailure> {
    if plan.watch.is_some() && payload.digest.is_none() {
        let problem = "the server sends no digest of the payload, so --watch cannot find out whether it changes";
        return Err(JoinError::Unusable(problem.to_owned()).into());
    }
    let mut variables = Vec::new();
    for file in plan
        .env
        .iter()
        .filter_map(|artifact| payload.files.get(artifact))
    {
        variables
            .extend(environment::read(file, &plan.env_allow).map_err(JoinFailure::Environment)?);
    }
    let facts = Given::by_payload(session, payload).variables(plan, session);
    let staged = plan
        .delivery
        .stage_when_unlocked(session, payload, |directory| {
            info!(
                "waiting for another delivery to {} to start its program",
                directory.display()
            );
        })
        .await?;
    let check = plan.watch.as_ref().and_then(|watch| watch.check.as_ref());
    if let Some(check) = check
        && (staged.has_changes() || !plan.env.is_empty())
    {
        run_check(check, payload, &facts, own).await?;
    }
    let committed = staged.commit()?;
    // The printed content is part of the delivery: if stdout does not accept it, the files are restored.
    if let Err(error) = print(plan, session, payload, &committed) {
        return Err(JoinError::from(committed.roll_back(error)).into());
    }
    let (delivery, locks) = committed.finish_locked();
    log_written(&delivery.written);
    delivery.stale.iter().for_each(log_stale);
    if let Some(error) = &delivery.unread_receipt {
        warn!(
            "{error}. This delivery replaced it and removed no files of earlier deliveries: remove those that are no \
             longer part of the payload"
        );
    }
    Ok(Delivered {
        variables: AddedVariables {
            sent: variables,
            facts,
        },
        locks: Some(locks),
        held: payload.digest,
        generation: generation_of(session, payload),
        has_changes: delivery.has_changes,
        is_action_pending: delivery.is_action_pending,
        refused: None,
        has_secrets: has_secrets(payload),
    })
}

/// Runs `--check` on copies of the files.
async fn run_check(
    check: &Check,
    payload: &ReceivedPayload,
    facts: &[(&'static str, OsString)],
    own: &OwnChildren,
) -> Result<(), JoinFailure> {
    let mirror = Mirror::create(&payload.files).map_err(|problem| {
        JoinError::from(DiskError::Io {
            action: "copy the files for --check to",
            path: std::env::temp_dir(),
            problem,
        })
    })?;
    let hook = Hook {
        flag: "--check",
        line: &check.line,
        timeout: check.timeout,
        own,
        is_quiet: false,
    };
    let staged = (STAGED_VARIABLE, mirror.path().as_os_str().to_owned());
    let run = hook.run(&[facts, &[staged]].concat()).await;
    run.map_err(|HookFailure { problem, output }| JoinFailure::Check { problem, output })
}

/// Returns whether a file of the payload is secret.
pub(super) fn has_secrets(payload: &ReceivedPayload) -> bool {
    payload.files.files().iter().any(|file| file.secret)
}

fn generation_of(session: &Session, payload: &ReceivedPayload) -> Option<DeliveredGeneration> {
    Some(DeliveredGeneration {
        cluster: session.cluster().map(str::to_owned),
        instance: payload.instance?,
        generation: payload.generation?,
        digest: payload.digest?,
    })
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
        let is_used = |file: &ArtifactFile| plan.env.contains(&file.path);
        let (written, stale) = (committed.written(), committed.stale());
        let document = Document::of_delivery(session, payload, written, stale, is_used);
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

fn log_stale(file: &StaleFile) {
    let path = file.path.display();
    let secret = if file.secret {
        " It holds a secret."
    } else {
        ""
    };
    let stays = match &file.outcome {
        StaleOutcome::Removed => {
            info!("removed {path}, which is no longer part of the payload");
            return;
        }
        StaleOutcome::Changed => "it has changed since its delivery".to_owned(),
        StaleOutcome::Mounted => "it is bind-mounted".to_owned(),
        StaleOutcome::NotAFile => "it is no longer a file".to_owned(),
        StaleOutcome::BehindLink(link) if *link == file.path => {
            "it is now a symbolic link, which is not followed".to_owned()
        }
        StaleOutcome::BehindLink(link) => format!(
            "{} is now a symbolic link, which is not followed",
            link.display()
        ),
        StaleOutcome::OtherDelivery => {
            let cluster = match &file.delivered.cluster {
                Some(cluster) => format!(" by the cluster {cluster:?}"),
                None => String::new(),
            };
            let node = &file.delivered.identifier;
            warn!(
                "{path} was delivered to {node}{cluster} before. It stays: remove it if nothing uses it.{secret}"
            );
            return;
        }
        StaleOutcome::OtherRoute => {
            warn!(
                "{path} was delivered by other routes before. It stays: remove it if nothing uses it.{secret}"
            );
            return;
        }
        // --keep-stale
        _ => {
            warn!("{path} is no longer part of the payload, and stays.{secret}");
            return;
        }
    };
    warn!(
        "{path} is no longer part of the payload. It stays because {stays}: remove it if nothing uses it.{secret}"
    );
}
