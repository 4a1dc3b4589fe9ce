//! Throughput of writes and reads of operators' values.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use hyper::{Method, Uri};
use serde_json::{Value, json};

use crate::{
    Common,
    http::Target,
    phase::{self, Call, Conditions, Order, Phase},
    procfs,
};

#[derive(Args, Clone)]
pub(crate) struct ValuesArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Keep-alive connections.
    #[arg(long, short = 'c', default_value_t = 64)]
    connections: usize,
    /// Number of reads of random values, after each value was set once.
    #[arg(long, default_value_t = 0)]
    random_reads: usize,
    /// Length of each value, a text in JSON; rounded to a multiple of 3 bytes.
    #[arg(long, default_value_t = 42)]
    value_bytes: usize,
    /// End a phase early after this many seconds (0: never).
    #[arg(long, default_value_t = 180.0)]
    max_phase_seconds: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) async fn run(args: ValuesArgs, target: Arc<Target>) -> anyhow::Result<Value> {
    let common = &args.common;
    let uris: Result<Vec<Uri>, _> = (0..common.nodes)
        .map(|at| format!("/v1/namespaces/bench/keys/app/{}{at:05}", common.id_prefix).parse())
        .collect();
    let uris = Arc::new(uris.context("--id-prefix")?);
    // `"AA`, any number of `AAA`, and `AA"` as base64.
    let middle = "QUFB".repeat(args.value_bytes.saturating_sub(6) / 3);
    let body = Bytes::from(json!({ "value": format!("IkFB{middle}QUEi") }).to_string());
    let phase = |name, method: Method, requests, order, body: Bytes| {
        let uris = uris.clone();
        let call = move |at: usize| -> Call { (method.clone(), uris[at].clone(), body.clone()) };
        Phase {
            name,
            requests,
            order,
            subjects: common.nodes,
            call: Arc::new(call),
        }
    };
    let set = phase("set", Method::POST, common.nodes, Order::Sequential, body);
    let random = Order::Random(args.seed);
    let get = phase("get", Method::GET, args.random_reads, random, Bytes::new());

    let load_before = procfs::load_average();
    let mut clients = phase::connect(&target, args.connections).await?;
    let conditions = Conditions {
        server_pid: common.server_pid,
        max_duration: (args.max_phase_seconds > 0.0)
            .then(|| Duration::from_secs_f64(args.max_phase_seconds)),
    };
    let mut reports = Vec::new();
    for phase in [set, get] {
        if phase.requests > 0 {
            let (report, returned) = phase::run(&phase, conditions, clients).await;
            clients = returned;
            reports.push(report);
        }
    }
    Ok(json!({
        "mode": "values",
        "label": common.label,
        "url": common.url,
        "values": common.nodes,
        "connections": args.connections,
        "generator_threads": common.threads,
        "load_average_before": load_before,
        "phases": reports,
    }))
}

/// Returns a number of three digits in base64.
pub(crate) fn three_digits_in_base64(number: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{number:03}");
    let bits = (text.bytes().take(3)).fold(0, |bits, byte| bits << 8 | usize::from(byte));
    [18, 12, 6, 0]
        .map(|shift| char::from(ALPHABET[bits >> shift & 63]))
        .iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::three_digits_in_base64;

    #[test]
    fn digits_are_encoded() {
        assert_eq!(three_digits_in_base64(100), "MTAw");
        assert_eq!(three_digits_in_base64(987), "OTg3");
    }
}
