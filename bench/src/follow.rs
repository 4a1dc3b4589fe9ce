//! The cost of nodes that follow a cluster: memory and CPU time of their held requests, and the time from a changed
//! value to the new files of all nodes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use clap::Args;
use hyper::{
    Method, Uri,
    header::{HeaderName, HeaderValue, IF_NONE_MATCH},
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use crate::{
    Common,
    http::{Client, Target},
    procfs::{self, Cost, Reading},
    stats::{Summary, round},
    values::three_digits_in_base64,
};

/// The value that the files of all nodes read.
const READ_KEY: &str = "/v1/namespaces/bench/keys/app/read";

/// A value that nothing reads.
const UNREAD_KEY: &str = "/v1/namespaces/bench/keys/app/unread";

/// The first value that is set. All values have three digits.
const FIRST_VALUE: usize = 100;

#[derive(Args, Clone)]
pub(crate) struct FollowArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Number of values that are set, one after the other, at most 899.
    #[arg(long, default_value_t = 10)]
    changes: usize,
    /// Time between two of them in seconds, more than the server's shortest interval between two generations.
    #[arg(long, default_value_t = 1.5)]
    pause_seconds: f64,
    /// How long the requests are held before the first change, in seconds.
    #[arg(long, default_value_t = 5.0)]
    idle_seconds: f64,
}

/// The nodes must be registered, and their files sealed.
#[allow(
    clippy::too_many_lines,
    reason = "one sequence: connect, wait, set values, count"
)]
pub(crate) async fn run(args: FollowArgs, target: Arc<Target>) -> anyhow::Result<Value> {
    let common = &args.common;
    ensure!(args.changes < 900, "--changes must be below 900");
    let load_before = procfs::load_average();
    let resident_before = common.server_pid.and_then(procfs::resident_mib);
    let (report, mut received) = mpsc::unbounded_channel();
    // A node asks again when all nodes have their files. In practice it first writes them to its disk, which takes longer.
    let (next_round, this_round) = watch::channel(());
    for node in 0..common.nodes {
        let uri = format!("/v1/nodes/{}{node:05}/payload", common.id_prefix);
        let uri: Uri = uri.parse().context("--id-prefix")?;
        let mut client = Client::new(Arc::clone(&target));
        let etag = fetch(&mut client, &uri, None).await?;
        let (report, mut this_round) = (report.clone(), this_round.clone());
        tokio::spawn(async move {
            let mut etag = Some(etag);
            while etag.is_some() {
                this_round.mark_unchanged();
                etag = fetch(&mut client, &uri, etag).await.ok();
                // Errors say that the measurement is over.
                let _ = report.send((etag.is_some(), Instant::now()));
                let _ = this_round.changed().await;
            }
        });
    }
    // The requests are held when the server has nothing more to do.
    sleep(Duration::from_secs(1)).await;
    let resident = common.server_pid.and_then(procfs::resident_mib);
    let kib_each = (resident.zip(resident_before))
        .map(|(after, before)| round((after - before) * 1024.0 / common.nodes as f64));
    let start = Reading::take(common.server_pid);
    sleep(Duration::from_secs_f64(args.idle_seconds)).await;
    let idle = Cost::since(start, common.server_pid);
    ensure!(received.is_empty(), "a held request was answered too early");

    let mut writer = Client::new(Arc::clone(&target));
    let before = metrics(&mut writer).await?;
    // A value that nothing reads wakes nobody. Its response shows the cost of the store, with its sync.
    let mut unread_ms = Vec::new();
    for change in 0..args.changes {
        unread_ms.push(set(&mut writer, UNREAD_KEY, change).await?);
    }
    sleep(Duration::from_secs_f64(args.pause_seconds)).await;
    let unread = metrics(&mut writer).await?;
    ensure!(received.is_empty(), "an unread value reached a node");
    ensure!(
        (unread.generation - before.generation).abs() < 0.5,
        "an unread value made generation {}",
        unread.generation
    );

    let start = Reading::take(common.server_pid);
    let (mut to_each_ms, mut p99_ms) = (Vec::new(), Vec::new());
    for change in 0..args.changes {
        let (sent, first) = (Instant::now(), to_each_ms.len());
        set(&mut writer, READ_KEY, change).await?;
        for arrived in 0..common.nodes {
            let limit = Duration::from_secs_f64(common.request_timeout);
            let next = timeout(limit, received.recv()).await;
            let (is_payload, at) = (next.ok().flatten())
                .with_context(|| format!("change {change} reached {arrived} nodes only"))?;
            ensure!(is_payload, "a held request failed at change {change}");
            to_each_ms.push(round(at.duration_since(sent).as_secs_f64() * 1e3));
        }
        let of_change = Summary::of(to_each_ms[first..].to_vec());
        p99_ms.extend(of_change.map(|summary| summary.p99));
        next_round.send_replace(());
        sleep(Duration::from_secs_f64(args.pause_seconds)).await;
    }
    ensure!(received.is_empty(), "a node received files twice");
    let changing = Cost::since(start, common.server_pid);
    let after = metrics(&mut writer).await?;
    let renders = after.renders - unread.renders;
    ensure!(
        (after.generation - unread.generation - args.changes as f64).abs() < 0.5,
        "{} values made {} generations",
        args.changes,
        after.generation - unread.generation
    );
    Ok(json!({
        "mode": "follow",
        "label": common.label,
        "url": common.url,
        "nodes": common.nodes,
        "generator_threads": common.threads,
        "load_average_before": load_before,
        "server_kib_per_request": kib_each,
        "idle_seconds": args.idle_seconds,
        "idle": idle,
        "changes": args.changes,
        "unread_value_ms": Summary::of(unread_ms),
        "render_ms": round((after.render_seconds - unread.render_seconds) * 1e3 / renders),
        "seal_ms": round((after.seal_seconds - unread.seal_seconds) * 1e3 / renders),
        "value_to_each_node_ms": Summary::of(to_each_ms),
        "p99_of_each_value_ms": Summary::of(p99_ms),
        "changing": changing,
    }))
}

/// Fetches a payload. With `etag`, the server holds the request until the payload differs.
async fn fetch(
    client: &mut Client,
    uri: &Uri,
    etag: Option<HeaderValue>,
) -> anyhow::Result<HeaderValue> {
    let mut headers = Vec::new();
    if let Some(etag) = etag {
        headers.push((IF_NONE_MATCH, etag));
        let wait = HeaderValue::from_static("wait=3600");
        headers.push((HeaderName::from_static("prefer"), wait));
    }
    let reply = client.send(Method::GET, uri, Bytes::new(), &headers).await;
    let reply = reply.map_err(|failure| anyhow!("{uri}: {}", failure.name()))?;
    ensure!(reply.status == 200, "{uri}: status {}", reply.status);
    reply.etag.with_context(|| format!("{uri}: no ETag"))
}

/// Sets a value, and returns the time until the response in milliseconds.
async fn set(client: &mut Client, key: &'static str, change: usize) -> anyhow::Result<f64> {
    let value = three_digits_in_base64(FIRST_VALUE + change);
    let body = Bytes::from(json!({ "value": value }).to_string());
    let sent = Instant::now();
    let uri = Uri::from_static(key);
    let reply = client.send(Method::POST, &uri, body, &[]).await;
    let reply = reply.map_err(|failure| anyhow!("{key}: {}", failure.name()))?;
    ensure!(reply.status == 200, "{key}: status {}", reply.status);
    Ok(round(sent.elapsed().as_secs_f64() * 1e3))
}

/// Figures of the server about itself.
struct Metrics {
    generation: f64,
    renders: f64,
    render_seconds: f64,
    seal_seconds: f64,
}

async fn metrics(client: &mut Client) -> anyhow::Result<Metrics> {
    let text = client.text(&Uri::from_static("/metrics")).await;
    let text = text.map_err(|failure| anyhow!("/metrics: {}", failure.name()))?;
    let number = |name: &str| -> anyhow::Result<f64> {
        let mut lines = text.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        found.with_context(|| format!("/metrics has no {name}"))
    };
    Ok(Metrics {
        generation: number("cfgsync_generation ")?,
        renders: number("cfgsync_render_seconds_count ")?,
        render_seconds: number("cfgsync_render_seconds_sum ")?,
        seal_seconds: number("cfgsync_seal_seconds_sum ")?,
    })
}
