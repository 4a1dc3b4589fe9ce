//! The effect of every change on the state.

use std::sync::Arc;

use crate::{
    Bounds, CapacityExceeded, Change, Commit, NewReport, NodeOverride, RegisteredNode, Rejection,
    RejectionReason, SealCondition, SealOutcome, State, StoppedRollout,
    bounds::bytes_of,
    event::{Event, EventKind},
    payload_ages::UnchangedPayloads,
};
use cfgsync_model::{
    ArtifactSet, Digest, Failure, Generation, GenerationNumber, Identifier, JoinerId,
    NodeRegistration, Origin, Revision,
};
use cfgsync_support::clock::Timestamp;

impl State {
    /// Applies all of `changes` at `revision`, or none of them. Only this function defines the effect of a change, and
    /// every store uses it. If nothing changes, the state keeps its revision. `revision` must be newer than this state,
    /// or equal if the store shows several batches of one revision together.
    ///
    /// # Errors
    /// Fails with the first change that is not allowed. Then the state is unchanged.
    pub fn apply(&mut self, changes: Vec<Change>, revision: Revision) -> Result<Commit, Rejection> {
        // A single change is checked before it changes anything.
        let before = (changes.len() > 1).then(|| self.clone());
        let mut kinds: Vec<TimedKind> = Vec::with_capacity(changes.len());
        let mut in_effect_since = None;
        for (index, change) in changes.into_iter().enumerate() {
            let at = change.at();
            match self.apply_one(change, revision, &mut kinds) {
                Ok(Effect::Changed(kind)) => kinds.push((at, kind)),
                Ok(Effect::Unchanged(since)) => in_effect_since = in_effect_since.max(since),
                Err(reason) => {
                    if let Some(before) = before {
                        *self = before;
                    }
                    return Err(Rejection { index, reason });
                }
            }
        }
        if kinds.is_empty() {
            return Ok(Commit {
                revision: in_effect_since.unwrap_or(self.revision),
                events: Arc::default(),
            });
        }
        Ok(self.commit(kinds, revision))
    }

    /// Records the effects of the changes at `revision`.
    fn commit(&mut self, kinds: Vec<TimedKind>, revision: Revision) -> Commit {
        let parts = self.events.next_part(revision)..;
        let events: Arc<[Event]> = kinds
            .into_iter()
            .zip(parts)
            .map(|((at, kind), part)| Event {
                revision,
                part,
                at,
                kind,
            })
            .collect();
        self.events.push(events.clone());
        self.revision = revision;
        Commit { revision, events }
    }

    /// Applies one change. Adds to `kinds` what happens before the effect that it returns.
    fn apply_one(
        &mut self,
        change: Change,
        revision: Revision,
        kinds: &mut Vec<TimedKind>,
    ) -> Result<Effect, RejectionReason> {
        let effect = match change {
            Change::Register {
                registration,
                origin,
                within,
                before_seal,
            } => {
                if before_seal {
                    self.check_before_seal(&registration.identifier)?;
                }
                self.register(registration, origin, within, revision)?
            }
            Change::Remove {
                identifier,
                only_if,
                joiner,
            } => self.remove(identifier, only_if, joiner, revision)?,
            Change::Override { identifier, files } => {
                self.set_override(identifier, files, revision)
            }
            Change::RemoveOverride(identifier) => {
                if self.overrides.remove(&identifier).is_none() {
                    return Err(RejectionReason::NoOverride(identifier));
                }
                self.overrides_revision = revision;
                Effect::Changed(EventKind::OverrideRemoved { identifier })
            }
            Change::Deliver {
                identifier,
                generation,
                at,
            } => self.deliver(identifier, generation, at),
            Change::Claim {
                identifier,
                key,
                within,
            } => self.claim(identifier, key, within)?,
            Change::Release(identifier) => match self.keys.remove(&identifier) {
                Some(_) => Effect::Changed(EventKind::NameReleased { identifier }),
                None => Effect::Unchanged(None),
            },
            Change::Fail(failure) => self.fail(failure),
            Change::Value(change) => {
                let effect = self.values.apply(change, revision)?;
                self.values_revision = revision;
                Effect::Changed(effect)
            }
            Change::Reset => match self.failure.take() {
                Some(_) => Effect::Changed(EventKind::ClusterReset),
                None => Effect::Unchanged(None),
            },
            Change::Confirm { generation, inputs } => self.confirm(generation, inputs),
            Change::Redraw { key } => self.redraw(key, revision)?,
            Change::Report(report) => self.report(report, revision)?,
            Change::Run(change) => match self.runs.apply(change, revision)? {
                Some(event) => Effect::Changed(event),
                None => Effect::Unchanged(None),
            },
            Change::StopRollout(stopped) => self.stop_rollout(stopped),
            Change::ResumeRollout { generation } => self.resume_rollout(generation),
            Change::Ban { identifier, within } => {
                let effect = self.ban(&identifier, within)?;
                // A banned node is not registered, so the removal cannot be without a ban.
                if let Ok(Effect::Changed(removed)) = self.remove(identifier, None, None, revision)
                {
                    kinds.push((None, removed));
                }
                effect
            }
            Change::Unban(identifier) => match self.bans.remove(&identifier) {
                Some(_) => Effect::Changed(EventKind::NodeUnbanned { identifier }),
                None => Effect::Unchanged(None),
            },
        };
        let newest = self.registrations_revision.max(self.overrides_revision);
        let newest = newest.max(self.values_revision);
        self.inputs = newest.max(self.redraws_revision);
        Ok(effect)
    }

    /// Checks that `registration` fits in `within`. Returns the size of its metadata, in bytes. A registered node may
    /// always change its facts if its metadata does not grow.
    fn check_capacity(
        &self,
        registration: &NodeRegistration,
        within: Bounds,
    ) -> Result<usize, CapacityExceeded> {
        let known = self.registrations.get(&registration.identifier);
        if known.is_none() && self.registrations.len() >= within.nodes_max {
            let max = within.nodes_max;
            return Err(CapacityExceeded::Nodes { max });
        }
        let bytes_before = known.map_or(0, |known| known.metadata_bytes);
        let bytes = bytes_of(&registration.metadata);
        let total_bytes = self.metadata_total_bytes - bytes_before + bytes;
        let max_bytes = within.metadata_total_max_bytes;
        if bytes > bytes_before && total_bytes > max_bytes {
            return Err(CapacityExceeded::Metadata { max_bytes });
        }
        Ok(bytes)
    }

    /// Checks that no generation is sealed, unless the node is registered.
    fn check_before_seal(&self, identifier: &Identifier) -> Result<(), RejectionReason> {
        if self.generation().is_some() && !self.registrations.contains_key(identifier) {
            return Err(RejectionReason::TooLate(identifier.clone()));
        }
        Ok(())
    }

    fn register(
        &mut self,
        registration: NodeRegistration,
        origin: Origin,
        within: Bounds,
        revision: Revision,
    ) -> Result<Effect, RejectionReason> {
        if self.bans.contains(&registration.identifier) {
            return Err(RejectionReason::Banned(registration.identifier));
        }
        if let Some(known) = self.registrations.get(&registration.identifier)
            && *known.registration == registration
        {
            if origin.joiner.is_none() || origin.joiner == known.origin.joiner {
                return Ok(Effect::Unchanged(Some(known.revision)));
            }
            let identifier = registration.identifier;
            let known = RegisteredNode {
                origin,
                ..known.clone()
            };
            self.registrations.insert(identifier.clone(), known);
            return Ok(Effect::Changed(EventKind::JoinerChanged { identifier }));
        }
        let metadata_bytes = self.check_capacity(&registration, within)?;
        let registration = Arc::new(registration);
        self.insert_registration(registration.clone(), origin, metadata_bytes, revision);
        self.registrations_revision = revision;
        Ok(Effect::Changed(EventKind::NodeRegistered { registration }))
    }

    fn remove(
        &mut self,
        identifier: Identifier,
        only_if: Option<NodeRegistration>,
        joiner: Option<JoinerId>,
        revision: Revision,
    ) -> Result<Effect, RejectionReason> {
        let Some(known) = self.registrations.get(&identifier) else {
            return Err(RejectionReason::NotRegistered(identifier));
        };
        let is_other = match (joiner, known.origin.joiner) {
            (Some(joiner), Some(known)) => joiner != known,
            _ => only_if.is_some_and(|facts| *known.registration != facts),
        };
        if is_other {
            return Err(RejectionReason::DifferentFacts(identifier));
        }
        self.metadata_total_bytes -= known.metadata_bytes;
        self.registrations.remove(&identifier);
        self.deliveries.remove(&identifier);
        self.delivery_times.remove(&identifier);
        self.phases.remove(identifier.as_str());
        self.registrations_revision = revision;
        Ok(Effect::Changed(EventKind::NodeRemoved { identifier }))
    }

    fn set_override(
        &mut self,
        identifier: Identifier,
        files: ArtifactSet,
        revision: Revision,
    ) -> Effect {
        if let Some(known) = self.overrides.get(&identifier)
            && *known.files == files
        {
            return Effect::Unchanged(Some(known.revision));
        }
        let node_override = NodeOverride {
            files: Arc::new(files),
            revision,
        };
        self.overrides.insert(identifier.clone(), node_override);
        self.overrides_revision = revision;
        Effect::Changed(EventKind::OverrideSet { identifier })
    }

    fn deliver(
        &mut self,
        identifier: Identifier,
        generation: GenerationNumber,
        at: Option<Timestamp>,
    ) -> Effect {
        let is_known = self.deliveries.get(&identifier) == Some(&generation);
        if is_known || !self.registrations.contains_key(&identifier) {
            return Effect::Unchanged(None);
        }
        self.deliveries.insert(identifier.clone(), generation);
        if let Some(at) = at {
            let delivery = (generation, at);
            self.delivery_times.insert(identifier.clone(), delivery);
        }
        Effect::Changed(EventKind::Delivered {
            identifier,
            generation,
        })
    }

    fn claim(
        &mut self,
        identifier: Identifier,
        key: Digest,
        within: Bounds,
    ) -> Result<Effect, RejectionReason> {
        match self.keys.get(&identifier) {
            Some(owner) if *owner == key => return Ok(Effect::Unchanged(None)),
            Some(_) => return Err(RejectionReason::DifferentKey(identifier)),
            None => {}
        }
        let max = within.nodes_max;
        if self.keys.len() >= max && !self.registrations.contains_key(&identifier) {
            return Err(CapacityExceeded::Names { max }.into());
        }
        self.keys.insert(identifier.clone(), key);
        Ok(Effect::Changed(EventKind::NameClaimed { identifier }))
    }

    fn fail(&mut self, failure: Failure) -> Effect {
        if self.failure.as_deref() == Some(&failure) {
            return Effect::Unchanged(None);
        }
        let failure = Arc::new(failure);
        self.failure = Some(failure.clone());
        Effect::Changed(EventKind::ClusterFailed { failure })
    }

    fn confirm(&mut self, generation: GenerationNumber, inputs: Revision) -> Effect {
        let is_newest = self
            .generation()
            .is_some_and(|newest| newest.number == generation);
        if !is_newest || inputs <= self.included_inputs() {
            return Effect::Unchanged(None);
        }
        self.confirmed = inputs;
        Effect::Changed(EventKind::GenerationConfirmed { generation, inputs })
    }

    fn stop_rollout(&mut self, stopped: StoppedRollout) -> Effect {
        if self.stopped_rollout.is_some() {
            return Effect::Unchanged(None);
        }
        self.stopped_rollout = Some(stopped.clone());
        Effect::Changed(EventKind::RolloutStopped {
            generation: stopped.generation,
            reason: stopped.reason,
        })
    }

    fn resume_rollout(&mut self, generation: GenerationNumber) -> Effect {
        if self.stopped_rollout.take().is_none() {
            return Effect::Unchanged(None);
        }
        Effect::Changed(EventKind::RolloutResumed { generation })
    }

    fn ban(&mut self, identifier: &Identifier, within: Bounds) -> Result<Effect, RejectionReason> {
        if self.bans.contains(identifier) {
            return Ok(Effect::Unchanged(None));
        }
        let max = within.nodes_max;
        if self.bans.len() >= max {
            return Err(CapacityExceeded::Bans { max }.into());
        }
        let identifier = identifier.clone();
        self.bans.insert(identifier.clone());
        Ok(Effect::Changed(EventKind::NodeBanned { identifier }))
    }

    fn report(&mut self, report: NewReport, revision: Revision) -> Result<Effect, RejectionReason> {
        let NewReport {
            identifier,
            phase,
            generation,
            reason,
            ..
        } = report.clone();
        if !self.registrations.contains_key(&identifier) {
            return Err(RejectionReason::NotRegistered(identifier));
        }
        let newest = self.generation().map(|newest| newest.number);
        if generation < GenerationNumber(1) || newest < Some(generation) {
            return Err(RejectionReason::NotSealed(generation));
        }
        let generation = self.carried(identifier.as_str(), generation);
        if !self.phases.report(report, generation, revision)? {
            let known = self.phases.get(identifier.as_str(), phase.as_str());
            return Ok(Effect::Unchanged(known.map(|known| known.revision)));
        }
        Ok(Effect::Changed(EventKind::PhaseReported {
            identifier,
            phase,
            generation,
            reason,
        }))
    }

    fn redraw(&mut self, key: String, revision: Revision) -> Result<Effect, RejectionReason> {
        if let Some(requested) = self.redraws.get(&key) {
            return Ok(Effect::Unchanged(Some(*requested)));
        }
        let newest = self.generation();
        if !newest.is_some_and(|newest| newest.once.contains_key(&key)) {
            return Err(RejectionReason::NoOnceValue(key));
        }
        self.redraws.insert(key.clone(), revision);
        self.redraws_revision = revision;
        Ok(Effect::Changed(EventKind::RedrawRequested { key }))
    }

    /// Lets the phases of nodes whose payload is unchanged count for the generation `next`. Those of the other nodes count
    /// up to the generation `before`.
    fn carry_phases(
        &mut self,
        before: GenerationNumber,
        next: &Generation,
        unchanged: &UnchangedPayloads,
    ) {
        for (identifier, since) in self.payload_ages.advance(before, next, unchanged) {
            self.phases.carry(identifier.as_str(), since, before);
            if let Some(delivered) = self.deliveries.get_mut(&identifier)
                && *delivered >= since
            {
                *delivered = before;
            }
        }
    }

    /// Seals `generation` at `revision` if its number follows the newest one. Only the newest `history` generations, at
    /// least one, are kept.
    ///
    /// # Errors
    /// Fails if nothing is sealed yet and the number is not 1.
    pub fn seal(
        &mut self,
        generation: Arc<Generation>,
        history: usize,
        revision: Revision,
    ) -> Result<SealOutcome, Rejection> {
        self.seal_if(generation, SealCondition::default(), history, revision)
    }

    /// Seals as [`State::seal`] does, if `only_if` holds.
    ///
    /// # Errors
    /// Fails as [`State::seal`] does.
    pub fn seal_if(
        &mut self,
        generation: Arc<Generation>,
        only_if: SealCondition,
        history: usize,
        revision: Revision,
    ) -> Result<SealOutcome, Rejection> {
        let newest = self.generation().map(Arc::as_ref);
        let unchanged = UnchangedPayloads::between(newest, &generation);
        self.seal_with(generation, only_if, &unchanged, history, revision)
    }

    /// Like [`State::seal_if`], for a generation whose files may be absent. `unchanged` has the nodes whose payload is the
    /// same as in the newest generation.
    pub(crate) fn seal_with(
        &mut self,
        generation: Arc<Generation>,
        only_if: SealCondition,
        unchanged: &UnchangedPayloads,
        history: usize,
        revision: Revision,
    ) -> Result<SealOutcome, Rejection> {
        let newest = self.generation();
        let number = newest.map_or(GenerationNumber(0), |newest| newest.number);
        if generation.number != number.next() {
            // Equal files are not enough: later generations reuse these seats and `once` values.
            let is_same = |sealed: &Arc<Generation>| {
                (sealed.number, sealed.digest) == (generation.number, generation.digest)
                    && sealed.seats == generation.seats
                    && sealed.once == generation.once
            };
            if self.generations.iter().any(is_same) {
                return Ok(SealOutcome::Won);
            }
            return match newest {
                Some(newest) => Ok(SealOutcome::Lost(newest.clone())),
                None => Err(Rejection {
                    index: 0,
                    reason: RejectionReason::NotFirstGeneration(generation.number),
                }),
            };
        }
        if !self.holds(only_if, &generation) {
            return Ok(SealOutcome::Outdated);
        }
        let sealed = EventKind::GenerationSealed {
            generation: generation.number,
            digest: generation.digest,
        };
        self.confirmed = Revision(0);
        self.carry_phases(number, &generation, unchanged);
        // The generation has evaluated the values that were requested before its inputs.
        let covered = generation.revision;
        self.redraws = self
            .redraws
            .iter()
            .filter(|(key, requested)| {
                **requested > covered && generation.once.contains_key(key.as_str())
            })
            .map(|(key, requested)| (key.clone(), *requested))
            .collect();
        let at = Some(generation.sealed_at);
        let generations = Arc::make_mut(&mut self.generations);
        generations.push_back(generation);
        while generations.len() > history.max(1) {
            generations.pop_front();
        }
        self.commit(vec![(at, sealed)], revision);
        Ok(SealOutcome::Won)
    }
}

impl State {
    /// Whether everything is as the render of `generation` saw it, as far as `only_if` says.
    fn holds(&self, only_if: SealCondition, generation: &Generation) -> bool {
        let SealCondition {
            registrations,
            same_spec,
        } = only_if;
        let is_complete = registrations.is_none_or(|seen| seen == self.registrations_revision);
        let newest = self.generation();
        let is_other_spec = newest.is_some_and(|newest| newest.spec != generation.spec);
        is_complete && !(same_spec && is_other_spec)
    }
}

/// The kind of an event, and the time of its change.
type TimedKind = (Option<Timestamp>, EventKind);

/// The effect of one change on the state.
enum Effect {
    Changed(EventKind),
    /// The change was already in effect, since this revision if it is known.
    Unchanged(Option<Revision>),
}
