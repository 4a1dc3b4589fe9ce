//! Random operations of clients over HTTP while processes and links fail, and a check of all that the clients observed.
//!
//! `CFGSYNC_FLEET_SEEDS=1..50` runs these seeds. The seed decides the faults and the operations of each client.

use std::{
    env,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    checker::{Checker, FinalState},
    fault_schedule,
    history::{Effect, History, Observation},
    http::HttpClient,
    node_client::NodeClient,
    random::Random,
    run_client::RunClient,
    servers::Servers,
    value_client::ValueClient,
    watch_client::{Event, EventReader, watch},
};

/// The seeds that every test run covers.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;

/// The duration of the short faults.
const RUN: Duration = Duration::from_secs(8);

/// The time until all servers show the same state after the faults.
const HEAL_MAX: Duration = Duration::from_mins(1);

/// The nodes that run the program. They stay registered.
const RUNNERS: [&str; 2] = ["runner-1", "runner-2"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_hold_while_servers_etcd_and_links_fail() {
    for seed in seeds() {
        println!("seed {seed}");
        run(seed).await;
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    let seeds = env::var("CFGSYNC_FLEET_SEEDS").ok();
    let seeds = seeds.map(|seeds| {
        let (first, last) = seeds.split_once("..").expect("FIRST..LAST");
        first.parse().unwrap()..=last.parse().unwrap()
    });
    seeds.unwrap_or(SEEDS)
}

async fn run(seed: u64) {
    let mut servers = Servers::start(&[]).await;
    let faults = fault_schedule::schedule(seed, RUN);
    let until = Instant::now() + fault_schedule::length(&faults);
    let history = History::default();
    let mut http = HttpClients {
        random: Random(seed.wrapping_mul(1000)),
        addresses: servers.addresses(),
    };
    for runner in RUNNERS {
        register(&mut http.next(), None, runner).await;
    }
    let mut clients = JoinSet::new();
    for number in 1..=4 {
        let client = NodeClient {
            name: format!("node-{number}"),
            number,
            http: http.next(),
            history: history.clone(),
        };
        clients.spawn(client.run(until));
    }
    for number in 1..=2 {
        let client = ValueClient {
            number,
            http: http.next(),
            history: history.clone(),
        };
        clients.spawn(client.run(until));
    }
    for node in RUNNERS {
        let client = RunClient {
            node: node.to_owned(),
            http: http.next(),
            history: history.clone(),
        };
        clients.spawn(client.run(until));
    }
    let mut watchers = JoinSet::new();
    for _ in 0..2 {
        watchers.spawn(watch(http.next(), until));
    }
    let disturbed = fault_schedule::make(&mut servers, &faults).await;
    clients.join_all().await;
    let watched = watchers.join_all().await;
    servers.heal().await;
    let state = settle(&mut http).await;
    let observations = history.all();
    println!("seed {seed}: {}", summary(&observations, &state, &watched));
    Checker::new(&state).check(&observations, &watched, &disturbed);
}

/// Makes the clients of a run.
struct HttpClients {
    random: Random,
    addresses: Vec<SocketAddr>,
}

impl HttpClients {
    fn next(&mut self) -> HttpClient {
        HttpClient::new(self.addresses.clone(), Random(self.random.next()))
    }
}

/// Registers a node, at one server or at any.
async fn register(http: &mut HttpClient, server: Option<SocketAddr>, name: &str) {
    let begun = Instant::now();
    let body = json!({ "identifier": name, "ip": "10.0.0.1" });
    loop {
        let answer = match server {
            Some(server) => http.send_to(server, "POST", "/register", &[], &body).await,
            None => http.send("POST", "/register", &[], &body).await,
        };
        match answer {
            Some(answer) if answer.status == 202 => return,
            answer => assert!(begun.elapsed() < HEAL_MAX, "{name}: {answer:?}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until all servers show one state, in which a change by each of them is sealed.
async fn settle(clients: &mut HttpClients) -> FinalState {
    let mut http = clients.next();
    for (at, server) in clients.addresses.iter().enumerate() {
        register(&mut http, Some(*server), &format!("last-{at}")).await;
    }
    let begun = Instant::now();
    loop {
        let mut states = vec![];
        for server in &clients.addresses {
            states.extend(final_state(&mut http, *server).await);
        }
        if states.len() == clients.addresses.len()
            && states
                .iter()
                .all(|state| *state == states[0] && is_sealed(state))
        {
            return states.swap_remove(0);
        }
        assert!(begun.elapsed() < HEAL_MAX, "{}", difference(&states));
        sleep(Duration::from_millis(200)).await;
    }
}

/// Whether the newest generation has all registrations. The position of an answer would not show that, because it also
/// counts changes that no generation needs.
fn is_sealed(state: &FinalState) -> bool {
    let nodes = state.nodes.as_array().unwrap().iter();
    let newest = nodes.map(|node| node["revision"].as_u64()).max();
    newest.is_some_and(|newest| state.generations[0]["revision"].as_u64() >= newest)
}

/// Returns the state that a server shows, if it answers.
async fn final_state(http: &mut HttpClient, server: SocketAddr) -> Option<FinalState> {
    let mut bodies = vec![];
    for path in [
        "/v1/watch?since=oldest&follow=false",
        "/v1/generations",
        "/v1/nodes",
    ] {
        let answer = http.send_to(server, "GET", path, &[], &Value::Null).await?;
        if answer.status != 200 {
            return None;
        }
        bodies.push(answer);
    }
    let mut events = vec![];
    EventReader::default().read(&bodies[0].body, &mut events);
    let mut nodes = bodies[2].json();
    for node in nodes.as_array_mut()? {
        // Each server counts its own requests.
        node.as_object_mut()?.remove("waits");
    }
    Some(FinalState {
        events,
        generations: bodies[1].json(),
        nodes,
    })
}

/// Names what differs between the servers, for the message of a failure.
fn difference(states: &[FinalState]) -> String {
    let states = states.iter().map(|state| {
        let last: Vec<&Event> = state.events.iter().rev().take(5).collect();
        let count = state.events.len();
        format!(
            "{count} events, {last:?}, {}, {}\n",
            state.generations[0], state.nodes
        )
    });
    states.collect()
}

fn summary(observations: &[Observation], state: &FinalState, watched: &[Vec<Event>]) -> String {
    let unknown = observations.iter().filter(|observation| {
        matches!(
            observation,
            Observation::Registered {
                result: Effect::Unknown,
                ..
            } | Observation::Wrote {
                result: Effect::Unknown,
                ..
            } | Observation::Ended {
                result: Effect::Unknown,
                ..
            }
        )
    });
    let fetched = observations
        .iter()
        .filter(|o| matches!(o, Observation::Fetched(_)));
    format!(
        "{} observations ({} fetches, {} unknown), {} events, {} generations, {:?} events watched",
        observations.len(),
        fetched.count(),
        unknown.count(),
        state.events.len(),
        state.generations.as_array().map_or(0, Vec::len),
        watched.iter().map(Vec::len).collect::<Vec<_>>(),
    )
}
