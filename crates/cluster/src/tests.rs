//! Tests of the coordinator, one file for each subject. The clock is paused, so time passes only if a test advances it.
//! This file has the helpers that the subjects share.

mod store_handle;
mod generations;
mod waiting;
mod membership;
mod leases;
mod rollouts;
mod projection;
mod timers;
mod renders;
mod crash_mark;
mod overrides;
mod reload;
mod deliveries;
mod servers;
mod presence;
mod render_turn;
mod static_files;
mod capacity;
mod audit_sink;
mod slow_store;
mod values;
mod value_reads;
mod values_import;
mod phases;
mod runs;
mod events;
mod record;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, advance},
};

use super::{Answer, Config, Coordinator, Refusal};
use cfgsync_materialize::{MaterializationResult, MaterializeError, Materializer};
use cfgsync_model::{
    ArtifactFile, ArtifactSet, Digest, Identifier, Instance, MaterializedArtifacts,
    NodeRegistration, RegistrationSnapshot,
};
use cfgsync_spec::Spec;
use cfgsync_store::{
    Bounds, BoxFuture, CapacityExceeded, Change, Commit, CommitError, MemoryStore, SealCondition,
    SealOutcome, StateGuard, Store,
};
use cfgsync_support::clock::{Timestamp, WallClock};
use cfgsync_wire::{ClusterState, ErrorBody, LeaveBody, NodeState, ReceivedPayload};
use store_handle::StoreHandle;

pub(super) const PEERS: &str = "
materializers:
  - kind: template
    files:
      - path: peers
        template: '{% for n in nodes %}{{ n.seat }}:{{ n.identifier }}@{{ n.ip }} {% endfor %}'
";

/// A running coordinator. Its reconciler ends when this is dropped.
pub(super) struct Cluster {
    coordinator: Coordinator,
    _running: oneshot::Sender<()>,
}

impl std::ops::Deref for Cluster {
    type Target = Coordinator;

    fn deref(&self) -> &Coordinator {
        &self.coordinator
    }
}

pub(super) fn spec(rest: &str) -> Spec {
    let text = format!("cfgsync: 1\ncluster: test\n{rest}");
    Spec::parse(&text, "cluster.yaml", Path::new(".")).unwrap_or_else(|e| panic!("{e}"))
}

pub(super) fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(Instance::from_bytes([9; 16]), 8))
}

pub(super) fn start_on(
    store: Arc<dyn Store>,
    spec: Spec,
    embedded: Vec<Arc<dyn Materializer>>,
) -> Cluster {
    start_with(store, spec, embedded, Config::default())
}

pub(super) fn start_with(
    store: Arc<dyn Store>,
    spec: Spec,
    embedded: Vec<Arc<dyn Materializer>>,
    config: Config,
) -> Cluster {
    let clock = WallClock::from_fn(|| Timestamp::UNIX_EPOCH);
    start_with_clock(store, spec, embedded, config, clock)
}

pub(super) fn start_with_clock(
    store: Arc<dyn Store>,
    spec: Spec,
    embedded: Vec<Arc<dyn Materializer>>,
    config: Config,
    clock: WallClock,
) -> Cluster {
    let (running, stop) = oneshot::channel::<()>();
    let stop = async {
        let _ = stop.await;
    };
    let (coordinator, reconciler) = Coordinator::new(store, spec, embedded, config, clock, stop);
    tokio::spawn(reconciler);
    Cluster {
        coordinator,
        _running: running,
    }
}

pub(super) fn start(rest: &str) -> Cluster {
    start_on(store(), spec(&format!("{rest}{PEERS}")), vec![])
}

pub(super) fn node(name: &str, ip: &str) -> NodeRegistration {
    NodeRegistration::without_metadata(name.parse().unwrap(), ip.parse().unwrap())
}

impl Cluster {
    pub(super) async fn add(&self, name: &str) {
        self.register(node(name, "10.0.0.1")).await.unwrap();
    }

    /// Waits for an answer for up to an hour.
    pub(super) async fn fetch(&self, name: &str) -> Answer {
        self.wait(name, None, Instant::now() + Duration::from_hours(1))
            .await
    }

    /// Delivers the files of a node.
    pub(super) async fn files(&self, name: &str) -> ReceivedPayload {
        let answer = self.fetch(name).await;
        if let Answer::Payload(delivery) = &answer {
            self.complete_delivery(name.parse().unwrap(), delivery.generation);
        }
        received(answer)
    }

    /// Waits until no work is left for the newest inputs. Returns the answer to a node after that.
    pub(super) async fn evaluated(&self, name: &str) -> Answer {
        let inputs = self.shared.store.state().inputs;
        let mut published = self.shared.published.subscribe();
        published
            .wait_for(|completed| *completed >= inputs)
            .await
            .unwrap();
        self.answer(name)
    }

    /// Returns the reason that a waiting node receives.
    pub(super) async fn reason(&self, name: &str) -> String {
        message_of(self.evaluated(name).await)
    }
}

fn message_of(answer: Answer) -> String {
    match answer {
        Answer::NotReady(body) => serde_json::from_slice::<ErrorBody>(&body).unwrap().message,
        other => panic!("{other:?}"),
    }
}

pub(super) fn received(answer: Answer) -> ReceivedPayload {
    match answer {
        Answer::Payload(delivery) => ReceivedPayload::decode(&delivery.payload.to_bytes()).unwrap(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn number(payload: &ReceivedPayload) -> u64 {
    payload.generation.unwrap().0
}

pub(super) fn text(payload: &ReceivedPayload, path: &str) -> String {
    let file = payload.files.get(&path.parse().unwrap()).expect(path);
    String::from_utf8(file.content.to_bytes().to_vec()).unwrap()
}

/// A materializer that runs a closure of the test.
pub(super) struct Scripted<F>(pub(super) F);

impl<F> Materializer for Scripted<F>
where
    F: Fn(&RegistrationSnapshot) -> Result<MaterializationResult, MaterializeError>
        + Send
        + Sync
        + 'static,
{
    fn name(&self) -> String {
        "scripted".into()
    }

    fn materialize(
        &self,
        snapshot: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        (self.0)(snapshot)
    }
}

/// Returns a result in which every node has the file `file` with `content`.
pub(super) fn one_file_each(
    snapshot: &RegistrationSnapshot,
    content: &str,
) -> MaterializationResult {
    let each = snapshot.nodes.iter().map(|node| {
        let file = ArtifactFile::new("file".parse().unwrap(), content.to_owned());
        (
            node.identifier.clone(),
            ArtifactSet::new(vec![file]).unwrap(),
        )
    });
    MaterializationResult::Ready(MaterializedArtifacts {
        nodes: each.collect(),
        shared: ArtifactSet::default(),
    })
}

pub(super) fn files_of(entries: &[(&str, &str)]) -> ArtifactSet {
    let files = entries
        .iter()
        .map(|(path, content)| ArtifactFile::new(path.parse().unwrap(), (*content).to_owned()));
    ArtifactSet::new(files.collect()).unwrap()
}
