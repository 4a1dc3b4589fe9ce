//! The cost of event streams: memory and CPU time of idle ones, and the time from a change to all of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt as _;
use hyper::{Method, Uri, body::Incoming};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    Common,
    http::{Client, Target},
    procfs::{self, Cost, Reading},
    stats::{Summary, round},
};

/// The line with the name of the awaited event.
const EVENT_LINE: &[u8] = b"event: set\n";

#[derive(Args, Clone)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Number of values that are set, one after the other.
    #[arg(long, default_value_t = 50)]
    changes: usize,
    /// How long the streams are idle before the first change, in seconds.
    #[arg(long, default_value_t = 5.0)]
    idle_seconds: f64,
}

/// A stream that has received one change.
struct Received {
    /// The number of the change.
    change: usize,
    at: Instant,
}

pub(crate) async fn run(args: WatchArgs, target: Arc<Target>) -> anyhow::Result<Value> {
    let common = &args.common;
    let load_before = procfs::load_average();
    let resident_before = common.server_pid.and_then(procfs::resident_mib);
    let (report, mut received) = mpsc::unbounded_channel();
    let open_streams = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let uri: Uri = "/v1/watch?kinds=set".parse()?;
    for at in 0..common.nodes {
        let mut client = Client::new(Arc::clone(&target));
        let body = client.open(&uri).await;
        let body = body.map_err(|failure| anyhow!("stream {at}: {}", failure.name()))?;
        let (report, open_streams) = (report.clone(), Arc::clone(&open_streams));
        tokio::spawn(async move {
            open_streams.fetch_add(1, Ordering::Relaxed);
            // The client is kept, because its connection ends with it.
            read(body, &report, client).await;
            open_streams.fetch_sub(1, Ordering::Relaxed);
        });
    }
    let opened_ms = round(begin.elapsed().as_secs_f64() * 1000.0);
    // The streams have arrived when the server has nothing more to do.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let resident = common.server_pid.and_then(procfs::resident_mib);
    let kib_each = (resident.zip(resident_before))
        .map(|(after, before)| round((after - before) * 1024.0 / common.nodes as f64));
    let start = Reading::take(common.server_pid);
    tokio::time::sleep(Duration::from_secs_f64(args.idle_seconds)).await;
    let idle = Cost::since(start, common.server_pid);

    let start = Reading::take(common.server_pid);
    let (mut to_each_ms, mut to_all_ms) = (Vec::new(), Vec::new());
    let mut writer = Client::new(Arc::clone(&target));
    for change in 0..args.changes {
        let uri: Uri = format!("/v1/namespaces/bench/keys/{}{change:05}", common.id_prefix)
            .parse()
            .context("--id-prefix")?;
        let body = Bytes::from_static(br#"{"value":"MQ=="}"#);
        let sent = Instant::now();
        let reply = writer.send(Method::POST, &uri, body, &[]).await;
        let reply = reply.map_err(|failure| anyhow!("change {change}: {}", failure.name()))?;
        ensure!(
            reply.status == 200,
            "change {change}: status {}",
            reply.status
        );
        let mut last = sent;
        for arrived in 0..common.nodes {
            let limit = Duration::from_secs_f64(common.request_timeout);
            let next = timeout(limit, received.recv()).await;
            let next: Received = (next.ok().flatten())
                .with_context(|| format!("change {change} reached {arrived} streams only"))?;
            ensure!(next.change == change, "a stream lost or repeated an event");
            to_each_ms.push(next.at.duration_since(sent).as_secs_f64() * 1000.0);
            last = last.max(next.at);
        }
        to_all_ms.push(last.duration_since(sent).as_secs_f64() * 1000.0);
    }
    ensure!(
        open_streams.load(Ordering::Relaxed) == common.nodes,
        "the server has ended streams"
    );
    Ok(json!({
        "mode": "watch",
        "label": common.label,
        "url": common.url,
        "streams": common.nodes,
        "generator_threads": common.threads,
        "load_average_before": load_before,
        "opened_ms": opened_ms,
        "server_kib_per_stream": kib_each,
        "idle_seconds": args.idle_seconds,
        "idle": idle,
        "changes": args.changes,
        "change_to_each_stream_ms": Summary::of(to_each_ms),
        "change_to_all_streams_ms": Summary::of(to_all_ms),
        "changing": Cost::since(start, common.server_pid),
    }))
}

/// Reads a stream and reports each awaited event, until the stream ends.
async fn read(mut body: Incoming, report: &mpsc::UnboundedSender<Received>, _client: Client) {
    let mut change = 0;
    // The end of the previous piece, which may have the beginning of the line.
    let mut text = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        text.extend_from_slice(&data);
        let mut lines = 0;
        while let Some(at) = text
            .windows(EVENT_LINE.len())
            .position(|window| window == EVENT_LINE)
        {
            text.drain(..at + EVENT_LINE.len());
            lines += 1;
        }
        let keep = text.len().min(EVENT_LINE.len() - 1);
        text.drain(..text.len() - keep);
        for _ in 0..lines {
            let at = Instant::now();
            // An error says that the measurement is over.
            let _ = report.send(Received { change, at });
            change += 1;
        }
    }
}
