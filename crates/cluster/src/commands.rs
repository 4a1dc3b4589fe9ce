//! Commands: everything that changes the cluster. Each is decided by [`crate::admission`], stored in one batch, and
//! acknowledged by the store.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::{Accepted, AnotherCluster, Coordinator, Refusal, pipeline, reconciler::Command};
use cfgsync_model::{
    ArtifactSet, Digest, Failure, FailureKind, Identifier, NodeRegistration, Revision,
};
use cfgsync_spec::Spec;
use cfgsync_store::{Change, Commit, CommitError, RejectionReason};
use cfgsync_wire::LeaveBody;

/// How long [`Coordinator::replace`] waits for the generation with the new files. They are stored in any case.
const REPLACE_WAIT_MAX: Duration = Duration::from_mins(1);

impl Coordinator {
    /// Registers a node. The same facts again change nothing.
    ///
    /// # Errors
    /// See [`Coordinator::register_as`].
    pub async fn register(&self, registration: NodeRegistration) -> Result<Revision, Refusal> {
        let accepted = self.register_as(registration, None).await?;
        Ok(accepted.revision)
    }

    /// Registers a node that proves its identity by a key, of which `key` is the hash. The key becomes the owner of the
    /// identifier in the same batch.
    ///
    /// # Errors
    /// The node is not listed, late, not the owner of its identifier or has wrong metadata; a limit is reached; or the
    /// store does not acknowledge the registration.
    pub async fn register_as(
        &self,
        registration: NodeRegistration,
        key: Option<Digest>,
    ) -> Result<Accepted, Refusal> {
        let span = tracing::debug_span!("register", node = %registration.identifier);
        let changes = self.admit(registration, key)?;
        let commit = self.apply(changes).instrument(span).await?;
        let (is_attempt_over, is_complete) = {
            let view = self.shared.view.load();
            let failure = view.failure.as_ref();
            let kind = failure.map(|failed| failed.failure.kind);
            (
                kind == Some(FailureKind::Deadline),
                view.coverage.is_complete,
            )
        };
        if is_attempt_over {
            // Otherwise this node's next fetch could still get the failure of the old attempt.
            self.command(Command::BeginAttempt).await;
        }
        if commit.is_changed() {
            self.shared.metrics.changes.register.inc();
            if is_complete {
                // No render follows that would wake the clients that wait under this name.
                self.shared.release.send_replace(());
            }
        }
        Ok(Accepted {
            revision: commit.revision,
            changed: commit.is_changed(),
        })
    }

    /// Decides whether the registration is stored. Returns its batch: a claim and the registration, or the
    /// registration alone.
    fn admit(
        &self,
        registration: NodeRegistration,
        key: Option<Digest>,
    ) -> Result<Vec<Change>, Refusal> {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let limits = self.shared.capacity.bounds();
        let admission = view.admission(&state);
        let permit = admission.register(&registration, key, limits)?;
        let claim = permit.claim.map(|key| Change::Claim {
            identifier: registration.identifier.clone(),
            key,
            within: permit.within,
        });
        let register = Change::Register {
            registration,
            within: permit.within,
        };
        Ok(match claim {
            Some(claim) => vec![claim, register],
            None => vec![register],
        })
    }

    /// Ends the ownership of `identifier`: the next node that registers with a key becomes its owner.
    ///
    /// # Errors
    /// No key owns it, or the store does not acknowledge the change.
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

    /// Replaces a node's own files by an operator's. After a seal, returns once the generation with these files is
    /// sealed, or after a minute.
    ///
    /// # Errors
    /// A file has the path of a shared file, or the store does not acknowledge the change.
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
        Ok(self.override_changed(&commit).await)
    }

    /// Ends an override. Returns at the same time as [`Coordinator::replace`].
    ///
    /// # Errors
    /// There is no override, or the store does not acknowledge the change.
    pub async fn remove_override(&self, identifier: &Identifier) -> Result<Revision, Refusal> {
        let commit = self
            .apply(vec![Change::RemoveOverride(identifier.clone())])
            .await?;
        Ok(self.override_changed(&commit).await)
    }

    async fn override_changed(&self, commit: &Commit) -> Revision {
        let revision = commit.revision;
        if commit.is_changed() {
            self.shared.metrics.changes.overrides.inc();
        }
        let is_sealed = self.shared.view.load().served.is_some();
        if is_sealed {
            let mut published = self.shared.published.subscribe();
            let is_served = published.wait_for(|completed| *completed >= revision);
            // If the render takes longer, or fails, `inspect` says so.
            let _ = tokio::time::timeout(REPLACE_WAIT_MAX, is_served).await;
        }
        revision
    }

    /// Removes a node, for an operator.
    ///
    /// # Errors
    /// The node is not registered, the sealed cluster removes no nodes, or the store does not acknowledge the change.
    pub async fn remove(&self, identifier: &Identifier) -> Result<Revision, Refusal> {
        {
            let view = self.shared.view.load();
            let state = self.shared.store.state();
            view.admission(&state).remove(identifier)?;
        }
        self.apply_removal(vec![Change::Remove {
            identifier: identifier.clone(),
            only_if: None,
        }])
        .await
    }

    /// Withdraws a node's own registration before the first seal, and ends the ownership of its name: the node may
    /// register again from another machine.
    ///
    /// # Errors
    /// The node is not registered, is registered with other facts, or has files already; or the store does not
    /// acknowledge the change.
    pub async fn leave(&self, leave: LeaveBody) -> Result<Revision, Refusal> {
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
        };
        self.apply_removal(vec![remove, Change::Release(identifier)])
            .await
    }

    async fn apply_removal(&self, changes: Vec<Change>) -> Result<Revision, Refusal> {
        let commit = self.apply(changes).await?;
        self.shared.metrics.changes.remove.inc();
        // Clients that wait under that name have another answer now.
        self.shared.release.send_replace(());
        Ok(commit.revision)
    }

    /// Declares the cluster failed: every node gets `reason` until [`Coordinator::reset`].
    ///
    /// # Errors
    /// The store does not acknowledge the change.
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

    /// Ends a declared failure, and tries again what failed by itself.
    ///
    /// # Errors
    /// The store does not acknowledge the change.
    pub async fn reset(&self) -> Result<Revision, Refusal> {
        let commit = self.apply(vec![Change::Reset]).await?;
        self.shared.metrics.changes.reset.inc();
        self.command(Command::Retry).await;
        Ok(commit.revision)
    }

    /// Uses another spec from now on. Returns once it is in force.
    ///
    /// # Errors
    /// The spec is of another cluster. The old one stays in force.
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

    /// From now on, waiting clients are told to ask again, here or at another server.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.shared.release.send_replace(());
    }

    /// Applies `changes`, all or none.
    async fn apply(&self, changes: Vec<Change>) -> Result<Commit, Refusal> {
        let rejection = match self.shared.store.apply(changes).await {
            Ok(commit) => return Ok(commit),
            Err(CommitError::Rejected(rejection)) => rejection,
            Err(error) => return Err(Refusal::Store(error)),
        };
        Err(match rejection.reason {
            RejectionReason::NotRegistered(identifier) => Refusal::Unregistered(identifier),
            RejectionReason::DifferentFacts(identifier) => Refusal::OtherFacts(identifier),
            RejectionReason::NoOverride(identifier) => Refusal::NoOverride(identifier),
            RejectionReason::DifferentKey(identifier) => Refusal::OtherKey(identifier),
            RejectionReason::CapacityExceeded(exceeded) => self.shared.capacity.refuse(exceeded),
            RejectionReason::NotFirstGeneration(_) => {
                unreachable!("no batch seals a generation")
            }
        })
    }

    /// Sends a command to the reconciler and waits until its effect is published.
    async fn command(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (answer, answered) = oneshot::channel();
        if self.shared.commands.send(command(answer)).await.is_ok() {
            // An error means that the reconciler has ended, and then no node is answered any more.
            let _ = answered.await;
        }
    }
}
