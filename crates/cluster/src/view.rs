//! The view for readers: it is published as a whole after each evaluation and read without a lock.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use imbl::OrdMap;
use serde_json::Map;

use crate::{
    admission::{Admission, Coverage},
    attempt_failure::AttemptFailure,
    readiness::ReadinessTracker,
    render::Pipeline,
    rollout::Handed,
};
use cfgsync_model::{
    Failure, Generation, GenerationNumber, Identifier, Instance, Progress, Revision, Unmet,
    ValueReader,
};
use cfgsync_store::{State, Store};
use cfgsync_support::parallel;
use cfgsync_wire::{EncodedPayload, ErrorBody, PayloadEncoder, PayloadSigner, RolloutBody};

/// The smallest number of nodes for each thread. Starting a thread for fewer nodes costs more than it saves.
const NODES_PER_THREAD_MIN: usize = 256;

/// The result of the newest evaluation.
#[derive(Clone)]
pub(crate) struct View {
    /// The spec and materializers in force.
    pub(crate) pipeline: Arc<Pipeline>,
    /// The registered nodes, and the conditions that are not met.
    pub(crate) progress: Progress,
    /// Whether the registrations satisfy the rule, without its timers.
    pub(crate) is_satisfied: bool,
    /// The revision of the newest evaluated input. `progress` includes it.
    pub(crate) evaluated: Revision,
    /// The revision of the newest input for which no work is left: it is evaluated, and rendered and sealed if that was
    /// due.
    pub(crate) completed: Revision,
    /// The bodies of the not-ready answers.
    pub(crate) not_ready: Arc<NotReadyBodies>,
    /// The generation that is served.
    pub(crate) served: Option<Arc<ServedGeneration>>,
    /// The registrations that the served generation includes.
    pub(crate) coverage: Coverage,
    /// The reason why the waiting nodes were released before the first seal.
    pub(crate) failure: Option<AttemptFailure>,
    /// The reason why the newest render failed, while an older generation stays served.
    pub(crate) render_failure: Option<Arc<Failure>>,
    /// The nodes that do not get the served generation yet.
    pub(crate) held_back: HeldBack,
    /// The state of the roll-out.
    pub(crate) rollout: Arc<RolloutBody>,
}

/// The not-ready answers to a registered and to an unregistered node. Each is encoded when the first node needs it.
pub(crate) struct NotReadyBodies {
    /// See [`NotReadyBodies::new`].
    pub(crate) kept: Option<GenerationNumber>,
    progress: Progress,
    /// The clauses about refused nodes, which `progress` contains too.
    pub(crate) refused: Vec<Unmet>,
    registered: OnceLock<Bytes>,
    unregistered: OnceLock<Bytes>,
}

/// A generation with all of its payloads encoded.
pub(crate) struct ServedGeneration {
    /// The generation, which is sealed or about to be sealed.
    pub(crate) generation: Arc<Generation>,
    payloads: HashMap<Identifier, ServedPayload>,
}

/// The encoded payload of one node.
pub(crate) struct ServedPayload {
    /// The bytes for the socket.
    pub(crate) encoded: Arc<EncodedPayload>,
    /// Whether it contains a secret file.
    pub(crate) has_secrets: bool,
    /// Whether this server has begun to deliver it.
    begun: AtomicBool,
    /// Whether this server has delivered it.
    delivered: AtomicBool,
}

/// The nodes that do not get the served generation yet.
#[derive(Clone, Default)]
pub(crate) struct HeldBack {
    /// The files that each of them gets.
    pub(crate) nodes: OrdMap<Identifier, Handed>,
    /// These generations.
    pub(crate) generations: Arc<BTreeMap<GenerationNumber, Arc<ServedGeneration>>>,
}

impl View {
    /// Returns the view before the first evaluation.
    pub(crate) fn before_evaluation(
        pipeline: &Arc<Pipeline>,
        store: &dyn Store,
        signer: Option<&Arc<PayloadSigner>>,
    ) -> Self {
        let tracker = ReadinessTracker::new(pipeline.spec.clone());
        let progress = tracker
            .readiness(&Map::new(), &ValueReader::default())
            .progress()
            .clone();
        let state = store.state();
        let (sealed, included) = (state.generation().cloned(), state.included_inputs());
        drop(state);
        let served = sealed.map(|sealed| ServedGeneration::new(store.instance(), sealed, signer));
        Self {
            pipeline: pipeline.clone(),
            not_ready: Arc::new(NotReadyBodies::new(&progress, None, None, vec![])),
            progress,
            is_satisfied: false,
            evaluated: Revision::default(),
            completed: Revision::default(),
            coverage: Coverage {
                up_to: included,
                is_independent: served
                    .as_ref()
                    .is_some_and(|served| served.is_independent_of_registrations(pipeline)),
                is_complete: false,
            },
            served: served.map(Arc::new),
            failure: None,
            render_failure: None,
            held_back: HeldBack::default(),
            rollout: Arc::new(RolloutBody::none()),
        }
    }

    /// Returns the generation that a node gets. A node that has registered since it was handed an older one gets the
    /// served one.
    pub(crate) fn served_to(
        &self,
        state: &State,
        identifier: &str,
    ) -> Option<&Arc<ServedGeneration>> {
        let handed = self.held_back.nodes.get(identifier);
        let handed = handed.filter(|handed| handed.includes(state, identifier));
        let older = handed.and_then(|handed| self.held_back.generations.get(&handed.generation));
        older.or(self.served.as_ref())
    }

    /// Returns the decisions about identifiers, for this view and a state of the store.
    pub(crate) fn admission<'a>(&'a self, state: &'a State) -> Admission<'a> {
        Admission {
            pipeline: &self.pipeline,
            state,
            sealed: self.served.is_some().then_some(self.coverage),
            failure: self.failure.as_ref(),
        }
    }
}

impl NotReadyBodies {
    /// Returns the answers for `progress`. `render_failure` is the failure of a render of the newest inputs. It is the
    /// reason why a node with these inputs waits. `kept` is the number of a generation that stays served although the
    /// set is no longer complete. `refused` are the clauses about refused nodes. The rule does not depend on them, so
    /// they are no part of the evaluation.
    pub(crate) fn new(
        progress: &Progress,
        render_failure: Option<&Failure>,
        kept: Option<GenerationNumber>,
        refused: Vec<Unmet>,
    ) -> Self {
        let mut progress = progress.clone();
        progress.unmet.extend(refused.iter().cloned());
        progress.unmet.extend(kept.map(Unmet::Kept));
        if let Some(failure) = render_failure {
            let reason = failure.reason.clone();
            progress.unmet.push(Unmet::RenderFailed(reason));
        }
        Self {
            kept,
            progress,
            refused,
            registered: OnceLock::new(),
            unregistered: OnceLock::new(),
        }
    }

    /// Returns the encoded [`ErrorBody`] for a registered or an unregistered node.
    pub(crate) fn body(&self, is_registered: bool) -> Bytes {
        let body = if is_registered {
            &self.registered
        } else {
            &self.unregistered
        };
        let encode = || ErrorBody::not_ready(&self.progress, is_registered).to_json();
        body.get_or_init(|| encode().into()).clone()
    }
}

impl ServedGeneration {
    /// Encodes all payloads of `generation` on all cores, with signatures by `signer` if there is one.
    pub(crate) fn new(
        instance: Instance,
        generation: Arc<Generation>,
        signer: Option<&Arc<PayloadSigner>>,
    ) -> Self {
        let encoder = PayloadEncoder::of(instance, &generation).signed_by(signer);
        let shared_secret = generation.shared.files().iter().any(|file| file.secret);
        let nodes: Vec<_> = generation.nodes.iter().collect();
        let payloads = parallel::map(&nodes, NODES_PER_THREAD_MIN, |(identifier, files)| {
            ServedPayload {
                encoded: Arc::new(encoder.encode(identifier, files)),
                has_secrets: shared_secret || files.local.files().iter().any(|file| file.secret),
                begun: AtomicBool::new(false),
                delivered: AtomicBool::new(false),
            }
        });
        let identifiers = nodes.into_iter().map(|(identifier, _)| identifier.clone());
        let payloads = identifiers.zip(payloads).collect();
        Self {
            generation,
            payloads,
        }
    }

    /// Returns whether the files depend on no registration, because `pipeline` is static and sealed them.
    pub(crate) fn is_independent_of_registrations(&self, pipeline: &Pipeline) -> bool {
        pipeline.is_static() && self.generation.spec == pipeline.spec.digest
    }

    /// Returns the payload of `identifier`, and the stored identifier.
    pub(crate) fn payload(&self, identifier: &str) -> Option<(&Identifier, &ServedPayload)> {
        self.payloads.get_key_value(identifier)
    }

    /// Returns whether there is a payload for `identifier`.
    pub(crate) fn has(&self, identifier: &str) -> bool {
        self.payloads.contains_key(identifier)
    }

    /// Returns whether this server has delivered the payload of `identifier`.
    pub(crate) fn was_delivered(&self, identifier: &str) -> bool {
        let payload = self.payloads.get(identifier);
        payload.is_some_and(ServedPayload::is_delivered)
    }
}

impl ServedPayload {
    /// Returns whether this server has delivered the payload.
    pub(crate) fn is_delivered(&self) -> bool {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Notes that a delivery begins. Returns whether it is the first one.
    pub(crate) fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::Relaxed)
    }

    /// Marks the payload as delivered. Returns whether this is the first time.
    pub(crate) fn mark_delivered(&self) -> bool {
        !self.delivered.swap(true, Ordering::Relaxed)
    }
}
