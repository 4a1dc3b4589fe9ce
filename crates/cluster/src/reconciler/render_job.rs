//! The work of a render on its own thread: evaluate `once`, materialize, compute digests, encode. It owns all its
//! inputs, so it blocks neither readers nor the reconciler.

use std::{collections::BTreeMap, io, sync::Arc, time::Instant};

use imbl::OrdMap;
use serde_json::Map;
use tokio::runtime::Handle;

use super::{
    crash_mark::{self, CrashMark},
    render_key::RenderKey,
};
use crate::{
    generation_changes::ComparedGenerations,
    readiness::Members,
    recorded_values::RecordedValues,
    render::{Pipeline, Rendered},
    view::ServedGeneration,
};
use cfgsync_materialize::MaterializeError;
use cfgsync_model::{
    Generation, GenerationNumber, Identifier, Instance, Provenance, RenderTime, Revision,
    SealedReads, Seat, ValueReads, generation_digest,
};
use cfgsync_store::{RegisteredNode, State};
use cfgsync_support::{clock::WallClock, deep_stack};
use cfgsync_template::OnceSource;
use cfgsync_wire::PayloadSigner;

/// The result of a render, or the reason why it failed.
pub(super) type Rendering = Result<RenderedGeneration, MaterializeError>;

/// The result of a successful render.
pub(super) enum RenderedGeneration {
    /// A materializer waits for a condition outside the rule. The value says which.
    NotReady(String),
    /// The operating system refused the thread. Nothing was rendered.
    NoThread(io::Error),
    /// The files are those of the served generation.
    Unchanged,
    /// A generation that is not sealed yet, encoded.
    New(Box<ServedGeneration>),
}

/// The end of a render.
pub(super) struct RenderOutcome {
    pub(super) rendering: Rendering,
    /// The operators' values that it read. `None` if nothing was rendered.
    pub(super) reads: Option<ValueReads>,
}

impl From<Rendering> for RenderOutcome {
    fn from(rendering: Rendering) -> Self {
        Self {
            rendering,
            reads: None,
        }
    }
}

/// The inputs of a render.
pub(super) struct RenderJob {
    pub(super) key: RenderKey,
    pub(super) crash_mark: Arc<CrashMark>,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) state: Arc<State>,
    pub(super) members: Members,
    /// The input revision of `state` and `members`.
    pub(super) revision: Revision,
    pub(super) served: Option<Arc<ServedGeneration>>,
    pub(super) instance: Instance,
    /// The registrations at the time of the seal of `served`.
    pub(super) sealed_registrations: OrdMap<Identifier, RegisteredNode>,
    pub(super) clock: WallClock,
    pub(super) signer: Option<Arc<PayloadSigner>>,
}

impl RenderJob {
    /// Renders on a new thread with a deep stack, and sets the crash mark meanwhile. It blocks the calling thread.
    pub(super) fn run(self) -> RenderOutcome {
        // Materializers of an embedding program may use its runtime.
        let runtime = Handle::current();
        let crash_mark = self.crash_mark.clone();
        let _marked = crash_mark.set(crash_mark::name_of(self.key, &self.state, &self.pipeline));
        deep_stack::run(|| {
            let _entered = runtime.enter();
            let mut values = RecordedValues::new(Arc::new(self.state.values.clone()));
            RenderOutcome {
                rendering: self.render(&mut values),
                reads: Some(values.into_reads()),
            }
        })
        .unwrap_or_else(|error| Ok(RenderedGeneration::NoThread(error)).into())
    }

    /// Evaluates `once`, renders all files, computes their digests and encodes the payloads.
    fn render(self, values: &mut RecordedValues) -> Rendering {
        let span = tracing::debug_span!("render", revision = %self.revision);
        let _entered = span.enter();
        let (started_at, started) = (self.clock.now(), Instant::now());
        let last = self.served.as_ref().map(|served| &served.generation);
        let no_seats = BTreeMap::<_, Seat>::new();
        let mut once = last.map_or_else(Map::new, |last| Map::clone(&last.once));
        once.retain(|name, _| !self.state.redraws.contains_key(name));
        let mut snapshot = self.members.snapshot(
            self.revision,
            last.map_or(&no_seats, |last| &last.seats),
            once,
        );
        snapshot.once = self
            .pipeline
            .draw_once(&snapshot, &OnceSource::Real(started_at))?;
        let overrides = self.state.overrides.iter();
        let overrides = overrides.map(|(id, overridden)| (id.clone(), overridden.files.clone()));
        let overrides = overrides.collect();
        let artifacts = match self.pipeline.render(&mut snapshot, values, &overrides)? {
            Rendered::NotReady(message) => return Ok(RenderedGeneration::NotReady(message)),
            Rendered::Ready(artifacts) => artifacts,
        };
        let shared = Arc::new(artifacts.shared);
        let (nodes, digest) = generation_digest(self.instance, artifacts.nodes, &shared);
        // A value that is evaluated again must be sealed, also if no file shows it.
        let is_redrawn = !self.state.redraws.is_empty();
        if last.is_some_and(|last| last.digest == digest) && !is_redrawn {
            return Ok(RenderedGeneration::Unchanged);
        }
        let mut seats = last.map_or_else(BTreeMap::new, |last| BTreeMap::clone(&last.seats));
        let given = snapshot.nodes.iter();
        seats.extend(given.map(|node| (node.identifier.clone(), node.seat)));
        let changes = last.map(|last| {
            let compared = ComparedGenerations {
                before: last,
                registrations_before: &self.sealed_registrations,
                nodes: &nodes,
                shared: &shared,
                state: &self.state,
                spec: &self.pipeline.spec,
                reads: values.reads(),
                is_static: self.pipeline.is_static(),
            };
            compared.changes()
        });
        let took = started.elapsed();
        let provenance = Provenance {
            render: Some(RenderTime {
                started_at,
                took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            }),
            sources: Some(self.pipeline.spec.sources.clone()),
            changes,
            reads: SealedReads::of(values.reads()),
        };
        let generation = Generation {
            number: last.map_or(GenerationNumber(0), |last| last.number).next(),
            digest,
            revision: snapshot.revision,
            spec: self.pipeline.spec.digest,
            sealed_at: self.clock.now(),
            nodes,
            shared,
            seats: Arc::new(seats),
            once: Arc::new(snapshot.once),
            provenance: Arc::new(provenance),
        };
        // The nodes' metadata takes more memory than their files and is no longer needed.
        drop(snapshot.nodes);
        let generation = Arc::new(generation);
        let served = ServedGeneration::new(self.instance, generation, self.signer.as_ref());
        Ok(RenderedGeneration::New(Box::new(served)))
    }
}
