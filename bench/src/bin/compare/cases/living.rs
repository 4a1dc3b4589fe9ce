//! The cost of a cluster that lives: event streams, nodes that follow, and phases.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;

use super::{
    Bound, Programs, Settings, Side, Table, WAIT, all_released, finished_phase, interleaved,
    number, run_storm,
};
use crate::table::median;

/// The largest memory of one idle watcher in KB.
const IDLE_MAX_KB: f64 = 20.0;

/// The time for which watchers are idle.
const IDLE_SECONDS: &str = "10";

/// A millisecond of CPU time for each second of an idle server. `/proc` counts in units of 10 ms.
const IDLE_CPU_MAX_MS: f64 = 1.0;

/// All simulated watchers use one address, so its limits are raised.
const WATCHERS: [&str; 4] = [
    "--watchers-max",
    "20000",
    "--watchers-per-address-max",
    "20000",
];

fn kb(kib: f64) -> f64 {
    kib * 1024.0 / 1000.0
}

/// Adds the memory and the CPU time of idle watchers.
fn idle_rows(table: &mut Table, what: &str, kib: Vec<f64>, cpu_s: Vec<f64>) {
    let memory = kb(median(kib));
    let row = format!("{what}: memory of one");
    table.single(row, "KB", memory, Bound::AtMost(IDLE_MAX_KB));
    let seconds: f64 = IDLE_SECONDS.parse().unwrap_or(1.0);
    let cpu = median(cpu_s) * 1e3 / seconds;
    let row = format!("{what}: CPU of all of them in one idle second");
    table.single(row, "ms", cpu, Bound::AtMost(IDLE_CPU_MAX_MS));
}

/// Measures idle event streams.
pub(super) fn watch(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
    streams: usize,
) -> anyhow::Result<()> {
    let (mut memory, mut cpu, mut to_all) = (vec![], vec![], vec![]);
    for _ in 0..settings.pairs {
        let server = programs.serve_with("ring", 1, "", &WATCHERS)?;
        let flags = ["--idle-seconds", IDLE_SECONDS, "--changes", "10"];
        let report = programs.load(&server, "watch", streams, &flags)?;
        memory.push(number(&report, "/server_kib_per_stream")?);
        cpu.push(number(&report, "/idle/server_cpu_s")?);
        to_all.push(number(&report, "/change_to_all_streams_ms/p50")?);
    }
    let what = format!("{streams} event streams");
    idle_rows(table, &what, memory, cpu);
    let row = format!("{what}: from a value to its event on all of them");
    table.single(row, "ms", median(to_all), Bound::None);
    Ok(())
}

/// Measures nodes that follow: their held requests, and the time from a value to the new files of all nodes, compared
/// with a barrier of the ceiling. The render and the writes of the store, for the value and for the seal, are subtracted,
/// because the ceiling has neither.
pub(super) fn follow(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
    nodes: usize,
    bound: Bound,
) -> anyhow::Result<()> {
    let state = ["--state-dir", "state"];
    let (mut memory, mut cpu) = (vec![], vec![]);
    let samples = interleaved(settings.pairs, |side, samples| {
        if side == Side::Ceiling {
            let server = programs.ceiling("ring", nodes)?;
            let report = programs.load(&server, "barrier", nodes, &WAIT)?;
            all_released(&report, nodes)?;
            samples.record(side, "p99", number(&report, "/release_from_send_ms/p99")?);
            return Ok(());
        }
        let server = programs.serve_with("living", nodes, "", &state)?;
        run_storm(programs, &server, nodes, 0)?;
        let flags = ["--idle-seconds", IDLE_SECONDS];
        let report = programs.load(&server, "follow", nodes, &flags)?;
        memory.push(number(&report, "/server_kib_per_request")?);
        cpu.push(number(&report, "/idle/server_cpu_s")?);
        samples.record(side, "p99", number(&report, "/p99_of_each_value_ms/p50")?);
        samples.record(side, "render", number(&report, "/render_ms")?);
        let write = number(&report, "/unread_value_ms/mean")?;
        samples.record(side, "sync", write + number(&report, "/seal_ms")?);
        Ok(())
    })?;
    let what = format!("{nodes} nodes that follow");
    idle_rows(table, &format!("{what}: held requests"), memory, cpu);
    let (ours, ceiling) = samples.medians("p99");
    let (render, _) = samples.medians("render");
    let (sync, _) = samples.medians("sync");
    let row = format!(
        "{what}: p99 from a value to each node, less a render of {render:.1} ms and writes of {sync:.1} ms"
    );
    let figure = (ours - render - sync) / ceiling;
    table.pair(row, "ms", (ours, ceiling), figure, bound);
    Ok(())
}

/// Measures the release of nodes that wait for a phase of all of them, compared with a barrier of the ceiling.
pub(super) fn phases(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
    nodes: usize,
) -> anyhow::Result<()> {
    let samples = interleaved(settings.pairs, |side, samples| {
        if side == Side::Ceiling {
            let server = programs.ceiling("ring", nodes)?;
            let report = programs.load(&server, "barrier", nodes, &WAIT)?;
            all_released(&report, nodes)?;
            samples.record(side, "p99", number(&report, "/release_from_send_ms/p99")?);
            return Ok(());
        }
        let server = programs.serve("ring", nodes, "")?;
        run_storm(programs, &server, nodes, 0)?;
        let report = programs.load(&server, "phases", nodes, &[])?;
        samples.record(side, "p99", number(&report, "/release_from_send_ms/p99")?);
        let reports = finished_phase(&report, "report")?;
        samples.record(side, "reports", number(reports, "/requests_per_s")?);
        Ok(())
    })?;
    let row = format!("phase of {nodes} nodes: p99 from the last report to each waiting node");
    samples.ratio(table, row, "ms", "p99", Bound::AtMost(2.0));
    let (rate, _) = samples.medians("reports");
    let row = format!("phase of {nodes} nodes: reports while all nodes wait");
    table.single(row, "/s", rate, Bound::None);
    Ok(())
}

/// Measures how long an event stream takes to catch up.
pub(super) fn resume(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
) -> anyhow::Result<()> {
    let events = 10_000;
    let mut samples = vec![];
    for _ in 0..settings.pairs {
        let server = programs.serve("ring", 1, "")?;
        let report = programs.load(&server, "resume", events, &[])?;
        samples.push(number(&report, "/resume_ms/p50")?);
    }
    let row = format!("an event stream that resumes {events} events behind");
    table.single(row, "ms", median(samples), Bound::AtMost(50.0));
    Ok(())
}

/// Measures the memory of `join --watch` beside its program.
pub(super) fn join_watch(
    programs: &Programs,
    settings: &Settings,
    table: &mut Table,
) -> anyhow::Result<()> {
    let (mut resident, mut peak) = (vec![], vec![]);
    for _ in 0..settings.pairs {
        let server = programs.serve("living", 1, "")?;
        let out = tempfile::tempdir()?;
        let mut join = Command::new(&programs.cfgsync);
        join.args(["join", "--server", &server.url, "--id", "node-1"])
            .args(["--ip", "10.0.0.1", "--meta", "port:=9000", "--watch"])
            .arg("--out-dir")
            .arg(out.path())
            .args(["--", "sh", "-c", "echo started; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut join = Following(join.spawn().context("starting join")?);
        let mut line = String::new();
        if let Some(stdout) = join.0.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        anyhow::ensure!(line == "started\n", "join did not start its program");
        // The file of the next generation shows that the node follows.
        let set = [
            "values",
            "set",
            "bench/app/read",
            "7",
            "--server",
            &server.url,
        ];
        programs.output_in(out.path(), &set)?;
        let file = out.path().join("config.yaml");
        let start = std::time::Instant::now();
        while !fs::read_to_string(&file)?.contains("read: 7") {
            anyhow::ensure!(start.elapsed().as_secs() < 10, "the file has not changed");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let status = fs::read_to_string(format!("/proc/{}/status", join.0.id()))?;
        let mib = |key: &str| -> anyhow::Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let kib: Option<f64> =
                line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            Ok(kib.with_context(|| format!("no {key}"))? / 1024.0)
        };
        resident.push(mib("VmRSS:")? * 1.048_576);
        peak.push(mib("VmHWM:")? * 1.048_576);
    }
    let row = "`join --watch` beside its program: resident";
    table.single(row, "MB", median(resident), Bound::AtMost(12.0));
    let row = "`join --watch` beside its program: peak resident";
    table.single(row, "MB", median(peak), Bound::None);
    Ok(())
}

/// A running `join`. Its program ends with its standard input, which is closed here.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
