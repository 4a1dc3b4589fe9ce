//! Files of the previous delivery that are no longer part of the payload: removed in the same transaction, or listed.
//!
//! The receipt of the previous delivery names them. Only a file where the current routes place its artifact is removed,
//! and only if its content is still the delivered one.

use std::{collections::HashSet, path::PathBuf};

use crate::{
    OutputMap, Placement, Receipt, ReceiptEntry, Target,
    disk::{DiskError, RemovalRequest, Transaction},
};
use cfgsync_model::ArtifactPath;

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
    /// The result.
    pub outcome: StaleOutcome,
}

/// The result for a stale file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// Finds the stale files of `previous` and removes them in `transaction`, in which the targets of the new files are
/// open.
pub(crate) fn find(
    transaction: &mut Transaction<'static>,
    previous: &Receipt,
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
    let new: HashSet<String> = targets.iter().map(|target| shown(target)).collect();
    let mut stale = Vec::new();
    for entry in &previous.files {
        let Some(path) = &entry.path else { continue };
        if new.contains(path) {
            continue;
        }
        let target = match outputs.placement_of(&entry.artifact) {
            Some(Placement::File(target)) if shown(&target) == *path => Some(target),
            _ => None,
        };
        let outcome = if let Some(target) = target {
            look_at(transaction, entry, &target, keep)?
        } else {
            let exists = PathBuf::from(path).symlink_metadata().is_ok();
            exists.then_some(StaleOutcome::OtherRoute)
        };
        if let Some(outcome) = outcome {
            stale.push(StaleFile {
                artifact: entry.artifact.clone(),
                path: path.into(),
                secret: entry.secret,
                outcome,
            });
        }
    }
    Ok(stale)
}

/// Returns `None` if there is no file.
fn look_at(
    transaction: &mut Transaction<'static>,
    entry: &ReceiptEntry,
    target: &Target,
    keep: bool,
) -> Result<Option<StaleOutcome>, DiskError> {
    if keep {
        let exists = target.path().symlink_metadata().is_ok();
        return Ok(exists.then_some(StaleOutcome::Kept));
    }
    let request = transaction.remove(target, entry.bytes, entry.sha256)?;
    Ok(match request {
        RemovalRequest::Accepted => Some(StaleOutcome::Removed),
        RemovalRequest::Changed => Some(StaleOutcome::Changed),
        RemovalRequest::Mounted => Some(StaleOutcome::Mounted),
        RemovalRequest::Absent => None,
    })
}
