//! Commands: all operations that change the cluster. [`crate::admission`] decides each command, and the store applies
//! it in one batch and acknowledges it.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::{Accepted, AnotherCluster, Coordinator, Refusal, pipeline, reconciler::Command};
use cfgsync_model::{
    ArtifactSet, Digest, Failure, FailureKind, GenerationNumber, Identifier, JoinerId,
    NodeRegistration, Origin, Revision, Sender,
};
use cfgsync_spec::{OnConflict, Spec};
use cfgsync_store::{
    CapacityExceeded, Change, Commit, CommitError, Rejection, RejectionReason, RunRejection, State,
    StoppedRollout,
};
use cfgsync_support::nearest::did_you_mean_suffix;
use cfgsync_wire::{LeaveBody, RefusedEntry, RolloutState};

/// The longest time that [`Coordinator::replace`] and similar commands wait for the next generation. The change is stored
/// even if it takes longer.
const REPLACE_WAIT_MAX: Duration = Duration::from_mins(1);

impl Coordinator {
    /// Registers a node. Equal facts change nothing.
    ///
    /// # Errors
    /// Fails as [`Coordinator::register_as`] does.
    pub async fn register(&self, registration: NodeRegistration) -> Result<Revision, Refusal> {
        let accepted = self.register_as(registration, None, None).await?;
        Ok(accepted.revision)
    }

    /// Registers a node that proves its identity by a key. `key` is the hash of this key. The key becomes the owner of
    /// the identifier in the same batch. `joiner` is the process that registers the node.
    ///
    /// If another machine with the same identifier waits under `identity: open`, the spec decides which of the two counts.
    ///
    /// # Errors
    /// Fails if the node is not listed, is late, does not own its identifier or has invalid metadata. Fails as well if a
    /// limit is reached, or if the store does not acknowledge the registration.
    pub async fn register_as(
        &self,
        registration: NodeRegistration,
        key: Option<Digest>,
        joiner: Option<JoinerId>,
    ) -> Result<Accepted, Refusal> {
        let span = tracing::debug_span!("register", node = %registration.identifier);
        let identifier = registration.identifier.clone();
        let ip = registration.ip;
        let (changes, replaced) = self.admit(registration, key, joiner)?;
        let commit = self.apply(changes).instrument(span).await?;
        self.shared.refused.clear(&identifier);
        self.shared.leases.on_registered(&identifier);
        let (is_failed, is_complete) = {
            let view = self.shared.view.load();
            (view.failure.is_some(), view.coverage.is_complete)
        };
        if is_failed {
            // Wait until the new attempt is published. Otherwise this node's next fetch could still return the failure.
            self.command(Command::BeginAttempt).await;
        }
        if let Some(replaced) = replaced {
            tracing::warn!(
                event = "node_replaced",
                node = %identifier,
                peer = %ip,
                "another machine registered as {identifier} from {ip}; the one at {replaced}, which was waiting, gets no \
                 files"
            );
            self.shared.release.send_replace(());
        }
        if commit.is_changed() {
            self.shared.metrics.changes.register.inc();
            if is_complete {
                // No render follows, so nothing else wakes the clients that wait for this node.
                self.shared.release.send_replace(());
            }
        }
        Ok(Accepted {
            revision: commit.revision,
            changed: commit.is_changed(),
        })
    }

    /// Keeps the refusal of a node that tried to register, until it registers. Operators and waiting nodes see it.
    /// `reason` is the short identifier of the reason. Returns whether the last refusal of the node said something else.
    ///
    /// The number of refusals is bounded, so call this only for clients that have the right to register nodes.
    pub fn note_refused(
        &self,
        identifier: Identifier,
        ip: IpAddr,
        reason: &str,
        message: String,
    ) -> bool {
        self.shared.refused.note(RefusedEntry {
            identifier,
            ip,
            at: self.shared.clock.now(),
            reason: reason.to_owned(),
            message,
        })
    }

    /// Returns the refusal that [`Coordinator::register_as`] would give now. It changes nothing.
    ///
    /// # Errors
    /// Fails as [`Coordinator::register_as`] does, except for a store that does not acknowledge changes.
    pub fn check_register(
        &self,
        registration: &NodeRegistration,
        key: Option<Digest>,
        joiner: Option<JoinerId>,
    ) -> Result<(), Refusal> {
        let (changes, _) = self.admit(registration.clone(), key, joiner)?;
        self.check_changes(changes)
    }

    /// Returns the refusal that [`Coordinator::leave`] would give now. It changes nothing.
    ///
    /// # Errors
    /// Fails as [`Coordinator::leave`] does, except for a store that does not acknowledge changes.
    pub fn check_leave(&self, leave: &LeaveBody, joiner: Option<JoinerId>) -> Result<(), Refusal> {
        let changes = self.withdraw(leave.clone(), joiner)?;
        self.check_changes(changes)
    }

    /// Applies `changes` to a copy of the store's state.
    pub(super) fn check_changes(&self, changes: Vec<Change>) -> Result<(), Refusal> {
        let mut state = State::clone(&self.shared.store.state());
        let next = Revision(state.revision.0 + 1);
        match state.apply(changes, next) {
            Ok(_) => Ok(()),
            Err(rejection) => Err(self.refusal_of(rejection)),
        }
    }

    /// Decides whether the node may register. Returns the batch to store: the registration, with a claim if the node
    /// needs one. Returns as well the address of another machine that waits under the identifier, if the spec lets this
    /// registration replace it.
    fn admit(
        &self,
        registration: NodeRegistration,
        key: Option<Digest>,
        joiner: Option<JoinerId>,
    ) -> Result<(Vec<Change>, Option<IpAddr>), Refusal> {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let identifier = &registration.identifier;
        let admission = view.admission(&state);
        let sender = Sender::new(joiner, &registration);
        let other = admission.other_machine(identifier.as_str(), sender);
        let waits = |_: &_| self.shared.held_requests.waits(identifier.as_str());
        let replaced = other.filter(waits).map(|(_, ip)| ip);
        if let Some(ip) = replaced
            && view.pipeline.spec.on_conflict == OnConflict::Refuse
        {
            let identifier = identifier.clone();
            return Err(Refusal::NameInUse { identifier, ip });
        }
        let permit = admission.register(&registration, key, self.shared.capacity.bounds())?;
        let claim = permit.claim.map(|key| Change::Claim {
            identifier: registration.identifier.clone(),
            key,
            within: permit.within,
        });
        let register = Change::Register {
            registration,
            origin: Origin {
                joiner,
                at: Some(self.shared.clock.now()),
            },
            within: permit.within,
            before_seal: permit.before_seal,
        };
        let changes = match claim {
            Some(claim) => vec![claim, register],
            None => vec![register],
        };
        Ok((changes, replaced))
    }

    /// Ends the ownership of `identifier`. The next key with which a node registers as `identifier` becomes its owner.
    ///
    /// # Errors
    /// Fails if no key owns it, or if the store does not acknowledge the change.
    pub async fn release(&self, identifier: &Identifier) -> Result<Revision, Refusal> {
        let commit = self
            .apply(vec![Change::Release(identifier.clone())])
            .await?;
        if !commit.is_changed() {
            return Err(Refusal::NoKey(identifier.clone()));
        }
        self.shared.metrics.changes.release.inc();
        Ok(commit.revision)
    }

    /// Replaces a node's own files by an operator's. After the first seal, it returns once the generation with these
    /// files is sealed, or after a minute.
    ///
    /// # Errors
    /// Fails if a file has the path of a shared file, or if the store does not acknowledge the change.
    pub async fn replace(
        &self,
        identifier: Identifier,
        files: ArtifactSet,
    ) -> Result<Revision, Refusal> {
        {
            let view = self.shared.view.load();
            let state = self.shared.store.state();
            let sealed = view.served.as_ref();
            let sealed = sealed.map(|served| &*served.generation.shared);
            view.admission(&state).replace(&files, sealed)?;
        }
        let commit = self
            .apply(vec![Change::Override { identifier, files }])
            .await?;
        self.count_override(&commit);
        Ok(self.sealed_after(&commit).await)
    }

    /// Ends an override. Returns at the same time as [`Coordinator::replace`].
    ///
    /// # Errors
    /// Fails if there is no override, or if the store does not acknowledge the change.
    pub async fn remove_override(&self, identifier: &Identifier) -> Result<Revision, Refusal> {
        let commit = self
            .apply(vec![Change::RemoveOverride(identifier.clone())])
            .await?;
        self.count_override(&commit);
        Ok(self.sealed_after(&commit).await)
    }

    fn count_override(&self, commit: &Commit) {
        if commit.is_changed() {
            self.shared.metrics.changes.overrides.inc();
        }
    }

    /// Evaluates a value of `once` again for the next generation. Returns at the same time as [`Coordinator::replace`].
    ///
    /// # Errors
    /// Fails if the spec has no such value, if no generation has it yet, or if the store does not acknowledge the change.
    pub async fn redraw(&self, key: String) -> Result<Revision, Refusal> {
        {
            let view = self.shared.view.load();
            let mut names = view
                .pipeline
                .spec
                .once
                .iter()
                .map(|(name, _)| name.as_str());
            if !names.clone().any(|name| name == key) {
                let near = did_you_mean_suffix(&key, names.by_ref());
                return Err(Refusal::NoOnce { key, near });
            }
        }
        let commit = self.apply(vec![Change::Redraw { key }]).await?;
        if commit.is_changed() {
            self.shared.metrics.changes.redraw.inc();
        }
        Ok(self.sealed_after(&commit).await)
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

    /// Removes a node on behalf of an operator.
    ///
    /// # Errors
    /// Fails if the node is not registered, if the sealed cluster refuses removals, or if the store does not acknowledge
    /// the change.
    pub async fn remove(&self, identifier: &Identifier) -> Result<Revision, Refusal> {
        {
            let view = self.shared.view.load();
            let state = self.shared.store.state();
            view.admission(&state).remove(identifier)?;
        }
        self.apply_removal(vec![Change::Remove {
            identifier: identifier.clone(),
            only_if: None,
            joiner: None,
        }])
        .await
    }

    /// Removes a node on behalf of an operator, if it is registered, and refuses its registrations until
    /// [`Coordinator::unban`].
    ///
    /// # Errors
    /// Fails if the sealed cluster refuses removals, if too many nodes are banned, or if the store does not acknowledge
    /// the change.
    pub async fn ban(&self, identifier: &Identifier) -> Result<Revision, Refusal> {
        {
            let view = self.shared.view.load();
            let state = self.shared.store.state();
            match view.admission(&state).remove(identifier) {
                Ok(()) | Err(Refusal::Unregistered(_)) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        let ban = Change::Ban {
            identifier: identifier.clone(),
            within: self.shared.capacity.bounds(),
        };
        let commit = self.apply(vec![ban]).await?;
        if commit.is_changed() {
            self.shared.metrics.changes.ban.inc();
            // A request of the node may wait for its files.
            self.shared.release.send_replace(());
        }
        Ok(commit.revision)
    }

    /// Lets a banned node register again.
    ///
    /// # Errors
    /// Fails if the node is not banned, or if the store does not acknowledge the change.
    pub async fn unban(&self, identifier: &Identifier) -> Result<Revision, Refusal> {
        let commit = self.apply(vec![Change::Unban(identifier.clone())]).await?;
        if !commit.is_changed() {
            return Err(Refusal::NotBanned(identifier.clone()));
        }
        self.shared.metrics.changes.unban.inc();
        Ok(commit.revision)
    }

    /// Withdraws a node's own registration before the first seal, and ends the ownership of its identifier. The node may
    /// then register again from another machine. `joiner` is the process that withdraws. It withdraws only its own
    /// registration.
    ///
    /// # Errors
    /// Fails if the node is not registered, is registered with different facts, or already has files. Fails as well if
    /// the store does not acknowledge the change.
    pub async fn leave(
        &self,
        leave: LeaveBody,
        joiner: Option<JoinerId>,
    ) -> Result<Revision, Refusal> {
        let changes = self.withdraw(leave, joiner)?;
        self.apply_removal(changes).await
    }

    /// Decides whether the node may withdraw its registration. Returns the batch to store.
    fn withdraw(&self, leave: LeaveBody, joiner: Option<JoinerId>) -> Result<Vec<Change>, Refusal> {
        let LeaveBody {
            identifier,
            ip,
            metadata,
        } = leave;
        let facts = {
            let view = self.shared.view.load();
            let state = self.shared.store.state();
            let served = view.served.as_ref();
            let has_payload = served.is_some_and(|served| served.has(identifier.as_str()));
            view.admission(&state).leave(&identifier, has_payload)?;
            let known = state.registrations.get(&identifier);
            let known = known.expect("an unregistered node may not leave");
            let mut facts = NodeRegistration::clone(&known.registration);
            facts.ip = ip.unwrap_or(facts.ip);
            match metadata {
                Some(metadata) => facts.with_metadata_value(metadata),
                None => facts,
            }
        };
        let remove = Change::Remove {
            identifier: identifier.clone(),
            only_if: Some(facts),
            joiner,
        };
        Ok(vec![remove, Change::Release(identifier)])
    }

    async fn apply_removal(&self, changes: Vec<Change>) -> Result<Revision, Refusal> {
        let commit = self.apply(changes).await?;
        self.shared.metrics.changes.remove.inc();
        // The answer to clients that wait for this node has changed.
        self.shared.release.send_replace(());
        Ok(commit.revision)
    }

    /// Declares the cluster failed. Every node receives `reason` until [`Coordinator::reset`].
    ///
    /// # Errors
    /// Fails if the store does not acknowledge the change.
    pub async fn fail(&self, reason: String) -> Result<Revision, Refusal> {
        let failure = Failure {
            kind: FailureKind::Operator,
            reason,
            at: self.shared.clock.now(),
        };
        let commit = self.apply(vec![Change::Fail(failure)]).await?;
        self.shared.metrics.changes.fail.inc();
        self.shared.release.send_replace(());
        Ok(commit.revision)
    }

    /// Ends a declared failure, and retries a failed attempt or render.
    ///
    /// # Errors
    /// Fails if the store does not acknowledge the change.
    pub async fn reset(&self) -> Result<Revision, Refusal> {
        let commit = self.apply(vec![Change::Reset]).await?;
        self.shared.metrics.changes.reset.inc();
        self.command(Command::Retry).await;
        Ok(commit.revision)
    }

    /// Replaces the spec. Returns once the new spec is in force.
    ///
    /// # Errors
    /// Fails if the spec is for another cluster. Then the old spec stays in force.
    pub async fn reload(&self, spec: Spec) -> Result<(), AnotherCluster> {
        let served = self.cluster_name();
        if spec.cluster != served {
            return Err(AnotherCluster {
                served,
                found: spec.cluster,
            });
        }
        let pipeline = Arc::new(pipeline(spec, &self.shared.embedded));
        self.command(|answer| Command::Reload(pipeline, answer))
            .await;
        Ok(())
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

    /// Sends a command to the reconciler and waits until its effect is published.
    async fn command(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (answer, answered) = oneshot::channel();
        if self.shared.commands.send(command(answer)).await.is_ok() {
            // An error means that the reconciler has ended, so there is no effect to wait for.
            let _ = answered.await;
        }
    }
}
