//! The `cfgsync` program: parses the command line, runs the command, reports how it ended.

mod cmd;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Must run before any thread starts.
    cmd::names::pin();
    match cmd::settings::parse() {
        Ok(cli) => {
            let reporter = cmd::report::Reporter::of(&cli);
            reporter.end(cmd::run(cli))
        }
        Err(error) => cmd::report::Reporter::of_arguments().end(Err(error)),
    }
}
