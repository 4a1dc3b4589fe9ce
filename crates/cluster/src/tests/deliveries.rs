//! Tests of the records of the generations that nodes have received.

use super::*;
use crate::metrics::Expiries;

#[tokio::test(start_paused = true)]
async fn deliveries_are_recorded_and_nodes_behind_are_known() {
    let cluster = start("ready: {nodes: 2}");
    for name in ["a", "b"] {
        cluster.add(name).await;
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

#[tokio::test(start_paused = true)]
async fn node_that_gets_no_files_is_not_behind() {
    let behind = |cluster: &Cluster| {
        let nodes = cluster.cluster().registrations;
        let behind = nodes.iter().filter(|node| node.behind);
        let behind: Vec<_> = behind.map(|node| node.identifier.to_string()).collect();
        let figure = format!("cfgsync_nodes_behind {}\n", behind.len());
        assert!(
            cluster.metrics_text(&Expiries::default()).contains(&figure),
            "{figure}"
        );
        behind
    };
    let cluster = start("ready: {nodes: [a, b]}");
    for name in ["a", "b"] {
        cluster.add(name).await;
    }
    cluster.files("a").await;
    assert_eq!(behind(&cluster), ["b"]);
    let shorter = spec(&format!("ready: {{nodes: [a]}}{PEERS}"));
    cluster.reload(shorter).await.unwrap();
    while number(&cluster.files("a").await) < 2 {
        advance(Duration::from_millis(1)).await;
    }
    assert!(matches!(cluster.evaluated("b").await, Answer::Missing(_)));
    assert_eq!(behind(&cluster), [""; 0]);

    // The files are static, and there are none for this node.
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("files.yaml"),
        "nodes: {a: {files: []}}",
    )
    .unwrap();
    let text =
        "cfgsync: 1\ncluster: test\nmaterializers: [{kind: precomputed, artifacts: files.yaml}]";
    let fixed = Spec::parse(text, "cluster.yaml", directory.path()).unwrap();
    let cluster = start_on(store(), fixed, vec![]);
    for name in ["a", "other"] {
        cluster.add(name).await;
    }
    assert!(matches!(cluster.fetch("other").await, Answer::Missing(_)));
    assert_eq!(behind(&cluster), ["a"]);
}
