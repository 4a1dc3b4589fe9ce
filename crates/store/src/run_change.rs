//! The changes of runs, and the reasons why they are rejected.

use std::sync::Arc;

use bytes::Bytes;

use crate::CapacityExceeded;
use cfgsync_model::{ClaimId, Fence, GenerationNumber, Identifier, RunName};
use cfgsync_support::clock::Timestamp;

/// One change of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunChange {
    /// Makes a node the runner, with a new fence. If the runner that it replaces was the last allowed try, the run fails
    /// instead.
    Claim(NewClaim),
    /// Ends the run with success. Rejected unless the runner has this fence. Changes nothing if it has succeeded already.
    Done {
        /// The name of the run.
        name: RunName,
        /// The node that has run the program.
        runner: Identifier,
        /// Its fence.
        fence: Fence,
        /// The output of the program.
        output: Bytes,
        /// The time of the change.
        at: Timestamp,
    },
    /// Ends the try of a runner. Rejected unless the runner has this fence. Changes nothing if it has failed already.
    Fail {
        /// The name of the run.
        name: RunName,
        /// The node that has run the program.
        runner: Identifier,
        /// Its fence.
        fence: Fence,
        /// The reason.
        reason: Arc<str>,
        /// The time of the change.
        at: Timestamp,
    },
    /// Forgets the run, so that it is done once more. A runner can no longer end it. Rejected if there is no such run.
    Forget(RunName),
}

/// The claim of a node to run a program.
#[derive(Debug, Clone, PartialEq)]
pub struct NewClaim {
    /// The name of the run.
    pub name: RunName,
    /// The generation that the run is for, or zero. A run for an older one does not count.
    pub generation: GenerationNumber,
    /// The node that wants to run the program.
    pub runner: Identifier,
    /// The process on that node. A claim of the same process changes nothing while it runs.
    pub claim: ClaimId,
    /// The number of runners that may fail or die, at least one.
    pub tries_max: u32,
    /// The fence of a runner whose lease has ended.
    pub replaces: Option<Fence>,
    /// The time of the claim.
    pub at: Timestamp,
    /// The largest number of runs that are stored.
    pub runs_max: usize,
}

/// The reason why a change of a run was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunRejection {
    /// Another runner runs the program.
    #[error("{0} runs it")]
    Running(Identifier),
    /// The run has succeeded already.
    #[error("it has succeeded already")]
    Done,
    /// All tries have failed.
    #[error("all tries have failed")]
    Exhausted,
    /// Another runner has begun, or the run was forgotten.
    #[error(
        "{0} is no longer run by this runner: its lease has ended and another one has begun, or an operator has \
         forgotten the run"
    )]
    Fenced(RunName),
    /// There is no such run.
    #[error("there is no run {0}")]
    NoRun(RunName),
    /// The change does not fit in its bounds.
    #[error(transparent)]
    CapacityExceeded(#[from] CapacityExceeded),
}
