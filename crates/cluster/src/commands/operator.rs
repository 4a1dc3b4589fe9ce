//! The commands of operators: nodes, overrides, failures and the spec.

use std::sync::Arc;

use crate::{AnotherCluster, Coordinator, Refusal, pipeline, reconciler::Command};
use cfgsync_model::{ArtifactSet, Failure, FailureKind, Identifier, Revision};
use cfgsync_spec::Spec;
use cfgsync_store::{Change, Commit};
use cfgsync_support::nearest::did_you_mean_suffix;

impl Coordinator {
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
}
