//! What operators are told: the cluster, a node, generations. Reads the published view and the store's
//! newest state, and costs what it describes.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    Coordinator,
    answer::{Answer, Delivery, Refusal},
    current,
    view::View,
};
use cfgsync_model::{Failure, FailureKind, Generation, GenerationNumber, Identifier};
use cfgsync_store::{Registered, State};
use cfgsync_support::nearest::did_you_mean_suffix;
use cfgsync_wire::{
    ArtifactEntry, ClusterBody, ClusterState, EncodedPayload, ErrorBody, GenerationBody,
    GenerationEntry, NodeBody, NodeEntry, NodeState, PayloadEncoder,
};

impl Coordinator {
    /// Who is here, what is missing, what is served.
    pub fn cluster(&self) -> ClusterBody {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let entries = state
            .registrations
            .values()
            .map(|node| entry(&state, &view, node));
        let failed = failure(&view, &state);
        ClusterBody {
            cluster: view.program.spec.cluster.clone(),
            instance: self.instance(),
            revision: state.revision,
            state: match (failed, &view.served) {
                (Some(_), _) => ClusterState::Failed,
                (None, Some(_)) => ClusterState::Ready,
                (None, None) => ClusterState::Waiting,
            },
            progress: view.progress.clone(),
            generation: view.served.as_ref().map(|served| served.generation.number),
            failure: failed.or(view.trouble.as_deref()).cloned(),
            registrations: entries.collect(),
            overridden_absent: state.overridden_absent().cloned().collect(),
        }
    }

    /// The cluster in one line.
    pub fn status(&self) -> String {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        match (failure(&view, &state), &view.served, &view.trouble) {
            (Some(failure), ..) => format!("failed: {}", failure.reason),
            (None, None, _) => format!("waiting: {}", view.progress),
            (None, Some(served), trouble) => {
                let Generation { number, nodes, .. } = &*served.generation;
                let served = format!("generation {number} is served to {} nodes", nodes.len());
                match trouble {
                    Some(trouble) => format!("{served}; the newest failed: {}", trouble.reason),
                    None => served,
                }
            }
        }
    }

    /// Keeps `status` to [`Coordinator::status`] until nobody looks at it any more.
    pub async fn keep_status(&self, status: watch::Sender<String>) {
        let mut evaluated = self.shared.evaluated.subscribe();
        let mut release = self.shared.release.subscribe();
        loop {
            // Marked as seen first, looked at then.
            evaluated.borrow_and_update();
            release.borrow_and_update();
            let line = self.status();
            status.send_if_modified(|told| {
                let is_news = *told != line;
                *told = line;
                is_news
            });
            // What is followed lives as long as this handle.
            tokio::select! {
                _ = evaluated.changed() => {}
                _ = release.changed() => {}
                () = status.closed() => return,
            }
        }
    }

    /// What one node would be answered now, and why. A name of which nothing is known is refused: most likely it is a
    /// slip.
    pub fn node(&self, identifier: &Identifier) -> Result<NodeBody, Refusal> {
        let body = self.describe(identifier.as_str());
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let is_known = state.names(identifier.as_str()) || view.program.expects(identifier);
        if body.state == NodeState::Ready || is_known {
            return Ok(body);
        }
        let names = state.all_names().chain(view.program.expected());
        Err(Refusal::Unknown {
            identifier: identifier.clone(),
            why: match (body.state, body.reason) {
                (NodeState::Missing, Some(reason)) => reason,
                _ => "nobody has registered by that name".to_owned(),
            },
            near: did_you_mean_suffix(identifier.as_str(), names.map(Identifier::as_str)),
        })
    }

    fn describe(&self, identifier: &str) -> NodeBody {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let registered = state.registrations.get(identifier);
        let mut body = NodeBody {
            node: registered.map(|registered| entry(&state, &view, registered)),
            state: NodeState::Waiting,
            reason: None,
            generation: None,
            artifacts: vec![],
            overridden: state.overrides.contains_key(identifier),
        };
        match self.look(identifier, true) {
            Answer::Payload(_) => {
                let generation = view.served.as_ref().map(|served| &served.generation);
                body.state = NodeState::Ready;
                body.generation = generation.map(|generation| generation.number);
                body.artifacts =
                    generation.map_or(vec![], |g| ArtifactEntry::payload_of(g, identifier));
            }
            Answer::NotReady(answer) | Answer::Draining(answer) => {
                if registered.is_none() {
                    body.state = NodeState::Unregistered;
                }
                let answer = serde_json::from_slice::<ErrorBody>(&answer);
                body.reason = answer.ok().map(|answer| answer.message);
                if let (Some(served), Some(registered)) = (&view.served, registered) {
                    body.reason = Some(format!(
                        "generation {} is older than this node's registration (revision {}), \
                         and there is no newer one yet: {}",
                        served.generation.number,
                        registered.revision,
                        view.trouble.as_ref().map_or_else(
                            || view.progress.to_string(),
                            |failure| format!("the newest render failed: {}", failure.reason)
                        )
                    ));
                }
            }
            Answer::Missing(refusal) => {
                body.state = NodeState::Missing;
                body.reason = Some(refusal.to_string());
            }
            Answer::Failed(failure) => {
                body.state = NodeState::Failed;
                body.reason = Some(match failure.kind {
                    FailureKind::Operator => {
                        format!(
                            "an operator declared the cluster failed: {}",
                            failure.reason
                        )
                    }
                    _ => failure.reason.clone(),
                });
            }
        }
        body
    }

    /// What `identifier` would be handed now, for an operator's eyes: nothing counts as delivered.
    pub(super) fn look(&self, identifier: &str, reveal: bool) -> Answer {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let Some((served, payload)) = current(&view, &state, identifier) else {
            return self.why_not(&view, &state, identifier);
        };
        let handed = Delivery {
            payload: payload.encoded.clone(),
            generation: served.generation.number,
            is_first: false,
            shows_secrets: payload.secret,
        };
        if reveal || !payload.secret {
            return Answer::Payload(handed);
        }
        let shown = self.without_secrets(&served.generation, identifier);
        Answer::Payload(Delivery {
            payload: Arc::new(shown.expect("what is served to a node is in the generation")),
            shows_secrets: false,
            ..handed
        })
    }

    /// The payload of `identifier` in `generation`, if it has one, with its secret files named and not shown.
    fn without_secrets(&self, generation: &Generation, identifier: &str) -> Option<EncodedPayload> {
        let files = generation.nodes.get(identifier)?;
        let instance = self.instance();
        Some(EncodedPayload::without_secrets(instance, generation, files))
    }

    /// The generations that are kept, newest first.
    pub fn generations(&self) -> Vec<GenerationEntry> {
        self.shared
            .store
            .state()
            .generations
            .iter()
            .rev()
            .map(|generation| GenerationEntry::of(generation))
            .collect()
    }

    /// One generation that is kept.
    pub fn generation(&self, number: GenerationNumber) -> Option<GenerationBody> {
        let state = self.shared.store.state();
        let generation = state.generations.iter().find(|g| g.number == number)?;
        Some(GenerationBody::of(generation))
    }

    /// One node's payload of one kept generation, encoded on demand. An operator's look, not a delivery: secret files
    /// are named and not shown, unless the operator wants to `reveal` them.
    pub fn payload_of(
        &self,
        number: GenerationNumber,
        identifier: &str,
        reveal: bool,
    ) -> Option<EncodedPayload> {
        let state = self.shared.store.state();
        let generation = state.generations.iter().find(|g| g.number == number)?;
        if !reveal && generation.has_secrets(identifier) {
            return self.without_secrets(generation, identifier);
        }
        let files = generation.nodes.get(identifier)?;
        let identifier: Identifier = identifier.parse().ok()?;
        let encoder = PayloadEncoder::of(self.instance(), generation);
        let mut encoder = encoder.signed_by(self.shared.sign_key.as_ref());
        Some(encoder.encode(&identifier, files))
    }

    /// All metrics as text, those that depend on who asks when brought up to date.
    pub fn metrics_text(&self) -> String {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let behind = state
            .registrations
            .keys()
            .filter(|id| is_behind(&state, &view, id));
        let behind = i64::try_from(behind.count()).unwrap_or(i64::MAX);
        self.shared.metrics.nodes_behind.set(behind);
        self.shared.metrics.to_text()
    }
}

/// Why the cluster has failed, if it has.
fn failure<'a>(view: &'a View, state: &'a State) -> Option<&'a Failure> {
    state.failure.as_deref().or_else(|| {
        let failed = view.failure.as_ref()?;
        (failed.inputs.is_none_or(|inputs| inputs == state.inputs)).then_some(&*failed.failure)
    })
}

fn entry(state: &State, view: &View, registered: &Registered) -> NodeEntry {
    let node = &registered.registration;
    let served = view.served.as_ref().map(|served| &served.generation);
    // What templates see; raw where the spec does not accept it.
    let metadata = view.program.spec.metadata.complete(&node.metadata);
    let behind = is_behind(state, view, &node.identifier);
    let noted = state.deliveries.get(&node.identifier).copied();
    let taken = view
        .served
        .as_ref()
        .filter(|s| s.was_taken(node.identifier.as_str()));
    NodeEntry {
        identifier: node.identifier.clone(),
        ip: node.ip,
        metadata: metadata.unwrap_or_else(|_| node.metadata.clone()),
        seat: served.and_then(|generation| generation.seats.get(&node.identifier).copied()),
        revision: registered.revision,
        delivered: taken.map(|served| served.generation.number).or(noted),
        behind,
        overridden: state.overrides.contains_key(&node.identifier),
    }
}

/// Whether a generation is served that this registered node is to receive and has not. Who is given nothing, because
/// the list or the files leave it out, is not behind.
fn is_behind(state: &State, view: &View, identifier: &Identifier) -> bool {
    let Some(served) = &view.served else {
        return false;
    };
    let is_left_out = match served.has(identifier.as_str()) {
        true => view.program.excludes(identifier) && !state.overrides.contains_key(identifier),
        false => view.program.excludes(identifier) || view.is_gate_open,
    };
    !is_left_out
        && state.deliveries.get(identifier) != Some(&served.generation.number)
        && !served.was_taken(identifier.as_str())
}
