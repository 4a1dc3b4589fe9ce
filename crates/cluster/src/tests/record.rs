//! Tests of the flight record.

use cfgsync_model::GenerationNumber;
use cfgsync_wire::{RecordBody, RecordNode, RecordNodeState, RecordOutcome};

use super::*;

/// Starts a cluster whose wall clock follows the paused clock.
fn start_timed(store: Arc<dyn Store>, rest: &str) -> Cluster {
    let start = Instant::now();
    let clock = WallClock::from_fn(move || {
        let passed = i64::try_from(start.elapsed().as_millis()).unwrap();
        Timestamp::from_millisecond(passed).unwrap()
    });
    let spec = spec(&format!("{rest}{PEERS}"));
    start_with_clock(store, spec, vec![], Config::default(), clock)
}

fn named<'a>(record: &'a RecordBody, name: &str) -> &'a RecordNode {
    let mut nodes = record.nodes.iter();
    let found = nodes.find(|node| node.identifier.as_str() == name);
    found.unwrap_or_else(|| panic!("{name} is not in {record:#?}"))
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn record_has_registrations_waits_seal_and_deliveries_with_their_times() {
    let cluster = start_timed(store(), "ready: {nodes: [a, b, c]}");
    pass(1).await;
    cluster.add("a").await;
    pass(2).await;
    cluster.add("b").await;
    pass(3).await;
    cluster.add("c").await;
    for name in ["a", "b"] {
        cluster.files(name).await;
    }
    pass(1).await;
    let record = cluster.record(None).unwrap();
    assert_eq!(record.outcome, RecordOutcome::Sealed);
    assert!(record.complete);
    assert_eq!(record.generation, Some(GenerationNumber(1)));
    let waits = record.waits.iter();
    let waits: Vec<_> = waits
        .map(|wait| {
            (
                wait.message.as_str(),
                format!("{:.0}", wait.seconds.unwrap()),
            )
        })
        .collect();
    assert_eq!(
        waits[..3],
        [
            ("0/3, missing a, b, c", "1".to_owned()),
            ("1/3, missing b, c", "2".to_owned()),
            ("2/3, missing c", "3".to_owned()),
        ]
    );
    let times = |name: &str| {
        let node = named(&record, name);
        let seconds = |at: Option<Timestamp>| at.map(Timestamp::as_second);
        (seconds(node.registered_at), seconds(node.delivered_at))
    };
    assert_eq!(times("a"), (Some(1), Some(6)));
    assert_eq!(times("b"), (Some(3), Some(6)));
    assert_eq!(times("c"), (Some(6), None));
    assert!((4.9..5.5).contains(&named(&record, "a").seconds.unwrap()));
    assert_eq!(named(&record, "c").state, RecordNodeState::Undelivered);
    let order: Vec<_> = record
        .nodes
        .iter()
        .map(|node| node.identifier.as_str())
        .collect();
    assert_eq!(
        order,
        ["c", "a", "b"],
        "first what went wrong, then the slowest"
    );
    assert_eq!(record.sealed_at.unwrap().as_second(), 6);
    assert_eq!(record.render.unwrap().files, 3);
    assert!(record.changes.is_none(), "it is the first generation");
}

#[tokio::test(start_paused = true)]
async fn attempt_without_a_seal_has_a_record_with_the_missing_nodes_and_the_failure() {
    let cluster = start_timed(store(), "ready: {nodes: [a, b], deadline: 5s}");
    assert_eq!(
        cluster.record(None).unwrap().outcome,
        RecordOutcome::Waiting
    );
    cluster.add("a").await;
    assert!(matches!(cluster.fetch("a").await, Answer::Failed(_)));
    pass(1).await;
    let record = cluster.record(None).unwrap();
    assert_eq!(
        (record.generation, record.outcome),
        (None, RecordOutcome::Failed)
    );
    let failure = record.failure.clone().unwrap();
    assert!(
        record.message.ends_with(&failure.reason),
        "{}",
        record.message
    );
    assert_eq!(record.ended_at, failure.at);
    assert_eq!(named(&record, "b").state, RecordNodeState::Missing);
    assert_eq!(named(&record, "a").state, RecordNodeState::Waiting);
    let reason = named(&record, "a").failure.clone().unwrap();
    assert!(reason.contains("missing b"), "{reason}");
    assert!(cluster.record(Some(GenerationNumber(1))).is_none());
}

#[tokio::test(start_paused = true)]
async fn nodes_that_no_name_is_known_of_are_counted() {
    let cluster = start_timed(store(), "ready: {nodes: 4}");
    cluster.add("a").await;
    pass(1).await;
    let record = cluster.record(None).unwrap();
    assert_eq!((record.nodes.len(), record.missing_more), (1, 3));
    assert_eq!(record.message, "not sealed: 1/4");
}

#[tokio::test(start_paused = true)]
async fn seal_says_what_has_changed_since_the_generation_before() {
    const VALUE: &str = "
materializers:
  - kind: template
    files:
      - path: file
        template: '{{ node.metadata | default({}) | tojson }}{{ value(\"prod\", \"read\", default=1) }}{{ nodes | length }}'
";
    let store = store();
    let spec = spec(&format!("ready: {{nodes: 1}}{VALUE}"));
    let cluster = start_on(store.clone(), spec, vec![]);
    let with = |name: &str, metadata| node(name, "10.0.0.1").with_metadata_value(metadata);
    cluster
        .register(with("a", serde_json::json!({"x": 1, "same": 0})))
        .await
        .unwrap();
    cluster.files("a").await;
    cluster.add("b").await;
    cluster.files("b").await;
    cluster.set("prod/read", "2").await;
    cluster.set("prod/unread", "2").await;
    let other = with("a", serde_json::json!({"x": 2, "same": 0, "y": true}));
    cluster.register(other).await.unwrap();
    cluster.files("a").await;
    let removed = cluster.remove(&"b".parse().unwrap()).await;
    removed.unwrap();
    pass(2).await;
    cluster.files("a").await;
    let reasons = |number| {
        let generation = cluster.generation(GenerationNumber(number)).unwrap();
        let found = generation.changes.unwrap_or_default();
        let lines = found.changes.iter().map(ToString::to_string);
        lines.collect::<Vec<String>>()
    };
    assert!(reasons(1).is_empty());
    assert_eq!(reasons(2), ["b joined"]);
    let third = [
        "a changed metadata.x, metadata.y",
        "the value prod/read has version 1",
    ];
    assert_eq!(reasons(3), third, "the value `unread` is not read");
    assert_eq!(reasons(4), ["b left"]);
}

#[tokio::test(start_paused = true)]
async fn node_that_keeps_an_older_generation_is_behind_and_has_not_failed() {
    let cluster = start_timed(store(), "ready: {nodes: 1}");
    cluster.add("a").await;
    cluster.files("a").await;
    // No file shows this value, so it does not lead to the next generation.
    cluster.set("prod/unread", "1").await;
    pass(2).await;
    cluster.add("b").await;
    cluster.files("b").await;
    pass(1).await;
    let record = cluster.record(None).unwrap();
    assert_eq!(named(&record, "a").state, RecordNodeState::Behind);
    assert_eq!(named(&record, "b").state, RecordNodeState::Delivered);
    assert_eq!(record.began_at.unwrap().as_second(), 2);
    let first = cluster.record(Some(GenerationNumber(1))).unwrap();
    assert_eq!(first.nodes.len(), 1);
    assert_eq!(named(&first, "a").state, RecordNodeState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn history_that_has_lost_the_beginning_says_so() {
    let store = MemoryStore::new(Instance::from_bytes([9; 16]), 8);
    let bounds = cfgsync_store::EventBounds {
        events_max: 2,
        ..cfgsync_store::EventBounds::default()
    };
    let cluster = start_timed(
        Arc::new(store.with_event_bounds(bounds)),
        "ready: {nodes: 3}",
    );
    for name in ["a", "b", "c"] {
        cluster.add(name).await;
        cluster.evaluated(name).await;
    }
    for name in ["a", "b", "c"] {
        cluster.files(name).await;
    }
    pass(1).await;
    let record = cluster.record(None).unwrap();
    assert!(!record.complete);
    // The state has these times.
    let (a, b) = (named(&record, "a"), named(&record, "b"));
    assert!(a.delivered_at.is_some() && b.delivered_at.is_some());
    assert!(b.registered_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn overrides_aliases_redraws_and_the_spec_are_among_the_changes() {
    const FIRST: &str = "
ready: {nodes: 1}
once: {cookie: random_hex(4)}
materializers:
  - kind: template
    files: [{path: f, template: '{{ once.cookie }} {{ value(\"prod\", \"old\", default=1) }}'}]
";
    let cluster = start_on(store(), spec(FIRST), vec![]);
    cluster.set("prod/new", "2").await;
    cluster.add("a").await;
    cluster.files("a").await;
    let a: Identifier = "a".parse().unwrap();
    let (alias, target) = ("old".parse().unwrap(), "new".parse().unwrap());
    let reasons = async |number: u64| {
        while number > cluster.generations()[0].number.0 {
            pass(1).await;
        }
        let generation = cluster.generation(GenerationNumber(number)).unwrap();
        let found = generation.changes.unwrap().changes;
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    cluster.set_alias(alias, target).await.unwrap();
    assert_eq!(reasons(2).await, ["the alias old stands for new"]);
    cluster.redraw("cookie".to_owned()).await.unwrap();
    assert_eq!(
        reasons(3).await,
        ["an operator requested another once.cookie"]
    );
    let files = files_of(&[("f", "mine")]);
    cluster.replace(a.clone(), files).await.unwrap();
    assert_eq!(reasons(4).await, ["an operator set the files of a"]);
    cluster.remove_override(&a).await.unwrap();
    assert_eq!(reasons(5).await, ["the override of a ended"]);
    let changed = FIRST.replace("{path: f", "{path: g");
    cluster.reload(spec(&changed)).await.unwrap();
    assert_eq!(reasons(6).await, ["the text of the spec changed"]);
    cluster.delete_alias("old".parse().unwrap()).await.unwrap();
    assert_eq!(reasons(7).await, ["the alias old was deleted"]);
}

#[tokio::test(start_paused = true)]
async fn node_that_left_before_the_seal_is_in_the_record() {
    let cluster = start_timed(store(), "ready: {nodes: 3}");
    cluster.add("a").await;
    cluster.add("b").await;
    cluster.remove(&"b".parse().unwrap()).await.unwrap();
    pass(1).await;
    let record = cluster.record(None).unwrap();
    assert_eq!(named(&record, "b").state, RecordNodeState::Left);
    assert!(named(&record, "b").registered_at.is_some());
    assert!(
        record
            .moments
            .iter()
            .any(|moment| moment.message == "b left")
    );
    assert_eq!(record.missing_more, 2);
}
