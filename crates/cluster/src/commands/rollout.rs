//! The commands of operators about roll-outs.

use crate::{Coordinator, Refusal, reconciler::Command};
use cfgsync_model::GenerationNumber;
use cfgsync_store::{Change, StoppedRollout};
use cfgsync_wire::RolloutState;

impl Coordinator {
    /// Hands the generation that is rolled out to no further node.
    ///
    /// # Errors
    /// Fails if no roll-out is running, or if the store does not acknowledge the stop.
    pub async fn stop_rollout(&self) -> Result<(), Refusal> {
        let generation = self.running_rollout()?;
        let stopped = StoppedRollout {
            generation,
            reason: None,
        };
        self.apply(vec![Change::StopRollout(stopped)]).await?;
        self.command(Command::Publish).await;
        Ok(())
    }

    /// Continues a roll-out that is stopped. Nodes that have failed or are late are no longer waited for.
    ///
    /// # Errors
    /// Fails if no roll-out is running or stopped, or if the store does not acknowledge the change.
    pub async fn resume_rollout(&self) -> Result<(), Refusal> {
        // Files that an operator has just corrected must not be handed out as they were before.
        let newest_input = self.shared.store.state().inputs;
        self.included(newest_input).await;
        // A stop counts for the next generation even if all nodes have been handed this one.
        let stopped = self.shared.store.state().stopped_rollout.clone();
        let generation = match stopped {
            Some(stopped) => stopped.generation,
            None => self.running_rollout()?,
        };
        self.apply(vec![Change::ResumeRollout { generation }])
            .await?;
        self.command(Command::ResumeRollout).await;
        Ok(())
    }

    /// Returns the generation that is rolled out.
    fn running_rollout(&self) -> Result<GenerationNumber, Refusal> {
        let rollout = self.rollout();
        match rollout.state {
            RolloutState::Running | RolloutState::Stopped => {
                rollout.generation.ok_or(Refusal::NoRollout)
            }
            RolloutState::None | RolloutState::Done => Err(Refusal::NoRollout),
        }
    }
}
