//! Tests of leases: which nodes a silence removes, and when.

use super::*;
use cfgsync_wire::LeaseState;

fn registered(cluster: &Cluster) -> Vec<String> {
    let body = cluster.cluster();
    let nodes = body.registrations.iter();
    nodes.map(|node| node.identifier.to_string()).collect()
}

/// Lets time pass in small steps, so that the reconciler runs in between.
async fn pass(seconds: u64) {
    for _ in 0..seconds * 4 {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn silent_node_leaves_before_the_seal() {
    let cluster = start("lease: 30s\nready: {nodes: 4}");
    for name in ["silent", "renews", "waits"] {
        cluster.add(name).await;
    }
    let node: Identifier = "waits".parse().unwrap();
    let slot = cluster.hold(crate::AccessKind::Delivery, &node, 9);
    pass(20).await;
    let lease = cluster.renew(&"renews".parse().unwrap()).unwrap();
    assert_eq!(lease, Some(Duration::from_secs(30)));
    pass(11).await;
    assert_eq!(registered(&cluster), ["renews", "waits"]);
    pass(20).await;
    assert_eq!(registered(&cluster), ["waits"]);
    drop(slot);
    pass(29).await;
    assert_eq!(registered(&cluster), ["waits"]);
    pass(2).await;
    assert_eq!(registered(&cluster), [""; 0]);
    let gone = cluster.renew(&node);
    assert_eq!(gone, Err(Refusal::Unregistered(node)));
}

#[tokio::test(start_paused = true)]
async fn silence_after_the_delivery_removes_only_nodes_that_follow() {
    let cluster = start("lease: 30s\nready: {nodes: 2}");
    cluster.add("a").await;
    cluster.add("b").await;
    cluster.files("a").await;
    cluster.files("b").await;
    pass(100).await;
    assert_eq!(registered(&cluster), ["a", "b"]);
    cluster.note_follower(&"b".parse().unwrap());
    pass(31).await;
    assert_eq!(registered(&cluster), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn sealed_cluster_that_refuses_removals_only_shows_the_expiry() {
    let cluster = start("lease: 30s\nlate: refuse\nready: {nodes: 1}");
    cluster.add("a").await;
    cluster.files("a").await;
    cluster.note_follower(&"a".parse().unwrap());
    let is_shown = || cluster.cluster().registrations[0].lease == Some(LeaseState::Expired);
    assert!(!is_shown());
    pass(31).await;
    assert!(is_shown());
    cluster.renew(&"a".parse().unwrap()).unwrap();
    assert!(!is_shown());
}

#[tokio::test(start_paused = true)]
async fn nodes_without_a_lease_stay() {
    let cluster = start("ready: {nodes: 2}");
    cluster.add("a").await;
    pass(1000).await;
    assert_eq!(registered(&cluster), ["a"]);
    assert_eq!(cluster.renew(&"a".parse().unwrap()), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn shorter_lease_of_a_reloaded_spec_counts_at_once() {
    let cluster = start("lease: 1h\nready: {nodes: 2}");
    cluster.add("a").await;
    pass(5).await;
    let shorter = spec(&format!("lease: 30s\nready: {{nodes: 2}}{PEERS}"));
    cluster.reload(shorter).await.unwrap();
    pass(20).await;
    assert_eq!(registered(&cluster), ["a"]);
    pass(11).await;
    assert_eq!(registered(&cluster), [""; 0]);
}

/// A machine that is frozen while its request is held must not count for long.
#[tokio::test(start_paused = true)]
async fn lease_bounds_the_time_for_which_a_request_is_held() {
    let cluster = start("lease: 6s\nready: {nodes: 2}");
    assert_eq!(cluster.hold_max(), Some(Duration::from_secs(2)));
    assert_eq!(start("ready: {nodes: 2}").hold_max(), None);
}
