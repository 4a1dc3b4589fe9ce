//! Files of the previous delivery that are no longer part of the payload: removed in the same transaction, or listed.
//!
//! The receipt of the previous delivery names them. Only a file where the current routes place its artifact is removed,
//! only if its content is still the delivered one,
//! and only if the same cluster delivered it to the same node. The new receipt lists the files that remain, so that the
//! next delivery looks at them again.

use std::{collections::HashSet, io::ErrorKind, path::PathBuf};

use crate::{
    OutputMap, Placement, Receipt, Target,
    disk::{DiskError, RemovalRequest, Transaction},
    receipt::RemainingFile,
};
use cfgsync_model::ArtifactPath;

/// Largest number of remaining files that a receipt lists.
const REMAINING_MAX: usize = 10_000;

/// A file that an earlier delivery wrote, and that is no longer part of the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StaleFile {
    /// The name of the artifact in the earlier payload.
    pub artifact: ArtifactPath,
    /// The path of the file, as the receipt gives it.
    pub path: PathBuf,
    /// Whether the spec declared the file secret.
    pub secret: bool,
    /// The file as it was delivered, with the node and the cluster.
    pub delivered: RemainingFile,
    /// The result.
    pub outcome: StaleOutcome,
}

/// The result for a stale file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StaleOutcome {
    /// The delivery removes it.
    Removed,
    /// It stays, because [`DeliveryOptions::with_stale_files_kept`](crate::DeliveryOptions::with_stale_files_kept) was
    /// set.
    Kept,
    /// It stays, because its content is not the delivered one.
    Changed,
    /// It stays, because it is bind-mounted.
    Mounted,
    /// It stays, because the current routes place the artifact elsewhere.
    OtherRoute,
    /// It stays, because it was delivered to another node or by another cluster.
    OtherDelivery,
    /// It stays, because this part of its path is a symbolic link, which is not followed.
    BehindLink(PathBuf),
    /// It stays, because something other than a file is in its place, such as a directory.
    NotAFile,
}

/// Finds the stale files of the `previous` receipt and removes them in `transaction`, in which the targets of the new
/// files are open. Notes in the `new` receipt what the next delivery must know of them.
pub(crate) fn find(
    transaction: &mut Transaction<'static>,
    previous: &Receipt,
    new: &mut Receipt,
    outputs: &OutputMap,
    targets: &[&Target],
    keep: bool,
) -> Result<Vec<StaleFile>, DiskError> {
    // A killed delivery may have left the content of a file that it removed.
    for artifact in &previous.removed {
        if let Some(Placement::File(target)) = outputs.placement_of(artifact) {
            transaction.clear_leftovers(&target)?;
        }
    }
    let shown = |target: &Target| target.path().display().to_string();
    let written: HashSet<String> = targets.iter().map(|target| shown(target)).collect();
    let mut stale = Vec::new();
    for delivered in previous.all_delivered() {
        let entry = &delivered.entry;
        let Some(path) = &entry.path else { continue };
        if written.contains(path) {
            continue;
        }
        let target = match outputs.placement_of(&entry.artifact) {
            Some(Placement::File(target)) if shown(&target) == *path => Some(target),
            _ => None,
        };
        let is_of_this = delivered.identifier == new.identifier && delivered.cluster == new.cluster;
        let outcome = match target {
            _ if !is_of_this => stays(path, StaleOutcome::OtherDelivery),
            None => stays(path, StaleOutcome::OtherRoute),
            Some(_) if keep => stays(path, StaleOutcome::Kept),
            Some(target) => remove(transaction, &delivered, &target)?,
        };
        if let Some(outcome) = outcome {
            stale.push(StaleFile {
                artifact: entry.artifact.clone(),
                path: path.into(),
                secret: entry.secret,
                delivered,
                outcome,
            });
        }
    }
    for file in &stale {
        match file.outcome {
            StaleOutcome::Removed => new.removed.push(file.artifact.clone()),
            // It is not a delivered file any more.
            StaleOutcome::Changed => {}
            _ if new.remaining.len() == REMAINING_MAX => {}
            _ => new.remaining.push(file.delivered.clone()),
        }
    }
    Ok(stale)
}

/// Returns the outcome for a file that is not removed, or `None` if there is no file.
fn stays(path: &str, outcome: StaleOutcome) -> Option<StaleOutcome> {
    let is_gone = |error: std::io::Error| {
        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
    };
    let found = PathBuf::from(path).symlink_metadata();
    (!found.is_err_and(is_gone)).then_some(outcome)
}

/// Returns `None` if there is no file.
fn remove(
    transaction: &mut Transaction<'static>,
    delivered: &RemainingFile,
    target: &Target,
) -> Result<Option<StaleOutcome>, DiskError> {
    let entry = &delivered.entry;
    let request = transaction.remove(target, entry.bytes, entry.sha256)?;
    Ok(match request {
        RemovalRequest::Accepted => Some(StaleOutcome::Removed),
        RemovalRequest::Changed => Some(StaleOutcome::Changed),
        RemovalRequest::Mounted => Some(StaleOutcome::Mounted),
        RemovalRequest::BehindLink(link) => Some(StaleOutcome::BehindLink(link)),
        RemovalRequest::NotAFile => Some(StaleOutcome::NotAFile),
        RemovalRequest::Absent => None,
    })
}
