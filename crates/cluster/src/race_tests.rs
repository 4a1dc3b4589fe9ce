//! What went wrong once between the route and those who ask: each test names the hole that it keeps shut.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{tests::*, *};
use cfgsync_materialize::{Audience, MaterializationResult, MaterializeError};
use cfgsync_model::RegistrationSnapshot;

/// Files for `a` and `b`, known beforehand.
fn gate(rest: &str) -> (tempfile::TempDir, Spec) {
    gate_that(true, rest)
}

fn gate_that(requires_registration: bool, rest: &str) -> (tempfile::TempDir, Spec) {
    let directory = tempfile::tempdir().unwrap();
    let file = |content| format!("{{files: [{{path: file, content: {content}}}]}}");
    let known = format!("nodes: {{a: {}, b: {}}}\n", file("for-a"), file("for-b"));
    std::fs::write(directory.path().join("known.yaml"), known).unwrap();
    let text = format!(
        "cfgsync: 1\ncluster: test\n{rest}\nmaterializers: [{{kind: precomputed, artifacts: known.yaml, \
         requires_registration: {requires_registration}}}]\n"
    );
    let spec = Spec::parse(&text, "cluster.yaml", directory.path()).unwrap();
    (directory, spec)
}

/// Knows its nodes beforehand and fails.
struct Broken;

impl Materializer for Broken {
    fn name(&self) -> String {
        "broken".into()
    }

    fn materialize(
        &self,
        _: &RegistrationSnapshot,
    ) -> Result<MaterializationResult, MaterializeError> {
        Err(MaterializeError::new("broken"))
    }

    fn audience(&self) -> Audience {
        Audience::Listed {
            identifiers: BTreeSet::from(["a".parse().unwrap()]),
            requires_registration: true,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_at_the_gate_is_woken_by_its_registration() {
    let (_directory, spec) = gate("");
    let cluster = start_on(store(), spec, vec![]);
    cluster.come("b").await;
    cluster.files("b").await;
    let begun = Instant::now();
    let come = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.come("a").await;
    };
    let (payload, ()) = tokio::join!(cluster.files("a"), come);
    assert_eq!(text(&payload, "file"), "for-a");
    assert!(begun.elapsed() < Duration::from_secs(2), "hung");
}

#[tokio::test(start_paused = true)]
async fn who_comes_to_a_gate_that_failed_is_told_at_once() {
    let (_directory, spec) = gate("");
    let cluster = start_on(store(), spec, vec![Arc::new(Broken)]);
    cluster.come("a").await;
    assert!(matches!(cluster.ask("a").await, Answer::Failed(_)));
    let begun = Instant::now();
    cluster.come("b").await;
    assert!(matches!(cluster.ask("b").await, Answer::Failed(_)));
    assert!(begun.elapsed() < Duration::from_secs(2), "hung");
}

#[tokio::test(start_paused = true)]
async fn a_spec_that_becomes_a_gate_opens_it_with_its_own_generation() {
    let (_directory, spec) = gate("");
    let cluster = start("ready: {nodes: 1}");
    cluster.come("a").await;
    cluster.files("a").await;
    cluster.reload(spec).await.unwrap();
    cluster.register(node("a", "10.0.0.2")).await.unwrap();
    cluster.come("b").await;
    // The render keeps its distance from the last one; until then there is nothing for these facts.
    for name in ["a", "b"] {
        let answer = cluster.answer(name);
        assert!(
            matches!(answer, Answer::NotReady(_)),
            "{name} got {answer:?}"
        );
    }
    for name in ["a", "b"] {
        let payload = cluster.files(name).await;
        assert_eq!(number(&payload), 2);
        assert_eq!(text(&payload, "file"), format!("for-{name}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_with_a_rule_refuses_late_nodes_too() {
    let (_directory, spec) = gate("ready: {nodes: 1}\nlate: refuse");
    let cluster = start_on(store(), spec, vec![]);
    cluster.come("a").await;
    cluster.files("a").await;
    let late = cluster.register(node("b", "10.0.0.1")).await;
    assert!(matches!(late, Err(Refusal::TooLate(_))), "{late:?}");
    assert!(matches!(cluster.answer("b"), Answer::Missing(_)));

    let (_directory, spec) = gate("late: refuse");
    let cluster = start_on(store(), spec, vec![]);
    cluster.settled("a").await;
    cluster.come("a").await;
    cluster.files("a").await;
    let gone = cluster.remove(&"a".parse().unwrap()).await;
    assert!(gone.is_ok(), "registration is only the gate: {gone:?}");
}

#[tokio::test(start_paused = true)]
async fn an_override_gives_files_to_a_node_that_the_gate_has_none_for() {
    let (_directory, spec) = gate("");
    let cluster = start_on(store(), spec, vec![]);
    cluster.come("c").await;
    assert!(matches!(cluster.ask("c").await, Answer::Missing(_)));
    let files = files_of(&[("file", "by hand")]);
    cluster.replace("c".parse().unwrap(), files).await.unwrap();
    assert_eq!(
        text(&received(cluster.answer("c")), "file"),
        "by hand",
        "at once"
    );
}

/// An override of a node that an open gate does not list was accepted, sealed and then given to nobody.
#[tokio::test(start_paused = true)]
async fn an_override_lets_a_stranger_through_an_open_gate() {
    let (_directory, spec) = gate_that(false, "");
    let cluster = start_on(store(), spec, vec![]);
    let refused = cluster.register(node("c", "10.0.0.1")).await;
    assert!(matches!(refused, Err(Refusal::NotListed(_))), "{refused:?}");
    cluster.files("a").await;
    let files = files_of(&[("file", "by hand")]);
    cluster.replace("c".parse().unwrap(), files).await.unwrap();
    let payload = received(cluster.answer("c"));
    assert_eq!(text(&payload, "file"), "by hand");
    cluster.come("c").await;
    assert_eq!(text(&received(cluster.answer("c")), "file"), "by hand");
    cluster
        .remove_override(&"c".parse().unwrap())
        .await
        .unwrap();
    assert!(matches!(cluster.answer("c"), Answer::Missing(_)));
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_meets_the_deadline_unseen_begins_the_next_attempt() {
    let store = store();
    let cluster = start_on(
        store.clone(),
        spec(
            "ready: {nodes: 2, deadline: 5m}\nmaterializers: [{kind: template, files: [{path: p, template: x}]}]",
        ),
        vec![],
    );
    cluster.come("a").await;
    assert!(matches!(cluster.ask("a").await, Answer::Failed(_)));
    // As if it had been accepted just before the failure was published: nobody knocks.
    store
        .put(Input::register(node("b", "10.0.0.1")))
        .await
        .unwrap();
    cluster.settled("b").await;
    assert_eq!(number(&cluster.files("b").await), 1);
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_ready_in_time_is_not_failed_while_its_render_keeps_its_distance() {
    let by_address = Scripted(|snapshot: &RegistrationSnapshot| {
        match snapshot.nodes[0].ip.to_string().as_str() {
            "10.0.0.1" => Err(MaterializeError::new("no files")),
            _ => Ok(one_file_each(snapshot, "x")),
        }
    });
    let spec = spec(
        "ready: {nodes: 1, deadline: 500ms}\nmaterializers: [{kind: template, files: [{path: p, template: x}]}]",
    );
    let cluster = start_on(store(), spec, vec![Arc::new(by_address)]);
    cluster.come("a").await;
    assert!(matches!(cluster.ask("a").await, Answer::Failed(_)));
    cluster.register(node("a", "10.0.0.2")).await.unwrap();
    assert_eq!(number(&cluster.files("a").await), 1);
}

#[tokio::test(start_paused = true)]
async fn an_override_is_answered_while_changes_never_pause() {
    let cluster = start("ready: {nodes: 1}");
    cluster.come("a").await;
    cluster.files("a").await;
    let begun = Instant::now();
    let changes = async {
        for change in 0..200_u32 {
            let ip = format!("10.0.{}.{}", 1 + change / 200, change % 200);
            cluster.register(node("a", &ip)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let replaced = async {
        let files = files_of(&[("file", "by hand")]);
        cluster.replace("a".parse().unwrap(), files).await.unwrap();
        begun.elapsed()
    };
    let (took, ()) = tokio::join!(replaced, changes);
    assert!(took < Duration::from_secs(5), "answered after {took:?}");
}
