//! Golden tests: a spec and registrations must give exactly the expected files.
//!
//! `tests/golden/CASE/` holds `cluster.yaml`, `nodes.yaml` (a list of registrations, in any order) and
//! `expected/`: each node's files under its name, shared files under `_shared`, and `_files`, which lists
//! node, mode and path in order. `CFGSYNC_BLESS=1` rewrites `expected/`.
//!
//! A property test runs the same cases through a coordinator and shuffles the order of registration.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use cfgsync::{MaterializedArtifacts, NodeRegistration, RegistrationSnapshot};
use cfgsync_cluster::{
    Answer, Config, Coordinator, RecordedValues,
    render::{Pipeline, Rendered},
};
use cfgsync_materialize as materialize;
use cfgsync_model::{ArtifactSet, Revision, Seat, SnapshotNode, ValueReader};
use cfgsync_spec::Spec;
use cfgsync_store::MemoryStore;
use cfgsync_support::clock::{Timestamp, WallClock};
use cfgsync_template::OnceSource;
use proptest::prelude::*;

use crate::support::{INSTANCE, with_timeout};

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir("tests/golden").unwrap();
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(!cases.is_empty());
    cases.sort();
    cases
}

#[test]
fn specs_render_to_the_golden_files() {
    for case in cases() {
        let actual = files_of(&render(&case, true));
        assert_eq!(
            actual,
            files_of(&render(&case, false)),
            "{}: the files depend on the order of registration",
            case.display()
        );
        let expected = case.join("expected");
        if std::env::var_os("CFGSYNC_BLESS").is_some() {
            write(&expected, &actual);
        }
        let golden = read(&expected);
        assert_eq!(
            golden.keys().collect::<Vec<_>>(),
            actual.keys().collect::<Vec<_>>(),
            "{}",
            case.display()
        );
        for (path, bytes) in actual {
            assert_eq!(
                String::from_utf8_lossy(&golden[&path]),
                String::from_utf8_lossy(&bytes),
                "{} of {}",
                path.display(),
                case.display()
            );
        }
    }
}

/// Renders the case for its nodes, registered in the file's order or in reverse.
fn render(case: &Path, forwards: bool) -> MaterializedArtifacts {
    let spec = Spec::load(&case.join("cluster.yaml")).unwrap_or_else(|error| panic!("{error}"));
    let mut registrations = registrations(case);
    if !forwards {
        registrations.reverse();
    }
    let pipeline = Pipeline::new(Arc::new(spec.clone()), materialize::build(&spec));
    let mut snapshot = snapshot(&spec, registrations);
    let rendered = pipeline
        .draw_once(&snapshot, &OnceSource::Placeholder)
        .and_then(|once| {
            snapshot.once = once;
            pipeline.render(
                &mut snapshot,
                &mut RecordedValues::default(),
                &BTreeMap::new(),
            )
        });
    match rendered.unwrap_or_else(|error| panic!("{}: {error}", case.display())) {
        Rendered::Ready(artifacts) => artifacts,
        Rendered::NotReady(message) => panic!("{} is not ready: {message}", case.display()),
    }
}

fn registrations(case: &Path) -> Vec<NodeRegistration> {
    serde_yaml::from_str(&fs::read_to_string(case.join("nodes.yaml")).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two servers draw different `once` values, so specs with `once` are left out.
    #[test]
    fn payloads_do_not_depend_on_registration_order(
        case in prop::sample::select(cases()),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 16),
        address_changes in prop::collection::vec(any::<bool>(), 16),
    ) {
        let mut spec = Spec::load(&case.join("cluster.yaml")).unwrap_or_else(|error| panic!("{error}"));
        if let Some(ready) = &mut spec.ready {
            ready.settle = Duration::ZERO;
        }
        prop_assume!(spec.once.is_empty());
        let in_order: Vec<Arrival> = registrations(&case).into_iter().map(|node| (node, false)).collect();
        let mut remaining = in_order.clone();
        let mut shuffled = vec![];
        for (pick, changes_address) in picks.iter().zip(address_changes) {
            if remaining.is_empty() {
                break;
            }
            let (node, _) = remaining.remove(pick.index(remaining.len()));
            // The last node completes the set, so its first address would be sealed. It must not change.
            shuffled.push((node, changes_address && !remaining.is_empty()));
        }
        prop_assert!(remaining.is_empty());
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let one = threads.block_on(serve(spec.clone(), in_order));
        let other = threads.block_on(serve(spec, shuffled));
        prop_assert_eq!(one, other);
    }
}

/// A node, and whether it first registers with another address.
type Arrival = (NodeRegistration, bool);

/// Returns each node's payload from a coordinator at which the nodes register in this order.
async fn serve(spec: Spec, nodes: Vec<Arrival>) -> BTreeMap<String, Bytes> {
    let (coordinator, coordinator_task) = Coordinator::new(
        Arc::new(MemoryStore::new(INSTANCE, 8)),
        spec,
        vec![],
        Config {
            min_generation_interval: Duration::ZERO,
            ..Config::default()
        },
        WallClock::from_fn(|| Timestamp::UNIX_EPOCH),
        std::future::pending(),
    );
    let coordinator_handle = tokio::spawn(coordinator_task);
    for (node, changes_address) in &nodes {
        if *changes_address {
            let mut elsewhere = node.clone();
            elsewhere.ip = "192.0.2.99".parse().unwrap();
            coordinator.register(elsewhere).await.unwrap();
        }
        coordinator.register(node.clone()).await.unwrap();
    }
    let mut payloads = BTreeMap::new();
    for (node, _) in nodes {
        let name = node.identifier.to_string();
        let hour = tokio::time::Instant::now() + Duration::from_hours(1);
        match with_timeout(coordinator.wait(&name, None, hour)).await {
            Answer::Payload(delivery) => payloads.insert(name, delivery.payload.to_bytes()),
            other => panic!("{name}: {other:?}"),
        };
    }
    coordinator_handle.abort();
    payloads
}

/// Returns a snapshot of `registrations` with seats in identifier order and no `once` values yet.
pub(crate) fn snapshot(
    spec: &Spec,
    mut registrations: Vec<NodeRegistration>,
) -> RegistrationSnapshot {
    registrations.sort_by(|a, b| a.identifier.cmp(&b.identifier));
    let nodes = registrations
        .into_iter()
        .zip(0..)
        .map(|(registration, seat)| SnapshotNode {
            metadata: spec
                .metadata
                .complete(&registration.metadata)
                .unwrap()
                .into(),
            identifier: registration.identifier,
            ip: registration.ip,
            seat: Seat(seat),
        });
    RegistrationSnapshot {
        cluster: spec.cluster.clone(),
        revision: Revision(1),
        nodes: nodes.collect(),
        values: spec.values.clone(),
        once: serde_json::Map::new(),
        operator_values: ValueReader::default(),
    }
}

/// Returns the files in the layout of `expected/`.
fn files_of(artifacts: &MaterializedArtifacts) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut listing = String::new();
    let mut list = |owner: &str, set: &ArtifactSet| {
        if set.is_empty() {
            writeln!(listing, "{owner} nothing").unwrap();
        }
        for file in set.files() {
            writeln!(listing, "{owner} {} {}", file.mode, file.path).unwrap();
            let path = Path::new(owner).join(file.path.name());
            files.insert(path, file.content.to_bytes().to_vec());
        }
    };
    for (identifier, set) in &artifacts.nodes {
        list(identifier.as_str(), set);
    }
    list("_shared", &artifacts.shared);
    files.insert(PathBuf::from("_files"), listing.into_bytes());
    files
}

fn write(directory: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    if directory.exists() {
        fs::remove_dir_all(directory).unwrap();
    }
    for (path, bytes) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn read(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}
