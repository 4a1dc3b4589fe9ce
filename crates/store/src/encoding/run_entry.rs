//! The encoding of runs on disk. The order of fields and variants is the format: new variants go to the end.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    entry::revision,
    error::DecodeError,
    scalar_entry::{BytesEntry, TimestampEntry},
};
use crate::{NewClaim, RunChange, State};
use cfgsync_model::{ClaimId, Fence, GenerationNumber, Identifier, Run, RunName, RunState};

/// The encoding of one change of a run.
#[derive(Serialize, Deserialize)]
pub(crate) enum RunChangeEntry<'a> {
    Claim {
        name: &'a str,
        generation: u64,
        runner: &'a str,
        claim: [u8; 16],
        tries_max: u32,
        replaces: Option<u64>,
        at: TimestampEntry,
    },
    Done(
        &'a str,
        &'a str,
        u64,
        #[serde(borrow)] BytesEntry<'a>,
        TimestampEntry,
    ),
    Fail(&'a str, &'a str, u64, &'a str, TimestampEntry),
    Forget(&'a str),
}

/// The encoding of a run.
#[derive(Serialize, Deserialize)]
pub(crate) struct RunEntry<'a> {
    name: &'a str,
    generation: u64,
    fence: u64,
    runner: &'a str,
    failures: u32,
    last_error: Option<&'a str>,
    #[serde(borrow)]
    state: RunStateEntry<'a>,
    at: TimestampEntry,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
enum RunStateEntry<'a> {
    Running([u8; 16]),
    Failed,
    Done(#[serde(borrow)] BytesEntry<'a>),
}

impl<'a> RunChangeEntry<'a> {
    pub(crate) fn of(change: &'a RunChange) -> Self {
        match change {
            RunChange::Claim(claim) => Self::Claim {
                name: claim.name.as_str(),
                generation: claim.generation.0,
                runner: claim.runner.as_str(),
                claim: claim.claim.0,
                tries_max: claim.tries_max,
                replaces: claim.replaces.map(|fence| fence.0),
                at: TimestampEntry::of(claim.at),
            },
            RunChange::Done {
                name,
                runner,
                fence,
                output,
                at,
            } => Self::Done(
                name.as_str(),
                runner.as_str(),
                fence.0,
                BytesEntry(output),
                TimestampEntry::of(*at),
            ),
            RunChange::Fail {
                name,
                runner,
                fence,
                reason,
                at,
            } => Self::Fail(
                name.as_str(),
                runner.as_str(),
                fence.0,
                reason,
                TimestampEntry::of(*at),
            ),
            RunChange::Forget(name) => Self::Forget(name.as_str()),
        }
    }

    pub(crate) fn change(self) -> Result<RunChange, DecodeError> {
        Ok(match self {
            Self::Claim {
                name,
                generation,
                runner,
                claim,
                tries_max,
                replaces,
                at,
            } => RunChange::Claim(NewClaim {
                name: RunName::new(name)?,
                generation: GenerationNumber(generation),
                runner: Identifier::recorded(runner)?,
                claim: ClaimId(claim),
                tries_max,
                replaces: replaces.map(Fence),
                at: at.timestamp()?,
                runs_max: usize::MAX,
            }),
            Self::Done(name, runner, fence, BytesEntry(output), at) => RunChange::Done {
                name: RunName::new(name)?,
                runner: Identifier::recorded(runner)?,
                fence: Fence(fence),
                output: Bytes::copy_from_slice(output),
                at: at.timestamp()?,
            },
            Self::Fail(name, runner, fence, reason, at) => RunChange::Fail {
                name: RunName::new(name)?,
                runner: Identifier::recorded(runner)?,
                fence: Fence(fence),
                reason: reason.into(),
                at: at.timestamp()?,
            },
            Self::Forget(name) => RunChange::Forget(RunName::new(name)?),
        })
    }
}

impl<'a> RunEntry<'a> {
    pub(crate) fn of(name: &'a RunName, run: &'a Run) -> Self {
        Self {
            name: name.as_str(),
            generation: run.generation.0,
            fence: run.fence.0,
            runner: run.runner.as_str(),
            failures: run.failures,
            last_error: run.last_error.as_deref(),
            state: match &run.state {
                RunState::Running(claim) => RunStateEntry::Running(claim.0),
                RunState::Failed => RunStateEntry::Failed,
                RunState::Done(output) => RunStateEntry::Done(BytesEntry(output)),
            },
            at: TimestampEntry::of(run.at),
            revision: run.revision.0,
        }
    }

    /// Adds the run to `state`.
    pub(crate) fn add_to(self, state: &mut State) -> Result<(), DecodeError> {
        let run = Run {
            generation: GenerationNumber(self.generation),
            fence: Fence(self.fence),
            runner: Identifier::recorded(self.runner)?,
            failures: self.failures,
            last_error: self.last_error.map(Into::into),
            state: match self.state {
                RunStateEntry::Running(claim) => RunState::Running(ClaimId(claim)),
                RunStateEntry::Failed => RunState::Failed,
                RunStateEntry::Done(BytesEntry(output)) => {
                    RunState::Done(Bytes::copy_from_slice(output))
                }
            },
            at: self.at.timestamp()?,
            revision: revision(self.revision)?,
        };
        state.runs.insert(RunName::new(self.name)?, run);
        Ok(())
    }
}
