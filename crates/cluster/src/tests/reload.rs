//! Tests of a new spec while the server runs.

use super::*;

#[tokio::test(start_paused = true)]
async fn changed_spec_makes_the_next_generation() {
    let cluster = start("ready: {nodes: 1}");
    cluster.add("a").await;
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
async fn reload_rereads_source_files() {
    let directory = tempfile::tempdir().unwrap();
    let read = |key: &str| {
        std::fs::write(directory.path().join("a.key"), key).unwrap();
        let text = "cfgsync: 1\ncluster: test\nready: {nodes: 1}\nmaterializers:\n  - kind: template\n    \
                    files: [{path: key, source: '{{ node.identifier }}.key'}]\n";
        Spec::parse(text, "cluster.yaml", directory.path()).unwrap()
    };
    let cluster = start_on(store(), read("old"), vec![]);
    cluster.add("a").await;
    let first = cluster.files("a").await;
    cluster.reload(read("new")).await.unwrap();
    let later = Instant::now() + Duration::from_mins(1);
    let next = received(cluster.wait("a", first.digest, later).await);
    assert_eq!((number(&next), text(&next, "key").as_str()), (2, "new"));
    cluster.reload(read("new")).await.unwrap();
    advance(Duration::from_secs(10)).await;
    cluster.evaluated("a").await;
    assert_eq!(
        cluster.generations().len(),
        2,
        "the same bytes make no generation"
    );
}
