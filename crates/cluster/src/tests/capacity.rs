//! Tests of the limits on nodes, metadata and owned identifiers.

use serde_json::json;

use super::*;

fn start(rest: &str, bounds: Bounds) -> Cluster {
    let config = Config {
        bounds,
        ..Config::default()
    };
    start_with(store(), spec(&format!("{rest}{PEERS}")), vec![], config)
}

const TWO_NODES: Bounds = Bounds {
    nodes_max: 2,
    ..Bounds::NONE
};

#[tokio::test(start_paused = true)]
async fn node_limit_refuses_new_nodes_until_one_is_removed() {
    let cluster = start("ready: {nodes: 1}", TWO_NODES);
    cluster.add("a").await;
    cluster.add("b").await;
    let refused = Err(Refusal::Full(CapacityExceeded::Nodes { max: 2 }));
    assert_eq!(cluster.register(node("c", "10.0.0.1")).await, refused);
    // Registered nodes may register again, also with other facts.
    cluster.add("a").await;
    cluster.register(node("a", "10.0.0.2")).await.unwrap();
    cluster.remove(&"b".parse().unwrap()).await.unwrap();
    cluster.add("c").await;
}

#[tokio::test(start_paused = true)]
async fn node_limit_does_not_apply_to_nodes_named_in_the_spec() {
    let one = Bounds {
        nodes_max: 1,
        ..Bounds::NONE
    };
    let cluster = start("ready: {nodes: [a, b, c]}", one);
    for name in ["a", "b", "c"] {
        cluster.add(name).await;
    }
    cluster.files("a").await;
}

#[tokio::test(start_paused = true)]
async fn metadata_limit_applies_to_all_nodes_together() {
    let bounds = Bounds {
        metadata_total_max_bytes: 144,
        ..Bounds::NONE
    };
    let cluster = start("ready: {nodes: 1}", bounds);
    let with = |name: &str, text: &str| node(name, "10.0.0.1").with_metadata_value(json!(text));
    // This metadata takes 72 bytes in memory.
    cluster.register(with("a", "12345678")).await.unwrap();
    cluster.register(with("b", "12345678")).await.unwrap();
    let refused = Err(Refusal::Full(CapacityExceeded::Metadata { max_bytes: 144 }));
    assert_eq!(cluster.register(with("b", "123456789")).await, refused);
    assert_eq!(cluster.register(with("c", "")).await, refused);
    // Metadata of the same size, and no metadata, are accepted.
    cluster.register(with("b", "abcdefgh")).await.unwrap();
    cluster.add("c").await;
    cluster.register(with("a", "1234567")).await.unwrap();
    cluster.register(with("b", "123456789")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn refused_registration_claims_no_identifier() {
    let cluster = start("ready: {nodes: 1}", TWO_NODES);
    let key = |name: &str| Some(Digest::of(name.as_bytes()));
    let register =
        |name: &'static str| cluster.register_as(node(name, "10.0.0.1"), key(name), None);
    register("a").await.unwrap();
    cluster.add("b").await;
    let refused = Refusal::Full(CapacityExceeded::Nodes { max: 2 });
    assert_eq!(register("c").await, Err(refused));
    assert_eq!(cluster.owner(&"c".parse().unwrap()), None);

    // The keys of removed nodes still own their identifiers, and these count.
    let [a, b] = ["a", "b"].map(|name| name.parse().unwrap());
    cluster.remove(&b).await.unwrap();
    register("b").await.unwrap();
    cluster.remove(&a).await.unwrap();
    let refused = Refusal::Full(CapacityExceeded::Names { max: 2 });
    assert_eq!(register("c").await, Err(refused));
    cluster.release(&a).await.unwrap();
    register("c").await.unwrap();
}
