//! Runs cfgsync as a process, in a temporary directory with a spec.
//!
//! Each wait has an upper bound. Processes that a test leaves running are killed.

use std::{
    fs,
    io::{Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, FileType, Mode},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cfgsync");

/// Upper bound of one wait. No operation under test takes nearly as long.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A spec that is ready with two nodes.
pub(crate) const SPEC: &str = "\
cfgsync: 1
cluster: devnet
metadata:
  port: { type: integer, default: 9000 }
ready:
  nodes: 2
once:
  cookie: random_hex(8)
materializers:
  - kind: template
    files:
      - path: /config.yaml
        template: |
          id: {{ node.identifier | tojson }}
          port: {{ node.metadata.port }}
      - path: cookie
        shared: true
        template: \"{{ once.cookie }}\\n\"
";

/// A temporary directory with a spec. Commands run in it with a clean environment.
pub(crate) struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let sandbox = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        sandbox.put("cluster.yaml", SPEC);
        sandbox
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Creates a named pipe. Opening it for reading blocks until another process opens it for writing.
    pub(crate) fn pipe(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.path().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_under(&[], arguments)
    }

    /// Like [`Self::command`], but started by `wrapper`.
    pub(crate) fn command_under(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let all = [wrapper, &[PROGRAM], arguments].concat();
        let mut command = Command::new(all[0]);
        command
            .args(&all[1..])
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs cfgsync and waits for its end.
    pub(crate) fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        command.output().unwrap()
    }

    /// Runs cfgsync and returns a terminal transcript for a snapshot: command line, output and exit code.
    pub(crate) fn transcript(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let output = self.run(arguments, variables);
        let mut transcript = String::from("$ ");
        for (name, value) in variables {
            transcript.push_str(&format!("{name}={value:?} "));
        }
        transcript.push_str(&format!("cfgsync {}\n", arguments.join(" ")));
        transcript.push_str(&text(&output.stdout));
        transcript.push_str(&text(&output.stderr));
        transcript.push_str(&format!("[exit {}]\n", code(&output)));
        transcript.replace(&self.path().display().to_string(), "[DIR]")
    }

    /// Starts cfgsync.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        Process::start(self.command(arguments))
    }

    /// Starts `serve` on a free port and returns once it listens.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Server {
        let first = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
        Server::from_process(self.start(&[&first, arguments].concat()))
    }

    /// Starts `join` for `identifier`, which writes to a directory of that name.
    pub(crate) fn join(&self, url: &str, identifier: &str, arguments: &[&str]) -> Process {
        self.start(&[&join(url, identifier)[..], arguments].concat())
    }

    /// Returns the identifiers that are registered at the server.
    pub(crate) fn registered(&self, url: &str) -> Vec<String> {
        let output = self.run(&["inspect", "--server", url, "-o", "json"], &[]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        let body: cfgsync_wire::ClusterBody = serde_json::from_slice(&output.stdout).unwrap();
        let nodes = body.registrations.iter();
        nodes.map(|node| node.identifier.to_string()).collect()
    }
}

/// Returns the command that starts another one in new namespaces of these kinds.
pub(crate) fn namespace(kinds: &[&'static str]) -> Vec<&'static str> {
    let privileged = [&["unshare"], kinds].concat();
    let unprivileged = [&privileged[..], &["--user", "--map-root-user"]].concat();
    let works = |wrapper: &[&str]| {
        let mut trial = Command::new(wrapper[0]);
        trial.args(&wrapper[1..]).arg("true").stderr(Stdio::null());
        trial.status().is_ok_and(|status| status.success())
    };
    let mut wrappers = [privileged, unprivileged].into_iter();
    wrappers
        .find(|wrapper| works(wrapper))
        .expect("this test needs `unshare` (util-linux), and root or unprivileged user namespaces")
}

/// Returns the arguments of a `join` that writes to a directory named after the node.
pub(crate) fn join<'a>(url: &'a str, identifier: &'a str) -> [&'a str; 9] {
    [
        "join",
        "--server",
        url,
        "--id",
        identifier,
        "--ip",
        "10.0.0.1",
        "--out-dir",
        identifier,
    ]
}

/// A running process and its log (standard error).
pub(crate) struct Process {
    child: Child,
    /// Log lines that no call of [`Self::log_until`] has returned yet.
    pending: String,
    /// The complete log, for failure messages.
    log: String,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        Self {
            child,
            pending: String::new(),
            log: String::new(),
        }
    }

    /// Waits for the next log line that contains `words`. Earlier lines stay available to later calls.
    pub(crate) fn log_until(&mut self, words: &str) -> String {
        self.log_until_any(&[words])
    }

    /// Like [`Self::log_until`], for a line that contains one of several texts.
    pub(crate) fn log_until_any(&mut self, words: &[&str]) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let mut lines = self.pending.split_inclusive('\n');
            let found = lines.find(|line| {
                line.ends_with('\n') && words.iter().any(|words| line.contains(words))
            });
            if let Some(line) = found.map(str::to_owned) {
                self.pending = self.pending.replacen(&line, "", 1);
                return line;
            }
            let stderr = self.child.stderr.as_ref().unwrap().as_fd();
            let ready = wait_for(&mut [PollFd::new(&stderr, PollFlags::IN)], deadline);
            assert!(
                ready && self.read(),
                "no {words:?} in the log:\n{}",
                self.log
            );
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the end of the process. Returns the exit code as a shell reports it, and the complete log.
    pub(crate) fn end(mut self) -> (i32, String) {
        let deadline = Instant::now() + TIMEOUT;
        let ended = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        // The process may write until it ends, and its children may keep the log open longer.
        let mut open = true;
        loop {
            let stderr = self.child.stderr.as_ref().unwrap().as_fd();
            let mut both = [
                PollFd::new(&ended, PollFlags::IN),
                PollFd::new(&stderr, PollFlags::IN),
            ];
            let fds = if open { &mut both[..] } else { &mut both[..1] };
            assert!(
                wait_for(fds, deadline),
                "the process does not end:\n{}",
                self.log
            );
            let [ended, readable] = both.map(|fd| !fd.revents().is_empty());
            if readable {
                open = self.read();
            } else if ended {
                break;
            }
        }
        let status = self.child.wait().unwrap();
        (exit_code(status), std::mem::take(&mut self.log))
    }

    /// Reads available log bytes. Returns `false` at the end of the log.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = self.child.stderr.as_mut().unwrap().read(&mut buffer);
        let text = String::from_utf8_lossy(&buffer[..read.unwrap()]);
        self.pending.push_str(&text);
        self.log.push_str(&text);
        !text.is_empty()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns whether one of `fds` becomes ready before `deadline`.
fn wait_for(fds: &mut [PollFd<'_>], deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).unwrap();
    poll(fds, Some(&left)).unwrap() > 0
}

/// Waits until a process has ended. Kills it, and returns `false`, if that takes too long.
pub(crate) fn has_ended(pid: Pid) -> bool {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let ended = &mut [PollFd::new(&process, PollFlags::IN)];
    let has_ended = wait_for(ended, Instant::now() + TIMEOUT);
    if !has_ended {
        kill_process(pid, Signal::KILL).unwrap();
    }
    has_ended
}

/// A `serve` process and its URL.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) url: String,
}

impl Server {
    /// Waits until `process` listens.
    pub(crate) fn from_process(mut process: Process) -> Self {
        let line = process.log_until("serving devnet on ");
        let url = line.trim_end().rsplit(' ').next().unwrap().to_owned();
        Self { process, url }
    }

    pub(crate) fn log_until(&mut self, words: &str) -> String {
        self.process.log_until(words)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for the end of the server and returns its exit code.
    pub(crate) fn end(self) -> i32 {
        self.process.end().0
    }

    pub(crate) fn register(&self, identifier: &str) {
        let body = format!("{{\"identifier\":\"{identifier}\",\"ip\":\"10.0.0.1\"}}");
        let answer = self.send(&format!(
            "POST /register HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert!(answer.contains(" 202 "), "{answer}");
    }

    /// Sends a request that closes its connection, and returns the whole response.
    pub(crate) fn send(&self, request: &str) -> String {
        let address: std::net::SocketAddr = self.url["http://".len()..].parse().unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    exit_code(output.status)
}

/// Returns the exit code as a shell reports it: 128 plus the signal number if a signal ended the process.
fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    let signal = || {
        128 + status
            .signal()
            .expect("neither exited nor ended by a signal")
    };
    status.code().unwrap_or_else(signal)
}
