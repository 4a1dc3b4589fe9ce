//! Tests of phases: reports, and requests that wait for them.

use std::collections::BTreeSet;

use super::*;
use crate::{PhaseAnswer, PhaseNodes, PhaseRequest};
use cfgsync_model::{GenerationNumber, Phase};
use cfgsync_wire::{PhaseState, ReportBody};

fn request(phase: &str, generation: Option<u64>, nodes: PhaseNodes) -> PhaseRequest {
    PhaseRequest {
        phase: phase.parse().unwrap(),
        generation: generation.map(GenerationNumber),
        nodes,
    }
}

fn named(names: &[&str]) -> PhaseNodes {
    PhaseNodes::Named(names.iter().map(|name| name.parse().unwrap()).collect())
}

/// Returns the state and the line of an answer.
fn line(answer: PhaseAnswer) -> (PhaseState, String) {
    match answer {
        PhaseAnswer::Phase(state, body) => {
            let body: cfgsync_wire::PhaseBody = serde_json::from_slice(&body).unwrap();
            assert_eq!(body.state, state);
            (state, body.message)
        }
        other => panic!("{other:?}"),
    }
}

impl Cluster {
    async fn reports(&self, name: &str, phase: &str, generation: u64, reason: Option<&str>) {
        let report = ReportBody {
            generation: Some(GenerationNumber(generation)),
            reason: reason.map(str::to_owned),
        };
        let phase: Phase = phase.parse().unwrap();
        self.report(name.parse().unwrap(), phase, report)
            .await
            .unwrap();
    }

    async fn waits(&self, request: PhaseRequest) -> PhaseAnswer {
        let until = Instant::now() + Duration::from_hours(1);
        self.wait_for_phase(request, until).await.unwrap()
    }
}

async fn sealed(rest: &str, names: &[&str]) -> Cluster {
    let cluster = start(&format!("ready: {{nodes: {}}}\n{rest}", names.len()));
    for name in names {
        cluster.add(name).await;
    }
    for name in names {
        cluster.files(name).await;
    }
    cluster
}

#[tokio::test(start_paused = true)]
async fn wait_ends_when_enough_nodes_have_reached_the_phase() {
    let cluster = sealed("", &["a", "b", "c"]).await;
    let now = |nodes| line(cluster.phase(request("healthy", None, nodes)));
    let waiting = |text: &str| (PhaseState::Waiting, text.to_owned());
    assert_eq!(
        now(PhaseNodes::All),
        waiting("healthy: 0/3, missing a, b, c")
    );
    let reports = async {
        cluster.reports("a", "healthy", 1, None).await;
        cluster.reports("b", "healthy", 1, None).await;
        assert_eq!(now(PhaseNodes::All), waiting("healthy: 2/3, missing c"));
        cluster.reports("c", "healthy", 1, None).await;
    };
    let (all, two, one, ()) = tokio::join!(
        cluster.waits(request("healthy", None, PhaseNodes::All)),
        cluster.waits(request("healthy", Some(1), PhaseNodes::Count(2))),
        cluster.waits(request("healthy", Some(1), named(&["b"]))),
        reports
    );
    for (answer, text) in [(all, "healthy: 3/3"), (one, "healthy: 1/1")] {
        assert_eq!(line(answer), (PhaseState::Reached, text.to_owned()));
    }
    assert_eq!(line(two).0, PhaseState::Reached);
    let answer = cluster.phase(request("healthy", None, PhaseNodes::Count(2)));
    assert_eq!(line(answer).1, "healthy: 3 nodes (2 needed)");
    let delivered = cluster
        .waits(request("delivered", None, PhaseNodes::All))
        .await;
    assert_eq!(
        line(delivered),
        (PhaseState::Reached, "delivered: 3/3".to_owned())
    );
    assert!(cluster.shared.phase_waits.is_empty());
}

#[tokio::test(start_paused = true)]
async fn wait_fails_with_the_node_that_failed_and_its_reason() {
    let cluster = sealed("", &["a", "b", "c"]).await;
    let (all, ()) = tokio::join!(
        cluster.waits(request("healthy", None, PhaseNodes::All)),
        cluster.reports("b", "failed", 1, Some("no port"))
    );
    let failed = (
        PhaseState::Failed,
        "healthy: 0/3, missing a, c; b failed: no port".to_owned(),
    );
    assert_eq!(line(all), failed);
    // Two others can still reach it.
    let two = || request("healthy", None, PhaseNodes::Count(2));
    assert_eq!(line(cluster.phase(two())).0, PhaseState::Waiting);
    let (answer, ()) = tokio::join!(
        cluster.waits(two()),
        cluster.reports("c", "failed", 1, None)
    );
    let text = "healthy: 0/2, missing a; b failed: no port; c failed, without a reason";
    assert_eq!(line(answer), (PhaseState::Failed, text.to_owned()));
    // The node has recovered.
    cluster.reports("b", "healthy", 1, None).await;
    let answer = cluster.phase(request("healthy", None, named(&["b"])));
    assert_eq!(line(answer).0, PhaseState::Reached);
}

#[tokio::test(start_paused = true)]
async fn wait_is_about_the_nodes_of_its_generation_that_are_registered() {
    let cluster = sealed("", &["a", "b"]).await;
    cluster.reports("a", "up", 1, None).await;
    cluster.add("late").await;
    assert_eq!(number(&cluster.files("late").await), 2);
    // The late node is not part of generation 1.
    let first = || request("up", Some(1), PhaseNodes::All);
    assert_eq!(line(cluster.phase(first())).1, "up: 1/2, missing b");
    let newest = cluster.phase(request("up", None, PhaseNodes::All));
    assert_eq!(line(newest).1, "up: 0/3, missing a, b, late");
    // A report about a later generation counts.
    let (answer, ()) = tokio::join!(cluster.waits(first()), cluster.reports("b", "up", 2, None));
    assert_eq!(line(answer).0, PhaseState::Reached);
    // A node that is removed holds nobody up.
    let (answer, removed) = tokio::join!(
        cluster.waits(request("up", Some(2), named(&["a", "b"]))),
        async {
            cluster.reports("a", "up", 2, None).await;
            cluster.remove(&"late".parse().unwrap()).await
        }
    );
    removed.unwrap();
    assert_eq!(line(answer).0, PhaseState::Reached);
    let answer = cluster.waits(request("up", Some(2), PhaseNodes::All)).await;
    assert_eq!(line(answer), (PhaseState::Reached, "up: 2/2".to_owned()));
    // The next generation is sealed later.
    let third = cluster.phase(request("up", Some(9), PhaseNodes::All));
    assert_eq!(line(third).1, "up: generation 9 is not sealed yet");
}

#[tokio::test(start_paused = true)]
async fn waiting_requests_share_one_tally_and_are_woken_by_changes_of_the_answer_only() {
    let names: BTreeSet<String> = (0..20).map(|at| format!("n{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cluster = sealed("", &names).await;
    let woken = {
        let query = cluster.resolve_phase(request("up", None, PhaseNodes::All));
        let waits = &cluster.shared.phase_waits;
        waits.wait(query, &*cluster.shared.store).unwrap()
    };
    for name in &names[1..] {
        cluster.reports(name, "up", 1, None).await;
    }
    tokio::task::yield_now().await;
    assert!(!woken.is_changed(), "a report does not change the answer");
    let waiting = names
        .iter()
        .map(|_| cluster.waits(request("up", Some(1), PhaseNodes::All)));
    let waiting = async {
        let mut answers = vec![];
        for answer in waiting {
            answers.push(line(answer.await).0);
        }
        answers
    };
    let (answers, ()) = tokio::join!(waiting, cluster.reports(names[0], "up", 1, None));
    assert!(answers.iter().all(|answer| *answer == PhaseState::Reached));
    assert!(woken.is_changed());
}

#[tokio::test(start_paused = true)]
async fn late_report_about_older_files_does_not_count() {
    let cluster = sealed("", &["a"]).await;
    cluster.add("b").await;
    cluster.files("b").await;
    assert_eq!(number(&cluster.files("a").await), 2);
    cluster.reports("a", "healthy", 2, None).await;
    cluster.reports("a", "failed", 1, Some("late")).await;
    let of = |generation| line(cluster.phase(request("healthy", Some(generation), named(&["a"]))));
    assert_eq!(
        [of(1), of(2)].map(|(state, _)| state),
        [PhaseState::Reached; 2]
    );
    cluster.reports("a", "failed", 2, Some("no port")).await;
    assert_eq!(
        [of(1), of(2)].map(|(state, _)| state),
        [PhaseState::Failed; 2]
    );
}

#[tokio::test(start_paused = true)]
async fn with_fail_fast_a_failed_node_fails_the_cluster() {
    let cluster = sealed("fail_fast: true", &["a", "b"]).await;
    let (answer, ()) = tokio::join!(
        cluster.waits(request("up", None, named(&["a"]))),
        cluster.reports("b", "failed", 1, Some("disk"))
    );
    match answer {
        PhaseAnswer::Failed(failure) => assert_eq!(failure.reason, "b failed: disk"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(cluster.answer("a"), Answer::Failed(_)));
    assert_eq!(cluster.status(), "failed: b failed: disk");
    cluster.reset().await.unwrap();
    assert!(matches!(cluster.answer("a"), Answer::Payload(_)));
    // A report about files that the node no longer has fails nothing.
    cluster.add("c").await;
    cluster.files("c").await;
    cluster.reports("a", "failed", 1, None).await;
    assert!(matches!(cluster.answer("a"), Answer::Payload(_)));
}

#[tokio::test(start_paused = true)]
async fn report_without_a_generation_is_about_the_last_one_that_was_received() {
    let cluster = start("ready: {nodes: 2}");
    cluster.add("a").await;
    let report = |phase: &str| {
        let phase = phase.parse().unwrap();
        cluster.report("a".parse().unwrap(), phase, ReportBody::default())
    };
    let early = report("up").await.unwrap_err();
    assert_eq!(
        early.to_string(),
        "a has not received a generation yet, so it cannot report a phase"
    );
    cluster.add("b").await;
    cluster.files("a").await;
    report("up").await.unwrap();
    let answer = cluster.phase(request("up", Some(1), named(&["a"])));
    assert_eq!(line(answer).0, PhaseState::Reached);
    assert!(matches!(
        report("delivered").await,
        Err(Refusal::DeliveredByServer)
    ));
    let other = cluster.report(
        "x".parse().unwrap(),
        "up".parse().unwrap(),
        ReportBody::default(),
    );
    assert!(matches!(other.await, Err(Refusal::Unregistered(_))));
    let nodes = cluster.cluster().registrations;
    assert_eq!(nodes[0].phases.len(), 1);
    assert_eq!(nodes[0].phases[0].phase.as_str(), "up");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_failed_with_the_served_generation_are_counted() {
    let cluster = sealed("", &["a", "b", "c"]).await;
    let failed = |count: usize| {
        let figure = format!("cfgsync_nodes_failed {count}\n");
        let text = cluster.metrics_text(&crate::metrics::Expiries::default());
        assert!(text.contains(&figure), "{figure}");
    };
    failed(0);
    cluster.reports("a", "failed", 1, Some("refused")).await;
    cluster.reports("b", "failed", 1, None).await;
    failed(2);
    cluster.reports("b", "healthy", 1, None).await;
    failed(1);
    let files = files_of(&[("x", "by hand")]);
    cluster.replace("a".parse().unwrap(), files).await.unwrap();
    failed(0);
}
