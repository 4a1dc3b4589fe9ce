//! Runs: of all nodes that want to run a program once, one at a time may, and one success is recorded.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{Coordinator, Refusal, inspect};
use cfgsync_model::{
    ClaimId, Failure, Fence, GenerationNumber, Identifier, Run, RunName, RunState,
};
use cfgsync_store::{Change, NewClaim, RunChange, RunRejection};
use cfgsync_wire::RunEntry;

/// The largest number of runs that are stored.
const RUNS_MAX: usize = 1000;

/// The wish of a process to run a program, or to get the result.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The name of the run.
    pub name: RunName,
    /// The node.
    pub runner: Identifier,
    /// The process on the node.
    pub claim: ClaimId,
    /// Whether the run is done for each generation.
    pub is_per_generation: bool,
    /// The generation of the node. If it is absent, the newest one.
    pub generation: Option<GenerationNumber>,
    /// The number of runners that may fail or die.
    pub tries_max: u32,
}

/// The answer to a [`RunRequest`].
#[derive(Debug, Clone)]
pub enum RunAnswer {
    /// The process may run the program, until its lease ends.
    Run {
        /// The number of this runner.
        fence: Fence,
        /// The length of the lease.
        lease: Duration,
    },
    /// The run has succeeded.
    Done {
        /// The number of the runner that succeeded.
        fence: Fence,
        /// The node that succeeded.
        runner: Identifier,
        /// The output of the program.
        output: Bytes,
    },
    /// Another node runs the program.
    Waiting(Identifier),
    /// All tries have failed.
    Exhausted {
        /// The number of runners that failed or died.
        failures: u32,
        /// The newest runner.
        runner: Identifier,
        /// The reason of the newest failure.
        reason: Arc<str>,
    },
    /// The cluster has failed, with this reason.
    Failed(Arc<Failure>),
    /// This server is stopping.
    Draining,
}

/// The next step for a request.
enum Step {
    Answer(RunAnswer),
    /// The request waits for this runner until its lease ends.
    WaitFor(Identifier, Instant),
    /// The state has changed meanwhile.
    TryAgain,
}

impl Coordinator {
    /// Makes the process the runner, or waits until the run has a result, at most until `until`.
    ///
    /// # Errors
    /// Fails if the node is not registered, if a limit is reached, or if the store does not acknowledge the claim.
    pub async fn claim_run(
        &self,
        request: &RunRequest,
        until: Instant,
    ) -> Result<RunAnswer, Refusal> {
        // Subscribe before comparing, so that no change is lost.
        let mut changed = self.shared.runs.changed.subscribe();
        let mut release = self.shared.release.subscribe();
        loop {
            changed.borrow_and_update();
            release.borrow_and_update();
            let step = {
                let _claiming = self.shared.runs.claiming.lock().await;
                self.try_claim(request).await?
            };
            let (runner, end) = match step {
                Step::Answer(answer) => return Ok(answer),
                Step::TryAgain => continue,
                Step::WaitFor(runner, end) => (runner, end),
            };
            if self.shared.draining.load(Ordering::Relaxed) {
                return Ok(RunAnswer::Draining);
            }
            tokio::select! {
                _ = changed.changed() => {}
                _ = release.changed() => {}
                () = tokio::time::sleep_until(end.min(until)) => {
                    if until <= end {
                        return Ok(RunAnswer::Waiting(runner));
                    }
                }
            }
        }
    }

    /// Renews the lease of a runner. Returns its length.
    ///
    /// # Errors
    /// Fails with [`RunRejection::Fenced`] if another runner has begun, or if the run was forgotten.
    pub fn renew_run(
        &self,
        name: &RunName,
        runner: &Identifier,
        fence: Fence,
    ) -> Result<Duration, Refusal> {
        let state = self.shared.store.state();
        let run = state.runs.get(name.as_str());
        let is_runner = |run: &Run| {
            run.fence == fence && run.runner == *runner && matches!(run.state, RunState::Running(_))
        };
        if !run.is_some_and(is_runner) {
            return Err(Refusal::Run(RunRejection::Fenced(name.clone())));
        }
        self.shared.runs.renew(name, fence);
        Ok(self.shared.runs.lease())
    }

    /// Records the success of a runner.
    ///
    /// # Errors
    /// Fails with [`RunRejection::Fenced`] if another runner has begun, or if the run was forgotten. Fails as well if the
    /// store does not acknowledge the result.
    pub async fn finish_run(
        &self,
        name: RunName,
        runner: Identifier,
        fence: Fence,
        output: Bytes,
    ) -> Result<(), Refusal> {
        let done = RunChange::Done {
            name: name.clone(),
            runner,
            fence,
            output,
            at: self.shared.clock.now(),
        };
        self.change_run(&name, done).await
    }

    /// Records the failure of a runner.
    ///
    /// # Errors
    /// Fails as [`Coordinator::finish_run`] does.
    pub async fn fail_run(
        &self,
        name: RunName,
        runner: Identifier,
        fence: Fence,
        reason: String,
    ) -> Result<(), Refusal> {
        let fail = RunChange::Fail {
            name: name.clone(),
            runner,
            fence,
            reason: reason.into(),
            at: self.shared.clock.now(),
        };
        self.change_run(&name, fail).await
    }

    /// Forgets a run, so that it is done once more.
    ///
    /// # Errors
    /// Fails if there is no such run, or if the store does not acknowledge the change.
    pub async fn forget_run(&self, name: RunName) -> Result<(), Refusal> {
        self.change_run(&name.clone(), RunChange::Forget(name))
            .await
    }

    /// Returns all runs, in the order of their names.
    pub fn runs(&self) -> Vec<RunEntry> {
        let state = self.shared.store.state();
        let runs = state.runs.all();
        runs.map(|(name, run)| RunEntry::of(name, run)).collect()
    }

    async fn change_run(&self, name: &RunName, change: RunChange) -> Result<(), Refusal> {
        let commit = self.apply(vec![Change::Run(change)]).await?;
        if commit.is_changed() {
            self.shared.metrics.changes.run.inc();
            self.shared.runs.remove(name);
        }
        Ok(())
    }

    /// Claims the run if no runner holds it and it has no result.
    async fn try_claim(&self, request: &RunRequest) -> Result<Step, Refusal> {
        let (generation, known) = {
            let view = self.shared.view.load();
            let state = self.shared.store.state();
            if let Some(failure) = inspect::failure(&view, &state) {
                return Ok(Step::Answer(RunAnswer::Failed(Arc::new(failure.clone()))));
            }
            if !state.registrations.contains_key(&request.runner) {
                return Err(Refusal::Unregistered(request.runner.clone()));
            }
            let newest = state.generation().map(|newest| newest.number);
            let generation = match request.generation.or(newest) {
                _ if !request.is_per_generation => GenerationNumber(0),
                // A run for a generation of the future would count for all generations until then.
                Some(unsealed) if unsealed < GenerationNumber(1) || newest < Some(unsealed) => {
                    return Err(Refusal::NotSealed(unsealed));
                }
                Some(generation) => generation,
                None => return Err(Refusal::NothingDelivered(request.runner.clone())),
            };
            (generation, state.runs.get(request.name.as_str()).cloned())
        };
        let replaces = match &known {
            Some(run) => match self.answer_of(request, generation, run) {
                Some(step) => return Ok(step),
                None => matches!(run.state, RunState::Running(_)).then_some(run.fence),
            },
            None => None,
        };
        let claim = RunChange::Claim(NewClaim {
            name: request.name.clone(),
            generation,
            runner: request.runner.clone(),
            claim: request.claim,
            tries_max: request.tries_max,
            replaces,
            at: self.shared.clock.now(),
            runs_max: RUNS_MAX,
        });
        match self.apply(vec![Change::Run(claim)]).await {
            Ok(commit) => {
                if commit.is_changed() {
                    self.shared.metrics.changes.run.inc();
                }
            }
            Err(Refusal::Run(
                RunRejection::Running(_) | RunRejection::Done | RunRejection::Exhausted,
            )) => return Ok(Step::TryAgain),
            Err(refusal) => return Err(refusal),
        }
        let state = self.shared.store.state();
        match state.runs.get(request.name.as_str()) {
            Some(run) if run.state == RunState::Running(request.claim) => {
                self.shared.runs.renew(&request.name, run.fence);
                Ok(Step::Answer(RunAnswer::Run {
                    fence: run.fence,
                    lease: self.shared.runs.lease(),
                }))
            }
            // The lost runner was the last try.
            _ => Ok(Step::TryAgain),
        }
    }

    /// Returns the step that follows from a known run. `None` if the process may claim it.
    fn answer_of(
        &self,
        request: &RunRequest,
        generation: GenerationNumber,
        run: &Run,
    ) -> Option<Step> {
        let is_of_round = run.generation >= generation;
        match &run.state {
            RunState::Running(claim) if *claim != request.claim => {
                let end = self.shared.runs.end(&request.name, run.fence);
                (end > Instant::now()).then(|| Step::WaitFor(run.runner.clone(), end))
            }
            RunState::Done(output) if is_of_round => Some(Step::Answer(RunAnswer::Done {
                fence: run.fence,
                runner: run.runner.clone(),
                output: output.clone(),
            })),
            RunState::Failed if is_of_round && run.failures >= request.tries_max => {
                Some(Step::Answer(RunAnswer::Exhausted {
                    failures: run.failures,
                    runner: run.runner.clone(),
                    reason: run.last_error.clone().unwrap_or_default(),
                }))
            }
            _ => None,
        }
    }
}
