//! Supervises a child process: forwards signals, kills it after a timeout, and collects its exit status.
//!
//! On a terminal, the child stays in the process group of this process, so that it can read the terminal and receives
//! Ctrl-C. Elsewhere it gets a process group of its own, and a kill ends the whole group.

use std::{
    io::{self, IsTerminal as _},
    process::ExitStatus,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep_until},
};

/// A running child process. Dropping the supervisor kills it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use std::time::Duration;
/// use cfgsync_client::supervisor::Supervisor;
///
/// let mut child = Supervisor::spawn(tokio::process::Command::new("true"), Duration::from_secs(10))?;
/// assert!(child.wait().await?.success());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Supervisor {
    child: Child,
    /// Whether the child leads a process group of its own.
    leads_group: bool,
    /// The process id that the child has or had.
    first_pid: Option<Pid>,
    kill_timeout: Duration,
    /// When the child is killed. `None` until it is asked to stop.
    kill_at: Option<Instant>,
}

/// The effect of [`Supervisor::stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopAction {
    /// The child received the signal.
    Forwarded,
    /// The child had received Ctrl-C from the terminal already.
    SentByTerminal,
    /// The child was killed, because it had been asked to stop before.
    Killed,
}

/// The result of [`Supervisor::wait_or_kill`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The child exited, or a signal ended it.
    Exited(ExitStatus),
    /// The kill timeout has passed and the child was killed. Wait again for its exit status.
    TimedOut,
}

impl Supervisor {
    /// Starts `command`. [`Supervisor::stop`] gives it `kill_timeout` to end.
    pub fn spawn(mut command: Command, kill_timeout: Duration) -> io::Result<Self> {
        let leads_group = !io::stdin().is_terminal();
        if leads_group {
            command.process_group(0);
        }
        let child = command.kill_on_drop(true).spawn()?;
        Ok(Self {
            first_pid: pid_of(&child),
            child,
            leads_group,
            kill_timeout,
            kill_at: None,
        })
    }

    /// Returns the process id. `None` after [`Supervisor::wait`] has returned the exit status.
    pub fn pid(&self) -> Option<Pid> {
        pid_of(&self.child)
    }

    /// Waits for the end of the child. Kills it if it was asked to stop and the kill timeout has passed.
    ///
    /// Dropping the future changes nothing.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Ended::Exited(status) = self.wait_or_kill().await? {
                return Ok(status);
            }
        }
    }

    /// Waits as [`Supervisor::wait`] does, but also returns when the child has been killed after the timeout.
    ///
    /// Dropping the future changes nothing.
    pub async fn wait_or_kill(&mut self) -> io::Result<Ended> {
        let kill_at = self.kill_at;
        let timed_out = async {
            match kill_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            status = self.child.wait() => status.map(Ended::Exited),
            () = timed_out => {
                self.kill_at = None;
                self.kill();
                Ok(Ended::TimedOut)
            }
        }
    }

    /// Asks the child to stop: forwards `signal` and starts the kill timeout. Kills it if it was asked before.
    pub fn stop(&mut self, signal: Signal) -> StopAction {
        if self.kill_at.is_some() {
            self.kill();
            return StopAction::Killed;
        }
        self.kill_at = Some(Instant::now() + self.kill_timeout);
        // In a shared group, the terminal has sent SIGINT to the child as well.
        if signal == Signal::INT && !self.leads_group {
            return StopAction::SentByTerminal;
        }
        self.forward(signal);
        StopAction::Forwarded
    }

    /// Sends `signal` to the child and starts the kill timeout, unless it was asked to stop before.
    pub fn terminate(&mut self, signal: Signal) {
        if self.kill_at.is_none() {
            self.kill_at = Some(Instant::now() + self.kill_timeout);
            self.forward(signal);
        }
    }

    /// Sends `signal` to the child, but not to the other processes of its group.
    pub fn forward(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // The child may have ended in the meantime.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills the processes that an ended child has left in a process group of its own, so that a new child can take its
    /// place, for example at the same port. Call it right after [`Supervisor::wait`].
    pub fn kill_rest(&self) {
        // While such a process is left, the kernel gives the number to no other group.
        if let Some(group) = self.first_pid.filter(|_| self.leads_group) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Kills the child, and its whole process group if it leads one.
    pub fn kill(&mut self) {
        // The process id cannot belong to another process: the child has not been waited for.
        if let Some(pid) = self.pid().filter(|_| self.leads_group) {
            let _ = kill_process_group(pid, Signal::KILL);
        } else {
            let _ = self.child.start_kill();
        }
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    let id = i32::try_from(child.id()?).ok()?;
    Pid::from_raw(id)
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use tokio::io::{AsyncBufReadExt as _, BufReader};

    use super::*;

    /// Starts a shell script, and waits until it has printed a line.
    async fn start(script: &str, kill_timeout: Duration) -> (Supervisor, String) {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .stdout(std::process::Stdio::piped());
        let mut supervisor = Supervisor::spawn(command, kill_timeout).unwrap();
        let stdout = supervisor.child.stdout.take().unwrap();
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await.unwrap();
        (supervisor, line.trim().to_owned())
    }

    #[tokio::test]
    async fn forwards_the_signal_and_returns_the_exit_code() {
        let script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done";
        let (mut child, _) = start(script, Duration::from_hours(1)).await;
        assert_eq!(child.stop(Signal::TERM), StopAction::Forwarded);
        assert_eq!(child.wait().await.unwrap().code(), Some(7));
        assert_eq!(child.pid(), None);
    }

    #[tokio::test]
    async fn kills_after_the_timeout_or_at_the_second_stop() {
        let script = "trap '' TERM; echo up; exec sleep 1000";
        let (mut child, _) = start(script, Duration::ZERO).await;
        child.stop(Signal::TERM);
        assert_eq!(child.wait_or_kill().await.unwrap(), Ended::TimedOut);
        assert_eq!(child.wait().await.unwrap().signal(), Some(9));

        let (mut child, _) = start(script, Duration::from_hours(1)).await;
        child.stop(Signal::TERM);
        assert_eq!(child.stop(Signal::TERM), StopAction::Killed);
        assert_eq!(child.wait().await.unwrap().signal(), Some(9));
    }

    #[tokio::test]
    async fn kill_ends_the_whole_group() {
        let script = "sleep 1000 & echo $!; wait";
        let (mut child, grandchild) = start(script, Duration::ZERO).await;
        if !child.leads_group {
            // The tests run on a terminal, where the group is shared.
            return;
        }
        let path = format!("/proc/{grandchild}/stat");
        assert!(std::fs::exists(&path).unwrap());
        child.kill();
        child.wait().await.unwrap();
        // Until its new parent collects it, a dead process is a zombie.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(&path).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(std::time::Instant::now() < deadline, "it still runs");
            tokio::task::yield_now().await;
        }
    }
}
