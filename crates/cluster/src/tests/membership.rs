//! Tests of registering, leaving and removals, before and after the seal.

use super::*;
use cfgsync_model::{JoinerId, Sender};

#[tokio::test(start_paused = true)]
async fn late_refuse_rejects_new_nodes_and_removals_after_the_seal() {
    let cluster = start("ready: {nodes: 1}\nlate: refuse");
    cluster.add("a").await;
    cluster.files("a").await;
    let late: Identifier = "b".parse().unwrap();
    let refused = cluster.register(node("b", "10.0.0.2")).await;
    assert_eq!(refused, Err(Refusal::TooLate(late)));
    assert!(matches!(cluster.answer("b"), Answer::Missing(_)));
    let member: Identifier = "a".parse().unwrap();
    assert_eq!(cluster.remove(&member).await, Err(Refusal::Sealed(member)));
    cluster.add("a").await;
}

#[tokio::test(start_paused = true)]
async fn rejects_node_that_is_not_on_the_closed_list() {
    let cluster = start("ready: {nodes: [a]}");
    let unlisted: Identifier = "b".parse().unwrap();
    let refused = cluster.register(node("b", "10.0.0.2")).await;
    assert_eq!(refused, Err(Refusal::NotListed(unlisted)));
    assert!(matches!(cluster.answer("b"), Answer::Missing(_)));
}

#[tokio::test(start_paused = true)]
async fn removed_node_never_gets_its_old_files() {
    let cluster = start("ready: {nodes: 1}");
    for name in ["a", "b"] {
        cluster.add(name).await;
    }
    cluster.files("b").await;
    cluster.remove(&"b".parse().unwrap()).await.unwrap();
    assert!(matches!(cluster.answer("b"), Answer::NotReady(_)));
    cluster.evaluated("a").await;
    assert_eq!(text(&cluster.files("a").await, "peers"), "0:a@10.0.0.1 ");
    cluster.add("b").await;
    let back = cluster.files("b").await;
    assert_eq!(
        text(&back, "peers"),
        "0:a@10.0.0.1 1:b@10.0.0.1 ",
        "the seat is kept"
    );
}

#[tokio::test(start_paused = true)]
async fn banned_node_is_released_at_once_and_leaves_the_next_generation() {
    let cluster = start("ready: {nodes: 1}");
    for name in ["a", "b"] {
        cluster.add(name).await;
    }
    let held = cluster.files("b").await.digest;
    let b: Identifier = "b".parse().unwrap();
    let banned = Refusal::Banned(b.clone());
    let later = Instant::now() + Duration::from_hours(1);
    let (answer, done) = tokio::join!(cluster.wait("b", held, later), async {
        tokio::task::yield_now().await;
        cluster.ban(&b).await
    });
    done.unwrap();
    assert!(matches!(answer, Answer::Missing(refusal) if refusal == banned));
    assert!(Instant::now() < later);
    cluster.evaluated("a").await;
    assert_eq!(text(&cluster.files("a").await, "peers"), "0:a@10.0.0.1 ");
    let refused = cluster.register(node("b", "10.0.0.2")).await;
    assert_eq!(refused, Err(banned.clone()));
    assert_eq!(cluster.cluster().banned, std::slice::from_ref(&b));
    let shown = cluster.node(&b).unwrap();
    assert_eq!(
        (shown.state, shown.reason),
        (NodeState::Missing, Some(banned.to_string()))
    );
    // A node that is not registered can be banned too.
    let c: Identifier = "c".parse().unwrap();
    cluster.ban(&c).await.unwrap();
    cluster.unban(&b).await.unwrap();
    assert_eq!(cluster.unban(&b).await, Err(Refusal::NotBanned(b)));
    cluster.add("b").await;
    assert_eq!(cluster.cluster().banned, [c]);
}

#[tokio::test(start_paused = true)]
async fn set_that_is_no_longer_ready_keeps_its_last_generation() {
    let cluster = start("ready: {nodes: 2}");
    for name in ["a", "b"] {
        cluster.add(name).await;
    }
    cluster.files("a").await;
    cluster.remove(&"b".parse().unwrap()).await.unwrap();
    let payload = received(cluster.evaluated("a").await);
    assert_eq!((number(&payload), cluster.generations().len()), (1, 1));
    let changed = cluster.register(node("a", "10.0.0.9")).await;
    changed.unwrap();
    cluster.evaluated("a").await;
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
async fn node_may_leave_before_the_seal_with_its_current_facts_only() {
    let cluster = start("ready: {nodes: 2}");
    cluster.add("a").await;
    let leave = |ip: &str| LeaveBody {
        identifier: "a".parse().unwrap(),
        ip: Some(ip.parse().unwrap()),
        metadata: None,
    };
    let others = cluster.leave(leave("10.0.0.9"), None).await;
    assert!(matches!(others, Err(Refusal::OtherFacts(_))));
    cluster.leave(leave("10.0.0.1"), None).await.unwrap();
    assert!(cluster.cluster().registrations.is_empty());
    for name in ["a", "b"] {
        cluster.add(name).await;
    }
    cluster.files("a").await;
    let late = cluster.leave(leave("10.0.0.1"), None).await;
    assert!(matches!(late, Err(Refusal::LeftTooLate(_))));
}

#[tokio::test(start_paused = true)]
async fn proof_of_identity_rules_out_another_machine() {
    for (identity, is_other) in [("open", true), ("token", false)] {
        let cluster = start(&format!("ready: {{nodes: 2}}\nidentity: {identity}"));
        let [older, newer] = [node("a", "10.0.0.1"), node("a", "10.0.0.2")];
        let [first, second] = [1, 2].map(|byte| JoinerId::from_bytes([byte; 16]));
        let sender = Sender::new(Some(first), &older);
        cluster
            .register_as(newer, None, Some(second))
            .await
            .unwrap();
        let answer = cluster.answer_as(sender, "a");
        let is_refused = matches!(answer, Answer::Refused(Refusal::Replaced { .. }));
        assert_eq!(is_refused, is_other, "{identity}");
    }
}
