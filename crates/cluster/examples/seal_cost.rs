//! Measures the cost of a seal without HTTP: registrations, the render of each node's files, the seal, and the encoded
//! payloads.
//!
//! `seal_cost SPEC NODES [ROUNDS]` prints one line per round. The spec needs `ready: {nodes: NODES}` or a rule that
//! so many nodes satisfy.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that measures prints, and ends at the first mistake"
)]

use std::{path::Path, sync::Arc, time::Duration};

use cfgsync_cluster::{Answer, Config, Coordinator};
use cfgsync_model::{Instance, NodeRegistration};
use cfgsync_spec::Spec;
use cfgsync_store::{Bounds, MemoryStore};
use cfgsync_support::clock::WallClock;
use tokio::time::Instant;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("SPEC");
    let nodes: usize = arguments.next().expect("NODES").parse().unwrap();
    let rounds: usize = arguments.next().map_or(1, |count| count.parse().unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("NODES", &nodes.to_string());
    for _ in 0..rounds {
        let spec = Spec::parse(&text, &path, Path::new(".")).unwrap();
        round(spec, nodes).await;
    }
}

async fn round(spec: Spec, nodes: usize) {
    let store = Arc::new(MemoryStore::new(Instance::from_bytes([1; 16]), 2));
    let config = Config {
        bounds: Bounds::NONE,
        ..Config::default()
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (coordinator, work) =
        Coordinator::new(store, spec, vec![], config, WallClock::system(), async {
            let _ = stopped.await;
        });
    let working = tokio::spawn(work);
    let registration = |at: usize| {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0001 + u32::try_from(at).unwrap());
        let metadata = serde_json::json!({ "port": 9000 + at % 1000 });
        NodeRegistration::new(format!("node-{at}"), address)
            .unwrap()
            .with_metadata_value(metadata)
    };
    let begun = Instant::now();
    for at in 0..nodes {
        coordinator.register(registration(at)).await.unwrap();
    }
    let registered = Instant::now();
    let until = registered + Duration::from_mins(10);
    let answer = coordinator.wait("node-0", None, until).await;
    assert!(matches!(answer, Answer::Payload(_)), "{answer:?}");
    println!(
        "{nodes} nodes: registered in {:.3} s, rendered and sealed in {:.3} s, {} MiB resident",
        (registered - begun).as_secs_f64(),
        registered.elapsed().as_secs_f64(),
        resident_mib(),
    );
    drop(stop);
    let _ = working.await;
}

/// Returns the resident memory of this process in MiB, from `/proc`.
fn resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or(0) / 1024
}
