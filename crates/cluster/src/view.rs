//! What readers see: published whole after each evaluation, read without a lock.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;

use super::render::Program;
use cfgsync_model::{Failure, Generation, Identifier, Progress, Revision};
use cfgsync_wire::{EncodedPayload, ErrorBody, SigningKey};

/// The coordinator's newest word.
pub(super) struct View {
    /// What turns snapshots into files.
    pub(super) program: Arc<Program>,
    /// How far the set has come.
    pub(super) progress: Progress,
    /// The newest input that was judged: `progress` shows it.
    pub(super) judged: Revision,
    /// The newest input that was evaluated: judged, and rendered if that was due.
    pub(super) evaluated: Revision,
    /// The not-ready answers, encoded.
    pub(super) not_ready: NotReady,
    /// The generation that is served.
    pub(super) served: Option<Arc<Served>>,
    /// Up to which input the served generation is what a render gives.
    pub(super) covers: Revision,
    /// Registration is only the gate, and the served generation was made with this program: who is registered
    /// gets its files whenever it came.
    pub(super) is_gate_open: bool,
    /// Why waiters were freed before the first seal.
    pub(super) failure: Option<Failed>,
    /// Why the newest render failed, while an older generation is served.
    pub(super) trouble: Option<Arc<Failure>>,
}

/// The not-ready answer to a node that is registered, and to one that is not.
#[derive(Clone)]
pub(super) struct NotReady {
    /// To one that is.
    pub(super) registered: Bytes,
    /// To one that is not.
    pub(super) unregistered: Bytes,
}

/// A failure before the first seal.
#[derive(Clone)]
pub(super) struct Failed {
    /// Its reason.
    pub(super) failure: Arc<Failure>,
    /// A failed render belongs to these inputs: with newer ones it is over.
    pub(super) inputs: Option<Revision>,
}

/// A generation, encoded.
pub(super) struct Served {
    /// What was sealed.
    pub(super) generation: Arc<Generation>,
    payloads: HashMap<Identifier, Payload>,
}

/// One node's payload.
pub(super) struct Payload {
    /// As it goes to the socket.
    pub(super) encoded: Arc<EncodedPayload>,
    /// Whether there is a secret file in it.
    pub(super) secret: bool,
    /// Whether it was handed out, so that only the first time is noted.
    delivered: AtomicBool,
}

impl NotReady {
    /// Encodes both answers. `trouble` is why the newest inputs made no generation: for who came with them it is
    /// the reason to wait.
    pub(super) fn of(progress: &Progress, trouble: Option<&Failure>) -> Self {
        let mut progress = progress.clone();
        if let Some(failure) = trouble {
            let clause = format!("render: the newest one failed: {}", failure.reason);
            progress.unmet.push(clause);
        }
        let encode =
            |registered| Bytes::from(ErrorBody::not_ready(&progress, registered).to_json());
        Self {
            registered: encode(true),
            unregistered: encode(false),
        }
    }
}

impl Served {
    /// Encodes all payloads of `generation`, signed by `key` if there is one.
    pub(super) fn new(
        instance: cfgsync_model::Instance,
        generation: Arc<Generation>,
        key: Option<&Arc<SigningKey>>,
    ) -> Self {
        let payloads = EncodedPayload::all_of(instance, &generation, key)
            .into_iter()
            .map(|(identifier, encoded)| {
                let payload = Payload {
                    encoded,
                    secret: generation.has_secrets(identifier.as_str()),
                    delivered: AtomicBool::new(false),
                };
                (identifier, payload)
            })
            .collect();
        Self {
            generation,
            payloads,
        }
    }

    /// The payload of `identifier`.
    pub(super) fn payload(&self, identifier: &str) -> Option<&Payload> {
        self.payloads.get(identifier)
    }

    /// Whether the payload of `identifier` was handed out, by this server.
    pub(super) fn was_taken(&self, identifier: &str) -> bool {
        let payload = self.payloads.get(identifier);
        payload.is_some_and(|payload| payload.delivered.load(Ordering::Relaxed))
    }

    /// Whether there is a payload for `identifier`.
    pub(super) fn has(&self, identifier: &str) -> bool {
        self.payloads.contains_key(identifier)
    }
}

impl Payload {
    /// Marks it as handed out; answers whether this is the first time.
    pub(super) fn take(&self) -> bool {
        // A plain load first: after the first time nobody needs the cache line for itself.
        !self.delivered.load(Ordering::Relaxed) && !self.delivered.swap(true, Ordering::Relaxed)
    }
}
