//! Runs at one revision, and the effect of every change on them.

use imbl::OrdMap;

use crate::{CapacityExceeded, NewClaim, RunChange, RunRejection, event::EventKind};
use cfgsync_model::{Fence, Identifier, Revision, Run, RunName, RunState};

/// All runs. Cloning is cheap, because clones share unchanged data.
#[derive(Debug, Clone, Default)]
pub struct Runs {
    by_name: OrdMap<RunName, Run>,
    /// The highest fence of all runners so far.
    newest_fence: Fence,
    /// The revision of the newest change.
    revision: Revision,
}

impl Runs {
    /// Returns a run.
    pub fn get(&self, name: &str) -> Option<&Run> {
        self.by_name.get(name)
    }

    /// Returns all runs, in the order of their names.
    pub fn all(&self) -> impl Iterator<Item = (&RunName, &Run)> {
        self.by_name.iter()
    }

    /// Returns the revision of the newest change.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn newest_fence(&self) -> Fence {
        self.newest_fence
    }

    /// Returns no runs, with fences that go on from here.
    pub(crate) fn forgotten(&self) -> Self {
        Self {
            newest_fence: self.newest_fence,
            ..Self::default()
        }
    }

    /// Restores the counters, as a snapshot of the state recorded them.
    pub(crate) fn restore(&mut self, newest_fence: Fence, revision: Revision) {
        self.newest_fence = newest_fence;
        self.revision = revision;
    }

    /// Inserts a run, as a snapshot of the state recorded it.
    pub(crate) fn insert(&mut self, name: RunName, run: Run) {
        self.by_name.insert(name, run);
    }

    /// Applies one change at `revision`. Returns `None` if it is in effect already.
    pub(crate) fn apply(
        &mut self,
        change: RunChange,
        revision: Revision,
    ) -> Result<Option<EventKind>, RunRejection> {
        let event = match change {
            RunChange::Claim(claim) => self.claim(claim, revision)?,
            RunChange::Done {
                name,
                runner,
                fence,
                output,
                at,
            } => {
                let is_done = |state: &RunState| matches!(state, RunState::Done(_));
                self.end(&name, &runner, fence, is_done)?.map(|mut run| {
                    run.state = RunState::Done(output);
                    (run.at, run.revision) = (at, revision);
                    self.by_name.insert(name.clone(), run);
                    EventKind::RunDone {
                        name,
                        identifier: runner,
                        fence,
                    }
                })
            }
            RunChange::Fail {
                name,
                runner,
                fence,
                reason,
                at,
            } => {
                let is_failed = |state: &RunState| matches!(state, RunState::Failed);
                self.end(&name, &runner, fence, is_failed)?.map(|mut run| {
                    run.state = RunState::Failed;
                    run.failures += 1;
                    run.last_error = Some(reason.clone());
                    (run.at, run.revision) = (at, revision);
                    self.by_name.insert(name.clone(), run);
                    EventKind::RunFailed {
                        name,
                        identifier: runner,
                        fence,
                        reason,
                    }
                })
            }
            RunChange::Forget(name) => match self.by_name.remove(&name) {
                Some(_) => Some(EventKind::RunForgotten { name }),
                None => return Err(RunRejection::NoRun(name)),
            },
        };
        if event.is_some() {
            self.revision = revision;
        }
        Ok(event)
    }

    /// Returns the run that a runner may end. `None` if it has ended it already.
    fn end(
        &self,
        name: &RunName,
        runner: &Identifier,
        fence: Fence,
        has_ended: impl Fn(&RunState) -> bool,
    ) -> Result<Option<Run>, RunRejection> {
        let fenced = || RunRejection::Fenced(name.clone());
        let run = self.by_name.get(name).ok_or_else(fenced)?;
        if run.fence != fence || run.runner != *runner {
            return Err(fenced());
        }
        match &run.state {
            RunState::Running(_) => Ok(Some(run.clone())),
            state if has_ended(state) => Ok(None),
            _ => Err(fenced()),
        }
    }

    fn claim(
        &mut self,
        claim: NewClaim,
        revision: Revision,
    ) -> Result<Option<EventKind>, RunRejection> {
        let known = self.by_name.get(&claim.name);
        let of_round = known.filter(|run| run.generation >= claim.generation);
        let (mut failures, mut last_error) = match of_round {
            Some(run) => (run.failures, run.last_error.clone()),
            None => (0, None),
        };
        match known.map(|run| (run, &run.state)) {
            Some((_, RunState::Running(process))) if *process == claim.claim => return Ok(None),
            Some((run, RunState::Running(_))) if claim.replaces != Some(run.fence) => {
                return Err(RunRejection::Running(run.runner.clone()));
            }
            Some((run, RunState::Running(_))) if of_round.is_some() => {
                let reason = format!("{} did not renew its lease", run.runner).into();
                failures += 1;
                if failures >= claim.tries_max {
                    let lost = RunChange::Fail {
                        name: claim.name,
                        runner: run.runner.clone(),
                        fence: run.fence,
                        reason,
                        at: claim.at,
                    };
                    return self.apply(lost, revision);
                }
                last_error = Some(reason);
            }
            Some((_, RunState::Done(_))) if of_round.is_some() => return Err(RunRejection::Done),
            Some((_, RunState::Failed)) if failures >= claim.tries_max => {
                return Err(RunRejection::Exhausted);
            }
            _ => {}
        }
        let max = claim.runs_max;
        if known.is_none() && self.by_name.len() >= max {
            return Err(CapacityExceeded::Runs { max }.into());
        }
        self.newest_fence = Fence(self.newest_fence.0 + 1);
        let run = Run {
            generation: claim
                .generation
                .max(of_round.map_or(claim.generation, |run| run.generation)),
            fence: self.newest_fence,
            runner: claim.runner.clone(),
            failures,
            last_error,
            state: RunState::Running(claim.claim),
            at: claim.at,
            revision,
        };
        self.by_name.insert(claim.name.clone(), run);
        Ok(Some(EventKind::RunClaimed {
            name: claim.name,
            identifier: claim.runner,
            fence: self.newest_fence,
        }))
    }
}
