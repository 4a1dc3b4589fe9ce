//! The benchmark of `make bench`: runs `cfgsync serve` and the reference server `ceiling` alternately.
//!
//! Machines differ and are noisy. Therefore figures are ratios of medians over interleaved pairs, and
//! the table shows the server's CPU time per request beside the rates. The table goes to standard
//! output, progress and failures to standard error. The exit code is 0 if all cases could be measured,
//! whether or not a bound was met: on a busy machine, a person must judge that.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program prints a table"
)]

mod cases;
mod child;
mod etcd;
mod server;
mod table;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::{server::Programs, table::Table};

#[derive(Parser)]
#[command(version, about = "Compare cfgsync with the ceiling of its protocol")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(clap::Args, Clone)]
struct Settings {
    /// The release binary to measure (default: `cfgsync` beside this program).
    #[arg(long)]
    cfgsync: Option<PathBuf>,
    /// Pairs of runs whose medians are compared.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Random fetches of each `storm` run.
    #[arg(long, default_value_t = 200_000)]
    fetches: usize,
    /// Run only these cases. Progress output shows the names.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a command several times; print its wall time and peak memory as JSON.
    ///
    /// This is a separate process, because the kernel keeps one memory peak for all children of a process.
    Child {
        #[arg(long, default_value_t = 1)]
        runs: usize,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Command::Child { runs, command }) => child::report(runs, &command),
        None => compare(&cli.settings),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(settings: &Settings) -> anyhow::Result<()> {
    let programs = Programs::find(settings.cfgsync.clone())?;
    let mut table = Table::default();
    let chosen: Vec<_> = cases::all()
        .filter(|case| settings.only.is_empty() || settings.only.iter().any(|o| o == case.name))
        .collect();
    anyhow::ensure!(
        !chosen.is_empty(),
        "no such case; the cases are: {}",
        cases::all()
            .map(|case| case.name)
            .collect::<Vec<_>>()
            .join(", ")
    );
    for case in chosen {
        eprint!("{:<16}", case.name);
        let start = Instant::now();
        table.begin(case.name);
        (case.run)(&programs, settings, &mut table).with_context(|| case.name)?;
        eprintln!(" {:>6.1} s", start.elapsed().as_secs_f64());
    }
    println!("{}", table.markdown(settings.pairs, settings.fetches));
    Ok(())
}
