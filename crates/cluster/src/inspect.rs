//! Queries of operators: the cluster, a node, generations. They read the published view and the store's newest state.
//! The cost is proportional to the size of the answer.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{
    AccessKind, Answer, Coordinator, Delivery, MetadataAccess, Refusal,
    metrics::Expiries,
    projection::{self, ClusterFacts, NodeFacts},
    record::{self, RecordSource},
    view::{ServedGeneration, ServedPayload, View},
};
use cfgsync_model::{Failure, FailureKind, Generation, GenerationNumber, Identifier};
use cfgsync_store::{RegisteredNode, State};
use cfgsync_support::nearest::did_you_mean_suffix;
use cfgsync_wire::{
    ArtifactEntry, ClusterBody, EncodedPayload, ErrorBody, GenerationBody, GenerationEntry,
    NodeBody, NodeEntry, NodeState, PayloadEncoder, RecordBody, RolloutBody,
};

/// The longest time that a query waits for the evaluation of the newest inputs.
const CATCH_UP_MAX: Duration = Duration::from_millis(200);

impl Coordinator {
    /// Waits until the newest inputs are evaluated, for at most 200 ms. An operator who registers a node and then inspects
    /// the cluster thus sees the registration together with the progress after it.
    pub async fn caught_up(&self) {
        // Subscribe before comparing, so that a publication in between is not lost.
        let mut published = self.shared.published.subscribe();
        let inputs = self.shared.store.state().inputs;
        let evaluated = async {
            while self.shared.view.load().evaluated < inputs && published.changed().await.is_ok() {}
        };
        // After a timeout the query shows the older evaluation.
        let _ = tokio::time::timeout(CATCH_UP_MAX, evaluated).await;
    }

    /// Returns the registrations, the progress and the served generation.
    pub fn cluster(&self) -> ClusterBody {
        self.cluster_for(MetadataAccess::All)
    }

    /// Returns the same as [`Coordinator::cluster`], with the metadata that `access` allows.
    pub fn cluster_for(&self, access: MetadataAccess) -> ClusterBody {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let nodes = state.registrations.values();
        let entries = nodes.map(|node| self.entry(&state, &view, node, access));
        let entries = entries.collect();
        let facts = ClusterFacts {
            cluster: view.pipeline.spec.cluster.clone(),
            instance: self.instance(),
            progress: view.progress.clone(),
            generation: view.served.as_ref().map(|served| served.generation.number),
            failure: failure(&view, &state),
            render_failure: newest_failure(&view, &state),
            refused: self.shared.refused.list(),
        };
        projection::cluster_body(&state, facts, entries)
    }

    /// Returns the state of the roll-out.
    pub fn rollout(&self) -> Arc<RolloutBody> {
        self.shared.view.load().rollout.clone()
    }

    /// Returns the state of the cluster in one line.
    pub fn status(&self) -> String {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        status_of(&view, &state)
    }

    /// Keeps `status` equal to [`Coordinator::status`] until all its receivers are dropped.
    pub async fn keep_status(&self, status: watch::Sender<String>) {
        let mut published = self.shared.published.subscribe();
        let mut release = self.shared.release.subscribe();
        loop {
            // Mark the change as seen before reading the status, so that a change in between is not lost.
            published.borrow_and_update();
            release.borrow_and_update();
            let line = self.status();
            status.send_if_modified(|current| {
                let is_news = *current != line;
                *current = line;
                is_news
            });
            // Neither fails, because this handle owns both senders.
            tokio::select! {
                _ = published.changed() => {}
                _ = release.changed() => {}
                () = status.closed() => return,
            }
        }
    }

    /// Returns one node, the response that it would receive now, and the reason.
    ///
    /// # Errors
    /// Fails if the identifier does not occur in the spec or the state. It is probably misspelt.
    pub fn node(&self, identifier: &Identifier) -> Result<NodeBody, Refusal> {
        self.node_for(MetadataAccess::All, identifier)
    }

    /// Returns the same as [`Coordinator::node`], with the metadata that `access` allows.
    ///
    /// # Errors
    /// Fails as [`Coordinator::node`] does.
    pub fn node_for(
        &self,
        access: MetadataAccess,
        identifier: &Identifier,
    ) -> Result<NodeBody, Refusal> {
        let body = self.describe(identifier.as_str(), access);
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let is_known = state.mentions(identifier.as_str()) || view.pipeline.expects(identifier);
        if body.state == NodeState::Ready || is_known || body.refused.is_some() {
            return Ok(body);
        }
        let names = state
            .mentioned_identifiers()
            .chain(view.pipeline.expected());
        Err(Refusal::Unknown {
            identifier: identifier.clone(),
            why: match (body.state, body.reason) {
                (NodeState::Missing, Some(reason)) => reason,
                _ => "no node with this identifier has registered".to_owned(),
            },
            near: did_you_mean_suffix(identifier.as_str(), names.map(Identifier::as_str)),
        })
    }

    fn describe(&self, identifier: &str, access: MetadataAccess) -> NodeBody {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let registered = state.registrations.get(identifier);
        let mut body = NodeBody {
            node: registered.map(|registered| self.entry(&state, &view, registered, access)),
            state: NodeState::Waiting,
            reason: None,
            generation: None,
            artifacts: vec![],
            overridden: state.overrides.contains_key(identifier),
            refused: self.shared.refused.get(identifier),
        };
        match self.answer_for(AccessKind::Look { reveal: true }, identifier) {
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
                        view.render_failure.as_ref().map_or_else(
                            || view.progress.to_string(),
                            |failure| format!("the newest render failed: {}", failure.reason)
                        )
                    ));
                }
            }
            Answer::Missing(refusal) | Answer::Refused(refusal) => {
                body.state = NodeState::Missing;
                body.reason = Some(refusal.to_string());
            }
            Answer::Failed(failure) => {
                body.state = NodeState::Failed;
                body.reason = Some(projection::failure_message(&failure));
            }
        }
        body
    }

    fn entry(
        &self,
        state: &State,
        view: &View,
        registered: &RegisteredNode,
        access: MetadataAccess,
    ) -> NodeEntry {
        let node = &registered.registration;
        let served = view.served.as_ref().map(|served| &*served.generation);
        // Show the metadata with the defaults, as templates get it. If the spec rejects it, show it as sent.
        let rules = &view.pipeline.spec.metadata;
        let metadata = rules.complete(&node.metadata);
        let mut metadata = metadata.unwrap_or_else(|_| node.metadata.clone());
        if access == MetadataAccess::WithoutSecrets
            && let Some(fields) = metadata.as_object_mut()
        {
            for name in rules.secret_fields() {
                fields.remove(name);
            }
        }
        let name = node.identifier.as_str();
        let waits = self.shared.held_requests.waits(name);
        let lease = view.pipeline.spec.lease;
        let facts = NodeFacts {
            metadata,
            waits,
            lease: lease.and_then(|lease| {
                let leases = &self.shared.leases;
                leases.state(name, lease, waits, Instant::now())
            }),
            is_recipient: is_recipient(state, view, &node.identifier),
            was_delivered: was_delivered(view, &node.identifier),
        };
        projection::node_entry(state, served, registered, facts)
    }

    /// Returns a payload for an operator. Nothing counts as delivered. Secret files are listed without their content,
    /// unless `reveal` is set.
    pub(super) fn show(
        &self,
        served: &ServedGeneration,
        identifier: &Identifier,
        payload: &ServedPayload,
        reveal: bool,
    ) -> Answer {
        let shows_secrets = payload.has_secrets && reveal;
        let payload = if payload.has_secrets && !reveal {
            let shown = self.without_secrets(&served.generation, identifier.as_str());
            Arc::new(shown.expect("every served node is in the generation"))
        } else {
            payload.encoded.clone()
        };
        Answer::Payload(Delivery {
            payload,
            generation: served.generation.number,
            is_known: true,
            shows_secrets,
            render_failure: None,
        })
    }

    /// Returns the payload of `identifier` in `generation`, if it has one. Secret files are listed without their content.
    fn without_secrets(&self, generation: &Generation, identifier: &str) -> Option<EncodedPayload> {
        let files = generation.nodes.get(identifier)?;
        let instance = self.instance();
        Some(EncodedPayload::without_secrets(instance, generation, files))
    }

    /// Returns the generations that are kept, newest first.
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

    /// Returns the generation with this number, if it is kept.
    pub fn generation(&self, number: GenerationNumber) -> Option<GenerationBody> {
        let state = self.shared.store.state();
        let generation = state.generations.iter().find(|g| g.number == number)?;
        Some(GenerationBody::of(generation))
    }

    /// Returns the flight record of a generation, or of the newest one. Without any generation, it is about the attempt to
    /// reach the first one. `None` if the generation is not kept.
    pub fn record(&self, number: Option<GenerationNumber>) -> Option<RecordBody> {
        let view = self.shared.view.load();
        let source = RecordSource {
            cluster: &view.pipeline.spec.cluster,
            instance: self.instance(),
            state: &self.shared.store.state().into_arc(),
            notes: &self.shared.notes().all(),
            refused: &self.shared.refused.list(),
            made_at: self.shared.clock.now(),
        };
        record::record(source, number)
    }

    /// Returns one node's payload of a kept generation, encoded on demand. Nothing counts as delivered. Secret files are
    /// listed without their content, unless `reveal` is set.
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
        let encoder = encoder.signed_by(self.shared.signer.as_ref());
        Some(encoder.encode(&identifier, files))
    }

    /// Returns all metrics as text. It first computes the metrics that are too expensive to keep up to date.
    pub fn metrics_text(&self, expiries: &Expiries) -> String {
        let view = self.shared.view.load();
        let state = self.shared.store.state();
        let served = view.served.as_ref().map(|served| &*served.generation);
        let behind = state.registrations.keys().filter(|id| {
            let is_recipient = is_recipient(&state, &view, id);
            projection::is_behind(&state, served, id, is_recipient, was_delivered(&view, id))
        });
        let behind = i64::try_from(behind.count()).unwrap_or(i64::MAX);
        self.shared.metrics.nodes_behind.set(behind);
        let failed = served.map_or(0, |served| projection::failed_nodes(&state, served.number));
        let failed = i64::try_from(failed).unwrap_or(i64::MAX);
        self.shared.metrics.nodes_failed.set(failed);
        let waiting = self.shared.held_requests.waiting_nodes();
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        let metrics = &self.shared.metrics;
        metrics.waiting_nodes.set(waiting);
        let (silent, turn) = (self.freshness().silent_for, self.shared.store.render_turn());
        metrics.store_silent_seconds.set(silent.as_secs_f64());
        let renders = turn.is_none_or(|turn| *turn.borrow());
        metrics.render_turn.set(renders.into());
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let (keys, bytes) = (state.values.keys_count(), state.values.total_bytes());
        self.shared.metrics.values.set(gauge(keys));
        self.shared.metrics.values_bytes.set(gauge(bytes));
        self.shared.metrics.to_text(expiries)
    }
}

/// Returns the state of the cluster in one line.
pub(crate) fn status_of(view: &View, state: &State) -> String {
    match (
        failure(view, state),
        &view.served,
        newest_failure(view, state),
    ) {
        (Some(failure), ..) => format!("failed: {}", failure.reason),
        (None, None, _) => format!("waiting: {}", view.progress),
        (None, Some(served), render_failure) => {
            let Generation { number, nodes, .. } = &*served.generation;
            let served = format!("serving generation {number} to {} nodes", nodes.len());
            match render_failure {
                Some(failure) if failure.kind == FailureKind::Deadline => {
                    format!("{served}; {}", failure.reason)
                }
                Some(failure) => {
                    format!("{served}; the newest render failed: {}", failure.reason)
                }
                None => served,
            }
        }
    }
}

/// Returns the failure of the cluster, if it has failed. While a generation is served, only an operator fails it.
pub(crate) fn failure<'a>(view: &'a View, state: &'a State) -> Option<&'a Failure> {
    let attempt = || view.admission(state).failed_attempt();
    let failure = state.failure.as_ref();
    let failure = failure.or_else(|| attempt().filter(|_| view.served.is_none()));
    failure.map(|failure| &**failure)
}

/// Returns the reason why there is no newer generation than the served one: a failed render, or a missed deadline.
pub(crate) fn newest_failure<'a>(view: &'a View, state: &'a State) -> Option<&'a Failure> {
    let attempt = || view.admission(state).failed_attempt();
    let failure = view.render_failure.as_ref().or_else(attempt);
    failure.map(|failure| &**failure)
}

fn is_recipient(state: &State, view: &View, identifier: &Identifier) -> bool {
    let served = view.served.as_ref();
    let has_payload = served.is_some_and(|served| served.has(identifier.as_str()));
    view.admission(state).is_recipient(identifier, has_payload)
}

fn was_delivered(view: &View, identifier: &Identifier) -> bool {
    let served = view.served.as_ref();
    served.is_some_and(|served| served.was_delivered(identifier.as_str()))
}
