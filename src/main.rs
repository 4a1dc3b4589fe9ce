//! The `cfgsync` program: parse → dispatch → report. Nothing else.

mod cmd;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any thread starts.
    cmd::names::pin();
    match cmd::settings::parse() {
        Ok(cli) => {
            let voice = cmd::report::Reporter::of(&cli.command);
            voice.end(cmd::run(cli))
        }
        Err(error) => cmd::report::Reporter::guessed().end(Err(error)),
    }
}
