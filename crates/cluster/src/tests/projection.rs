//! Tests that a state directory shows the nodes as the server does.

use super::*;
use crate::projection::is_recorded_recipient;
use cfgsync_wire::NodeEntry;

/// Checks which nodes are behind, and that the store's state alone says the same.
fn assert_behind(cluster: &Cluster, expected: &[&str]) {
    let body = cluster.cluster();
    let behind = body.registrations.iter().filter(|node| node.behind);
    let behind: Vec<&str> = behind.map(|node| node.identifier.as_str()).collect();
    assert_eq!(behind, expected);
    let state = cluster.shared.store.state();
    let newest = state.generation().unwrap();
    let is_recorded = |node: &&NodeEntry| {
        let registered = &state.registrations[&node.identifier];
        is_recorded_recipient(newest, registered) && node.delivered != Some(newest.number)
    };
    let recorded = body.registrations.iter().filter(is_recorded);
    let recorded: Vec<&str> = recorded.map(|node| node.identifier.as_str()).collect();
    assert_eq!(recorded, expected, "by the state alone");
}

#[tokio::test(start_paused = true)]
async fn node_is_behind_until_it_has_the_newest_generation() {
    let cluster = start("ready: {nodes: 2}");
    cluster.add("a").await;
    cluster.add("b").await;
    cluster.files("a").await;
    assert_behind(&cluster, &["b"]);
    cluster.remove(&"b".parse().unwrap()).await.unwrap();
    // The set is no longer complete, so the new node waits for a generation that includes it.
    cluster.add("c").await;
    cluster.add("d").await;
    cluster.evaluated("a").await;
    cluster.files("a").await;
    assert_behind(&cluster, &["c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn node_that_the_spec_excludes_is_not_behind() {
    let cluster = start("ready: {nodes: 2}");
    cluster.add("a").await;
    cluster.add("b").await;
    let first = cluster.files("a").await;
    let closed = spec(&format!("ready: {{nodes: [a]}}{PEERS}"));
    cluster.reload(closed).await.unwrap();
    let later = Instant::now() + Duration::from_mins(1);
    let next = received(cluster.wait("a", first.digest, later).await);
    assert_eq!(number(&next), 2);
    cluster.complete_delivery("a".parse().unwrap(), next.generation.unwrap());
    assert_behind(&cluster, &[]);
}

#[tokio::test(start_paused = true)]
async fn node_without_static_files_is_not_behind() {
    let directory = tempfile::tempdir().unwrap();
    let known = "nodes: {a: {files: [{path: file, content: for-a}]}}\n";
    std::fs::write(directory.path().join("known.yaml"), known).unwrap();
    let text =
        "cfgsync: 1\ncluster: test\nmaterializers: [{kind: precomputed, artifacts: known.yaml}]\n";
    let spec = Spec::parse(text, "cluster.yaml", directory.path()).unwrap();
    let cluster = start_on(store(), spec, vec![]);
    cluster.add("a").await;
    cluster.add("b").await;
    cluster.evaluated("b").await;
    assert_behind(&cluster, &["a"]);
    cluster.files("a").await;
    assert_behind(&cluster, &[]);
}
