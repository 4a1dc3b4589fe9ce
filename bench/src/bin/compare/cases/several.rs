//! The cost of the store on etcd: cfgsync compared with itself on the memory store, and with etcd alone.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::Value;

use super::{
    CONNECTIONS, Case, MANY_NODES, Programs, Settings, Table, WAIT, all_released,
    cpu_us_per_request, finished_phase, number, run_storm,
};
use crate::{
    etcd::{Etcd, metric},
    server::Server,
    table::{Bound, median},
};

/// Number of connections that register concurrently, so that many registrations share an entry of the log.
const REGISTERING: &str = "256";

/// The numbers of transactions in flight at which etcd is measured alone.
const IN_FLIGHT: &str = "1,2,4,8,16";

/// The prefix of the keys, which has the cluster of all specs below it.
const LOG: &str = "/cfgsync/bench/log/";

/// A time in which the server looks once through its data in etcd.
const HOUSEKEEPING: Duration = Duration::from_secs(7);

/// The default quota of etcd, in bytes.
const QUOTA_BYTES: f64 = 2.0 * 1024.0 * 1024.0 * 1024.0;

pub(super) const ALL: [Case; 8] = [
    Case {
        name: "etcd-fetches",
        run: fetches,
    },
    Case {
        name: "etcd-registrations",
        run: registrations,
    },
    Case {
        name: "etcd-seal",
        run: seal,
    },
    Case {
        name: "etcd-two-servers",
        run: two_servers,
    },
    Case {
        name: "etcd-restart",
        run: restart,
    },
    Case {
        name: "etcd-10000",
        run: |p, _, t| growth(p, t, 10_000),
    },
    Case {
        name: "etcd-30000",
        run: |p, _, t| growth(p, t, 30_000),
    },
    Case {
        name: "etcd-100000",
        run: |p, _, t| growth(p, t, 100_000),
    },
];

/// Starts a server on `etcd`.
fn serve(programs: &Programs, etcd: &Etcd, nodes: usize) -> anyhow::Result<Server> {
    let flags = [&on(etcd)[..], &MANY_NODES].concat();
    programs.serve_with("ring", nodes, "", &flags)
}

fn on(etcd: &Etcd) -> [&str; 4] {
    ["--store", "etcd", "--etcd-endpoints", &etcd.url]
}

/// Compares fetches at a server on etcd with those at a server on the memory store.
fn fetches(programs: &Programs, settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let nodes = 1_000;
    // Single pairs differ by more than the bound allows.
    let pairs = settings.pairs.max(10);
    let rate = |server: &Server| -> anyhow::Result<f64> {
        let report = run_storm(programs, server, nodes, settings.fetches)?;
        number(finished_phase(&report, "fetch_random")?, "/requests_per_s")
    };
    let (mut ratios, mut etcd_rates, mut memory_rates) = (vec![], vec![], vec![]);
    for pair in 0..pairs {
        let on_etcd = || {
            let etcd = Etcd::start()?;
            rate(&serve(programs, &etcd, nodes)?)
        };
        let in_memory = || rate(&programs.serve("ring", nodes, "")?);
        let (etcd, memory) = if pair % 2 == 0 {
            let etcd = on_etcd()?;
            (etcd, in_memory()?)
        } else {
            let memory = in_memory()?;
            (on_etcd()?, memory)
        };
        ratios.push(etcd / memory);
        etcd_rates.push(etcd);
        memory_rates.push(memory);
    }
    let what = format!(
        "fetches on etcd: {:.0}/s; in memory: {:.0}/s; {pairs} pairs",
        median(etcd_rates),
        median(memory_rates)
    );
    table.single(what, "×", median(ratios), Bound::AtLeast(0.95));
    Ok(())
}

/// Compares registrations with the time in which etcd alone takes the same entries.
fn registrations(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
) -> anyhow::Result<()> {
    let nodes = 20_000;
    let (mut rates, mut alone, mut best, mut filled) = (vec![], vec![], vec![], vec![]);
    for _ in 0..settings.pairs {
        let etcd = Etcd::start()?;
        // The spec needs one node more than registers, so no render disturbs the measurement.
        let server = serve(programs, &etcd, nodes + 1)?;
        let report = register(programs, &server, nodes, "node-")?;
        let took_s = number(finished_phase(&report, "register")?, "/wall_s")?;
        let replay = ["--etcd", &etcd.url, "--log", LOG, "--in-flight", IN_FLIGHT];
        let replayed = programs.report("replay", &replay)?;
        drop(server);
        let walls = replayed["runs"].as_array().context("no runs")?;
        let walls = walls.iter().map(|run| number(run, "/wall_s"));
        let walls = walls.collect::<anyhow::Result<Vec<f64>>>()?;
        rates.push(nodes as f64 / took_s);
        alone.push(walls[0] / took_s);
        best.push(walls.iter().copied().fold(f64::INFINITY, f64::min) / took_s);
        filled.push(nodes as f64 / number(&replayed, "/entries")?);
    }
    let what = format!(
        "registrations on etcd over {REGISTERING} connections ({:.0}/s, {:.0} in an entry)",
        median(rates),
        median(filled)
    );
    table.single(
        format!("{what}, compared with etcd alone, one transaction at a time"),
        "×",
        median(alone),
        Bound::AtLeast(0.7),
    );
    table.single(
        format!("the same, with the best of {IN_FLIGHT} transactions in flight"),
        "×",
        median(best),
        Bound::None,
    );
    Ok(())
}

/// Registers nodes, and fetches nothing.
fn register(
    programs: &Programs,
    server: &Server,
    nodes: usize,
    id_prefix: &str,
) -> anyhow::Result<Value> {
    let flags = [
        "-c",
        REGISTERING,
        "--skip-fetch-all",
        "--id-prefix",
        id_prefix,
    ];
    programs.load(server, "storm", nodes, &flags)
}

/// Measures the time from the last registration to the payloads at three servers, less the render.
fn seal(programs: &Programs, settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let nodes = 1_000;
    let (mut samples, mut renders) = (vec![], vec![]);
    for _ in 0..settings.pairs {
        let etcd = Etcd::start()?;
        let servers = [
            serve(programs, &etcd, nodes)?,
            serve(programs, &etcd, nodes)?,
            serve(programs, &etcd, nodes)?,
        ];
        let also = ["--also", &servers[1].url, "--also", &servers[2].url];
        let flags = [&WAIT[..], &also].concat();
        let report = programs.load(&servers[0], "barrier", nodes, &flags)?;
        all_released(&report, nodes)?;
        let render_ms = servers
            .iter()
            .map(|server| Ok(metric(&server.url, "cfgsync_render_seconds_sum")? * 1e3));
        let render_ms: f64 = render_ms.sum::<anyhow::Result<f64>>()?;
        samples.push(number(&report, "/release_ms/max")? - render_ms);
        renders.push(render_ms);
    }
    let what = format!(
        "{nodes} nodes wait at three servers: from the answer to the last registration to the last payload, less a render of {:.1} ms",
        median(renders)
    );
    table.single(what, "ms", median(samples), Bound::AtMost(100.0));
    Ok(())
}

/// Compares the CPU time of two servers with that of one, for the same registrations and fetches.
fn two_servers(programs: &Programs, settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let nodes = 20_000;
    let half = nodes / 2;
    let (mut registrations, mut fetches) = (vec![], vec![]);
    for _ in 0..settings.pairs {
        let etcd = Etcd::start()?;
        // The last node registers later, so that no render is measured.
        let one = serve(programs, &etcd, nodes + 1)?;
        let before = one.cpu_s()?;
        register(programs, &one, nodes, "node-")?;
        let register_one = one.cpu_s()? - before;
        register(programs, &one, 1, "last-")?;
        let fetch_one = fetch_cpu_us(programs, &one, "node-", half, settings.fetches)?;
        drop(one);

        let etcd = Etcd::start()?;
        let one = serve(programs, &etcd, nodes + 1)?;
        let two = serve(programs, &etcd, nodes + 1)?;
        let before = one.cpu_s()? + two.cpu_s()?;
        thread::scope(|scope| -> anyhow::Result<()> {
            let other = scope.spawn(|| register(programs, &two, half, "other-"));
            register(programs, &one, half, "node-")?;
            other.join().expect("the thread does not panic")?;
            Ok(())
        })?;
        let register_two = one.cpu_s()? + two.cpu_s()? - before;
        register(programs, &one, 1, "last-")?;
        let each = settings.fetches / 2;
        let fetch_two = thread::scope(|scope| -> anyhow::Result<f64> {
            let other = scope.spawn(|| fetch_cpu_us(programs, &two, "other-", half, each));
            let own = fetch_cpu_us(programs, &one, "node-", half, each)?;
            Ok(f64::midpoint(
                own,
                other.join().expect("the thread does not panic")?,
            ))
        })?;
        registrations.push(register_two / register_one);
        fetches.push(fetch_two / fetch_one);
    }
    table.single(
        format!("CPU of two servers for {nodes} registrations, compared with one"),
        "×",
        median(registrations),
        Bound::AtMost(1.6),
    );
    table.single(
        "CPU of two servers for the same fetches, compared with one",
        "×",
        median(fetches),
        Bound::AtMost(1.1),
    );
    Ok(())
}

/// Returns the server's CPU time for a fetch, in µs.
fn fetch_cpu_us(
    programs: &Programs,
    server: &Server,
    id_prefix: &str,
    nodes: usize,
    fetches: usize,
) -> anyhow::Result<f64> {
    let fetches = fetches.to_string();
    let flags = [
        "-c",
        CONNECTIONS,
        "--skip-register",
        "--id-prefix",
        id_prefix,
    ];
    let flags = [&flags[..], &["--random-fetches", &fetches]].concat();
    let report = programs.load(server, "storm", nodes, &flags)?;
    cpu_us_per_request(finished_phase(&report, "fetch_random")?)
}

/// Measures the time from process start to a listening server with 10,000 sealed nodes in etcd.
fn restart(programs: &Programs, settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let nodes = 10_000;
    let etcd = Etcd::start()?;
    let mut server = serve(programs, &etcd, nodes)?;
    run_storm(programs, &server, nodes, 0)?;
    let mut samples = Vec::new();
    for _ in 0..settings.pairs {
        let start = Instant::now();
        server = programs.restart(server, &on(&etcd))?;
        samples.push(start.elapsed().as_secs_f64() * 1e3);
        // All payloads can be fetched without a new registration.
        let all = ["-c", CONNECTIONS, "--skip-register"];
        let report = programs.load(&server, "storm", nodes, &all)?;
        finished_phase(&report, "fetch_all")?;
    }
    let what = format!("a restart with {nodes} nodes sealed in etcd: until it listens and serves");
    table.single(what, "ms", median(samples), Bound::AtMost(1_000.0));
    Ok(())
}

/// Measures what a cluster costs on etcd: its time, the bytes in etcd, and the CPU time of the server. One run.
fn growth(programs: &Programs, table: &mut Table, nodes: usize) -> anyhow::Result<()> {
    let etcd = Etcd::start()?;
    let server = serve(programs, &etcd, nodes)?;
    let empty = etcd.metric("etcd_mvcc_db_total_size_in_use_in_bytes")?;
    let received = etcd.metric("etcd_network_client_grpc_received_bytes_total")?;
    let before = server.cpu_s()?;
    let start = Instant::now();
    let report = register(programs, &server, nodes, "node-")?;
    let register_s = number(finished_phase(&report, "register")?, "/wall_s")?;
    let ready = [
        "-c",
        CONNECTIONS,
        "--skip-register",
        "--ready-timeout",
        "120",
    ];
    let report = programs.load(&server, "storm", nodes, &ready)?;
    let ready_s = number(&report, "/ready_after_ms")? / 1e3;
    let total_s = start.elapsed().as_secs_f64();
    let each = |quantity: f64| quantity / nodes as f64;
    let cpu_us = each((server.cpu_s()? - before) * 1e6);
    // The housekeeper looks every 5 s. Its snapshots are to be counted.
    thread::sleep(HOUSEKEEPING);
    let stored = etcd.metric("etcd_mvcc_db_total_size_in_use_in_bytes")? - empty;
    let sent = etcd.metric("etcd_network_client_grpc_received_bytes_total")? - received;
    let what = format!("{nodes} nodes on etcd");
    table.single(
        format!(
            "{what}: registered ({register_s:.2} s), sealed ({ready_s:.2} s) and fetched over {CONNECTIONS} connections"
        ),
        "s",
        total_s,
        Bound::None,
    );
    table.single(
        format!("{what}: CPU of cfgsync for each"),
        "µs",
        cpu_us,
        Bound::None,
    );
    table.single(
        format!("{what}: bytes in the database of etcd for each, before a compaction"),
        "B",
        each(stored),
        Bound::None,
    );
    table.single(
        format!("{what}: bytes sent to etcd for each"),
        "B",
        each(sent),
        Bound::None,
    );
    table.single(
        format!("{what}: nodes at which the quota of 2 GiB is met, at this size for each"),
        "",
        QUOTA_BYTES / each(stored),
        Bound::None,
    );
    Ok(())
}
