//! A store on a real etcd has everything that it acknowledged when it is opened again.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::etcd::Etcd;
use cfgsync_etcd::{EtcdConfig, EtcdStore, Housekeeping};
use cfgsync_model::{
    ArtifactFile, ArtifactSet, Digest, Generation, GenerationNumber, Identifier, Instance,
    NodeRegistration, Revision, generation_digest,
};
use cfgsync_store::{Change, SealOutcome, State, Store};
use cfgsync_support::clock::Timestamp;

/// The time until the housekeeper has deleted the log.
const HOUSEKEEPING_MAX: Duration = Duration::from_secs(20);

/// Returns a generation with one file for each of `nodes`, which differs from that of other generations.
fn generation(instance: Instance, number: u64, nodes: &[&str]) -> Arc<Generation> {
    let files = nodes.iter().map(|name| {
        let identifier: Identifier = name.parse().expect("it is valid");
        let content = format!("{name} has generation {number}\n").repeat(100_000);
        let file = ArtifactFile::new("app.conf".parse().expect("it is valid"), content);
        let set = ArtifactSet::new(vec![file]).expect("there is one file");
        (identifier, set)
    });
    let shared = ArtifactSet::default();
    let (nodes, digest) = generation_digest(instance, files.collect(), &shared);
    Arc::new(Generation {
        number: GenerationNumber(number),
        digest,
        revision: Revision(0),
        spec: Digest::of(b"spec"),
        sealed_at: Timestamp::UNIX_EPOCH,
        nodes,
        shared: Arc::new(shared),
        seats: Arc::new(BTreeMap::new()),
        once: Arc::default(),
        provenance: Arc::default(),
    })
}

/// Returns what must be the same after a restart.
fn content(state: &State) -> impl PartialEq + std::fmt::Debug + use<> {
    let nodes = state.registrations.iter();
    let nodes: Vec<_> = nodes
        .map(|(id, known)| (id.clone(), known.revision, known.registration.clone()))
        .collect();
    let generations = state.generations.iter();
    let generations: Vec<_> = generations
        .map(|generation| {
            let files = generation.nodes.iter();
            let files: Vec<_> = files
                .map(|(id, files)| (id.clone(), files.digest, files.local.clone()))
                .collect();
            (generation.number, generation.digest, files)
        })
        .collect();
    (state.revision, state.inputs, nodes, generations)
}

async fn fill(store: &EtcdStore) {
    for (name, ip) in [("a", [10, 0, 0, 1]), ("b", [10, 0, 0, 2])] {
        let node = NodeRegistration::new(name, ip).expect("it is valid");
        store
            .apply(vec![Change::register(node)])
            .await
            .expect("it is accepted");
    }
    for number in 1..=5 {
        let generation = generation(store.instance(), number, &["a", "b"]);
        let sealed = store.seal(generation).await.expect("etcd is ready");
        assert!(matches!(sealed, SealOutcome::Won), "{sealed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_is_read_from_the_log() {
    let etcd = Etcd::start().await;
    let first = etcd.open("demo").await;
    fill(&first).await;
    let before = (first.instance(), content(&first.state()));
    drop(first);
    let again = etcd.open("demo").await;
    assert_eq!((again.instance(), content(&again.state())), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_is_read_from_a_snapshot_and_old_data_are_deleted() {
    let etcd = Etcd::start().await;
    let config = EtcdConfig {
        housekeeping: Housekeeping {
            interval: Duration::from_millis(10),
            snapshot_after_bytes: 0,
            snapshot_after_entries: 0,
            // A seal on a busy machine takes less, from its first part to its entry.
            unreferenced_max: Duration::from_secs(3),
        },
        ..etcd.config("demo")
    };
    let first = EtcdStore::open(config).await.expect("etcd is ready");
    fill(&first).await;
    let begun = Instant::now();
    // Three generations of six parts, and a snapshot.
    loop {
        let (log, parts) = (
            etcd.keys("/cfgsync/demo/log/"),
            etcd.keys("/cfgsync/demo/parts/"),
        );
        if log.is_empty() && parts.len() <= 3 * 6 + 1 {
            break;
        }
        assert!(begun.elapsed() < HOUSEKEEPING_MAX, "{log:?} {parts:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = (first.instance(), content(&first.state()));
    drop(first);
    let again = etcd.open("demo").await;
    assert_eq!((again.instance(), content(&again.state())), before);
    let node = NodeRegistration::new("c", [10, 0, 0, 3]).expect("it is valid");
    let commit = again
        .apply(vec![Change::register(node)])
        .await
        .expect("it is accepted");
    assert!(commit.revision > again.state().generation().expect("it is sealed").revision);
}
