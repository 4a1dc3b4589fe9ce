//! The benchmark cases: the rows of the table and their bounds.

mod guarantees;
mod living;
mod several;
mod values;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use serde_json::Value;

use crate::{
    Settings, child,
    server::{Programs, Server},
    table::{Bound, Table, median},
};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Programs, &Settings, &mut Table) -> anyhow::Result<()>,
}

/// Returns all cases, in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    ALL.iter().chain(&several::ALL)
}

const ALL: [Case; 26] = [
    Case {
        name: "storm-1000",
        run: |p, s, t| storm(p, s, t, 1_000),
    },
    Case {
        name: "storm-10000",
        run: |p, s, t| storm(p, s, t, 10_000),
    },
    Case {
        name: "barrier-1000",
        run: |p, s, t| barrier(p, s, t, 1_000),
    },
    Case {
        name: "barrier-10000",
        run: |p, s, t| barrier(p, s, t, 10_000),
    },
    Case {
        name: "mesh",
        run: mesh,
    },
    Case {
        name: "release-3000",
        run: |p, s, t| release(p, s, t, 3_000),
    },
    Case {
        name: "release-10000",
        run: |p, s, t| release(p, s, t, 10_000),
    },
    Case {
        name: "render-10000",
        run: |p, s, t| render(p, s, t, 10_000, 120.0),
    },
    Case {
        name: "render-100000",
        run: |p, s, t| render(p, s, t, 100_000, 1_500.0),
    },
    Case {
        name: "crowd-100000",
        run: |p, s, t| crowd(p, s, t, 100_000, 6.0, 300.0),
    },
    Case {
        name: "crowd-1000000",
        run: |p, s, t| crowd(p, s, t, 1_000_000, 75.0, 3_500.0),
    },
    Case {
        name: "shared",
        run: shared,
    },
    Case {
        name: "poll",
        run: poll,
    },
    Case {
        name: "start",
        run: start,
    },
    Case {
        name: "durable",
        run: guarantees::durable,
    },
    Case {
        name: "restart",
        run: guarantees::restart,
    },
    Case {
        name: "tokens",
        run: guarantees::tokens,
    },
    Case {
        name: "tls",
        run: guarantees::tls,
    },
    Case {
        name: "value-reads",
        run: values::reads,
    },
    Case {
        name: "value-writes",
        run: values::writes,
    },
    Case {
        name: "watch",
        run: |p, s, t| living::watch(p, s, t, 10_000),
    },
    Case {
        name: "follow-1000",
        run: |p, s, t| living::follow(p, s, t, 1_000, Bound::AtMost(1.5)),
    },
    Case {
        name: "follow-10000",
        run: |p, s, t| living::follow(p, s, t, 10_000, Bound::None),
    },
    Case {
        name: "phases",
        run: |p, s, t| living::phases(p, s, t, 10_000),
    },
    Case {
        name: "resume",
        run: living::resume,
    },
    Case {
        name: "join-watch",
        run: living::join_watch,
    },
];

/// Number of connections of a `storm` run.
const CONNECTIONS: &str = "64";

/// Number of runs of a short-lived process. The table shows their median.
const CHILD_RUNS: usize = 51;

const WAIT: [&str; 4] = ["--wait-header", "Prefer: wait=60", "--poll", "0"];

/// Measures fetches and registrations per second with the `ring` spec, whose files have half a kilobyte.
fn storm(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
    nodes: usize,
) -> anyhow::Result<()> {
    let samples = interleaved(settings.pairs, |side, samples| {
        let server = side.start(programs, "ring", nodes)?;
        let report = run_storm(programs, &server, nodes, settings.fetches)?;
        for (phase, rate, cpu) in [
            ("register", "register", "register cpu"),
            ("fetch_random", "fetch", "fetch cpu"),
        ] {
            let phase = finished_phase(&report, phase)?;
            samples.record(side, rate, number(phase, "/requests_per_s")?);
            samples.record(side, cpu, cpu_us_per_request(phase)?);
        }
        let last = finished_phase(&report, "fetch_random")?;
        samples.record(side, "rss", number(last, "/cost/server_rss_mib")?);
        Ok(())
    })?;
    let ring = format!("ring, {nodes} nodes");
    samples.ratio(
        table,
        format!("{ring}: fetches"),
        "/s",
        "fetch",
        Bound::AtLeast(0.9),
    );
    samples.ratio(
        table,
        format!("{ring}: CPU of a fetch"),
        "µs",
        "fetch cpu",
        Bound::None,
    );
    // With fewer nodes, this phase is too short for a meaningful result.
    if nodes >= 10_000 {
        let (rate, cpu) = (
            format!("{ring}: registrations"),
            format!("{ring}: CPU of one"),
        );
        samples.ratio(table, rate, "/s", "register", Bound::AtLeast(0.8));
        samples.ratio(table, cpu, "µs", "register cpu", Bound::None);
    }
    samples.ratio(
        table,
        format!("{ring}: resident"),
        "MiB",
        "rss",
        Bound::None,
    );
    Ok(())
}

/// Measures the time from the last registration until all nodes, each waiting on an open request, have their payload.
fn barrier(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
    nodes: usize,
) -> anyhow::Result<()> {
    let samples = interleaved(settings.pairs, |side, samples| {
        let server = side.start(programs, "ring", nodes)?;
        let report = programs.load(&server, "barrier", nodes, &WAIT)?;
        all_released(&report, nodes)?;
        samples.record(side, "p99", number(&report, "/release_from_send_ms/p99")?);
        samples.record(side, "requests", number(&report, "/requests_per_client")?);
        let idle = number(&report, "/server_rss_idle_mib")?;
        let waiting = number(&report, "/cost_before_release/server_rss_mib")?;
        samples.record(side, "waiter", (waiting - idle) * 1024.0 / nodes as f64);
        Ok(())
    })?;
    let what = format!("barrier, {nodes} nodes");
    samples.ratio(
        table,
        format!("{what}: p99 from last registration to payload, the render included"),
        "ms",
        "p99",
        Bound::AtMost(1.5),
    );
    let most = samples
        .of(Side::Cfgsync, "requests")
        .iter()
        .copied()
        .fold(0.0, f64::max);
    table.single(
        format!("{what}: requests of a node"),
        "",
        most,
        Bound::AtMost(2.0),
    );
    let (ours, ceiling) = samples.medians("waiter");
    table.pair(
        format!("{what}: memory of a waiter, above the ceiling's"),
        "KiB",
        (ours, ceiling),
        ours - ceiling,
        Bound::AtMost(6.0),
    );
    Ok(())
}

/// Measures fetches and the server's memory when each node gets the list of all nodes.
fn mesh(programs: &Programs, settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let nodes = 3_000;
    let samples = interleaved(settings.pairs, |side, samples| {
        let server = side.start(programs, "mesh", nodes)?;
        let report = run_storm(programs, &server, nodes, settings.fetches)?;
        let phase = finished_phase(&report, "fetch_random")?;
        samples.record(side, "fetch", number(phase, "/requests_per_s")?);
        samples.record(side, "fetch cpu", cpu_us_per_request(phase)?);
        samples.record(side, "rss", number(phase, "/cost/server_rss_peak_mib")?);
        Ok(())
    })?;
    let what = format!("mesh, {nodes} nodes");
    samples.ratio(
        table,
        format!("{what}: fetches"),
        "/s",
        "fetch",
        Bound::AtLeast(0.7),
    );
    samples.ratio(
        table,
        format!("{what}: CPU of a fetch"),
        "µs",
        "fetch cpu",
        Bound::None,
    );
    let (ours, _) = samples.medians("rss");
    table.single(
        format!("{what}: peak resident"),
        "MiB",
        ours,
        Bound::AtMost(60.0),
    );
    Ok(())
}

/// Compares the release of a mesh's payloads to all waiting sockets at once with the same bytes over a few connections.
fn release(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
    nodes: usize,
) -> anyhow::Result<()> {
    let mut samples = Samples::default();
    for _ in 0..settings.pairs {
        let server = Side::Cfgsync.start(programs, "mesh", nodes)?;
        let report = run_storm(programs, &server, nodes, 0)?;
        let few_ms = number(finished_phase(&report, "fetch_all")?, "/wall_s")? * 1e3;
        let render_ms = number(&report, "/ready_after_ms")?;
        drop(server);
        let server = Side::Cfgsync.start(programs, "mesh", nodes)?;
        let report = programs.load(&server, "barrier", nodes, &WAIT)?;
        all_released(&report, nodes)?;
        let all_ms = number(&report, "/release_from_send_ms/max")? - render_ms;
        samples.record(Side::Cfgsync, "few", few_ms);
        samples.record(Side::Cfgsync, "all", all_ms);
    }
    let all = median(samples.of(Side::Cfgsync, "all").to_vec());
    let few = median(samples.of(Side::Cfgsync, "few").to_vec());
    let what = format!(
        "mesh, {nodes} payloads to as many waiting sockets: {} ms; over {CONNECTIONS} connections: {} ms",
        all.round(),
        few.round()
    );
    table.single(what, "×", all / few, Bound::AtMost(2.0));
    Ok(())
}

/// Flags for a server of more nodes than the default limits allow.
const MANY_NODES: [&str; 4] = ["--nodes-max", "2000000", "--metadata-total-max", "4GiB"];

/// Measures the render of a 30-line template for all nodes, as the time until the first payload is served.
fn render(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
    nodes: usize,
    bound_ms: f64,
) -> anyhow::Result<()> {
    let mut samples = Vec::new();
    for _ in 0..settings.pairs {
        let server = programs.serve_with("service", nodes, "", &MANY_NODES)?;
        let report = run_storm(programs, &server, nodes, 0)?;
        samples.push(number(&report, "/ready_after_ms")?);
    }
    let what = format!("render and seal {nodes} nodes of a 30-line template");
    table.single(what, "ms", median(samples), Bound::AtMost(bound_ms));
    Ok(())
}

/// Measures a large cluster from the first registration to the last payload, and the server's memory for it. One run:
/// it takes long enough to be steady.
fn crowd(
    programs: &Programs,
    _: &Settings,
    table: &mut Table,
    nodes: usize,
    bound_s: f64,
    bound_mb: f64,
) -> anyhow::Result<()> {
    let server = programs.serve_with("ring", nodes, "", &MANY_NODES)?;
    let report = run_storm(programs, &server, nodes, 0)?;
    let register = finished_phase(&report, "register")?;
    let fetch = finished_phase(&report, "fetch_all")?;
    let total_s = number(register, "/wall_s")?
        + number(&report, "/ready_after_ms")? / 1e3
        + number(fetch, "/wall_s")?;
    let peak_mb = number(fetch, "/cost/server_rss_peak_mib")? * f64::from(1 << 20) / 1e6;
    let what = format!("{nodes} nodes over {CONNECTIONS} connections");
    table.single(
        format!("{what}: registered, sealed and fetched"),
        "s",
        total_s,
        Bound::AtMost(bound_s),
    );
    table.single(
        format!("{what}: peak resident"),
        "MB",
        peak_mb,
        Bound::AtMost(bound_mb),
    );
    Ok(())
}

/// Measures how much memory a shared file of 1 MiB adds to the server after 1,000 nodes have fetched it.
fn shared(programs: &Programs, settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let nodes = 1_000;
    let megabyte = "0123456789abcde\n".repeat((1 << 20) / 16);
    let resident = |text: &str| -> anyhow::Result<f64> {
        let server = programs.serve("shared", nodes, text)?;
        let report = run_storm(programs, &server, nodes, 0)?;
        number(
            finished_phase(&report, "fetch_all")?,
            "/cost/server_rss_mib",
        )
    };
    let mut samples = Vec::new();
    for _ in 0..settings.pairs {
        samples.push(resident(&megabyte)? - resident("small\n")?);
    }
    let what = format!("a shared file of 1 MiB, {nodes} nodes: memory it adds");
    table.single(what, "MiB", median(samples), Bound::AtMost(3.0));
    Ok(())
}

/// Measures the release of 10,000 legacy clients, which poll every 250 ms.
fn poll(programs: &Programs, settings: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let nodes = 10_000;
    let samples = interleaved(settings.pairs, |side, samples| {
        let server = side.start(programs, "ring", nodes)?;
        let report = programs.load(&server, "barrier", nodes, &["--poll", "250"])?;
        all_released(&report, nodes)?;
        samples.record(
            side,
            "last",
            number(&report, "/release_from_send_ms/max")? / 1e3,
        );
        Ok(())
    })?;
    let (ours, ceiling) = samples.medians("last");
    let what = format!("{nodes} nodes polling every 250 ms: all released after");
    table.pair(what, "s", (ours, ceiling), ours, Bound::AtMost(5.0));
    Ok(())
}

/// Measures the cold start of a node: the program itself, a join at a ready server, and the size of the binary.
fn start(programs: &Programs, _: &Settings, table: &mut Table) -> anyhow::Result<()> {
    let version = child::cost(CHILD_RUNS, &programs.cfgsync, &["--version"])?;
    table.single(
        "`cfgsync --version`",
        "ms",
        median(version.wall_ms),
        Bound::AtMost(5.0),
    );

    let server = programs.serve("ring", 1, "")?;
    // Write to memory instead of a disk where possible.
    let memory = Path::new("/dev/shm");
    let out = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }?;
    let out_dir = out
        .path()
        .to_str()
        .context("path of the output directory")?;
    let join = [
        "join",
        "--server",
        &server.url,
        "--id",
        "node-1",
        "--ip",
        "10.0.0.1",
        "--meta",
        "port:=9000",
        "--out-dir",
        out_dir,
    ];
    // The first join completes the cluster, so the measured ones find it ready. Each of these starts
    // without the file, so that it writes the file again.
    child::cost(1, &programs.cfgsync, &join)?;
    let (mut wall_ms, mut peak) = (Vec::new(), 0.0_f64);
    for _ in 0..CHILD_RUNS {
        fs::remove_file(out.path().join("config.yaml")).context("join wrote no config.yaml")?;
        let cost = child::cost(1, &programs.cfgsync, &join)?;
        wall_ms.extend(cost.wall_ms);
        peak = peak.max(cost.peak_rss_mib);
    }
    table.single(
        "`join` to a ready server",
        "ms",
        median(wall_ms),
        Bound::AtMost(5.0),
    );
    table.single("`join`: peak resident", "MiB", peak, Bound::AtMost(12.0));

    let size = fs::metadata(&programs.cfgsync)?.len() as f64 / 1e6;
    table.single("the binary", "MB", size, Bound::AtMost(20.0));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Cfgsync,
    Ceiling,
}

impl Side {
    /// Starts this server. Specs have the same names as the shapes of the ceiling.
    fn start(self, programs: &Programs, shape: &str, nodes: usize) -> anyhow::Result<Server> {
        match self {
            Self::Cfgsync => programs.serve(shape, nodes, ""),
            Self::Ceiling => programs.ceiling(shape, nodes),
        }
    }
}

/// Measured values by server and quantity.
#[derive(Default)]
struct Samples(BTreeMap<(Side, &'static str), Vec<f64>>);

impl Samples {
    fn record(&mut self, side: Side, what: &'static str, value: f64) {
        self.0.entry((side, what)).or_default().push(value);
    }

    fn of(&self, side: Side, what: &'static str) -> &[f64] {
        self.0.get(&(side, what)).map_or(&[], Vec::as_slice)
    }

    fn medians(&self, what: &'static str) -> (f64, f64) {
        let of = |side| median(self.of(side, what).to_vec());
        (of(Side::Cfgsync), of(Side::Ceiling))
    }

    fn ratio(
        &self,
        table: &mut Table,
        title: String,
        unit: &str,
        what: &'static str,
        bound: Bound,
    ) {
        let (ours, ceiling) = self.medians(what);
        table.pair(title, unit, (ours, ceiling), ours / ceiling, bound);
    }
}

/// Runs both servers alternately and swaps their order in each pair, so that a drift of the machine affects both.
fn interleaved(
    pairs: usize,
    mut run: impl FnMut(Side, &mut Samples) -> anyhow::Result<()>,
) -> anyhow::Result<Samples> {
    let mut samples = Samples::default();
    for pair in 0..pairs {
        let mut order = [Side::Cfgsync, Side::Ceiling];
        order.rotate_left(pair % 2);
        for side in order {
            run(side, &mut samples)?;
        }
    }
    Ok(samples)
}

fn run_storm(
    programs: &Programs,
    server: &Server,
    nodes: usize,
    fetches: usize,
) -> anyhow::Result<Value> {
    let fetches = fetches.to_string();
    programs.load(
        server,
        "storm",
        nodes,
        &["-c", CONNECTIONS, "--random-fetches", &fetches],
    )
}

/// Returns a phase of a storm run. Fails unless each request of the phase succeeded.
fn finished_phase<'a>(report: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    let phase = report["phases"]
        .as_array()
        .and_then(|phases| phases.iter().find(|phase| phase["phase"] == name))
        .with_context(|| format!("no phase {name}"))?;
    let clean = |key: &str| {
        phase[key]
            .as_object()
            .is_some_and(serde_json::Map::is_empty)
    };
    let success = phase["status"]
        .as_object()
        .is_some_and(|status| status.keys().all(|code| code.starts_with('2')));
    anyhow::ensure!(
        success && clean("failures") && phase["truncated"] == false,
        "not all requests of {name} succeeded: {} {}",
        phase["status"],
        phase["failures"]
    );
    Ok(phase)
}

fn all_released(report: &Value, nodes: usize) -> anyhow::Result<()> {
    anyhow::ensure!(
        report["released"] == nodes,
        "{} of {nodes} nodes were released: {}",
        report["released"],
        report["status"]
    );
    Ok(())
}

fn cpu_us_per_request(phase: &Value) -> anyhow::Result<f64> {
    Ok(number(phase, "/cost/server_cpu_s")? * 1e6 / number(phase, "/requests")?)
}

fn number(report: &Value, pointer: &str) -> anyhow::Result<f64> {
    report
        .pointer(pointer)
        .and_then(Value::as_f64)
        .with_context(|| format!("no figure {pointer} in the report"))
}
