//! Tests of waiting for an answer, and of the events that end it.

use super::*;
use crate::AccessKind;
use cfgsync_model::Sender;

#[tokio::test(start_paused = true)]
async fn waiting_node_is_answered_when_the_last_node_registers() {
    let cluster = start("ready: {nodes: [a, b]}");
    cluster.add("a").await;
    let waiter = {
        let coordinator = cluster.coordinator.clone();
        tokio::spawn(async move {
            coordinator
                .wait("a", None, Instant::now() + Duration::from_mins(1))
                .await
        })
    };
    assert_eq!(cluster.reason("a").await, "not ready: 1/2, missing b");
    cluster.add("b").await;
    assert_eq!(number(&received(waiter.await.unwrap())), 1);
}

#[tokio::test(start_paused = true)]
async fn wait_ends_with_the_reason_at_its_timeout() {
    let cluster = start("ready: {nodes: 2}");
    cluster.add("a").await;
    let answer = cluster
        .wait("a", None, Instant::now() + Duration::from_secs(5))
        .await;
    assert!(matches!(answer, Answer::NotReady(_)));
}

#[tokio::test(start_paused = true)]
async fn wait_with_a_held_payload_returns_only_a_different_one() {
    let cluster = start("ready: {nodes: 1}");
    cluster.add("a").await;
    let first = cluster.files("a").await;
    let soon = Instant::now() + Duration::from_secs(5);
    let same = received(cluster.wait("a", first.digest, soon).await);
    assert_eq!(same.digest, first.digest);
    cluster.add("b").await;
    let later = Instant::now() + Duration::from_mins(1);
    let next = received(cluster.wait("a", first.digest, later).await);
    assert_eq!((number(&next), next.digest == first.digest), (2, false));
}

#[tokio::test(start_paused = true)]
async fn operator_sees_a_registration_together_with_its_progress() {
    let cluster = start("ready: {nodes: 2}");
    cluster.add("a").await;
    cluster.caught_up().await;
    let body = cluster.cluster();
    assert_eq!((body.registrations.len(), body.progress.registered), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn draining_server_releases_waiting_nodes() {
    let cluster = start("ready: {nodes: 2}");
    cluster.add("a").await;
    cluster.evaluated("a").await;
    cluster.drain();
    assert!(matches!(cluster.fetch("a").await, Answer::Draining(_)));
}

/// A client that sends neither a joiner id nor its address.
const ANYONE: Sender<'_> = Sender::Address(None);

/// Clients of the older protocol fetch right after the last registration and give up after a second.
#[tokio::test(start_paused = true)]
async fn wait_for_seal_includes_the_evaluation_settle_and_render() {
    let cluster = start("ready: {nodes: 2, settle: 2s}");
    cluster.add("a").await;
    cluster.add("b").await;
    let soon = Instant::now() + Duration::from_secs(5);
    let payload = received(cluster.wait_for_seal(ANYONE, "a", soon).await);
    assert_eq!(number(&payload), 1);
}

#[tokio::test(start_paused = true)]
async fn wait_for_seal_does_not_wait_for_nodes() {
    let cluster = start("ready: {nodes: 2}");
    cluster.add("a").await;
    let begun = Instant::now();
    for name in ["a", "unregistered"] {
        let answer = cluster
            .wait_for_seal(ANYONE, name, begun + Duration::from_secs(5))
            .await;
        assert!(matches!(answer, Answer::NotReady(_)));
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn wait_for_seal_ends_at_its_time() {
    let cluster = start("ready: {nodes: 1, settle: 1m}");
    cluster.add("a").await;
    let until = Instant::now() + Duration::from_secs(5);
    let answer = cluster.wait_for_seal(ANYONE, "a", until).await;
    assert!(matches!(answer, Answer::NotReady(_)));
    assert!(Instant::now() >= until);
}

#[tokio::test(start_paused = true)]
async fn inspect_shows_since_when_a_node_is_registered_and_whether_it_waits() {
    let cluster = start("ready: {nodes: 2}");
    cluster.add("a").await;
    let shown = || cluster.cluster().registrations.remove(0);
    assert_eq!(shown().since, Some(Timestamp::UNIX_EPOCH));
    let waits = cluster.hold(AccessKind::Delivery, &"a".parse().unwrap(), 1);
    assert!(shown().waits);
    drop(waits);
    assert!(!shown().waits);
}

#[tokio::test(start_paused = true)]
async fn waiting_nodes_learn_which_node_was_refused_until_it_registers() {
    let cluster = start("ready: {nodes: [a, b]}");
    cluster.add("a").await;
    let mut published = cluster.coordinator.shared.published.subscribe();
    let b: Identifier = "b".parse().unwrap();
    let message = "metadata.port: expected an integer";
    let refuse = || {
        cluster.note_refused(
            b.clone(),
            [10, 0, 0, 2].into(),
            "wrong_metadata",
            message.into(),
        )
    };
    assert!(refuse());
    assert!(!refuse(), "the same refusal is no news");
    let expected = format!("not ready: 1/2, missing b; b was refused: {message}");
    while cluster.reason("a").await != expected {
        published.changed().await.unwrap();
    }
    let body = cluster.node(&b).unwrap();
    assert_eq!(body.refused.unwrap().message, message);
    assert_eq!(cluster.cluster().refused.len(), 1);
    cluster.add("b").await;
    cluster.files("a").await;
    assert_eq!(cluster.cluster().refused, []);
}
