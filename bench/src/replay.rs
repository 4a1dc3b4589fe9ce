//! Writes the entries of a cluster's log in etcd once more, below another prefix, and measures how long etcd takes.
//!
//! The transactions are those of the store on etcd: the entry must be absent, and the snapshot unchanged. The result shows
//! how fast etcd alone takes the same entries.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::{
    etcd_api::{
        Compare, PutRequest, RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        kv_client::KvClient,
        request_op::Request,
    },
    stats::round,
};

/// The number of entries that are read at once.
const PAGE_ENTRIES: i64 = 1_000;

/// The largest page, in bytes.
const PAGE_MAX_BYTES: usize = 256 << 20;

/// The time for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args, Clone)]
pub(crate) struct ReplayArgs {
    /// The URL of a member of etcd.
    #[arg(long)]
    etcd: String,
    /// The prefix of the entries to read.
    #[arg(long)]
    log: String,
    /// The numbers of transactions that are in flight. The entries are written once for each of them.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    in_flight: Vec<usize>,
}

pub(crate) async fn run(args: ReplayArgs) -> anyhow::Result<Value> {
    let channel = Endpoint::from_shared(args.etcd.clone())?
        .timeout(CALL_TIMEOUT)
        .connect()
        .await
        .context("connecting to etcd")?;
    let entries = read_entries(channel.clone(), &args.log).await?;
    anyhow::ensure!(
        !entries.is_empty(),
        "there are no entries below {}",
        args.log
    );
    let bytes: usize = entries.iter().map(Vec::len).sum();
    let mut runs = Vec::new();
    for in_flight in args.in_flight {
        let prefix = format!("/replay/{in_flight}");
        let wall = write_entries(&channel, &prefix, entries.clone(), in_flight).await?;
        runs.push(json!({ "in_flight": in_flight, "wall_s": round(wall.as_secs_f64()) }));
    }
    Ok(json!({
        "mode": "replay",
        "entries": entries.len(),
        "bytes": bytes,
        "runs": runs,
    }))
}

/// Returns the values below `prefix`.
async fn read_entries(channel: Channel, prefix: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut client = KvClient::new(channel).max_decoding_message_size(PAGE_MAX_BYTES);
    let mut key = prefix.as_bytes().to_vec();
    let mut range_end = key.clone();
    *range_end.last_mut().context("--log is empty")? += 1;
    let mut entries = Vec::new();
    loop {
        let request = RangeRequest {
            key,
            range_end: range_end.clone(),
            limit: PAGE_ENTRIES,
            ..RangeRequest::default()
        };
        let page = client.range(request).await?.into_inner();
        let last = page.kvs.last().map(|kv| kv.key.clone());
        entries.extend(page.kvs.into_iter().map(|kv| kv.value));
        match last {
            Some(mut last) if page.more => {
                last.push(0);
                key = last;
            }
            _ => return Ok(entries),
        }
    }
}

/// Writes `entries` below `prefix`. Returns the time that it took.
async fn write_entries(
    channel: &Channel,
    prefix: &str,
    entries: Vec<Vec<u8>>,
    in_flight: usize,
) -> anyhow::Result<Duration> {
    let queue: VecDeque<(usize, Vec<u8>)> = entries.into_iter().enumerate().collect();
    let queue = Arc::new(Mutex::new(queue));
    let start = Instant::now();
    let mut writers = JoinSet::new();
    for _ in 0..in_flight.max(1) {
        let (queue, prefix) = (queue.clone(), prefix.to_owned());
        let mut client = KvClient::new(channel.clone());
        writers.spawn(async move {
            loop {
                let next = queue
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop_front();
                let Some((number, value)) = next else {
                    return anyhow::Ok(());
                };
                let answer = client.txn(append(&prefix, number, value)).await?;
                anyhow::ensure!(answer.into_inner().succeeded, "entry {number} is there");
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.context("a writer")??;
    }
    Ok(start.elapsed())
}

/// Returns the transaction that writes an entry, unless it is there or there is a snapshot.
fn append(prefix: &str, number: usize, value: Vec<u8>) -> TxnRequest {
    let key = format!("{prefix}/log/0123456789abcdef/{number:016x}").into_bytes();
    let condition = |key: Vec<u8>, target: CompareTarget, union| Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key,
        target_union: Some(union),
    };
    let absent = TargetUnion::Version(0);
    let unchanged = TargetUnion::ModRevision(0);
    let snapshot = format!("{prefix}/snapshot").into_bytes();
    let operation = |request| RequestOp {
        request: Some(request),
    };
    let find = |key: Vec<u8>| {
        operation(Request::RequestRange(RangeRequest {
            key,
            keys_only: true,
            ..RangeRequest::default()
        }))
    };
    TxnRequest {
        compare: vec![
            condition(key.clone(), CompareTarget::Version, absent),
            condition(snapshot.clone(), CompareTarget::Mod, unchanged),
        ],
        success: vec![operation(Request::RequestPut(PutRequest {
            key: key.clone(),
            value,
            lease: 0,
        }))],
        failure: vec![find(key), find(snapshot)],
    }
}
