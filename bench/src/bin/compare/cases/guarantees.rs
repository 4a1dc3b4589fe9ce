//! The cost of durability, tokens and TLS: cfgsync compared with itself without them.

use std::time::Instant;

use serde_json::Value;

use super::{
    Bound, Programs, Settings, Table, cpu_us_per_request, finished_phase, number, run_storm,
};
use crate::{server::Server, table::median};

/// Number of connections that register concurrently, so that one disk sync covers many registrations.
const REGISTERING: &str = "256";

const STATE: [&str; 2] = ["--state-dir", "state"];

/// Compares registrations per second with a journal and with the memory store.
pub(super) fn durable(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
) -> anyhow::Result<()> {
    let nodes = 50_000;
    let rate = |flags: &[&str]| -> anyhow::Result<f64> {
        // The spec needs one node more than registers, so no render disturbs the measurement.
        let server = programs.serve_with("ring", nodes + 1, "", flags)?;
        let only = ["-c", REGISTERING, "--skip-fetch-all"];
        let report = programs.load(&server, "storm", nodes, &only)?;
        number(finished_phase(&report, "register")?, "/requests_per_s")
    };
    let (mut journal, mut memory) = (vec![], vec![]);
    for _ in 0..settings.pairs {
        journal.push(rate(&STATE)?);
        memory.push(rate(&[])?);
    }
    let (journal, memory) = (median(journal), median(memory));
    let what = format!(
        "durable registrations over {REGISTERING} connections: {}/s; in memory: {}/s",
        journal.round(),
        memory.round()
    );
    table.single(what, "×", journal / memory, Bound::AtLeast(0.5));
    Ok(())
}

/// Measures the time from process start to a listening server with 10,000 sealed nodes in its state directory.
pub(super) fn restart(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
) -> anyhow::Result<()> {
    let nodes = 10_000;
    let mut server = programs.serve_with("ring", nodes, "", &STATE)?;
    run_storm(programs, &server, nodes, 0)?;
    let mut samples = Vec::new();
    for _ in 0..settings.pairs {
        let start = Instant::now();
        server = programs.restart(server, &STATE)?;
        samples.push(start.elapsed().as_secs_f64() * 1e3);
        // Check durability: all payloads can be fetched without a new registration.
        let all = ["-c", super::CONNECTIONS, "--skip-register"];
        let report = programs.load(&server, "storm", nodes, &all)?;
        finished_phase(&report, "fetch_all")?;
    }
    let what = format!("a restart with {nodes} nodes sealed: until it listens and serves");
    table.single(what, "ms", median(samples), Bound::AtMost(200.0));
    Ok(())
}

/// Measures how much CPU time a token adds to a fetch.
pub(super) fn tokens(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
) -> anyhow::Result<()> {
    let nodes = 1_000;
    let directory = tempfile::tempdir()?;
    let new = ["token", "new", "--role", "node", "--append", "tokens"];
    let secret = programs.output_in(directory.path(), &new)?;
    let file = directory.path().join("tokens");
    let guarded = ["--tokens", file.to_str().unwrap_or_default()];
    let header = format!("Authorization: Bearer {secret}");
    let fetches = settings.fetches.to_string();
    let cpu = |flags: &[&str], header: &str| -> anyhow::Result<f64> {
        let server: Server = programs.serve_with("ring", nodes, "", flags)?;
        let flags = [
            "-c",
            super::CONNECTIONS,
            "--random-fetches",
            &fetches,
            "--header",
            header,
        ];
        let report = programs.load(&server, "storm", nodes, &flags)?;
        cpu_us_per_request(finished_phase(&report, "fetch_random")?)
    };
    let (mut with, mut without) = (vec![], vec![]);
    for _ in 0..settings.pairs {
        with.push(cpu(&guarded, &header)?);
        // A header of the same length that the server ignores.
        without.push(cpu(&[], &header.replace("Authorization", "X-Authorized0"))?);
    }
    let (with, without) = (median(with), median(without));
    let what = format!("CPU of a fetch with a token: {with:.1} µs; without: {without:.1} µs");
    table.single(what, "×", with / without, Bound::AtMost(1.05));
    Ok(())
}

/// Measures the cost of TLS on keep-alive connections, and the server's memory for a node that waits over TLS.
pub(super) fn tls(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
) -> anyhow::Result<()> {
    let nodes = 1_000;
    let fetches = settings.fetches.to_string();
    let run = |tls: bool, mode: &str, flags: &[&str]| -> anyhow::Result<Value> {
        let own_key = ["--tls", "self-signed", STATE[0], STATE[1]];
        let serve: &[&str] = if tls { &own_key } else { &[] };
        let mut server = programs.serve_with("ring", nodes, "", serve)?;
        let mut flags = flags.to_vec();
        let authority = server.file("state/tls-self-signed.pem")?;
        if tls {
            server.url = server.url.replacen("http:", "https:", 1);
            flags.extend(["--ca-file", &authority]);
        }
        programs.load(&server, mode, nodes, &flags)
    };
    let storm = ["-c", super::CONNECTIONS, "--random-fetches", &fetches];
    let rate = |tls| -> anyhow::Result<f64> {
        let report = run(tls, "storm", &storm)?;
        number(finished_phase(&report, "fetch_random")?, "/requests_per_s")
    };
    let (mut over_tls, mut plain, mut waiter) = (vec![], vec![], vec![]);
    for _ in 0..settings.pairs {
        over_tls.push(rate(true)?);
        plain.push(rate(false)?);
        let report = run(true, "barrier", &super::WAIT)?;
        let idle = number(&report, "/server_rss_idle_mib")?;
        let waiting = number(&report, "/cost_before_release/server_rss_mib")?;
        waiter.push((waiting - idle) * f64::from(1 << 20) / 1e3 / nodes as f64);
    }
    let (over_tls, plain) = (median(over_tls), median(plain));
    let what = format!(
        "fetches over TLS on kept connections: {}/s; plain: {}/s",
        over_tls.round(),
        plain.round()
    );
    table.single(what, "×", over_tls / plain, Bound::AtLeast(0.8));
    let what = "memory of a waiter over TLS";
    table.single(what, "KB", median(waiter), Bound::AtMost(30.0));
    Ok(())
}
