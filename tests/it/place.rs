//! The program as a process: a directory with a spec in it, a server, a node. Every wait has a bound, and
//! whatever a test leaves running is ended.

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

/// Nothing here takes long; what takes longer than this hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// A spec that two nodes complete.
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

/// A directory with a spec in it, and an environment with nothing else.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        place.put("cluster.yaml", SPEC);
        place
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

    /// Makes a pipe of that name: who reads it waits for who writes.
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

    /// As [`Self::command`], by means of a program that runs it.
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

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        command.output().unwrap()
    }

    /// What a person would see of it, for a snapshot.
    pub(crate) fn seen(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let output = self.run(arguments, variables);
        let mut seen = String::from("$ ");
        for (name, value) in variables {
            seen.push_str(&format!("{name}={value:?} "));
        }
        seen.push_str(&format!("cfgsync {}\n", arguments.join(" ")));
        seen.push_str(&text(&output.stdout));
        seen.push_str(&text(&output.stderr));
        seen.push_str(&format!("[exit {}]\n", code(&output)));
        seen.replace(&self.path().display().to_string(), "[DIR]")
    }

    /// Starts the program.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        Process::start(self.command(arguments))
    }

    /// Starts `serve` on a port of its own and answers once it listens.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Server {
        let first = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
        Server::is(self.start(&[&first, arguments].concat()))
    }

    /// Starts `join` for `identifier`, whose files go into a directory of that name.
    pub(crate) fn join(&self, url: &str, identifier: &str, arguments: &[&str]) -> Process {
        self.start(&[&join(url, identifier)[..], arguments].concat())
    }

    /// The identifiers that a server knows.
    pub(crate) fn registered(&self, url: &str) -> Vec<String> {
        let output = self.run(&["inspect", "--server", url, "-o", "json"], &[]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        let body: cfgsync_wire::ClusterBody = serde_json::from_slice(&output.stdout).unwrap();
        let nodes = body.registrations.iter();
        nodes.map(|node| node.identifier.to_string()).collect()
    }
}

/// The arguments of a `join` whose files go into a directory of the node's name.
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

/// A running program whose log is read.
pub(crate) struct Process {
    child: Child,
    /// Read and not yet looked at.
    unseen: String,
    /// All of it, for whoever must find out what happened.
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
            unseen: String::new(),
            log: String::new(),
        }
    }

    /// The next line of the log with `words` in it; those before it remain to be looked for.
    pub(crate) fn log_until(&mut self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut lines = self.unseen.split_inclusive('\n');
            let found = lines.find(|line| line.ends_with('\n') && line.contains(words));
            if let Some(line) = found.map(str::to_owned) {
                self.unseen = self.unseen.replacen(&line, "", 1);
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

    /// Waits for its end; the exit code as a shell has it, and the whole log.
    pub(crate) fn end(mut self) -> (i32, String) {
        let deadline = Instant::now() + PATIENCE;
        let ended = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        // It may write while it ends, and what it started may hold its log open after it.
        let mut open = true;
        loop {
            let stderr = self.child.stderr.as_ref().unwrap().as_fd();
            let mut both = [
                PollFd::new(&ended, PollFlags::IN),
                PollFd::new(&stderr, PollFlags::IN),
            ];
            let fds = if open { &mut both[..] } else { &mut both[..1] };
            assert!(wait_for(fds, deadline), "it does not end:\n{}", self.log);
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

    /// Takes what there is; whether there was anything.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = self.child.stderr.as_mut().unwrap().read(&mut buffer);
        let text = String::from_utf8_lossy(&buffer[..read.unwrap()]);
        self.unseen.push_str(&text);
        self.log.push_str(&text);
        !text.is_empty()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether one of these is ready before `deadline`.
fn wait_for(fds: &mut [PollFd<'_>], deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).unwrap();
    poll(fds, Some(&left)).unwrap() > 0
}

/// A server and where it is.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) url: String,
}

impl Server {
    /// Answers once it listens.
    pub(crate) fn is(mut process: Process) -> Self {
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

    /// Waits for its end and gives its exit code.
    pub(crate) fn end(self) -> i32 {
        self.process.end().0
    }

    pub(crate) fn register(&self, identifier: &str) {
        let address: std::net::SocketAddr = self.url["http://".len()..].parse().unwrap();
        let body = format!("{{\"identifier\":\"{identifier}\",\"ip\":\"10.0.0.1\"}}");
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "POST /register HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 202 "), "{answer}");
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    exit_code(output.status)
}

/// As a shell has it: 128 and the number of the signal for who was ended by one.
fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    let signal = || {
        128 + status
            .signal()
            .expect("neither exited nor ended by a signal")
    };
    status.code().unwrap_or_else(signal)
}
