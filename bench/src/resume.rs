//! The time in which an event stream catches up with events that it has missed.

use std::{sync::Arc, time::Instant};

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt as _;
use hyper::{Method, Uri};
use serde_json::{Value, json};

use crate::{
    Common,
    http::{Client, Target},
    phase::{self, Call, Conditions, Order, Phase},
    procfs::{self, Cost, Reading},
    stats::{Summary, round},
};

/// The line with the name of an event.
const EVENT_LINE: &[u8] = b"event: set\n";

#[derive(Args, Clone)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Number of connections over which the events are made.
    #[arg(long, short = 'c', default_value_t = 64)]
    connections: usize,
    /// Number of streams that catch up, one after the other.
    #[arg(long, default_value_t = 20)]
    runs: usize,
}

/// Sets `--nodes` values, and reads the events of all of them again and again.
pub(crate) async fn run(args: ResumeArgs, target: Arc<Target>) -> anyhow::Result<Value> {
    let common = &args.common;
    let load_before = procfs::load_average();
    let uris: Result<Vec<Uri>, _> = (0..common.nodes)
        .map(|at| format!("/v1/namespaces/bench/keys/app/{}{at:05}", common.id_prefix).parse())
        .collect();
    let uris = uris.context("--id-prefix")?;
    let body = Bytes::from_static(br#"{"value":"MTAw"}"#);
    let call = move |at: usize| -> Call { (Method::POST, uris[at].clone(), body.clone()) };
    let set = Phase {
        name: "set",
        requests: common.nodes,
        order: Order::Sequential,
        subjects: common.nodes,
        call: Arc::new(call),
    };
    let conditions = Conditions {
        server_pid: common.server_pid,
        max_duration: None,
    };
    let clients = phase::connect(&target, args.connections).await?;
    let (report, _) = phase::run(&set, conditions, clients).await;

    let uri: Uri = "/v1/watch?kinds=set&since=oldest&follow=false".parse()?;
    let start = Reading::take(common.server_pid);
    let (mut resume_ms, mut bytes) = (Vec::new(), 0);
    for _ in 0..args.runs {
        let mut client = Client::new(Arc::clone(&target));
        let connected = client.connect().await;
        connected.map_err(|failure| anyhow!("cannot connect: {}", failure.name()))?;
        let begun = Instant::now();
        let body = client.open(&uri).await;
        let mut body = body.map_err(|failure| anyhow!("{uri}: {}", failure.name()))?;
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.context("the stream has broken off")?.into_data() {
                text.extend_from_slice(&data);
            }
        }
        resume_ms.push(round(begun.elapsed().as_secs_f64() * 1e3));
        let events = text
            .windows(EVENT_LINE.len())
            .filter(|window| *window == EVENT_LINE)
            .count();
        ensure!(events == common.nodes, "the stream has {events} events");
        bytes = text.len();
    }
    Ok(json!({
        "mode": "resume",
        "label": common.label,
        "url": common.url,
        "events": common.nodes,
        "bytes": bytes,
        "generator_threads": common.threads,
        "load_average_before": load_before,
        "phases": [report],
        "resume_ms": Summary::of(resume_ms),
        "cost": Cost::since(start, common.server_pid),
    }))
}
