//! The reasons to wait, and the events of the whole cluster.

use super::{Window, seconds};
use crate::notes::{Note, NoteKind};
use cfgsync_model::Revision;
use cfgsync_store::EventKind;
use cfgsync_support::clock::Timestamp;
use cfgsync_wire::{RecordMoment, RecordWait};

impl Window<'_> {
    /// Returns what was waited for, in order, until the seal.
    pub(super) fn waits(&self, sealed_at: Option<Timestamp>) -> Vec<RecordWait> {
        let notes: Vec<&Note> = self.notes().collect();
        let is_until_seal = |note: &&&Note| sealed_at.is_none_or(|sealed| note.at <= sealed);
        let last = sealed_at.unwrap_or(self.source.made_at);
        let mut waits = Vec::new();
        for (at, note) in notes.iter().take_while(is_until_seal).enumerate() {
            let NoteKind::Waiting { progress } = &note.kind else {
                continue;
            };
            let next = notes.get(at + 1).map(|next| next.at);
            let end = match (next, sealed_at) {
                (Some(next), Some(sealed)) => Some(next.min(sealed)),
                (Some(next), None) => Some(next),
                (None, _) => Some(last),
            };
            waits.push(RecordWait {
                at: note.at,
                seconds: end.map(|end| seconds(note.at, end)),
                message: progress.to_string(),
                progress: progress.clone(),
            });
        }
        waits
    }

    /// Returns what happened to the cluster, in order.
    pub(super) fn moments(&self) -> Vec<RecordMoment> {
        let mut moments: Vec<(Revision, RecordMoment)> = Vec::new();
        for event in self.events() {
            if let Some(message) = described(&event.kind) {
                let moment = RecordMoment {
                    at: event.at,
                    kind: event.kind.name().to_owned(),
                    message,
                };
                moments.push((event.revision, moment));
            }
        }
        for note in self.notes() {
            let (kind, message) = match &note.kind {
                NoteKind::Started => ("server_started", "the server started".to_owned()),
                NoteKind::Stopped => ("server_stopped", "the server stopped".to_owned()),
                NoteKind::Failed { failure } => ("failed", format!("failed: {}", failure.reason)),
                NoteKind::Waiting { .. } | NoteKind::Ready | NoteKind::Unknown => continue,
            };
            let moment = RecordMoment {
                at: Some(note.at),
                kind: kind.to_owned(),
                message,
            };
            moments.push((note.revision, moment));
        }
        // A note follows the events of its revision.
        moments.sort_by_key(|(revision, _)| *revision);
        moments.into_iter().map(|(_, moment)| moment).collect()
    }
}

/// Returns one line about an event that is neither a registration nor a delivery nor a phase. It names no values,
/// because not every reader of a record may see their names.
fn described(event: &EventKind) -> Option<String> {
    Some(match event {
        EventKind::NodeRemoved { identifier } => format!("{identifier} left"),
        EventKind::NodeBanned { identifier } => format!("{identifier} was banned"),
        EventKind::OverrideSet { identifier } => {
            format!("an operator set the files of {identifier}")
        }
        EventKind::OverrideRemoved { identifier } => {
            format!("the override of {identifier} ended")
        }
        EventKind::ClusterFailed { failure } => {
            format!("the cluster failed: {}", failure.reason)
        }
        EventKind::ClusterReset => "an operator reset the cluster".to_owned(),
        EventKind::RedrawRequested { key } => {
            format!("an operator requested another once.{key}")
        }
        EventKind::GenerationSealed { generation, .. } => {
            format!("generation {generation} was sealed")
        }
        EventKind::RolloutStopped {
            generation,
            reason: None,
        } => format!("an operator stopped the roll-out of generation {generation}"),
        EventKind::RolloutStopped {
            generation,
            reason: Some(reason),
        } => format!("the roll-out of generation {generation} was stopped: {reason}"),
        EventKind::RolloutResumed { generation } => {
            format!("an operator continued the roll-out of generation {generation}")
        }
        EventKind::RunClaimed {
            name, identifier, ..
        } => format!("{identifier} runs {name}"),
        EventKind::RunDone {
            name, identifier, ..
        } => format!("{identifier} has done {name}"),
        EventKind::RunFailed {
            name,
            identifier,
            reason,
            ..
        } => format!("{identifier} failed to run {name}: {reason}"),
        EventKind::NodeRegistered { .. }
        | EventKind::JoinerChanged { .. }
        | EventKind::Delivered { .. }
        | EventKind::PhaseReported { .. }
        | EventKind::NameClaimed { .. }
        | EventKind::NameReleased { .. }
        | EventKind::ValueSet { .. }
        | EventKind::ValueDeleted { .. }
        | EventKind::AliasSet { .. }
        | EventKind::AliasDeleted { .. }
        | EventKind::GenerationConfirmed { .. }
        | EventKind::NodeUnbanned { .. }
        | EventKind::RunForgotten { .. } => return None,
    })
}
