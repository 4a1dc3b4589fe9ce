//! One phase of a throughput measurement: each connection sends its next request as soon as it has the response to the
//! last one. In this closed loop, latencies include no queueing in the generator.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{Method, Uri};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    http::{Client, Target},
    population::Rng,
    procfs::{Cost, Reading},
    stats::{Summary, Tally, round},
};

/// The order of the subjects of requests.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    Sequential,
    Random(u64),
}

/// A request without the headers that all requests have.
pub(crate) type Call = (Method, Uri, Bytes);

/// A number of requests, each about one of several subjects, such as nodes.
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) requests: usize,
    pub(crate) order: Order,
    /// The number of subjects.
    pub(crate) subjects: usize,
    /// Returns the request about a subject.
    pub(crate) call: Arc<dyn Fn(usize) -> Call + Send + Sync>,
}

/// The parts that the phases of a run share.
#[derive(Clone, Copy)]
pub(crate) struct Conditions {
    /// The process of the server.
    pub(crate) server_pid: Option<u32>,
    /// After this time, a phase ends early.
    pub(crate) max_duration: Option<Duration>,
}

/// Opens `count` connections.
pub(crate) async fn connect(target: &Arc<Target>, count: usize) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..count.max(1) {
        let mut client = Client::new(target.clone());
        client
            .connect()
            .await
            .map_err(|failure| anyhow::anyhow!("cannot connect: {}", failure.name()))?;
        clients.push(client);
    }
    Ok(clients)
}

/// Runs a phase over all of `clients`, and returns its report and the clients.
pub(crate) async fn run(
    phase: &Phase,
    conditions: Conditions,
    clients: Vec<Client>,
) -> (Value, Vec<Client>) {
    let pid = conditions.server_pid;
    let next = Arc::new(AtomicUsize::new(0));
    let reading = Reading::take(pid);
    let start = Instant::now();
    let stop = conditions.max_duration.map(|longest| start + longest);

    let mut workers = JoinSet::new();
    for (worker, mut client) in clients.into_iter().enumerate() {
        let (next, call) = (next.clone(), phase.call.clone());
        let (requests, order, subjects) = (phase.requests, phase.order, phase.subjects);
        workers.spawn(async move {
            let mut rng = Rng::new(match order {
                Order::Sequential => 0,
                Order::Random(seed) => seed.wrapping_mul(1_000_003).wrapping_add(worker as u64),
            });
            let mut tally = Tally::default();
            let opened_before = client.opened;
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= requests || stop.is_some_and(|stop| Instant::now() >= stop) {
                    break;
                }
                let subject = match order {
                    Order::Sequential => index % subjects,
                    Order::Random(_) => rng.below(subjects),
                };
                let (method, uri, body) = call(subject);
                let sent = Instant::now();
                let outcome = client.send(method, &uri, body, &[]).await;
                tally.record(&outcome, sent.elapsed());
            }
            tally.connections = client.opened - opened_before;
            (client, tally)
        });
    }
    let mut total = Tally::default();
    let mut returned = Vec::new();
    while let Some(joined) = workers.join_next().await {
        let (client, tally) = joined.expect("worker does not panic");
        total.merge(tally);
        returned.push(client);
    }
    let wall = start.elapsed().as_secs_f64();
    let cost = Cost::since(reading, pid);
    let done = total.requests();
    let report = json!({
        "phase": phase.name,
        "requests": done,
        "truncated": done < phase.requests as u64,
        "wall_s": round(wall),
        "requests_per_s": (done as f64 / wall).round(),
        "bytes": total.bytes,
        "mib_per_s": round(total.bytes as f64 / wall / f64::from(1 << 20)),
        "status": total.status,
        "failures": total.failures,
        "invalid_bodies": total.invalid,
        "reconnects": total.connections,
        "latency_us": Summary::of(total.latencies_us.into_iter().map(f64::from).collect()),
        "cost": cost,
    });
    (report, returned)
}
