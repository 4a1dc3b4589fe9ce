//! Phases: nodes report what they have reached, and requests wait until enough nodes have reached it.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    Coordinator, Refusal, inspect,
    phase_tally::{PhaseNodes, PhaseQuery, Tally},
};
use cfgsync_model::{Failure, FailureKind, GenerationNumber, Identifier, Phase};
use cfgsync_store::{Change, Commit, NewReport, PhaseBounds};
use cfgsync_wire::{PhaseState, ReportBody};

/// The answer to a request about a phase. The bytes are an encoded [`cfgsync_wire::PhaseBody`].
#[derive(Debug, Clone)]
pub enum PhaseAnswer {
    /// Enough nodes have reached the phase, or not yet, or they cannot.
    Phase(PhaseState, Bytes),
    /// The cluster has failed, with this reason.
    Failed(Arc<Failure>),
    /// This server is stopping. The bytes are the current answer.
    Draining(Bytes),
}

/// The generation and the nodes of a request about a phase.
#[derive(Debug, Clone)]
pub struct PhaseRequest {
    /// The phase.
    pub phase: Phase,
    /// The generation. If it is absent, the newest one.
    pub generation: Option<GenerationNumber>,
    /// The nodes that must have reached it.
    pub nodes: PhaseNodes,
}

impl Coordinator {
    /// Records that a node has reached a phase. With `fail_fast` in the spec, the phase `failed` fails the cluster.
    ///
    /// # Errors
    /// Fails if the node is not registered, if it has not received the generation, or if a limit is reached. Fails as
    /// well if the store does not acknowledge the report.
    pub async fn report(
        &self,
        identifier: Identifier,
        phase: Phase,
        report: ReportBody,
    ) -> Result<(), Refusal> {
        let changes = self.report_changes(identifier, phase, report)?;
        let is_failure = changes.len() > 1;
        let commit: Commit = self.apply(changes).await?;
        if commit.is_changed() {
            self.shared.metrics.changes.report.inc();
        }
        if is_failure {
            self.shared.release.send_replace(());
        }
        Ok(())
    }

    /// Returns the refusal that [`Coordinator::report`] would give now. It changes nothing.
    ///
    /// # Errors
    /// Fails as [`Coordinator::report`] does, except for a store that does not acknowledge changes.
    pub fn check_report(
        &self,
        identifier: &Identifier,
        phase: &Phase,
        report: &ReportBody,
    ) -> Result<(), Refusal> {
        let changes = self.report_changes(identifier.clone(), phase.clone(), report.clone())?;
        self.check_changes(changes)
    }

    /// Returns the batch of a report: the report, and the failure of the cluster if it causes one.
    fn report_changes(
        &self,
        identifier: Identifier,
        phase: Phase,
        report: ReportBody,
    ) -> Result<Vec<Change>, Refusal> {
        if phase.is_delivered() {
            return Err(Refusal::DeliveredByServer);
        }
        if phase.is_retry() {
            return Err(Refusal::RetryByOperator);
        }
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        if !state.registrations.contains_key(&identifier) {
            return Err(Refusal::Unregistered(identifier));
        }
        let served = view.served_to(&state, identifier.as_str());
        let served = served.filter(|served| served.was_delivered(identifier.as_str()));
        let received = || {
            let recorded = state.deliveries.get(&identifier).copied();
            let newest = served.map(|served| served.generation.number);
            newest.max(recorded)
        };
        let Some(generation) = report.generation.or_else(received) else {
            return Err(Refusal::NothingDelivered(identifier));
        };
        let newest = state.generation().map(|newest| newest.number);
        let is_current = newest == Some(state.carried(identifier.as_str(), generation));
        let at = self.shared.clock.now();
        let reason: Option<Arc<str>> = report.reason.map(Into::into);
        let mut changes = vec![];
        if view.pipeline.spec.fail_fast
            && phase.is_failed()
            && is_current
            && state.failure.is_none()
        {
            let why = reason.as_deref().unwrap_or("without a reason");
            changes.push(Change::Fail(Failure {
                kind: FailureKind::Node,
                reason: format!("{identifier} failed: {why}"),
                at,
            }));
        }
        let report = Change::Report(NewReport {
            identifier,
            phase,
            generation,
            reason,
            at,
            within: PhaseBounds::default(),
        });
        changes.insert(0, report);
        Ok(changes)
    }

    /// Returns whether enough nodes have reached a phase, without waiting.
    pub fn phase(&self, request: PhaseRequest) -> PhaseAnswer {
        let query = self.resolve_phase(request);
        let (state, body) = Tally::new(query, &self.shared.store.state()).answer();
        self.phase_answer(state, body)
    }

    /// Waits until enough nodes have reached a phase, or cannot reach it, at most until `until`. At that time it returns
    /// the current answer. `None` if requests wait for too many different questions.
    pub async fn wait_for_phase(
        &self,
        request: PhaseRequest,
        until: Instant,
    ) -> Option<PhaseAnswer> {
        // Subscribe before comparing, so that a release in between is not lost.
        let mut release = self.shared.release.subscribe();
        let query = self.resolve_phase(request);
        let mut wait = self.shared.phase_waits.wait(query, &*self.shared.store)?;
        loop {
            release.borrow_and_update();
            let (state, body) = wait.answer();
            let answer = self.phase_answer(state, body);
            if !matches!(answer, PhaseAnswer::Phase(PhaseState::Waiting, _)) {
                return Some(answer);
            }
            tokio::select! {
                () = wait.changed() => {}
                _ = release.changed() => {}
                () = tokio::time::sleep_until(until) => {
                    let (state, body) = wait.answer();
                    return Some(self.phase_answer(state, body));
                }
            }
        }
    }

    fn phase_answer(&self, state: PhaseState, body: Bytes) -> PhaseAnswer {
        let view = self.shared.view.load();
        if let Some(failure) = inspect::failure(&view, &self.shared.store.state()) {
            return PhaseAnswer::Failed(Arc::new(failure.clone()));
        }
        if state == PhaseState::Waiting && self.shared.draining.load(Ordering::Relaxed) {
            return PhaseAnswer::Draining(body);
        }
        PhaseAnswer::Phase(state, body)
    }

    /// Chooses the generation of a request: the newest one if it names none. The nodes of a generation that is no longer
    /// kept are not known, so the oldest kept one takes its place.
    pub(super) fn resolve_phase(&self, request: PhaseRequest) -> PhaseQuery {
        let state = self.shared.store.state();
        let newest = state.generation().map(|newest| newest.number);
        let oldest = state.generations.front().map(|oldest| oldest.number);
        let generation = request.generation.or(newest).max(oldest);
        PhaseQuery {
            phase: request.phase,
            generation: generation.unwrap_or(GenerationNumber(1)),
            nodes: request.nodes,
        }
    }
}
