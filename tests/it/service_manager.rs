//! Service manager integration: notify messages and socket activation, with a test socket in place of systemd's.

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::Stdio,
    time::Duration,
};

use rustix::process::Signal;

use crate::sandbox::{Process, Sandbox, Server, join};

/// Upper bound of one wait. No operation under test takes nearly as long.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The service manager's end of the notify socket.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn new(sandbox: &Sandbox) -> Self {
        let path = sandbox.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self {
            socket,
            path: path.to_str().unwrap().to_owned(),
        }
    }

    fn start(&self, sandbox: &Sandbox, arguments: &[&str], more: &[(&str, &str)]) -> Process {
        let mut command = sandbox.command(arguments);
        command.env("NOTIFY_SOCKET", &self.path);
        command.envs(more.iter().copied());
        Process::start(command)
    }

    /// Waits for the next message that begins with `prefix` and skips all others.
    fn wait_for(&self, prefix: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer);
            let length = length.unwrap_or_else(|error| panic!("no message {prefix}: {error}"));
            let message = std::str::from_utf8(&buffer[..length]).unwrap();
            if message.starts_with(prefix) {
                return message.to_owned();
            }
        }
    }
}

const SERVE: [&str; 4] = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];

#[test]
fn serve_notifies_readiness_status_reload_and_stop() {
    let sandbox = Sandbox::new();
    let manager = Manager::new(&sandbox);
    let mut server = Server::from_process(manager.start(&sandbox, &SERVE, &[]));
    assert_eq!(manager.wait_for("READY=1").trim(), "READY=1");
    // The server has reported that it is ready, so it must accept a registration.
    server.register("node-1");
    assert_eq!(
        manager.wait_for("STATUS=waiting: 1/2").trim(),
        "STATUS=waiting: 1/2"
    );
    server.register("node-2");
    manager.wait_for("STATUS=serving generation 1 to 2 nodes");
    server.signal(Signal::HUP);
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.wait_for("READY=1");
    server.log_until("read cluster.yaml again");
    server.signal(Signal::TERM);
    let stopping = manager.wait_for("STOPPING=1");
    // 10 s of --drain-timeout plus 2 s for threads to end.
    assert!(
        stopping.contains("EXTEND_TIMEOUT_USEC=12000000"),
        "{stopping}"
    );
    assert_eq!(server.end(), 0);
}

#[test]
fn serve_notifies_the_watchdog_repeatedly() {
    let sandbox = Sandbox::new();
    let manager = Manager::new(&sandbox);
    let watchdog = [("WATCHDOG_USEC", "20000")];
    let server = Server::from_process(manager.start(&sandbox, &SERVE, &watchdog));
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
}

#[test]
fn join_extends_the_start_timeout_and_leaves_ready_to_its_program() {
    let sandbox = Sandbox::new();
    let manager = Manager::new(&sandbox);
    let server = sandbox.serve(&[]);
    let ready = ["--", "sh", "-c", "test -n \"$NOTIFY_SOCKET\""];
    let arguments = [&join(&server.url, "node-1")[..], &ready].concat();
    let node = manager.start(&sandbox, &arguments, &[]);
    manager.wait_for("EXTEND_TIMEOUT_USEC=60000000");
    manager.wait_for("STATUS=waiting: 1/2");
    server.register("node-2");
    // `systemctl status` keeps the last status, so it must not be an outdated reason for waiting.
    let delivered = manager.wait_for("STATUS=delivered");
    assert_eq!(
        delivered.trim(),
        "STATUS=delivered: 2 files of generation 1"
    );
    let (code, log) = node.end();
    assert_eq!(code, 0, "{log}");
    manager.socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    while let Ok(length) = manager.socket.recv(&mut buffer) {
        let message = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(!message.contains("READY"), "{message}");
    }
}

#[test]
fn join_reports_fallback_or_failure_as_its_last_status() {
    let sandbox = Sandbox::new();
    let manager = Manager::new(&sandbox);
    let receipt = ["--receipt", "receipt.json"];
    let server = sandbox.serve(&[]);
    server.register("node-2");
    let arguments = [&join(&server.url, "node-1")[..], &receipt].concat();
    let (code, log) = sandbox.start(&arguments).end();
    assert_eq!(code, 0, "{log}");

    let refused = [&join(&server.url, "node-1")[..], &["--cluster", "another"]].concat();
    let (code, log) = manager.start(&sandbox, &refused, &[]).end();
    assert_eq!(code, 77, "{log}");
    let status = manager.wait_for("STATUS=");
    assert!(status.contains("another"), "{status}");

    let fallback = ["--fallback", "existing=100ms"];
    let unreachable = &join("http://127.0.0.1:1", "node-1")[..];
    let arguments = [unreachable, &receipt, &fallback].concat();
    let (code, log) = manager.start(&sandbox, &arguments, &[]).end();
    assert_eq!(code, 0, "{log}");
    let status = manager.wait_for("STATUS=continuing");
    assert_eq!(
        status.trim(),
        "STATUS=continuing with the previous delivery: 2 files of generation 1"
    );
}

#[test]
fn serve_listens_on_a_passed_socket() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // systemd passes sockets from descriptor 3 on, to the process in LISTEN_PID.
    let pass = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut command = sandbox.command_under(&["/bin/sh", "-c", pass], &["serve", "cluster.yaml"]);
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let mut process = Process::start(command);
    process.log_until("sockets of the service manager");
    let server = Server::from_process(process);
    assert_eq!(server.url, format!("http://{address}"));
    server.register("node-1");
}

#[test]
fn passed_socket_on_a_public_address_needs_credentials() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let pass = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut command = sandbox.command_under(&["/bin/sh", "-c", pass], &["serve", "cluster.yaml"]);
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let (code, log) = Process::start(command).end();
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("--allow-anonymous"), "{log}");
}
