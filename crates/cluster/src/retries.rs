//! Retries: a node that refused a generation tries it again on behalf of an operator.
//!
//! A retry is stored as the phase `retry` of the node, about the generation that it refused. Its revision tells the node
//! whether it knows the retry already.

use crate::{Coordinator, Refusal};
use cfgsync_model::{GenerationNumber, Identifier, Phase, Revision};
use cfgsync_store::{Change, NewReport, PhaseBounds, State};

impl Coordinator {
    /// Lets a node that follows changes try the generation again that it has refused. Returns the generation. If a retry
    /// is pending already, nothing changes.
    ///
    /// # Errors
    /// Fails if the node is not registered, does not follow, or has refused nothing. Fails as well if the store does not
    /// acknowledge the change.
    pub async fn retry(&self, identifier: &Identifier) -> Result<GenerationNumber, Refusal> {
        let (generation, change) = self.retry_change(identifier)?;
        if let Some(change) = change {
            let commit = self.apply(vec![change]).await?;
            if commit.is_changed() {
                self.shared.metrics.changes.retry.inc();
            }
            // The request of the node waits for its files.
            self.shared.release.send_replace(());
        }
        Ok(generation)
    }

    /// Returns the generation that the node refused, and the change, unless it is made already.
    fn retry_change(
        &self,
        identifier: &Identifier,
    ) -> Result<(GenerationNumber, Option<Change>), Refusal> {
        // An identifier that occurs nowhere is probably misspelt.
        self.node(identifier)?;
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let name = identifier.as_str();
        if !state.registrations.contains_key(identifier) {
            return Err(Refusal::Unregistered(identifier.clone()));
        }
        let now = tokio::time::Instant::now();
        if !self.shared.followers.has(identifier, now) && !self.shared.held_requests.waits(name) {
            return Err(Refusal::NotFollowing(identifier.clone()));
        }
        let nothing = || Refusal::NothingRefused(identifier.clone());
        let served = view.served_to(&state, name).ok_or_else(nothing)?;
        let generation = served.generation.number;
        let failed = state.phases.get(name, Phase::FAILED);
        let failed = failed.filter(|it| state.carried(name, it.generation) >= generation);
        let failed = failed.ok_or_else(nothing)?;
        if retry_of(&state, name, generation) > Some(failed.revision) {
            return Ok((generation, None));
        }
        let bounds = PhaseBounds::default();
        let report = NewReport {
            identifier: identifier.clone(),
            phase: Phase::RETRY.parse().expect("a valid name"),
            generation,
            reason: None,
            at: self.shared.clock.now(),
            // A node that has reported as many phases as it may can be told to try again.
            within: PhaseBounds {
                per_node_max: bounds.per_node_max + 1,
                ..bounds
            },
        };
        Ok((generation, Some(Change::Report(report))))
    }

    /// Returns the revision of the newest retry of the payload that the node gets now.
    pub fn newest_retry(&self, identifier: &str) -> Option<Revision> {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let generation = view.served_to(&state, identifier)?.generation.number;
        retry_of(&state, identifier, generation)
    }

    /// Whether a node that knows the retry `known` must try the payload again that it has refused.
    pub fn must_retry(&self, identifier: &str, known: Option<Revision>) -> bool {
        known.is_some_and(|known| self.newest_retry(identifier) > Some(known))
    }
}

/// Returns the revision of the newest retry, if it is about `generation` or its files.
fn retry_of(state: &State, identifier: &str, generation: GenerationNumber) -> Option<Revision> {
    let report = state.phases.get(identifier, Phase::RETRY)?;
    (state.carried(identifier, report.generation) >= generation).then_some(report.revision)
}
