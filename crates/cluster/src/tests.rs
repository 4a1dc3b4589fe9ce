//! The promises of the route, on a paused clock: time passes only where a test lets it.

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
use cfgsync_store::{MemoryStore, Store};
use cfgsync_support::clock::{Timestamp, WallClock};
use cfgsync_wire::{ClusterState, ErrorBody, LeaveBody, NodeState, ReceivedPayload};

pub(super) const PEERS: &str = "
materializers:
  - kind: template
    files:
      - path: peers
        template: '{% for n in nodes %}{{ n.seat }}:{{ n.identifier }}@{{ n.ip }} {% endfor %}'
";

/// A coordinator at work; its route ends with it.
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
    let (running, stop) = oneshot::channel::<()>();
    let clock = WallClock::from_fn(|| Timestamp::UNIX_EPOCH);
    let stop = async {
        let _ = stop.await;
    };
    let (coordinator, route) = Coordinator::new(store, spec, embedded, config, clock, stop);
    tokio::spawn(route);
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
    pub(super) async fn come(&self, name: &str) {
        self.register(node(name, "10.0.0.1")).await.unwrap();
    }

    /// Asks as a patient node does, up to an hour.
    pub(super) async fn ask(&self, name: &str) -> Answer {
        self.wait(name, None, Instant::now() + Duration::from_hours(1))
            .await
    }

    pub(super) async fn files(&self, name: &str) -> ReceivedPayload {
        received(self.ask(name).await)
    }

    /// Waits until the newest inputs were judged, and says what a node is answered then.
    pub(super) async fn settled(&self, name: &str) -> Answer {
        let inputs = self.shared.store.state().inputs;
        let mut evaluated = self.shared.evaluated.subscribe();
        evaluated
            .wait_for(|evaluated| *evaluated >= inputs)
            .await
            .unwrap();
        self.answer(name)
    }

    /// The reason that a node that is not ready is given.
    pub(super) async fn reason(&self, name: &str) -> String {
        told(self.settled(name).await)
    }
}

fn told(answer: Answer) -> String {
    match answer {
        Answer::NotReady(body) => serde_json::from_slice::<ErrorBody>(&body).unwrap().message,
        other => panic!("{other:?}"),
    }
}

pub(super) fn received(answer: Answer) -> ReceivedPayload {
    match answer {
        Answer::Payload(handed) => ReceivedPayload::decode(&handed.payload.to_bytes()).unwrap(),
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

/// A materializer that does what the test says.
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

/// Every node gets `file` with `content`.
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

#[tokio::test(start_paused = true)]
async fn all_nodes_of_a_complete_set_receive_one_cut() {
    let cluster = start("ready: {nodes: 2}");
    cluster.come("b").await;
    assert_eq!(cluster.reason("b").await, "not ready: 1/2");
    assert_eq!(
        cluster.reason("a").await,
        "not ready: this node is not registered (1/2)"
    );
    cluster.come("a").await;
    for name in ["a", "b"] {
        let payload = cluster.files(name).await;
        assert_eq!(number(&payload), 1);
        assert_eq!(text(&payload, "peers"), "0:a@10.0.0.1 1:b@10.0.0.1 ");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_answered_when_the_last_node_comes() {
    let cluster = start("ready: {nodes: [a, b]}");
    cluster.come("a").await;
    let waiter = {
        let coordinator = cluster.coordinator.clone();
        tokio::spawn(async move {
            coordinator
                .wait("a", None, Instant::now() + Duration::from_mins(1))
                .await
        })
    };
    assert_eq!(cluster.reason("a").await, "not ready: 1/2, missing b");
    cluster.come("b").await;
    assert_eq!(number(&received(waiter.await.unwrap())), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_reason_when_its_time_is_over() {
    let cluster = start("ready: {nodes: 2}");
    cluster.come("a").await;
    let answer = cluster
        .wait("a", None, Instant::now() + Duration::from_secs(5))
        .await;
    assert!(matches!(answer, Answer::NotReady(_)));
}

#[tokio::test(start_paused = true)]
async fn a_held_payload_is_answered_only_when_it_differs() {
    let cluster = start("ready: {nodes: 1}");
    cluster.come("a").await;
    let first = cluster.files("a").await;
    let soon = Instant::now() + Duration::from_secs(5);
    let same = received(cluster.wait("a", first.digest, soon).await);
    assert_eq!(same.digest, first.digest);
    cluster.come("b").await;
    let later = Instant::now() + Duration::from_mins(1);
    let next = received(cluster.wait("a", first.digest, later).await);
    assert_eq!((number(&next), next.digest == first.digest), (2, false));
}

#[tokio::test(start_paused = true)]
async fn the_same_facts_again_change_nothing() {
    let cluster = start("ready: {nodes: 1}");
    cluster.come("a").await;
    let first = cluster.files("a").await;
    cluster.come("a").await;
    advance(Duration::from_secs(10)).await;
    assert_eq!(cluster.files("a").await.digest, first.digest);
    assert_eq!(cluster.generations().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn changed_facts_make_the_next_generation_and_the_old_one_is_not_served_for_them() {
    let cluster = start("ready: {nodes: 1}\nlate: refuse");
    cluster.come("a").await;
    assert_eq!(number(&cluster.files("a").await), 1);
    cluster.register(node("a", "10.0.0.7")).await.unwrap();
    assert!(
        matches!(cluster.answer("a"), Answer::NotReady(_)),
        "generation 1 is older"
    );
    let next = cluster.files("a").await;
    assert_eq!(
        (number(&next), text(&next, "peers").as_str()),
        (2, "0:a@10.0.0.7 ")
    );
}

#[tokio::test(start_paused = true)]
async fn facts_that_change_no_file_make_no_generation_and_are_served_all_the_same() {
    let cluster = start("ready: {nodes: 1}");
    cluster.come("a").await;
    let first = cluster.files("a").await;
    let facts = node("a", "10.0.0.1").with_metadata_value(serde_json::json!({"unused": 1}));
    cluster.register(facts).await.unwrap();
    assert_eq!(cluster.files("a").await.digest, first.digest);
    assert_eq!(cluster.generations().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn renders_keep_their_distance_and_show_the_newest_inputs() {
    let cluster = start("ready: {nodes: 1}");
    cluster.come("a").await;
    cluster.files("a").await;
    for name in ["b", "c", "d"] {
        cluster.come(name).await;
    }
    let soon = Instant::now() + Duration::from_millis(100);
    assert_eq!(
        told(cluster.wait("d", None, soon).await),
        "not ready: 4/1; render: changes are gathered, files are made once in 1s"
    );
    let payload = cluster.files("d").await;
    assert_eq!(number(&payload), 2, "three registrations, one generation");
}

/// Who came last, and asked while a slow program was at work, was told "2/2" and nothing more.
#[tokio::test(start_paused = true)]
async fn while_files_are_made_that_is_what_is_waited_for() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let slow = Scripted(move |snapshot: &RegistrationSnapshot| {
        let _ = gone.lock().unwrap().recv();
        Ok(one_file_each(snapshot, "x"))
    });
    let cluster = start_on(
        store(),
        spec(&format!("ready: {{nodes: 1}}{PEERS}")),
        vec![Arc::new(slow)],
    );
    cluster.come("a").await;
    let expected = "not ready: 1/1; render: the files are being made";
    while told(cluster.answer("a")) != expected {
        // By hand: what is at work on its own thread keeps the clock from going on by itself.
        advance(Duration::from_millis(1)).await;
    }
    drop(go);
    assert_eq!(number(&cluster.files("a").await), 1);
}

#[tokio::test(start_paused = true)]
async fn late_refuse_turns_strangers_away_and_lets_nobody_go() {
    let cluster = start("ready: {nodes: 1}\nlate: refuse");
    cluster.come("a").await;
    cluster.files("a").await;
    let late: Identifier = "b".parse().unwrap();
    let refused = cluster.register(node("b", "10.0.0.2")).await;
    assert_eq!(refused, Err(Refusal::TooLate(late)));
    assert!(matches!(cluster.answer("b"), Answer::Missing(_)));
    let member: Identifier = "a".parse().unwrap();
    assert_eq!(cluster.remove(&member).await, Err(Refusal::Sealed(member)));
    cluster.come("a").await;
}

#[tokio::test(start_paused = true)]
async fn who_is_not_on_a_closed_list_is_refused() {
    let cluster = start("ready: {nodes: [a]}");
    let stranger: Identifier = "b".parse().unwrap();
    let refused = cluster.register(node("b", "10.0.0.2")).await;
    assert_eq!(refused, Err(Refusal::NotListed(stranger)));
    assert!(matches!(cluster.answer("b"), Answer::Missing(_)));
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_is_never_served_its_old_files() {
    let cluster = start("ready: {nodes: 1}");
    for name in ["a", "b"] {
        cluster.come(name).await;
    }
    cluster.files("b").await;
    cluster.remove(&"b".parse().unwrap()).await.unwrap();
    assert!(matches!(cluster.answer("b"), Answer::NotReady(_)));
    cluster.settled("a").await;
    assert_eq!(text(&cluster.files("a").await, "peers"), "0:a@10.0.0.1 ");
    cluster.come("b").await;
    let back = cluster.files("b").await;
    assert_eq!(
        text(&back, "peers"),
        "0:a@10.0.0.1 1:b@10.0.0.1 ",
        "the seat is kept"
    );
}

#[tokio::test(start_paused = true)]
async fn a_seat_is_never_given_to_another() {
    let cluster = start("ready: {nodes: 1}");
    for name in ["b", "c"] {
        cluster.come(name).await;
    }
    cluster.files("c").await;
    cluster.remove(&"b".parse().unwrap()).await.unwrap();
    cluster.settled("c").await;
    cluster.come("a").await;
    assert_eq!(
        text(&cluster.files("a").await, "peers"),
        "2:a@10.0.0.1 1:c@10.0.0.1 "
    );
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_no_longer_ready_keeps_its_last_generation() {
    let cluster = start("ready: {nodes: 2}");
    for name in ["a", "b"] {
        cluster.come(name).await;
    }
    cluster.files("a").await;
    cluster.remove(&"b".parse().unwrap()).await.unwrap();
    let payload = received(cluster.settled("a").await);
    assert_eq!((number(&payload), cluster.generations().len()), (1, 1));
    let changed = cluster.register(node("a", "10.0.0.9")).await;
    changed.unwrap();
    cluster.settled("a").await;
    assert!(
        matches!(cluster.answer("a"), Answer::NotReady(_)),
        "older than its facts"
    );
    let described = cluster.node(&"a".parse().unwrap()).unwrap();
    assert_eq!(described.state, NodeState::Waiting);
    assert!(
        described
            .reason
            .unwrap()
            .starts_with("generation 1 is older than")
    );
}

#[tokio::test(start_paused = true)]
async fn a_passed_deadline_frees_the_waiters_and_the_next_registration_begins_anew() {
    let cluster = start("ready: {nodes: 2, deadline: 5m}");
    cluster.come("a").await;
    match cluster.ask("a").await {
        Answer::Failed(failure) => assert_eq!(failure.reason, "not ready within 300s: 1/2"),
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.cluster().state, ClusterState::Failed);
    cluster.come("a").await; // the same facts: no input, but a new attempt
    assert!(matches!(cluster.answer("a"), Answer::NotReady(_)));
    cluster.come("b").await;
    assert_eq!(number(&cluster.files("a").await), 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_with_the_first_seal() {
    let cluster = start("ready: {nodes: 1, deadline: 5m}");
    cluster.come("a").await;
    cluster.files("a").await;
    advance(Duration::from_hours(1)).await;
    cluster.register(node("a", "10.0.0.2")).await.unwrap();
    assert_eq!(number(&cluster.files("a").await), 2);
}

#[tokio::test(start_paused = true)]
async fn settle_counts_from_the_last_change() {
    let cluster = start("ready: {nodes: 1, settle: 10s}");
    cluster.come("a").await;
    cluster.settled("a").await;
    let begun = Instant::now();
    let soon = begun + Duration::from_secs(6);
    assert!(matches!(
        cluster.wait("a", None, soon).await,
        Answer::NotReady(_)
    ));
    cluster.come("b").await;
    let payload = cluster.files("a").await;
    assert_eq!(text(&payload, "peers"), "0:a@10.0.0.1 1:b@10.0.0.1 ");
    assert!(begun.elapsed() >= Duration::from_secs(16));
}

#[tokio::test(start_paused = true)]
async fn a_failed_render_frees_the_waiters_until_an_input_changes() {
    let by_address = Scripted(|snapshot: &RegistrationSnapshot| {
        match snapshot.nodes[0].ip.to_string().as_str() {
            "10.0.0.1" => Err(MaterializeError::new("no files for 10.0.0.1")),
            "10.0.0.2" => panic!("scripted"),
            _ => Ok(one_file_each(snapshot, "x")),
        }
    });
    let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
    let cluster = start_on(store(), spec, vec![Arc::new(by_address)]);
    cluster.come("a").await;
    match cluster.ask("a").await {
        Answer::Failed(failure) => assert_eq!(failure.reason, "no files for 10.0.0.1"),
        other => panic!("{other:?}"),
    }
    cluster.register(node("a", "10.0.0.2")).await.unwrap();
    assert!(
        matches!(cluster.answer("a"), Answer::NotReady(_)),
        "the failure was of older inputs"
    );
    match cluster.ask("a").await {
        Answer::Failed(failure) => assert!(failure.reason.contains("panicked"), "{failure:?}"),
        other => panic!("{other:?}"),
    }
    cluster.register(node("a", "10.0.0.3")).await.unwrap();
    assert_eq!(number(&cluster.files("a").await), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_seal_a_failed_render_is_reported_and_the_last_generation_stays() {
    let at_most_one = Scripted(
        |snapshot: &RegistrationSnapshot| match snapshot.nodes.len() {
            1 => Ok(one_file_each(snapshot, "x")),
            _ => Err(MaterializeError::new("too many")),
        },
    );
    let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
    let cluster = start_on(store(), spec, vec![Arc::new(at_most_one)]);
    cluster.come("a").await;
    cluster.files("a").await;
    cluster.come("b").await;
    cluster.settled("b").await;
    assert_eq!(number(&received(cluster.answer("a"))), 1);
    // It only said "2/1", and a node that waits has no other way to know.
    assert_eq!(
        cluster.reason("b").await,
        "not ready: 2/1; render: the newest one failed: too many"
    );
    let described = cluster.cluster();
    assert_eq!(described.state, ClusterState::Ready);
    assert_eq!(described.failure.unwrap().reason, "too many");
}

#[tokio::test(start_paused = true)]
async fn a_materializer_that_is_not_ready_is_asked_again_and_says_why() {
    let asked = Arc::new(AtomicUsize::new(0));
    let third_time = {
        let asked = asked.clone();
        Scripted(move |snapshot: &RegistrationSnapshot| {
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Ok(MaterializationResult::NotReady {
                    message: "no quorum".into(),
                }),
                _ => Ok(one_file_each(snapshot, "x")),
            }
        })
    };
    let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
    let cluster = start_on(store(), spec, vec![Arc::new(third_time)]);
    cluster.come("a").await;
    assert_eq!(
        cluster.reason("a").await,
        "not ready: 1/1; scripted: no quorum"
    );
    assert_eq!(number(&cluster.files("a").await), 1);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn an_operators_failure_stays_until_it_is_taken_back() {
    let cluster = start("ready: {nodes: 1}");
    cluster.come("a").await;
    cluster.files("a").await;
    cluster.fail("wrong image".into()).await.unwrap();
    cluster.come("b").await;
    match cluster.ask("a").await {
        Answer::Failed(failure) => assert_eq!(failure.reason, "wrong image"),
        other => panic!("{other:?}"),
    }
    cluster.reset().await.unwrap();
    assert_eq!(number(&cluster.files("b").await), 2);
}

pub(super) fn files_of(entries: &[(&str, &str)]) -> ArtifactSet {
    let files = entries
        .iter()
        .map(|(path, content)| ArtifactFile::new(path.parse().unwrap(), (*content).to_owned()));
    ArtifactSet::new(files.collect()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_override_stands_in_place_of_a_nodes_own_files() {
    let cluster = start("ready: {nodes: 1}\nlate: refuse");
    let a: Identifier = "a".parse().unwrap();
    cluster
        .replace(a.clone(), files_of(&[("x", "before")]))
        .await
        .unwrap();
    cluster.come("a").await;
    let first = cluster.files("a").await;
    assert_eq!((number(&first), text(&first, "x").as_str()), (1, "before"));
    assert_eq!(first.files.files().len(), 1);
    cluster
        .replace(a.clone(), files_of(&[("y", "after")]))
        .await
        .unwrap();
    let second = received(cluster.answer("a"));
    assert_eq!(
        (number(&second), text(&second, "y").as_str()),
        (2, "after"),
        "at once"
    );
    cluster.remove_override(&a).await.unwrap();
    assert_eq!(
        text(&received(cluster.answer("a")), "peers"),
        "0:a@10.0.0.1 "
    );
    assert_eq!(
        cluster.remove_override(&a).await,
        Err(Refusal::NoOverride(a))
    );
}

/// With `settle` it was answered before its seal, and the old files were served after that.
#[tokio::test(start_paused = true)]
async fn an_override_is_answered_after_its_seal_although_changes_settle() {
    let cluster = start("ready: {nodes: 1, settle: 3s}");
    let a: Identifier = "a".parse().unwrap();
    cluster.come("a").await;
    cluster.files("a").await;
    let files = files_of(&[("x", "by hand")]);
    cluster.replace(a.clone(), files).await.unwrap();
    let second = received(cluster.answer("a"));
    assert_eq!(
        (number(&second), text(&second, "x").as_str()),
        (2, "by hand")
    );
    cluster.remove_override(&a).await.unwrap();
    assert_eq!(number(&received(cluster.answer("a"))), 3);
}

/// While a materializer was not ready it was answered before its seal, and the old files were served after that.
#[tokio::test(start_paused = true)]
async fn an_override_is_answered_after_its_seal_although_a_materializer_is_not_ready() {
    let asked = Arc::new(AtomicUsize::new(0));
    let busy_after_the_first = {
        let asked = asked.clone();
        Scripted(move |snapshot: &RegistrationSnapshot| {
            match asked.fetch_add(1, Ordering::Relaxed) {
                1..=3 => Ok(MaterializationResult::NotReady {
                    message: "busy".into(),
                }),
                _ => Ok(one_file_each(snapshot, "x")),
            }
        })
    };
    let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
    let cluster = start_on(store(), spec, vec![Arc::new(busy_after_the_first)]);
    cluster.come("a").await;
    cluster.files("a").await;
    let files = files_of(&[("x", "by hand")]);
    cluster.replace("a".parse().unwrap(), files).await.unwrap();
    let second = received(cluster.answer("a"));
    assert_eq!(
        (number(&second), text(&second, "x").as_str()),
        (2, "by hand")
    );
}

const SHARED: &str = "
materializers:
  - kind: template
    files: [{path: all, shared: true, template: x}, {path: own, template: y}]
";

#[tokio::test(start_paused = true)]
async fn an_override_by_the_name_of_a_shared_file_is_refused_before_the_seal() {
    let cluster = start_on(
        store(),
        spec(&format!("ready: {{nodes: 1}}{SHARED}")),
        vec![],
    );
    let refused = cluster
        .replace(
            "z".parse().unwrap(),
            files_of(&[("own", "1"), ("/all", "2")]),
        )
        .await;
    let path = "all".parse().unwrap();
    assert_eq!(refused, Err(Refusal::SharedPath { path }));
    cluster.come("a").await;
    assert_eq!(text(&cluster.files("a").await, "all"), "x");
}

#[tokio::test(start_paused = true)]
async fn an_override_that_came_before_the_shared_file_is_named_with_the_way_out() {
    let cluster = start("ready: {nodes: 1}");
    let a: Identifier = "a".parse().unwrap();
    let files = files_of(&[("all", "by hand")]);
    cluster.replace(a.clone(), files).await.unwrap();
    let rest = format!("ready: {{nodes: 1}}{SHARED}");
    cluster.reload(spec(&rest)).await.unwrap();
    let all = "all".parse().unwrap();
    while !cluster.shared.view.load().program.declares_shared(&all) {
        tokio::task::yield_now().await;
    }
    cluster.come("a").await;
    match cluster.ask("a").await {
        Answer::Failed(failure) => assert_eq!(
            failure.reason,
            "all: the override of a has a file by the name of a shared one; an operator ends it: \
             DELETE /v1/nodes/a/override"
        ),
        other => panic!("{other:?}"),
    }
    cluster.remove_override(&a).await.unwrap();
    assert_eq!(text(&cluster.files("a").await, "all"), "x");
}

#[tokio::test(start_paused = true)]
async fn a_node_may_leave_before_the_seal_and_takes_only_its_own_registration() {
    let cluster = start("ready: {nodes: 2}");
    cluster.come("a").await;
    let leave = |ip: &str| LeaveBody {
        identifier: "a".parse().unwrap(),
        ip: Some(ip.parse().unwrap()),
        metadata: None,
    };
    let others = cluster.leave(leave("10.0.0.9")).await;
    assert!(matches!(others, Err(Refusal::OtherFacts(_))));
    cluster.leave(leave("10.0.0.1")).await.unwrap();
    assert!(cluster.cluster().registrations.is_empty());
    for name in ["a", "b"] {
        cluster.come(name).await;
    }
    cluster.files("a").await;
    let late = cluster.leave(leave("10.0.0.1")).await;
    assert!(matches!(late, Err(Refusal::LeftTooLate(_))));
}

#[tokio::test(start_paused = true)]
async fn what_is_drawn_once_stays() {
    let rest = "
ready: {nodes: 1}
once: {cookie: random_hex(16), first: (nodes | first).identifier}
materializers:
  - kind: template
    files: [{path: c, template: '{{ once.cookie }} {{ once.first }} {{ nodes | length }}'}]
";
    let cluster = start_on(store(), spec(rest), vec![]);
    cluster.come("m").await;
    let first = text(&cluster.files("m").await, "c");
    cluster.come("a").await;
    let second = text(&cluster.files("a").await, "c");
    assert_eq!(first.strip_suffix(" 1"), second.strip_suffix(" 2"));
    assert!(first.ends_with(" m 1") && first.len() == 32 + 4);
}

#[tokio::test(start_paused = true)]
async fn a_changed_spec_makes_the_next_generation() {
    let cluster = start("ready: {nodes: 1}");
    cluster.come("a").await;
    cluster.files("a").await;
    let changed = PEERS.replace("path: peers", "path: members");
    cluster
        .reload(spec(&format!("ready: {{nodes: 1}}{changed}")))
        .await
        .unwrap();
    let held = received(cluster.answer("a")).digest;
    let later = Instant::now() + Duration::from_mins(1);
    let next = received(cluster.wait("a", held, later).await);
    assert_eq!(
        (number(&next), text(&next, "members").as_str()),
        (2, "0:a@10.0.0.1 ")
    );
}

#[tokio::test(start_paused = true)]
async fn a_spec_read_again_shows_files_that_it_only_names() {
    let directory = tempfile::tempdir().unwrap();
    let read = |key: &str| {
        std::fs::write(directory.path().join("a.key"), key).unwrap();
        let text = "cfgsync: 1\ncluster: test\nready: {nodes: 1}\nmaterializers:\n  - kind: template\n    \
                    files: [{path: key, source: '{{ node.identifier }}.key'}]\n";
        Spec::parse(text, "cluster.yaml", directory.path()).unwrap()
    };
    let cluster = start_on(store(), read("old"), vec![]);
    cluster.come("a").await;
    let first = cluster.files("a").await;
    cluster.reload(read("new")).await.unwrap();
    let later = Instant::now() + Duration::from_mins(1);
    let next = received(cluster.wait("a", first.digest, later).await);
    assert_eq!((number(&next), text(&next, "key").as_str()), (2, "new"));
    cluster.reload(read("new")).await.unwrap();
    advance(Duration::from_secs(10)).await;
    cluster.settled("a").await;
    assert_eq!(
        cluster.generations().len(),
        2,
        "the same bytes make no generation"
    );
}

#[tokio::test(start_paused = true)]
async fn who_registers_and_looks_sees_one_picture() {
    let cluster = start("ready: {nodes: 2}");
    cluster.come("a").await;
    cluster.caught_up().await;
    let body = cluster.cluster();
    assert_eq!((body.registrations.len(), body.progress.registered), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_drained_server_sends_its_waiters_elsewhere() {
    let cluster = start("ready: {nodes: 2}");
    cluster.come("a").await;
    cluster.settled("a").await;
    cluster.drain();
    assert!(matches!(cluster.ask("a").await, Answer::Draining(_)));
}

#[tokio::test(start_paused = true)]
async fn deliveries_are_noted_and_whoever_is_behind_is_known() {
    let cluster = start("ready: {nodes: 2}");
    for name in ["a", "b"] {
        cluster.come(name).await;
    }
    cluster.files("a").await;
    let behind: Vec<_> = cluster
        .cluster()
        .registrations
        .iter()
        .map(|n| n.behind)
        .collect();
    assert_eq!(behind, [false, true]);
    let mut follow = cluster.shared.store.follow();
    while cluster.shared.store.state().deliveries.is_empty() {
        follow.changed().await.unwrap();
    }
    assert_eq!(cluster.shared.store.state().deliveries["a"].0, 1);
}

/// They were behind for good, and an alert on it rang for good.
#[tokio::test(start_paused = true)]
async fn who_is_left_out_is_not_behind() {
    let behind = |cluster: &Cluster| {
        let nodes = cluster.cluster().registrations;
        let behind = nodes.iter().filter(|node| node.behind);
        let behind: Vec<_> = behind.map(|node| node.identifier.to_string()).collect();
        let figure = format!("cfgsync_nodes_behind {}\n", behind.len());
        assert!(cluster.metrics_text().contains(&figure), "{figure}");
        behind
    };
    let cluster = start("ready: {nodes: [a, b]}");
    for name in ["a", "b"] {
        cluster.come(name).await;
    }
    cluster.files("a").await;
    assert_eq!(behind(&cluster), ["b"]);
    let shorter = spec(&format!("ready: {{nodes: [a]}}{PEERS}"));
    cluster.reload(shorter).await.unwrap();
    while number(&cluster.files("a").await) < 2 {
        advance(Duration::from_millis(1)).await;
    }
    assert!(matches!(cluster.settled("b").await, Answer::Missing(_)));
    assert_eq!(behind(&cluster), [""; 0]);

    // Where all files are known, and none is for this one.
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("files.yaml"),
        "nodes: {a: {files: []}}",
    )
    .unwrap();
    let text =
        "cfgsync: 1\ncluster: test\nmaterializers: [{kind: precomputed, artifacts: files.yaml}]";
    let gate = Spec::parse(text, "cluster.yaml", directory.path()).unwrap();
    let cluster = start_on(store(), gate, vec![]);
    for name in ["a", "stranger"] {
        cluster.come(name).await;
    }
    assert!(matches!(cluster.ask("stranger").await, Answer::Missing(_)));
    assert_eq!(behind(&cluster), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn two_coordinators_on_one_store_serve_one_generation() {
    let store = store();
    let clusters: Vec<Cluster> = (0..2)
        .map(|_| {
            start_on(
                store.clone(),
                spec(&format!(
                    "ready: {{nodes: 1}}\nonce: {{c: random_hex(8)}}{PEERS}"
                )),
                vec![],
            )
        })
        .collect();
    clusters[0].come("a").await;
    let digests: Vec<_> = [clusters[0].files("a").await, clusters[1].files("a").await]
        .map(|payload| (number(&payload), payload.digest))
        .into();
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_makes_nothing_anew_that_could_come_out_otherwise() {
    let store = store();
    let renders = Arc::new(AtomicUsize::new(0));
    let start = || {
        let renders = renders.clone();
        let never_twice = Scripted(move |snapshot: &RegistrationSnapshot| {
            let render = renders.fetch_add(1, Ordering::Relaxed);
            Ok(one_file_each(snapshot, &render.to_string()))
        });
        let spec = spec(&format!("ready: {{nodes: 1}}{PEERS}"));
        start_on(store.clone(), spec, vec![Arc::new(never_twice)])
    };
    let first = start();
    first.come("a").await;
    let sealed = first.files("a").await;
    drop(first);
    let second = start();
    // The same facts again, as a node sends them that finds its server again.
    second.come("a").await;
    second.settled("a").await;
    advance(Duration::from_mins(1)).await;
    let again = second.files("a").await;
    assert_eq!((number(&again), again.digest), (1, sealed.digest));
    assert_eq!(renders.load(Ordering::Relaxed), 1);
    second.come("b").await;
    assert_eq!(number(&second.files("b").await), 2);
}

#[tokio::test]
async fn under_concurrent_registration_and_fetch_a_generation_number_has_one_digest() {
    let cluster = Arc::new(start("ready: {nodes: 4}"));
    let seen = Arc::new(Mutex::new(HashMap::<(u64, String), Digest>::new()));
    let mut nodes = tokio::task::JoinSet::new();
    for at in 0..16_u32 {
        let (cluster, seen) = (cluster.clone(), seen.clone());
        nodes.spawn(async move {
            let name = format!("n{at}");
            for turn in 0..3 {
                let facts = node(&name, &format!("10.0.{at}.{turn}"));
                cluster.register(facts.clone()).await.unwrap();
                cluster.register(facts).await.unwrap();
                let payload = cluster.files(&name).await;
                let own = format!("{name}@10.0.{at}.{turn} ");
                assert!(
                    text(&payload, "peers").contains(&own),
                    "older than its registration"
                );
                let key = (number(&payload), name.clone());
                let digest = payload.digest.unwrap();
                let known = *seen.lock().unwrap().entry(key).or_insert(digest);
                assert_eq!(known, digest);
            }
        });
    }
    while let Some(node) = nodes.join_next().await {
        node.unwrap();
    }
    let kept: BTreeMap<_, _> = cluster
        .generations()
        .into_iter()
        .map(|g| (g.number, g.digest))
        .collect();
    let digests: std::collections::BTreeSet<_> = kept.values().collect();
    assert_eq!(kept.len(), digests.len());
}
