//! Wall time and peak resident memory of one short-lived process.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Wall time of each run, ascending, in milliseconds.
    pub(crate) wall_ms: Vec<f64>,
    /// Peak resident memory of all runs, in MiB.
    pub(crate) peak_rss_mib: f64,
}

/// Runs `command` and prints its cost as JSON. This implements `compare child`.
pub(crate) fn report(runs: usize, command: &[String]) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("no command")?;
    let mut wall_ms = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .with_context(|| format!("running {program}"))?;
        wall_ms.push(start.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(
            output.status.success(),
            "{program} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    wall_ms.sort_by(f64::total_cmp);
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    // Linux counts in KiB.
    let peak_rss_mib = usage.max_rss() as f64 / 1024.0;
    println!(
        "{}",
        serde_json::to_string(&Cost {
            wall_ms,
            peak_rss_mib
        })?
    );
    Ok(())
}

/// Measures the command in a new process, because the kernel keeps one memory peak for all children of a process.
pub(crate) fn cost(runs: usize, program: &Path, arguments: &[&str]) -> anyhow::Result<Cost> {
    let output = Command::new(std::env::current_exe()?)
        .args(["child", "--runs", &runs.to_string(), "--"])
        .arg(program)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "{} failed", program.display());
    Ok(serde_json::from_slice(&output.stdout)?)
}
