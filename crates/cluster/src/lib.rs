//! The coordinator: it decides which nodes are members, and turns the registered nodes into sealed generations of
//! files.
//!
//! The HTTP server calls the handle, [`Coordinator`]. The coordinator keeps acknowledged changes in a store and makes
//! files with materializers. It depends neither on HTTP nor on an implementation of the store.
//!
//! ```text
//! Coordinator::register ─▶ admission ─▶ store ─▶ reconciler: follow ─▶ evaluate ─▶ render ─▶ seal ─▶ publish
//! Coordinator::answer, wait ◀──────────────────────────────── view ◀──────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - The store acknowledges each command. A command never waits for an evaluation, a render or a seal. The only
//!   exception is an override after a seal.
//! - Readers take no lock: they read the published view and the store's newest state.
//! - A node never gets a generation that is older than its own registration.
//! - All files of a generation come from one snapshot. The store decides which generation gets a number.
//! - The reconciler's loop never blocks on the work that it starts.
//!
//! The modules in reading order:

pub mod metrics;
mod answer;
mod leases;
mod followers;
mod rollout;
mod held_requests;
mod refused_nodes;
mod audit_sink;
mod unique_values;
pub mod readiness;
mod recorded_values;
mod generation_changes;
pub mod render;
mod attempt_failure;
mod admission;
mod capacity;
mod view;
pub mod notes;
mod value_error;
mod values;
mod values_import;
mod phase_tally;
mod phase_waits;
mod run_leases;
mod queries;
pub mod projection;
pub mod record;
mod inspect;
mod event_filter;
mod event_frames;
mod events;
mod reconciler;
mod commands;
mod phases;
mod retries;
mod runs;

pub use admission::check_registration;
pub use answer::{Accepted, AccessKind, AnotherCluster, Answer, Delivery, MetadataAccess, Refusal};
pub use audit_sink::{AuditEvent, AuditRefused, AuditSink, RenderOutcome};
pub use cfgsync_store::{RunRejection, ValueRejection};
pub use event_filter::{
    EVENT_NAMES, EventFilter, FILTER_NAME_MAX_BYTES, FILTER_NAMES_MAX, FilterNames, InvalidFilter,
};
pub use events::{EventBatch, EventReader, STOPPING_NOTICE, WatchStart};
pub use held_requests::HeldSlot;
pub use phase_tally::{PhaseNodes, PhaseQuery};
pub use phases::{PhaseAnswer, PhaseRequest};
pub use queries::Held;
pub use recorded_values::RecordedValues;
pub use runs::{RunAnswer, RunRequest};
pub use value_error::{CHANGES_MAX, SNAPSHOT_MAX_ENTRIES, ValueError};
pub use values::{
    Entry, NAMESPACES_PAGE_DEFAULT_ENTRIES, NAMESPACES_PAGE_MAX_ENTRIES, NewValue,
    PAGE_DEFAULT_ENTRIES, PAGE_MAX_ENTRIES, Page, ValueCommand, ValuesSnapshot, known_codecs,
};
pub use values_import::{Import, ImportPlan, ImportedChange, ImportedChangeKind, ImportedValue};

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::{
    sync::{Notify, broadcast, mpsc, watch},
    time::Instant,
};

use crate::{
    capacity::CapacityLimits,
    event_frames::EventFrames,
    events::{NOTICES_MAX, ReadinessNews},
    followers::Followers,
    held_requests::HeldRequests,
    leases::Leases,
    metrics::Metrics,
    notes::{Note, NoteKind, NoteLog},
    phase_waits::PhaseWaits,
    reconciler::{Command, Reconciler},
    refused_nodes::RefusedNodes,
    render::Pipeline,
    run_leases::RunLeases,
    view::View,
};
use cfgsync_materialize::Materializer;
use cfgsync_model::{GenerationNumber, Identifier, Revision};
use cfgsync_spec::Spec;
use cfgsync_store::{Bounds, Store, ValueBounds};
use cfgsync_support::clock::{Timestamp, WallClock};
use cfgsync_wire::{PayloadSigner, SigningKey};

/// The number of commands that may be queued for the reconciler. Further senders wait.
const COMMANDS_MAX: usize = 64;

/// The settings of a coordinator.
#[derive(Debug, Clone)]
pub struct Config {
    /// The shortest time between the starts of two renders. Default: 1 s.
    pub min_generation_interval: Duration,
    /// The limits on registered nodes and on their metadata.
    pub bounds: Bounds,
    /// The limits on values and aliases.
    pub value_bounds: ValueBounds,
    /// How long a runner of `run-once` counts as running without a renewal. Default: 15 s.
    pub run_lease: Duration,
    /// The key that signs all payloads, if there is one.
    pub sign_key: Option<Arc<SigningKey>>,
    /// The audit log for actions without a request. It may delay seals.
    pub audit_sink: Option<Arc<dyn AuditSink>>,
    /// The metrics to count in. One server has one.
    pub metrics: Arc<Metrics>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_generation_interval: Duration::from_secs(1),
            bounds: Bounds::default(),
            value_bounds: ValueBounds::default(),
            run_lease: Duration::from_secs(15),
            sign_key: None,
            audit_sink: None,
            metrics: Arc::default(),
        }
    }
}

/// The handle of a coordinator. Cloning is cheap, and all clones refer to the same coordinator.
#[derive(Clone)]
pub struct Coordinator {
    shared: Arc<Shared>,
}

/// The state that the handle and the reconciler share.
struct Shared {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    clock: WallClock,
    signer: Option<Arc<PayloadSigner>>,
    capacity: CapacityLimits,
    value_bounds: ValueBounds,
    /// The materializers of the embedding program. They run after those of the spec.
    embedded: Vec<Arc<dyn Materializer>>,
    view: ArcSwap<View>,
    held_requests: HeldRequests,
    leases: Leases,
    followers: Followers,
    refused: RefusedNodes,
    phase_waits: PhaseWaits,
    runs: RunLeases,
    /// Marked changed when the answer to waiting nodes may have changed. New progress alone does not count.
    release: watch::Sender<()>,
    /// Marked changed after each publication. The value is [`View::completed`].
    published: watch::Sender<Revision>,
    event_frames: EventFrames,
    /// The state of the cluster, for watchers.
    readiness: watch::Sender<Arc<ReadinessNews>>,
    /// The notices of the server, as frames for watchers.
    notices: broadcast::Sender<Bytes>,
    commands: mpsc::Sender<Command>,
    /// First deliveries that the reconciler has not recorded yet.
    deliveries: Mutex<Vec<FirstDelivery>>,
    /// The notes for the flight record.
    notes: Mutex<NoteLog>,
    /// Wakes the reconciler when `deliveries` has new entries.
    delivered: Notify,
    draining: AtomicBool,
}

/// The first delivery of a generation to a node.
#[derive(Debug, Clone)]
struct FirstDelivery {
    identifier: Identifier,
    generation: GenerationNumber,
    at: Timestamp,
}

impl Coordinator {
    /// Returns the handle and the reconciler, a future that runs until `shutdown` is complete. If the caller does not
    /// run it, registrations are stored but nothing is ever sealed.
    pub fn new(
        store: Arc<dyn Store>,
        spec: Spec,
        embedded: Vec<Arc<dyn Materializer>>,
        config: Config,
        clock: WallClock,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let pipeline = Arc::new(pipeline(spec, &embedded));
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let cluster = &pipeline.spec.cluster;
        let signer =
            (config.sign_key.clone()).map(|key| Arc::new(PayloadSigner::new(key, cluster)));
        let first = View::before_evaluation(&pipeline, &*store, signer.as_ref());
        let readiness = ReadinessNews::new(&first, &store.state());
        let notes = NoteLog::open(store.notes_file(), store.instance());
        let shared = Arc::new(Shared {
            store,
            metrics: config.metrics.clone(),
            clock,
            signer,
            capacity: CapacityLimits::new(config.bounds),
            value_bounds: config.value_bounds,
            embedded,
            view: ArcSwap::from_pointee(first),
            held_requests: HeldRequests::default(),
            leases: Leases::default(),
            followers: Followers::default(),
            refused: RefusedNodes::default(),
            phase_waits: PhaseWaits::default(),
            runs: RunLeases::new(config.run_lease),
            release: watch::Sender::new(()),
            published: watch::Sender::new(Revision::default()),
            event_frames: EventFrames::default(),
            readiness: watch::Sender::new(Arc::new(readiness)),
            notices: broadcast::Sender::new(NOTICES_MAX),
            commands,
            deliveries: Mutex::default(),
            notes: Mutex::new(notes),
            delivered: Notify::new(),
            draining: AtomicBool::new(false),
        });
        let reconciler = Reconciler::new(shared.clone(), config, received);
        let follow = PhaseWaits::follow(shared.clone());
        let run = async move {
            tokio::select! {
                () = reconciler.run(shutdown) => {}
                () = follow => std::future::pending().await,
            }
        };
        (Self { shared }, run)
    }
}

impl Shared {
    /// Adds a note for the flight record, if it differs from the one before.
    fn note(&self, kind: NoteKind, revision: Revision) {
        if self.notes().is_newest(&kind) {
            return;
        }
        let note = Note {
            at: self.clock.now(),
            revision,
            kind,
        };
        self.notes().note(note, Instant::now());
    }

    fn notes(&self) -> MutexGuard<'_, NoteLog> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliveries(&self) -> MutexGuard<'_, Vec<FirstDelivery>> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a pipeline of the spec's materializers, followed by those of the embedding program.
fn pipeline(spec: Spec, embedded: &[Arc<dyn Materializer>]) -> Pipeline {
    let mut materializers = cfgsync_materialize::build(&spec);
    materializers.extend(embedded.iter().cloned());
    Pipeline::new(Arc::new(spec), materializers)
}

#[cfg(test)]
mod tests;
