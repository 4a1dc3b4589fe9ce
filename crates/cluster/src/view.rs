//! What readers see: published as a whole after each evaluation, read without a lock.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use serde_json::Map;

use crate::{
    admission::{Admission, Coverage},
    attempt_failure::AttemptFailure,
    readiness::ReadinessTracker,
    render::Pipeline,
};
use cfgsync_model::{Failure, Generation, Identifier, Instance, Progress, Revision};
use cfgsync_store::{State, Store};
use cfgsync_support::parallel;
use cfgsync_wire::{EncodedPayload, ErrorBody, PayloadEncoder, SigningKey};

/// For fewer nodes than this, a second thread costs more than it saves.
const NODES_PER_THREAD_MIN: usize = 256;

/// The result of the newest evaluation.
pub(crate) struct View {
    /// The spec and materializers in force.
    pub(crate) pipeline: Arc<Pipeline>,
    /// What is registered and what is missing.
    pub(crate) progress: Progress,
    /// The newest input that was evaluated: `progress` includes it.
    pub(crate) evaluated: Revision,
    /// The newest input for which no work is left: evaluated, and rendered and sealed if that was due.
    pub(crate) completed: Revision,
    /// The bodies of the not-ready answers.
    pub(crate) not_ready: Arc<NotReadyBodies>,
    /// The generation that is served.
    pub(crate) served: Option<Arc<ServedGeneration>>,
    /// Which registrations the served generation includes.
    pub(crate) coverage: Coverage,
    /// Why the waiting nodes were released before the first seal.
    pub(crate) failure: Option<AttemptFailure>,
    /// Why the newest render failed, while an older generation stays served.
    pub(crate) render_failure: Option<Arc<Failure>>,
}

/// The not-ready answers to a registered and to an unregistered node. Each is encoded when the first node needs it.
pub(crate) struct NotReadyBodies {
    progress: Progress,
    registered: OnceLock<Bytes>,
    unregistered: OnceLock<Bytes>,
}

/// A generation with all of its payloads encoded.
pub(crate) struct ServedGeneration {
    /// What was sealed.
    pub(crate) generation: Arc<Generation>,
    payloads: HashMap<Identifier, ServedPayload>,
}

/// One node's payload.
pub(crate) struct ServedPayload {
    /// The bytes for the socket.
    pub(crate) encoded: Arc<EncodedPayload>,
    /// Whether it contains a secret file.
    pub(crate) has_secrets: bool,
    /// Whether this server has delivered it.
    delivered: AtomicBool,
}

impl View {
    /// The view before the first evaluation.
    pub(crate) fn before_evaluation(
        pipeline: &Arc<Pipeline>,
        store: &dyn Store,
        sign_key: Option<&Arc<SigningKey>>,
    ) -> Self {
        let tracker = ReadinessTracker::new(pipeline.spec.clone());
        let progress = tracker.readiness(&Map::new()).progress().clone();
        let sealed = store.state().generation().cloned();
        let served = sealed.map(|sealed| ServedGeneration::new(store.instance(), sealed, sign_key));
        let revision = served.as_ref().map(|served| served.generation.revision);
        Self {
            pipeline: pipeline.clone(),
            not_ready: Arc::new(NotReadyBodies::new(&progress, None)),
            progress,
            evaluated: Revision::default(),
            completed: Revision::default(),
            served: served.map(Arc::new),
            coverage: Coverage {
                up_to: revision.unwrap_or_default(),
                is_complete: false,
            },
            failure: None,
            render_failure: None,
        }
    }

    /// The decisions about identifiers, for this view and a state of the store.
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
    /// The answers for `progress`. `render_failure` is why the newest inputs made no generation: for a node that
    /// registered with them it is the reason to wait.
    pub(crate) fn new(progress: &Progress, render_failure: Option<&Failure>) -> Self {
        let mut progress = progress.clone();
        if let Some(failure) = render_failure {
            let clause = format!("render: the newest one failed: {}", failure.reason);
            progress.unmet.push(clause);
        }
        Self {
            progress,
            registered: OnceLock::new(),
            unregistered: OnceLock::new(),
        }
    }

    /// The encoded [`ErrorBody`] for a node that is registered, or is not.
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
    /// Encodes all payloads of `generation` on all cores, with signatures by `key` if there is one.
    pub(crate) fn new(
        instance: Instance,
        generation: Arc<Generation>,
        key: Option<&Arc<SigningKey>>,
    ) -> Self {
        let encoder = PayloadEncoder::of(instance, &generation).signed_by(key);
        let shared_secret = generation.shared.files().iter().any(|file| file.secret);
        let nodes: Vec<_> = generation.nodes.iter().collect();
        let payloads = parallel::map(&nodes, NODES_PER_THREAD_MIN, |(identifier, files)| {
            ServedPayload {
                encoded: Arc::new(encoder.encode(identifier, files)),
                has_secrets: shared_secret || files.local.files().iter().any(|file| file.secret),
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

    /// The payload of `identifier`, with the identifier as it is kept.
    pub(crate) fn payload(&self, identifier: &str) -> Option<(&Identifier, &ServedPayload)> {
        self.payloads.get_key_value(identifier)
    }

    /// Whether there is a payload for `identifier`.
    pub(crate) fn has(&self, identifier: &str) -> bool {
        self.payloads.contains_key(identifier)
    }

    /// Whether this server has delivered the payload of `identifier`.
    pub(crate) fn was_delivered(&self, identifier: &str) -> bool {
        let payload = self.payloads.get(identifier);
        payload.is_some_and(|payload| payload.delivered.load(Ordering::Relaxed))
    }
}

impl ServedPayload {
    /// Marks it as delivered. Returns whether this is the first time.
    pub(crate) fn mark_delivered(&self) -> bool {
        // A plain load first: after the first time no core needs to own the cache line.
        !self.delivered.load(Ordering::Relaxed) && !self.delivered.swap(true, Ordering::Relaxed)
    }
}
