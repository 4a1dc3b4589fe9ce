//! The action after a change of the files: a program, or a signal to the process of a PID file.

use std::{ffi::OsString, path::Path, time::Duration};

use cfgsync_support::bounded_file;
use rustix::process::{Pid, kill_process};
use tracing::{error, info};

use super::{
    hook::Hook,
    watch::{Action, WatchSettings},
};
use crate::cmd::{orphans::OwnChildren, signal_name::NamedSignal};

/// The longest time that the program may take.
const ACTION_TIMEOUT: Duration = Duration::from_mins(1);
/// Largest PID file, in bytes.
const PID_FILE_MAX_BYTES: u64 = 64;

/// Does the action. Its program gets the facts about the node. Returns whether it succeeded, or there is none.
pub(super) async fn act(
    settings: &WatchSettings,
    own: &OwnChildren,
    facts: &[(&'static str, OsString)],
) -> bool {
    let done = match &settings.action {
        Action::Nothing => return true,
        Action::Run(line) => {
            let hook = Hook {
                flag: "--on-change",
                line,
                timeout: ACTION_TIMEOUT,
                own,
                is_quiet: false,
            };
            let done = hook.run(facts).await;
            done.map(|()| info!("--on-change is done"))
                .map_err(|failure| failure.to_string())
        }
        Action::Signal { signal, pid_file } => send(*signal, pid_file),
    };
    if let Err(problem) = done {
        error!(
            event = "action_failed",
            "{problem}; the new files stay, and the action is not repeated before the next change or start"
        );
        return false;
    }
    true
}

fn send(NamedSignal { name, signal }: NamedSignal, pid_file: &Path) -> Result<(), String> {
    let path = pid_file.display();
    let failed =
        |problem: String| format!("cannot send SIG{name} to the process of {path}: {problem}");
    let text = bounded_file::read_text_without_waiting(pid_file, PID_FILE_MAX_BYTES)
        .map_err(|error| failed(error.to_string()))?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0);
    let pid = pid
        .and_then(Pid::from_raw)
        .ok_or_else(|| failed("the file does not contain a process id".to_owned()))?;
    kill_process(pid, signal).map_err(|errno| failed(std::io::Error::from(errno).to_string()))?;
    info!("sent SIG{name} to process {}", pid.as_raw_nonzero());
    Ok(())
}
