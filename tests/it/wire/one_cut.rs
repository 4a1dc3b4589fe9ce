//! Whatever clients do at once: a generation number has one digest, its files come from one cut, and nobody is
//! served what is older than its own registration.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Connection, TestServer, get, node, plain, post};

/// Two nodes are always there, so that the others may come and go.
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

/// What a client does next. Each has two nodes of its own, and all have one that they quarrel over.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Own node, last byte of its address.
    Register(usize, u8),
    RegisterAgain(usize),
    Fetch(usize),
    Remove(usize),
    Override(usize, u8),
    EndOverride(usize),
    /// Last byte of the address.
    Quarrel(u8),
    LookAtGenerations,
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
        3 => (0..4_u8).prop_map(Step::Quarrel),
        2 => Just(Step::LookAtGenerations),
    ]
}

/// What all clients saw together; a second sight that differs from the first is the bug.
#[derive(Default)]
struct Seen {
    /// By generation.
    digests: Mutex<HashMap<u64, String>>,
    /// By generation: what the shared file and the fragment hold.
    cuts: Mutex<HashMap<u64, String>>,
    /// By generation and node.
    payloads: Mutex<HashMap<(u64, String), Vec<u8>>>,
}

fn same<K: Hash + Eq + Debug, V: Eq + Debug>(seen: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut seen = seen.lock().unwrap();
    if let Some(known) = seen.get(&key) {
        assert_eq!(known, &value, "{key:?} was seen with two contents");
    }
    seen.insert(key, value);
}

/// A node as its owner knows it.
#[derive(Default)]
struct Own {
    ip: Option<String>,
    overridden: Option<String>,
    generation: u64,
}

struct Client {
    connection: Connection,
    number: usize,
    nodes: [Own; 2],
    seen: Arc<Seen>,
}

impl Client {
    async fn ask(&mut self, request: String) -> crate::support::Reply {
        self.connection.send(request).await;
        self.connection.reply().await
    }

    async fn register(&mut self, name: &str, ip: &str) {
        let body = json!({"identifier": name, "ip": ip}).to_string();
        let reply = self.ask(post("/register", "", &body)).await;
        assert_eq!(reply.status, 202, "{}", reply.text());
    }

    /// A registered node's payload: its generation, and its own file's content.
    async fn fetch(&mut self, name: &str) -> (u64, String) {
        let reply = self.ask(node(name, "prefer: wait=20\r\n")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let json = reply.json();
        let generation = json["generation"].as_u64().unwrap();
        let content = |path: &str| {
            let files = json["files"].as_array().unwrap();
            let file = files.iter().find(|file| file["path"] == path);
            file.map(|file| file["content"].as_str().unwrap().to_owned())
        };
        // Who is overridden has no `peers`.
        let cookie = content("cookie").unwrap();
        same(&self.seen.cuts, generation, cookie);
        if let Some(peers) = content("peers") {
            same(
                &self.seen.payloads,
                (generation, "peers".into()),
                peers.into(),
            );
        }
        same(&self.seen.payloads, (generation, name.into()), reply.body);
        (generation, content("own").unwrap())
    }

    async fn take(&mut self, step: Step) {
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
                    let reply = self.ask(crate::support::node(&name, "")).await;
                    assert_eq!(reply.status, 425, "{}", reply.text());
                    return;
                };
                let (generation, own) = self.fetch(&name).await;
                let known = &mut self.nodes[node];
                match &known.overridden {
                    Some(content) => assert_eq!(&own, content),
                    None => assert!(own.starts_with(&format!("{name}@{ip}#")), "{ip}: {own}"),
                }
                assert!(generation >= known.generation, "time runs backwards");
                known.generation = generation;
            }
            Step::Remove(node) => {
                let path = format!("/v1/nodes/{}", name(node));
                let was_there = self.nodes[node].ip.take().is_some();
                let reply = self.ask(plain("DELETE", &path, "")).await;
                assert_eq!(reply.status, if was_there { 202 } else { 404 });
            }
            Step::Override(node, content) => {
                let content = format!("override {content}");
                let files = json!([{"path": "own", "content": content}]);
                let body = json!({"identifier": name(node), "files": files}).to_string();
                let reply = self.ask(post("/node/replace", "", &body)).await;
                assert_eq!(reply.status, 202, "{}", reply.text());
                self.nodes[node].overridden = Some(content);
            }
            Step::EndOverride(node) => {
                let path = format!("/v1/nodes/{}/override", name(node));
                let was_there = self.nodes[node].overridden.take().is_some();
                let reply = self.ask(plain("DELETE", &path, "")).await;
                assert_eq!(reply.status, if was_there { 202 } else { 404 });
            }
            Step::Quarrel(last) => {
                self.register("everybodys", &format!("10.9.9.{last}")).await;
                let (_, own) = self.fetch("everybodys").await;
                assert!(own.starts_with("everybodys@10.9.9."), "{own}");
            }
            Step::LookAtGenerations => {
                let reply = self.ask(get("/v1/generations")).await;
                assert_eq!(reply.status, 200);
                for generation in reply.json().as_array().unwrap() {
                    let number = generation["number"].as_u64().unwrap();
                    let digest = generation["digest"].as_str().unwrap();
                    same(&self.seen.digests, number, digest.to_owned());
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
    // An override is answered after the seal that shows it only once there is a seal.
    let first = server.ask(&node("a", "prefer: wait=20\r\n")).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let seen = Arc::<Seen>::default();
    let mut running = JoinSet::new();
    for (number, steps) in clients.into_iter().enumerate() {
        let mut client = Client {
            connection: server.connect().await,
            number,
            nodes: Default::default(),
            seen: seen.clone(),
        };
        running.spawn(async move {
            for step in steps {
                client.take(step).await;
            }
            client.take(Step::LookAtGenerations).await;
        });
    }
    while let Some(client) = running.join_next().await {
        client.unwrap();
    }
    // Two numbers for one content would be a generation too many.
    let digests = seen.digests.lock().unwrap();
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
    fn a_generation_number_has_one_digest_whatever_clients_do(
        clients in prop::collection::vec(prop::collection::vec(step(), 1..25), 2..6),
    ) {
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
        threads.unwrap().block_on(run(clients));
    }
}
