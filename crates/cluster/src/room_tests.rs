//! Who is refused for want of room, and who never is.

use serde_json::json;

use super::{
    Config, Refusal,
    tests::{Cluster, PEERS, node, spec, start_with, store},
};
use cfgsync_model::Digest;
use cfgsync_store::{Bounds, Full};

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
async fn one_node_too_many_is_refused_until_another_has_gone() {
    let cluster = start("ready: {nodes: 1}", TWO_NODES);
    cluster.come("a").await;
    cluster.come("b").await;
    let refused = Err(Refusal::Full(Full::Nodes { max: 2 }));
    assert_eq!(cluster.register(node("c", "10.0.0.1")).await, refused);
    // Whoever is there may come again, also with other facts.
    cluster.come("a").await;
    cluster.register(node("a", "10.0.0.2")).await.unwrap();
    cluster.remove(&"b".parse().unwrap()).await.unwrap();
    cluster.come("c").await;
}

#[tokio::test(start_paused = true)]
async fn whom_the_spec_names_is_not_one_too_many() {
    let one = Bounds {
        nodes_max: 1,
        ..Bounds::NONE
    };
    let cluster = start("ready: {nodes: [a, b, c]}", one);
    for name in ["a", "b", "c"] {
        cluster.come(name).await;
    }
    cluster.files("a").await;
}

#[tokio::test(start_paused = true)]
async fn metadata_are_bounded_for_all_together() {
    let bounds = Bounds {
        metadata_total_max_bytes: 144,
        ..Bounds::NONE
    };
    let cluster = start("ready: {nodes: 1}", bounds);
    let with = |name: &str, text: &str| node(name, "10.0.0.1").with_metadata_value(json!(text));
    // 72 bytes in memory.
    cluster.register(with("a", "12345678")).await.unwrap();
    cluster.register(with("b", "12345678")).await.unwrap();
    let refused = Err(Refusal::Full(Full::Metadata { max_bytes: 144 }));
    assert_eq!(cluster.register(with("b", "123456789")).await, refused);
    assert_eq!(cluster.register(with("c", "")).await, refused);
    // Others of the same length, and none.
    cluster.register(with("b", "abcdefgh")).await.unwrap();
    cluster.come("c").await;
    cluster.register(with("a", "1234567")).await.unwrap();
    cluster.register(with("b", "123456789")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_room_leaves_no_name_with_a_key() {
    let cluster = start("ready: {nodes: 1}", TWO_NODES);
    let key = |name: &str| Some(Digest::of(name.as_bytes()));
    let come = |name: &'static str| cluster.register_as(node(name, "10.0.0.1"), key(name));
    come("a").await.unwrap();
    cluster.come("b").await;
    let refused = Refusal::Full(Full::Nodes { max: 2 });
    assert_eq!(come("c").await, Err(refused));
    assert_eq!(cluster.owner(&"c".parse().unwrap()), None);

    // Names that were removed have their keys still, and count.
    let [a, b] = ["a", "b"].map(|name| name.parse().unwrap());
    cluster.remove(&b).await.unwrap();
    come("b").await.unwrap();
    cluster.remove(&a).await.unwrap();
    let refused = Refusal::Full(Full::Names { max: 2 });
    assert_eq!(come("c").await, Err(refused));
    cluster.release(&a).await.unwrap();
    come("c").await.unwrap();
}
