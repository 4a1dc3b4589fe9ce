//! Follows the store: updates the readiness tracker to the newest state and logs the changes. The cost depends on the
//! number of changes, not on the number of nodes.

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use tokio::{sync::watch, time::Instant};

use crate::{projection, readiness::ReadinessTracker};
use cfgsync_model::{Failure, NodeRegistration, Progress, Revision, ValueSource};
use cfgsync_spec::Spec;
use cfgsync_store::{EventKind, State, Store};

/// The number of registrations in one evaluation that are logged one by one. If there are more, one line has their
/// number.
const LOGGED_ONE_BY_ONE_MAX: usize = 8;

/// The newest state that was read, and the tracker that reflects it.
pub(super) struct Follower {
    changes: watch::Receiver<Revision>,
    pub(super) state: Arc<State>,
    pub(super) tracker: ReadinessTracker,
}

/// The changes between two states.
#[derive(Default)]
pub(super) struct Changed {
    /// Nodes that registered, or whose facts changed.
    pub(super) registered: Vec<Arc<NodeRegistration>>,
    /// Whether a registration changed or was removed.
    pub(super) registrations: bool,
}

impl Follower {
    /// Creates a follower that starts with the store's current state, evaluated by `spec`.
    pub(super) fn new(
        store: &dyn Store,
        changes: watch::Receiver<Revision>,
        spec: &Arc<Spec>,
    ) -> Self {
        let mut follower = Self {
            changes,
            state: store.state().into_arc(),
            tracker: ReadinessTracker::new(spec.clone()),
        };
        follower.track(spec);
        if let Some(failure) = &follower.state.failure {
            log_failure(failure);
        }
        follower
    }

    /// Returns the operators' values of the state.
    pub(super) fn values(&self) -> Arc<dyn ValueSource> {
        Arc::new(self.state.values.clone())
    }

    /// Waits until `time`, and then until there may be a newer state. Returns `false` once the store is closed.
    pub(super) async fn changed_after(&mut self, time: Instant) -> bool {
        tokio::time::sleep_until(time).await;
        self.changes.changed().await.is_ok()
    }

    /// Evaluates the registrations by another spec.
    pub(super) fn track(&mut self, spec: &Arc<Spec>) {
        self.tracker = ReadinessTracker::new(spec.clone());
        for registered in self.state.registrations.values() {
            self.tracker.insert(registered.registration.clone());
        }
    }

    /// Reads the newest state and applies the changes to the tracker.
    pub(super) fn follow(&mut self, store: &dyn Store) -> Changed {
        self.changes.mark_unchanged();
        let state = store.state().into_arc();
        let mut changed = Changed::default();
        if state.revision != self.state.revision {
            match state.events_after(self.state.revision) {
                Some(commits) => {
                    for events in commits {
                        for event in &*events {
                            self.apply(&event.kind, &mut changed);
                        }
                    }
                }
                None => self.compare(&state, &mut changed),
            }
        }
        self.state = state;
        changed
    }

    fn apply(&mut self, kind: &EventKind, changed: &mut Changed) {
        match kind {
            EventKind::NodeRegistered { registration } => {
                self.tracker.insert(registration.clone());
                changed.registrations = true;
                changed.registered.push(registration.clone());
            }
            EventKind::NodeRemoved { identifier } => {
                tracing::info!(event = "node_removed", node = %identifier, "{identifier} was removed");
                self.tracker.remove(identifier.as_str());
                changed.registrations = true;
            }
            EventKind::OverrideSet { identifier } => {
                tracing::info!(
                    event = "override_set",
                    node = %identifier,
                    "an operator's files now replace the files of {identifier}"
                );
            }
            EventKind::OverrideRemoved { identifier } => {
                tracing::info!(
                    event = "override_removed",
                    node = %identifier,
                    "{identifier} has its own files again: its override was removed"
                );
            }
            EventKind::ClusterFailed { failure } => log_failure(failure),
            EventKind::ValueSet {
                namespace,
                key,
                content,
            } => {
                let version = content.version;
                tracing::debug!("the value {key} in {namespace} was set (version {version})");
            }
            EventKind::ValueDeleted { namespace, key } => {
                tracing::debug!("the value {key} in {namespace} was deleted");
            }
            EventKind::AliasSet { alias, target, .. } => {
                tracing::debug!("{alias} is now an alias of {target}");
            }
            EventKind::AliasDeleted { alias } => tracing::debug!("the alias {alias} was deleted"),
            EventKind::NodeBanned { identifier } => {
                tracing::info!(
                    event = "node_banned",
                    node = %identifier,
                    "{identifier} was banned: its registrations are refused"
                );
            }
            EventKind::NodeUnbanned { identifier } => {
                tracing::info!(
                    event = "node_unbanned",
                    node = %identifier,
                    "{identifier} is no longer banned"
                );
            }
            EventKind::RedrawRequested { key } => {
                tracing::info!(
                    event = "redraw_requested",
                    "an operator requested another value of once.{key}"
                );
            }
            EventKind::ClusterReset => {
                tracing::info!(
                    event = "cluster_reset",
                    "an operator ended the declared failure"
                );
            }
            // The sealer and the server log these themselves.
            EventKind::JoinerChanged { .. }
            | EventKind::Delivered { .. }
            | EventKind::NameClaimed { .. }
            | EventKind::NameReleased { .. }
            | EventKind::GenerationConfirmed { .. }
            | EventKind::PhaseReported { .. }
            | EventKind::RunClaimed { .. }
            | EventKind::RunDone { .. }
            | EventKind::RunFailed { .. }
            | EventKind::RunForgotten { .. }
            | EventKind::RolloutStopped { .. }
            | EventKind::RolloutResumed { .. }
            | EventKind::GenerationSealed { .. } => {}
        }
    }

    /// Compares two states, for the case that the store's event history does not reach back far enough.
    fn compare(&mut self, newer: &State, changed: &mut Changed) {
        let older = self.state.clone();
        let mut apply = |kind| self.apply(&kind, changed);
        for item in older.registrations.diff(&newer.registrations) {
            match item {
                DiffItem::Add(_, new) | DiffItem::Update { new: (_, new), .. } => {
                    let registration = new.registration.clone();
                    apply(EventKind::NodeRegistered { registration });
                }
                DiffItem::Remove(identifier, _) => {
                    let identifier = identifier.clone();
                    apply(EventKind::NodeRemoved { identifier });
                }
            }
        }
        for item in older.overrides.diff(&newer.overrides) {
            match item {
                DiffItem::Add(identifier, _)
                | DiffItem::Update {
                    new: (identifier, _),
                    ..
                } => {
                    let identifier = identifier.clone();
                    apply(EventKind::OverrideSet { identifier });
                }
                DiffItem::Remove(identifier, _) => {
                    let identifier = identifier.clone();
                    apply(EventKind::OverrideRemoved { identifier });
                }
            }
        }
        for key in newer.redraws.keys() {
            if !older.redraws.contains_key(key) {
                let key = key.clone();
                apply(EventKind::RedrawRequested { key });
            }
        }
        match (&older.failure, &newer.failure) {
            (Some(_), None) => apply(EventKind::ClusterReset),
            (before, Some(failure)) if before.as_ref() != Some(failure) => {
                let failure = failure.clone();
                apply(EventKind::ClusterFailed { failure });
            }
            _ => {}
        }
    }
}

fn log_failure(failure: &Failure) {
    let message = projection::failure_message(failure);
    tracing::error!(
        event = "cluster_failed",
        reason = failure.reason,
        "{message}"
    );
}

/// Logs the nodes that registered, with the progress after it.
pub(super) fn log_registrations(registered: &[Arc<NodeRegistration>], progress: &Progress) {
    if registered.len() > LOGGED_ONE_BY_ONE_MAX {
        tracing::info!(
            event = "nodes_registered",
            "{} nodes registered ({progress})",
            registered.len()
        );
        return;
    }
    for node in registered {
        tracing::info!(
            event = "node_registered",
            node = %node.identifier,
            peer = %node.ip,
            "{} registered from {} ({progress})",
            node.identifier,
            node.ip
        );
    }
}
