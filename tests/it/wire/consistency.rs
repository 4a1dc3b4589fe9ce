//! Consistency under concurrent clients: each generation number has one digest, all files of a generation come from
//! one snapshot, and no node gets a generation older than its own registration.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Connection, Reply, TestServer, get, node, post, without_body};

/// Two nodes stay registered, so the set stays complete while other nodes register and leave.
const SPEC: &str = "
ready: { nodes: 2 }
once: { cookie: random_hex(8) }
materializers:
  - kind: template
    fragments:
      peers: '{% for node in nodes %}{{ node.identifier }}@{{ node.ip }} {% endfor %}'
    files:
      - path: own
        template: '{{ node.identifier }}@{{ node.ip }}#{{ node.seat }}'
      - path: peers
        template: '{{ fragment(\"peers\") }}'
      - path: cookie
        shared: true
        template: '{{ once.cookie }} of {{ nodes | length }}'
";

/// One step of a client. Each client has two nodes of its own, and all clients register one contested node.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Registers an own node: its index, last byte of its address.
    Register(usize, u8),
    RegisterAgain(usize),
    Fetch(usize),
    Remove(usize),
    Override(usize, u8),
    EndOverride(usize),
    /// Registers and fetches the contested node: last byte of its address.
    RegisterContested(u8),
    ListGenerations,
}

fn step() -> impl Strategy<Value = Step> {
    let own = 0..2_usize;
    prop_oneof![
        4 => (own.clone(), 0..4_u8).prop_map(|(node, ip)| Step::Register(node, ip)),
        2 => own.clone().prop_map(Step::RegisterAgain),
        6 => own.clone().prop_map(Step::Fetch),
        1 => own.clone().prop_map(Step::Remove),
        1 => (own.clone(), 0..2_u8).prop_map(|(node, content)| Step::Override(node, content)),
        1 => own.prop_map(Step::EndOverride),
        3 => (0..4_u8).prop_map(Step::RegisterContested),
        2 => Just(Step::ListGenerations),
    ]
}

/// The observations of all clients. Two different observations of the same thing fail the test.
#[derive(Default)]
struct Observations {
    /// The digest of each generation.
    digests: Mutex<HashMap<u64, String>>,
    /// The content of the shared file in each generation.
    shared: Mutex<HashMap<u64, String>>,
    /// The payload of each generation and node. Under the name `peers`: the content of the fragment.
    payloads: Mutex<HashMap<(u64, String), Vec<u8>>>,
}

fn assert_same<K: Hash + Eq + Debug, V: Eq + Debug>(
    observed: &Mutex<HashMap<K, V>>,
    key: K,
    value: V,
) {
    let mut observed = observed.lock().unwrap();
    if let Some(known) = observed.get(&key) {
        assert_eq!(known, &value, "{key:?} was observed with two values");
    }
    observed.insert(key, value);
}

/// The expected state of a node that belongs to one client.
#[derive(Default)]
struct OwnNode {
    ip: Option<String>,
    overridden: Option<String>,
    generation: u64,
}

struct Client {
    connection: Connection,
    number: usize,
    nodes: [OwnNode; 2],
    observations: Arc<Observations>,
}

impl Client {
    async fn request(&mut self, request: String) -> Reply {
        self.connection.send(request).await;
        self.connection.reply().await
    }

    async fn register(&mut self, name: &str, ip: &str) {
        let body = json!({"identifier": name, "ip": ip}).to_string();
        let reply = self.request(post("/register", "", &body)).await;
        assert_eq!(reply.status, 202, "{}", reply.text());
    }

    /// Fetches the payload of a registered node. Returns its generation and the content of its own file.
    async fn fetch(&mut self, name: &str) -> (u64, String) {
        let reply = self.request(node(name, "prefer: wait=20\r\n")).await;
        self.observe(name, reply)
    }

    fn observe(&self, name: &str, reply: Reply) -> (u64, String) {
        assert_eq!(reply.status, 200, "{}", reply.text());
        let json = reply.json();
        let generation = json["generation"].as_u64().unwrap();
        let content = |path: &str| {
            let files = json["files"].as_array().unwrap();
            let file = files.iter().find(|file| file["path"] == path);
            file.map(|file| file["content"].as_str().unwrap().to_owned())
        };
        // A node with an override has no `peers` file.
        let cookie = content("cookie").unwrap();
        assert_same(&self.observations.shared, generation, cookie);
        if let Some(peers) = content("peers") {
            assert_same(
                &self.observations.payloads,
                (generation, "peers".into()),
                peers.into(),
            );
        }
        assert_same(
            &self.observations.payloads,
            (generation, name.into()),
            reply.body,
        );
        (generation, content("own").unwrap())
    }

    async fn run_step(&mut self, step: Step) {
        let name = |node: usize| format!("n{}-{node}", self.number);
        match step {
            Step::Register(node, last) => {
                let ip = format!("10.0.{}.{last}", self.number);
                self.register(&name(node), &ip).await;
                self.nodes[node].ip = Some(ip);
            }
            Step::RegisterAgain(node) => {
                if let Some(ip) = self.nodes[node].ip.clone() {
                    self.register(&name(node), &ip).await;
                }
            }
            Step::Fetch(node) => {
                let name = name(node);
                let Some(ip) = self.nodes[node].ip.clone() else {
                    let reply = self.request(crate::support::node(&name, "")).await;
                    assert_eq!(reply.status, 425, "{}", reply.text());
                    return;
                };
                let (generation, own) = self.fetch(&name).await;
                let known = &mut self.nodes[node];
                match &known.overridden {
                    Some(content) => assert_eq!(&own, content),
                    None => assert!(own.starts_with(&format!("{name}@{ip}#")), "{ip}: {own}"),
                }
                assert!(
                    generation >= known.generation,
                    "the generation went backwards"
                );
                known.generation = generation;
            }
            Step::Remove(node) => {
                let path = format!("/v1/nodes/{}", name(node));
                let was_there = self.nodes[node].ip.take().is_some();
                let reply = self.request(without_body("DELETE", &path, "")).await;
                assert_eq!(reply.status, if was_there { 202 } else { 404 });
            }
            Step::Override(node, content) => {
                let content = format!("override {content}");
                let files = json!([{"path": "own", "content": content}]);
                let body = json!({"identifier": name(node), "files": files}).to_string();
                let reply = self.request(post("/node/replace", "", &body)).await;
                assert_eq!(reply.status, 202, "{}", reply.text());
                self.nodes[node].overridden = Some(content);
            }
            Step::EndOverride(node) => {
                let path = format!("/v1/nodes/{}/override", name(node));
                let was_there = self.nodes[node].overridden.take().is_some();
                let reply = self.request(without_body("DELETE", &path, "")).await;
                assert_eq!(reply.status, if was_there { 202 } else { 404 });
            }
            Step::RegisterContested(last) => {
                self.register("contested", &format!("10.9.9.{last}")).await;
                let fetch = node("contested", "prefer: wait=20\r\n");
                let reply = self.request(fetch).await;
                // Another client has taken the name while this one waited.
                if reply.status == 409 {
                    assert_eq!(reply.error().1, "replaced");
                    return;
                }
                let (_, own) = self.observe("contested", reply);
                assert!(own.starts_with("contested@10.9.9."), "{own}");
            }
            Step::ListGenerations => {
                let reply = self.request(get("/v1/generations")).await;
                assert_eq!(reply.status, 200);
                for generation in reply.json().as_array().unwrap() {
                    let number = generation["number"].as_u64().unwrap();
                    let digest = generation["digest"].as_str().unwrap();
                    assert_same(&self.observations.digests, number, digest.to_owned());
                }
            }
        }
    }
}

async fn run(clients: Vec<Vec<Step>>) {
    let server = TestServer::start(SPEC);
    for always in ["a", "b"] {
        server.register(always).await;
    }
    // Wait for the first seal: only then is an override answered after the seal that contains it.
    let first = server.request(&node("a", "prefer: wait=20\r\n")).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let observations = Arc::<Observations>::default();
    let mut running = JoinSet::new();
    for (number, steps) in clients.into_iter().enumerate() {
        let mut client = Client {
            connection: server.connect().await,
            number,
            nodes: Default::default(),
            observations: observations.clone(),
        };
        running.spawn(async move {
            for step in steps {
                client.run_step(step).await;
            }
            client.run_step(Step::ListGenerations).await;
        });
    }
    while let Some(client) = running.join_next().await {
        client.unwrap();
    }
    // A new generation number must have a new digest.
    let digests = observations.digests.lock().unwrap();
    let mut by_number: Vec<_> = digests.iter().collect();
    by_number.sort();
    for pair in by_number.windows(2) {
        let next = pair[0].0 + 1 == *pair[1].0;
        assert!(!next || pair[0].1 != pair[1].1, "{pair:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_generation_number_has_one_digest_under_concurrency(
        clients in prop::collection::vec(prop::collection::vec(step(), 1..25), 2..6),
    ) {
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
        threads.unwrap().block_on(run(clients));
    }
}
