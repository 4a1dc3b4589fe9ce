//! Commands: all operations that change the cluster. [`crate::admission`] decides each command, and the store applies
//! it in one batch and acknowledges it.

mod registration;
mod operator;
mod rollout;

use std::{sync::atomic::Ordering, time::Duration};

use tokio::sync::oneshot;

use crate::{Coordinator, Refusal, reconciler::Command};
use cfgsync_model::Revision;
use cfgsync_store::{
    CapacityExceeded, Change, Commit, CommitError, Rejection, RejectionReason, RunRejection, State,
};

/// The longest time that [`Coordinator::replace`] and similar commands wait for the next generation. The change is stored
/// even if it takes longer.
const REPLACE_WAIT_MAX: Duration = Duration::from_mins(1);

impl Coordinator {
    /// Applies `changes` to a copy of the store's state.
    pub(super) fn check_changes(&self, changes: Vec<Change>) -> Result<(), Refusal> {
        let mut state = State::clone(&self.shared.store.state());
        let next = Revision(state.revision.0 + 1);
        match state.apply(changes, next) {
            Ok(_) => Ok(()),
            Err(rejection) => Err(self.refusal_of(rejection)),
        }
    }

    /// Waits for the generation that includes a change, but not longer than [`REPLACE_WAIT_MAX`].
    async fn sealed_after(&self, commit: &Commit) -> Revision {
        self.included(commit.revision).await;
        commit.revision
    }

    /// Waits until no work is left for the inputs up to `revision`, but not longer than [`REPLACE_WAIT_MAX`].
    async fn included(&self, revision: Revision) {
        let is_sealed = self.shared.view.load().served.is_some();
        if is_sealed {
            let mut published = self.shared.published.subscribe();
            let is_served = published.wait_for(|completed| *completed >= revision);
            // If the render takes longer or fails, `inspect` shows it.
            let _ = tokio::time::timeout(REPLACE_WAIT_MAX, is_served).await;
        }
    }

    async fn apply_removal(&self, changes: Vec<Change>) -> Result<Revision, Refusal> {
        let commit = self.apply(changes).await?;
        self.shared.metrics.changes.remove.inc();
        // The answer to clients that wait for this node has changed.
        self.shared.release.send_replace(());
        Ok(commit.revision)
    }

    /// From now on, answers fetches that wait or would have to wait with [`crate::Answer::Draining`].
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.shared.release.send_replace(());
    }

    /// Applies `changes`, all or none.
    pub(super) async fn apply(&self, changes: Vec<Change>) -> Result<Commit, Refusal> {
        match self.shared.store.apply(changes).await {
            Ok(commit) => Ok(commit),
            Err(CommitError::Rejected(rejection)) => Err(self.refusal_of(rejection)),
            Err(error) => Err(Refusal::Store(error)),
        }
    }

    fn refusal_of(&self, rejection: Rejection) -> Refusal {
        match rejection.reason {
            RejectionReason::NotRegistered(identifier) => Refusal::Unregistered(identifier),
            RejectionReason::DifferentFacts(identifier) => Refusal::OtherFacts(identifier),
            RejectionReason::NoOverride(identifier) => Refusal::NoOverride(identifier),
            RejectionReason::DifferentKey(identifier) => Refusal::OtherKey(identifier),
            RejectionReason::TooLate(identifier) => Refusal::TooLate(identifier),
            RejectionReason::Banned(identifier) => Refusal::Banned(identifier),
            RejectionReason::NoOnceValue(key) => Refusal::NotDrawn(key),
            RejectionReason::NotSealed(number) => Refusal::NotSealed(number),
            RejectionReason::CapacityExceeded(CapacityExceeded::PhasesOfNode { max }) => {
                Refusal::TooManyPhases { max }
            }
            RejectionReason::CapacityExceeded(exceeded) => self.shared.capacity.refuse(exceeded),
            RejectionReason::Run(RunRejection::CapacityExceeded(exceeded)) => {
                self.shared.capacity.refuse(exceeded)
            }
            RejectionReason::Run(rejection) => Refusal::Run(rejection),
            RejectionReason::Value(_) | RejectionReason::NotFirstGeneration(_) => {
                unreachable!("the batch changes no value and seals no generation")
            }
        }
    }

    /// Sends a command to the reconciler and waits until its effect is published.
    async fn command(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (answer, answered) = oneshot::channel();
        if self.shared.commands.send(command(answer)).await.is_ok() {
            // An error means that the reconciler has ended, so there is no effect to wait for.
            let _ = answered.await;
        }
    }
}
