//! Events: the effects of a commit, with stable names and a stable JSON form.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use cfgsync_model::{
    Digest, Failure, Fence, GenerationNumber, Identifier, Namespace, NodeRegistration, Phase,
    Revision, RunName, ValueKey, ValueVersion,
};
use cfgsync_support::clock::Timestamp;

/// One effect of a commit. Its JSON form is one flat object: `revision`, `part`, `kind` and the fields of that kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// The revision of the commit.
    pub revision: Revision,
    /// The position among the events of this revision, from 0. Revision and part together identify an event within
    /// an instance.
    pub part: u32,
    /// The time of the change, if the change has one. It is that of the machine that made the change, so it may go back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The kind of effect, with its fields.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The kind of an event. In the JSON form its name is `node_registered`, `node_removed`, and so on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A node registered, or its facts changed.
    NodeRegistered {
        /// The new registration of the node.
        #[serde(flatten)]
        registration: Arc<NodeRegistration>,
    },
    /// Another process registered a node with equal facts.
    JoinerChanged {
        /// The identifier of the node.
        identifier: Identifier,
    },
    /// A node is no longer registered.
    NodeRemoved {
        /// The identifier of the node.
        identifier: Identifier,
    },
    /// An operator's files replace a node's own.
    OverrideSet {
        /// The identifier of the node.
        identifier: Identifier,
    },
    /// A node has its own files again.
    OverrideRemoved {
        /// The identifier of the node.
        identifier: Identifier,
    },
    /// A node has received a generation for the first time.
    Delivered {
        /// The identifier of the node.
        identifier: Identifier,
        /// The number of the generation.
        generation: GenerationNumber,
    },
    /// A key now owns an identifier.
    NameClaimed {
        /// The identifier in question.
        identifier: Identifier,
    },
    /// No key owns an identifier any more.
    NameReleased {
        /// The identifier in question.
        identifier: Identifier,
    },
    /// An operator declared the cluster failed.
    ClusterFailed {
        /// The kind, the reason and the time of the failure.
        failure: Arc<Failure>,
    },
    /// An operator ended the declared failure.
    ClusterReset,
    /// A value has a new version.
    ValueSet {
        /// The namespace of the value.
        namespace: Namespace,
        /// The key of the value.
        key: ValueKey,
        /// The new version. The JSON form has its number, not its content.
        #[serde(serialize_with = "version_number", rename = "version")]
        content: Arc<ValueVersion>,
    },
    /// A value was deleted.
    ValueDeleted {
        /// The namespace of the value.
        namespace: Namespace,
        /// The key of the value.
        key: ValueKey,
    },
    /// A key has a second name.
    AliasSet {
        /// The second name.
        alias: ValueKey,
        /// The key that it stands for.
        target: ValueKey,
        /// When the alias was set.
        #[serde(skip)]
        created_at: Timestamp,
    },
    /// An alias was deleted.
    AliasDeleted {
        /// The second name.
        alias: ValueKey,
    },
    /// A generation includes newer inputs without a change of its files.
    GenerationConfirmed {
        /// The number of the generation.
        generation: GenerationNumber,
        /// The revision of the newest input that it includes.
        inputs: Revision,
    },
    /// The registrations of a node are rejected from now on.
    NodeBanned {
        /// The identifier of the node.
        identifier: Identifier,
    },
    /// A banned node may register again.
    NodeUnbanned {
        /// The identifier of the node.
        identifier: Identifier,
    },
    /// An operator requested another value of `once`.
    RedrawRequested {
        /// The name of the value.
        key: String,
    },
    /// A node has reached a phase.
    PhaseReported {
        /// The identifier of the node.
        identifier: Identifier,
        /// The phase that it has reached.
        phase: Phase,
        /// The generation that the report is about.
        generation: GenerationNumber,
        /// The reason that the node gave.
        reason: Option<Arc<str>>,
    },
    /// A node runs the program of a run.
    RunClaimed {
        /// The name of the run.
        name: RunName,
        /// The runner.
        identifier: Identifier,
        /// Its fence.
        fence: Fence,
    },
    /// A run has succeeded.
    RunDone {
        /// The name of the run.
        name: RunName,
        /// The runner.
        identifier: Identifier,
        /// Its fence.
        fence: Fence,
    },
    /// A runner has failed.
    RunFailed {
        /// The name of the run.
        name: RunName,
        /// The runner.
        identifier: Identifier,
        /// Its fence.
        fence: Fence,
        /// The reason.
        reason: Arc<str>,
    },
    /// An operator has made the server forget a run.
    RunForgotten {
        /// The name of the run.
        name: RunName,
    },
    /// The roll-out of a generation is stopped.
    RolloutStopped {
        /// The number of the generation.
        generation: GenerationNumber,
        /// The reason. `None` if an operator has stopped it.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
    },
    /// An operator has continued the roll-out of a generation.
    RolloutResumed {
        /// The number of the generation.
        generation: GenerationNumber,
    },
    /// A generation was sealed.
    GenerationSealed {
        /// The number of the generation.
        generation: GenerationNumber,
        /// The digest of the generation.
        digest: Digest,
    },
}

fn version_number<S: Serializer>(
    content: &Arc<ValueVersion>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(content.version)
}

impl EventKind {
    /// Returns whether a value or an alias was changed.
    pub fn is_of_values(&self) -> bool {
        matches!(
            self,
            Self::ValueSet { .. }
                | Self::ValueDeleted { .. }
                | Self::AliasSet { .. }
                | Self::AliasDeleted { .. }
        )
    }

    /// Returns the namespace of the value that was changed. `None` for other events, also for those of aliases.
    pub fn namespace(&self) -> Option<&Namespace> {
        match self {
            Self::ValueSet { namespace, .. } | Self::ValueDeleted { namespace, .. } => {
                Some(namespace)
            }
            _ => None,
        }
    }

    /// Returns the name of this kind, as in the JSON form.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NodeRegistered { .. } => "node_registered",
            Self::JoinerChanged { .. } => "joiner_changed",
            Self::NodeRemoved { .. } => "node_removed",
            Self::OverrideSet { .. } => "override_set",
            Self::OverrideRemoved { .. } => "override_removed",
            Self::Delivered { .. } => "delivered",
            Self::NameClaimed { .. } => "name_claimed",
            Self::NameReleased { .. } => "name_released",
            Self::ClusterFailed { .. } => "cluster_failed",
            Self::ClusterReset => "cluster_reset",
            Self::ValueSet { .. } => "value_set",
            Self::ValueDeleted { .. } => "value_deleted",
            Self::AliasSet { .. } => "alias_set",
            Self::AliasDeleted { .. } => "alias_deleted",
            Self::GenerationConfirmed { .. } => "generation_confirmed",
            Self::NodeBanned { .. } => "node_banned",
            Self::NodeUnbanned { .. } => "node_unbanned",
            Self::RedrawRequested { .. } => "redraw_requested",
            Self::PhaseReported { .. } => "phase_reported",
            Self::RunClaimed { .. } => "run_claimed",
            Self::RunDone { .. } => "run_done",
            Self::RunFailed { .. } => "run_failed",
            Self::RunForgotten { .. } => "run_forgotten",
            Self::RolloutStopped { .. } => "rollout_stopped",
            Self::RolloutResumed { .. } => "rollout_resumed",
            Self::GenerationSealed { .. } => "generation_sealed",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Bounds, Change, State, StoppedRollout, ValueChange,
        conformance::values::{delete, new_value, set, set_alias},
    };
    use cfgsync_model::{ArtifactSet, FailureKind, Generation};

    /// Applies `changes` to a new state and returns its events as JSON.
    fn events_of(changes: Vec<Change>) -> Vec<Value> {
        let commit = State::default().apply(changes, Revision(7)).unwrap();
        let events = commit.events.iter();
        events
            .inspect(|event| {
                let name = &serde_json::to_value(event).unwrap()["kind"];
                assert_eq!(name, event.kind.name());
            })
            .map(|event| serde_json::to_value(event).unwrap())
            .collect()
    }

    #[test]
    fn json_form_of_each_kind_is_stable() {
        let id = || -> Identifier { "a".parse().unwrap() };
        let node = NodeRegistration::without_metadata(id(), "10.0.0.1".parse().unwrap());
        let failure = Failure {
            kind: FailureKind::Operator,
            reason: "maintenance".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        };
        let first = |changes: Vec<Change>| changes.into_iter().next().unwrap();
        let changes = vec![
            Change::Claim {
                identifier: id(),
                key: Digest::of(b"key"),
                within: Bounds::NONE,
            },
            Change::register(node.with_metadata_value(json!({ "port": 1 }))),
            Change::Override {
                identifier: id(),
                files: ArtifactSet::default(),
            },
            Change::RemoveOverride(id()),
            Change::Deliver {
                identifier: id(),
                generation: GenerationNumber(3),
                at: Some(Timestamp::UNIX_EPOCH),
            },
            Change::Remove {
                identifier: id(),
                only_if: None,
                joiner: None,
            },
            Change::Release(id()),
            Change::Fail(failure),
            Change::Reset,
            first(set(new_value("a/b", "secret", 0))),
            first(delete("a/b", None)),
            first(set_alias("old", "a/b")),
            Change::Value(ValueChange::DeleteAlias("old".parse().unwrap())),
            Change::Ban {
                identifier: id(),
                within: Bounds::NONE,
            },
            Change::Unban(id()),
        ];
        let at = "1970-01-01T00:00:00Z";
        let expected = [
            json!({"kind": "name_claimed", "identifier": "a"}),
            json!({"kind": "node_registered", "identifier": "a", "ip": "10.0.0.1", "metadata": {"port": 1}}),
            json!({"kind": "override_set", "identifier": "a"}),
            json!({"kind": "override_removed", "identifier": "a"}),
            json!({"kind": "delivered", "identifier": "a", "generation": 3, "at": at}),
            json!({"kind": "node_removed", "identifier": "a"}),
            json!({"kind": "name_released", "identifier": "a"}),
            json!({"kind": "cluster_failed",
                "failure": {"kind": "operator", "reason": "maintenance", "at": at}, "at": at}),
            json!({"kind": "cluster_reset"}),
            json!({"kind": "value_set", "namespace": "prod", "key": "a/b", "version": 1, "at": at}),
            json!({"kind": "value_deleted", "namespace": "prod", "key": "a/b"}),
            json!({"kind": "alias_set", "alias": "old", "target": "a/b", "at": at}),
            json!({"kind": "alias_deleted", "alias": "old"}),
            json!({"kind": "node_banned", "identifier": "a"}),
            json!({"kind": "node_unbanned", "identifier": "a"}),
        ];
        let expected = expected.into_iter().zip(0..).map(|(mut event, part)| {
            event["revision"] = json!(7);
            event["part"] = json!(part);
            event
        });
        assert_eq!(events_of(changes), expected.collect::<Vec<_>>());
    }

    #[test]
    fn json_form_of_a_seal_names_number_and_digest() {
        let sealed: Arc<Generation> = crate::conformance::generation(1, "files");
        let digest = sealed.digest.to_string();
        let mut state = State::default();
        state.seal(sealed, 1, Revision(9)).unwrap();
        let events: Vec<_> = state.events_after(Revision(0)).unwrap().collect();
        let expected = json!([{
            "revision": 9, "part": 0, "kind": "generation_sealed", "generation": 1, "digest": digest,
            "at": "1970-01-01T00:00:00Z"
        }]);
        assert_eq!(serde_json::to_value(&events[0][..]).unwrap(), expected);
    }

    #[test]
    fn json_form_of_a_phase_names_node_phase_and_generation() {
        let mut state = State::default();
        let node = NodeRegistration::new("a", [10, 0, 0, 1]).unwrap();
        state
            .apply(vec![Change::register(node)], Revision(1))
            .unwrap();
        let sealed: Arc<Generation> = crate::conformance::generation(1, "files");
        state.seal(sealed, 1, Revision(2)).unwrap();
        let report = crate::conformance::phases::report("a", "healthy", 1);
        let commit = state.apply(vec![report], Revision(3)).unwrap();
        let expected = json!([{
            "revision": 3, "part": 0, "kind": "phase_reported", "identifier": "a", "phase": "healthy",
            "generation": 1, "reason": "healthy at 1", "at": "1970-01-01T00:00:00Z"
        }]);
        assert_eq!(serde_json::to_value(&commit.events[..]).unwrap(), expected);
        assert_eq!(commit.events[0].kind.name(), "phase_reported");
    }

    #[test]
    fn json_form_of_a_run_names_run_node_and_fence() {
        use crate::conformance::runs::{claim_run, done};
        let changes = [vec![claim_run("init", 1)], done("a", 1)].concat();
        let expected = [
            json!({"kind": "run_claimed", "name": "init", "identifier": "a", "fence": 1}),
            json!({"kind": "run_done", "name": "init", "identifier": "a", "fence": 1}),
        ];
        let expected = expected.into_iter().zip(0..).map(|(mut event, part)| {
            event["revision"] = json!(7);
            event["part"] = json!(part);
            event
        });
        assert_eq!(events_of(changes), expected.collect::<Vec<_>>());
    }

    #[test]
    fn json_form_of_a_confirmation_names_generation_and_inputs() {
        let mut state = State::default();
        let sealed: Arc<Generation> = crate::conformance::generation(1, "files");
        state.seal(sealed, 1, Revision(1)).unwrap();
        let confirm = Change::Confirm {
            generation: GenerationNumber(1),
            inputs: Revision(2),
        };
        let commit = state.apply(vec![confirm], Revision(3)).unwrap();
        let expected = json!([{
            "revision": 3, "part": 0, "kind": "generation_confirmed", "generation": 1, "inputs": 2
        }]);
        assert_eq!(serde_json::to_value(&commit.events[..]).unwrap(), expected);
    }

    #[test]
    fn json_form_of_a_stopped_roll_out_names_the_generation() {
        let mut state = State::default();
        let sealed: Arc<Generation> = crate::conformance::generation(1, "files");
        state.seal(sealed, 1, Revision(1)).unwrap();
        let generation = GenerationNumber(1);
        let stop = |reason: Option<&str>| {
            let reason = reason.map(Arc::from);
            Change::StopRollout(StoppedRollout { generation, reason })
        };
        let resume = || Change::ResumeRollout { generation };
        let changes = vec![stop(None), resume(), stop(Some("a failed")), resume()];
        let commit = state.apply(changes, Revision(2));
        let expected = json!([
            {"revision": 2, "part": 0, "kind": "rollout_stopped", "generation": 1},
            {"revision": 2, "part": 1, "kind": "rollout_resumed", "generation": 1},
            {"revision": 2, "part": 2, "kind": "rollout_stopped", "generation": 1, "reason": "a failed"},
            {"revision": 2, "part": 3, "kind": "rollout_resumed", "generation": 1}
        ]);
        assert_eq!(
            serde_json::to_value(&commit.unwrap().events[..]).unwrap(),
            expected
        );
    }

    #[test]
    fn json_form_of_a_redraw_names_the_value() {
        let mut generation = Generation::clone(&crate::conformance::generation(1, "files"));
        generation.once = Arc::new(serde_json::from_str(r#"{"cookie":"x"}"#).unwrap());
        let mut state = State::default();
        state.seal(Arc::new(generation), 1, Revision(1)).unwrap();
        let key = "cookie".to_owned();
        let commit = state.apply(vec![Change::Redraw { key }], Revision(2));
        let expected =
            json!([{"revision": 2, "part": 0, "kind": "redraw_requested", "key": "cookie"}]);
        assert_eq!(
            serde_json::to_value(&commit.unwrap().events[..]).unwrap(),
            expected
        );
    }
}
