//! Tests of the content of generations: one snapshot, stable seats and `once` values, one digest per number.

use super::*;
use cfgsync_model::payload_digest;
use cfgsync_wire::PayloadEncoder;

#[tokio::test(start_paused = true)]
async fn all_nodes_of_a_ready_set_get_files_of_one_snapshot() {
    let cluster = start("ready: {nodes: 2}");
    cluster.add("b").await;
    assert_eq!(cluster.reason("b").await, "not ready: 1/2");
    assert_eq!(
        cluster.reason("a").await,
        "not ready: this node is not registered (1/2)"
    );
    cluster.add("a").await;
    for name in ["a", "b"] {
        let payload = cluster.files(name).await;
        assert_eq!(number(&payload), 1);
        assert_eq!(text(&payload, "peers"), "0:a@10.0.0.1 1:b@10.0.0.1 ");
    }
}

#[tokio::test(start_paused = true)]
async fn same_facts_again_change_nothing() {
    let cluster = start("ready: {nodes: 1}");
    cluster.add("a").await;
    let first = cluster.files("a").await;
    cluster.add("a").await;
    advance(Duration::from_secs(10)).await;
    assert_eq!(cluster.files("a").await.digest, first.digest);
    assert_eq!(cluster.generations().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn changed_facts_get_the_next_generation_and_never_the_old_one() {
    let cluster = start("ready: {nodes: 1}\nlate: refuse");
    cluster.add("a").await;
    assert_eq!(number(&cluster.files("a").await), 1);
    cluster.register(node("a", "10.0.0.7")).await.unwrap();
    assert!(
        matches!(cluster.answer("a"), Answer::NotReady(_)),
        "generation 1 is older"
    );
    let next = cluster.files("a").await;
    assert_eq!(
        (number(&next), text(&next, "peers").as_str()),
        (2, "0:a@10.0.0.7 ")
    );
}

#[tokio::test(start_paused = true)]
async fn facts_that_change_no_file_are_served_without_a_new_generation() {
    let cluster = start("ready: {nodes: 1}");
    cluster.add("a").await;
    let first = cluster.files("a").await;
    let facts = node("a", "10.0.0.1").with_metadata_value(serde_json::json!({"unused": 1}));
    cluster.register(facts).await.unwrap();
    assert_eq!(cluster.files("a").await.digest, first.digest);
    assert_eq!(cluster.generations().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn once_values_stay_the_same_in_later_generations() {
    let rest = "
ready: {nodes: 1}
once: {cookie: random_hex(16), first: (nodes | first).identifier}
materializers:
  - kind: template
    files: [{path: c, template: '{{ once.cookie }} {{ once.first }} {{ nodes | length }}'}]
";
    let cluster = start_on(store(), spec(rest), vec![]);
    cluster.add("m").await;
    let first = text(&cluster.files("m").await, "c");
    cluster.add("a").await;
    let second = text(&cluster.files("a").await, "c");
    assert_eq!(first.strip_suffix(" 1"), second.strip_suffix(" 2"));
    assert!(first.ends_with(" m 1") && first.len() == 32 + 4);
}

const DRAWN: &str = "
ready: {nodes: 1}
once: {cookie: random_hex(16), id: random_hex(16), derived: \"once.cookie ~ '!'\"}
materializers:
  - kind: template
    files: [{path: c, template: '{{ once.cookie }} {{ once.derived }}'}]
";

fn once_values(cluster: &Cluster) -> serde_json::Map<String, serde_json::Value> {
    let state = cluster.shared.store.state();
    serde_json::Map::clone(&state.generation().unwrap().once)
}

#[tokio::test(start_paused = true)]
async fn redraw_evaluates_one_value_again_for_the_next_generation() {
    let cluster = start_on(store(), spec(DRAWN), vec![]);
    let refused = cluster.redraw("cookie".to_owned()).await;
    assert_eq!(refused, Err(Refusal::NotDrawn("cookie".to_owned())));
    cluster.add("a").await;
    cluster.files("a").await;
    let first = once_values(&cluster);

    cluster.redraw("cookie".to_owned()).await.unwrap();
    // It returns when the generation is sealed.
    let payload = received(cluster.answer("a"));
    let second = once_values(&cluster);
    assert_eq!(number(&payload), 2);
    assert_ne!(second["cookie"], first["cookie"]);
    assert_eq!(
        (&second["id"], &second["derived"]),
        (&first["id"], &first["derived"])
    );
    let cookie = second["cookie"].as_str().unwrap();
    assert!(text(&payload, "c").starts_with(cookie));

    // No file shows this value, and it is sealed nevertheless.
    cluster.redraw("id".to_owned()).await.unwrap();
    let third = once_values(&cluster);
    assert_ne!(third["id"], first["id"]);
    assert_eq!(third["cookie"], second["cookie"]);
    assert_eq!(cluster.generations().len(), 3);
    assert_eq!(received(cluster.answer("a")).digest, payload.digest);

    // Later generations keep the new values.
    cluster.add("b").await;
    cluster.files("b").await;
    assert_eq!(once_values(&cluster), third);

    let unknown = cluster.redraw("cokie".to_owned()).await.unwrap_err();
    let message = "the spec has no once.cokie; did you mean `cookie`?";
    assert_eq!(unknown.to_string(), message);
}

#[tokio::test(start_paused = true)]
async fn redraw_stays_requested_until_a_render_succeeds() {
    let store = store();
    let read = |template: &str| {
        let files = format!("files: [{{path: c, template: '{template}'}}]");
        let text = "ready: {nodes: 1}\nonce: {cookie: random_hex(16)}\nmaterializers:\n  - kind: template\n    ";
        spec(&format!("{text}{files}\n"))
    };
    let cluster = start_on(store.clone(), read("{{ once.cookie }}"), vec![]);
    cluster.add("a").await;
    cluster.files("a").await;
    let first = once_values(&cluster);
    cluster
        .reload(read("{{ once.cookie | int }}"))
        .await
        .unwrap();
    cluster.redraw("cookie".to_owned()).await.unwrap();
    assert_eq!(once_values(&cluster), first);
    assert_eq!(cluster.cluster().redraws, ["cookie"]);
    drop(cluster);

    // The next server evaluates it.
    let cluster = start_on(store, read("{{ once.cookie }}"), vec![]);
    cluster.evaluated("a").await;
    assert_ne!(once_values(&cluster), first);
    assert_eq!(cluster.cluster().redraws, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn seat_of_a_removed_node_is_never_reused() {
    let cluster = start("ready: {nodes: 1}");
    for name in ["b", "c"] {
        cluster.add(name).await;
    }
    cluster.files("c").await;
    cluster.remove(&"b".parse().unwrap()).await.unwrap();
    cluster.evaluated("c").await;
    cluster.add("a").await;
    assert_eq!(
        text(&cluster.files("a").await, "peers"),
        "2:a@10.0.0.1 1:c@10.0.0.1 "
    );
}

#[tokio::test]
async fn each_generation_number_has_one_digest_under_concurrency() {
    let cluster = Arc::new(start("ready: {nodes: 4}"));
    let seen = Arc::new(Mutex::new(HashMap::<(u64, String), Digest>::new()));
    let mut nodes = tokio::task::JoinSet::new();
    for at in 0..16_u32 {
        let (cluster, seen) = (cluster.clone(), seen.clone());
        nodes.spawn(async move {
            let name = format!("n{at}");
            for turn in 0..3 {
                let facts = node(&name, &format!("10.0.{at}.{turn}"));
                cluster.register(facts.clone()).await.unwrap();
                cluster.register(facts).await.unwrap();
                let payload = cluster.files(&name).await;
                let own = format!("{name}@10.0.{at}.{turn} ");
                assert!(
                    text(&payload, "peers").contains(&own),
                    "older than its registration"
                );
                let key = (number(&payload), name.clone());
                let digest = payload.digest.unwrap();
                let known = *seen.lock().unwrap().entry(key).or_insert(digest);
                assert_eq!(known, digest);
            }
        });
    }
    while let Some(node) = nodes.join_next().await {
        node.unwrap();
    }
    let kept: BTreeMap<_, _> = cluster
        .generations()
        .into_iter()
        .map(|g| (g.number, g.digest))
        .collect();
    let digests: std::collections::BTreeSet<_> = kept.values().collect();
    assert_eq!(kept.len(), digests.len());
}

/// This number of nodes is rendered, hashed and encoded on several threads, if the machine has several cores.
#[tokio::test]
async fn bytes_do_not_depend_on_the_number_of_threads() {
    const NODES: usize = 1500;
    let store = store();
    let rest = format!(
        "ready: {{nodes: {NODES}}}
materializers:
  - kind: template
    fragments:
      members: '{{% for n in nodes %}}{{{{ n.identifier }}}} {{% endfor %}}'
    files:
      - {{path: own, template: '{{{{ node.seat }}}} {{{{ nodes[node.seat - 1].identifier }}}}'}}
      - {{path: all, template: '{{{{ fragment(\"members\") }}}}'}}
      - {{path: shared, shared: true, template: '{{{{ nodes | length }}}}'}}
"
    );
    let cluster = start_on(store.clone(), spec(&rest), vec![]);
    let name = |at: usize| format!("n{at:04}");
    for at in 0..NODES {
        cluster.add(&name(at)).await;
    }
    cluster.files(&name(0)).await;
    let generation = store.state().generation().cloned().unwrap();
    let members: String = (0..NODES).map(|at| name(at) + " ").collect();
    let encoder = PayloadEncoder::of(store.instance(), &generation);
    for (at, (identifier, files)) in generation.nodes.iter().enumerate() {
        let own = format!("{at} {}", name((at + NODES - 1) % NODES));
        let payload = received(cluster.answer(identifier.as_str()));
        assert_eq!(text(&payload, "own"), own);
        assert_eq!(text(&payload, "all"), members);
        let all = generation.payload(identifier.as_str()).unwrap();
        assert_eq!(payload_digest(store.instance(), all), files.digest);
        let Answer::Payload(sent) = cluster.answer(identifier.as_str()) else {
            panic!("{identifier} has no payload");
        };
        let alone = encoder.encode(identifier, files);
        assert_eq!(sent.payload.to_bytes(), alone.to_bytes());
    }
}
