//! What a render does on its own thread: draw, materialize, digest, encode. Takes everything with it, so that it
//! holds nothing that a reader needs.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    render::{Program, Rendered},
    view::Served,
};
use cfgsync_materialize::MaterializeError;
use cfgsync_model::{
    Generation, GenerationNumber, Instance, RegistrationSnapshot, generation_digest,
};
use cfgsync_store::State;
use cfgsync_support::clock::Timestamp;
use cfgsync_template::OnceSource;
use cfgsync_wire::SigningKey;

/// What a render makes, on its own thread.
pub(super) type Made = Result<Outcome, MaterializeError>;

/// What a render came to.
pub(super) enum Outcome {
    /// A materializer waits for something beyond the rule.
    NotReady(String),
    /// The files are those of the served generation.
    Same,
    /// A generation that is not sealed yet, encoded.
    New(Box<Served>),
}

/// Everything that a render needs, moved to its thread.
pub(super) struct Work {
    pub(super) program: Arc<Program>,
    pub(super) state: Arc<State>,
    pub(super) served: Option<Arc<Served>>,
    pub(super) snapshot: RegistrationSnapshot,
    pub(super) instance: Instance,
    pub(super) drawn_at: Timestamp,
    pub(super) sign_key: Option<Arc<SigningKey>>,
}

impl Work {
    /// Draws, renders, digests and encodes.
    pub(super) fn make(self) -> Made {
        let mut snapshot = self.snapshot;
        snapshot.once = self
            .program
            .draw_once(&snapshot, &OnceSource::Real(self.drawn_at))?;
        let overrides = self.state.overrides.iter();
        let overrides = overrides.map(|(id, overridden)| (id.clone(), overridden.files.clone()));
        let artifacts = match self.program.render(&snapshot, &overrides.collect())? {
            Rendered::NotReady(message) => return Ok(Outcome::NotReady(message)),
            Rendered::Ready(artifacts) => artifacts,
        };
        let shared = Arc::new(artifacts.shared);
        let (nodes, digest) = generation_digest(self.instance, artifacts.nodes, &shared);
        let last = self.served.as_ref().map(|served| &served.generation);
        if last.is_some_and(|last| last.digest == digest) {
            return Ok(Outcome::Same);
        }
        let mut seats = last
            .map(|last| BTreeMap::clone(&last.seats))
            .unwrap_or_default();
        seats.extend(
            snapshot
                .nodes
                .iter()
                .map(|node| (node.identifier.clone(), node.seat)),
        );
        let generation = Generation {
            number: last.map_or(GenerationNumber(0), |last| last.number).next(),
            digest,
            revision: snapshot.revision,
            spec: self.program.spec.digest,
            sealed_at: self.drawn_at,
            nodes,
            shared,
            seats: Arc::new(seats),
            once: Arc::new(snapshot.once),
        };
        Ok(Outcome::New(Box::new(Served::new(
            self.instance,
            Arc::new(generation),
            self.sign_key.as_ref(),
        ))))
    }
}
