//! The cost of a phase as a barrier: N nodes wait until all of them have reported it. First all but one report. Then the
//! last one reports, and the measurement starts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use clap::Args;
use hyper::{
    Method, Uri,
    header::{HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    Common,
    http::{Client, Target},
    phase::{self, Call, Conditions, Order, Phase},
    procfs::{self, Cost, Reading},
    stats::{Summary, round},
};

#[derive(Args, Clone)]
pub(crate) struct PhasesArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Number of connections over which the nodes report.
    #[arg(long, short = 'c', default_value_t = 64)]
    connections: usize,
    /// The phase.
    #[arg(long, default_value = "healthy")]
    phase: String,
    /// Time from the other reports to the last one, in milliseconds.
    #[arg(long, default_value_t = 1500)]
    hold: u64,
}

/// The nodes must be registered, and their files delivered.
pub(crate) async fn run(args: PhasesArgs, target: Arc<Target>) -> anyhow::Result<Value> {
    let common = &args.common;
    let load_before = procfs::load_average();
    let resident_before = common.server_pid.and_then(procfs::resident_mib);
    let uri: Uri = format!("/v1/phases/{}", args.phase).parse()?;
    let (report, mut received) = mpsc::unbounded_channel();
    for _ in 0..common.nodes {
        let mut client = Client::new(Arc::clone(&target));
        client
            .connect()
            .await
            .map_err(|failure| anyhow!("cannot connect: {}", failure.name()))?;
        let (uri, report) = (uri.clone(), report.clone());
        let wait = HeaderValue::from_static("wait=3600");
        let headers = [(HeaderName::from_static("prefer"), wait)];
        tokio::spawn(async move {
            let reply = client.send(Method::GET, &uri, Bytes::new(), &headers).await;
            let status = reply.map(|reply| reply.status);
            // An error says that the measurement is over. The client is kept, so that closing is not measured.
            let _ = report.send((status, Instant::now(), client));
        });
    }
    // The requests are held when the server has nothing more to do.
    sleep(Duration::from_secs(1)).await;
    let resident = common.server_pid.and_then(procfs::resident_mib);
    let kib_each = (resident.zip(resident_before))
        .map(|(after, before)| round((after - before) * 1024.0 / common.nodes as f64));

    let uris: Result<Vec<Uri>, _> = (0..common.nodes)
        .map(|node| {
            format!(
                "/v1/nodes/{}{node:05}/phases/{}",
                common.id_prefix, args.phase
            )
            .parse()
        })
        .collect();
    let uris = Arc::new(uris.context("--id-prefix")?);
    let all_but_one = {
        let uris = uris.clone();
        let call = move |at: usize| -> Call { (Method::PUT, uris[at].clone(), Bytes::new()) };
        Phase {
            name: "report",
            requests: common.nodes - 1,
            order: Order::Sequential,
            subjects: common.nodes,
            call: Arc::new(call),
        }
    };
    let conditions = Conditions {
        server_pid: common.server_pid,
        max_duration: None,
    };
    let clients = phase::connect(&target, args.connections).await?;
    let (reports, mut clients) = phase::run(&all_but_one, conditions, clients).await;
    sleep(Duration::from_millis(args.hold)).await;
    ensure!(received.is_empty(), "a waiting request was answered early");

    let reading = Reading::take(common.server_pid);
    let sent = Instant::now();
    let last = clients[0].send(Method::PUT, &uris[common.nodes - 1], Bytes::new(), &[]);
    let last = last.await;
    let last = last.map_err(|failure| anyhow!("last report: {}", failure.name()))?;
    ensure!(last.status == 202, "last report: status {}", last.status);
    let reported_ms = round(sent.elapsed().as_secs_f64() * 1e3);
    let (mut release_ms, mut finished) = (Vec::new(), Vec::new());
    for released in 0..common.nodes {
        let limit = Duration::from_secs_f64(common.request_timeout);
        let next = timeout(limit, received.recv()).await;
        let (status, at, client) = (next.ok().flatten())
            .with_context(|| format!("{released} nodes were released only"))?;
        let status = status.map_err(|failure| anyhow!("waiting: {}", failure.name()))?;
        ensure!(status == 200, "waiting: status {status}");
        release_ms.push(round(at.duration_since(sent).as_secs_f64() * 1e3));
        finished.push(client);
    }
    let cost_of_release = Cost::since(reading, common.server_pid);
    Ok(json!({
        "mode": "phases",
        "label": common.label,
        "url": common.url,
        "nodes": common.nodes,
        "generator_threads": common.threads,
        "load_average_before": load_before,
        "server_kib_per_request": kib_each,
        "phases": [reports],
        "last_report_ms": reported_ms,
        "release_from_send_ms": Summary::of(release_ms),
        "cost_of_release": cost_of_release,
    }))
}
