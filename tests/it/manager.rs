//! What a service manager hears and passes on: a socket of ours in the place of systemd's.

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::Stdio,
    time::Duration,
};

use rustix::process::Signal;

use crate::place::{Place, Process, Server, join};

/// Nothing here takes long; what takes longer than this hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// The manager's end of the notify socket.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn of(place: &Place) -> Self {
        let path = place.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            path: path.to_str().unwrap().to_owned(),
        }
    }

    fn start(&self, place: &Place, arguments: &[&str], more: &[(&str, &str)]) -> Process {
        let mut command = place.command(arguments);
        command.env("NOTIFY_SOCKET", &self.path);
        command.envs(more.iter().copied());
        Process::start(command)
    }

    /// The next message that begins with `words`; what others there are is passed over.
    fn heard(&self, words: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer);
            let length = length.unwrap_or_else(|error| panic!("nobody said {words}: {error}"));
            let message = std::str::from_utf8(&buffer[..length]).unwrap();
            if message.starts_with(words) {
                return message.to_owned();
            }
        }
    }
}

const SERVE: [&str; 4] = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];

#[test]
fn a_server_says_when_it_is_ready_what_it_waits_for_and_that_it_stops() {
    let place = Place::new();
    let manager = Manager::of(&place);
    let mut server = Server::is(manager.start(&place, &SERVE, &[]));
    assert_eq!(manager.heard("READY=1").trim(), "READY=1");
    // It is ready, so this must be accepted.
    server.register("node-1");
    assert_eq!(
        manager.heard("STATUS=waiting: 1/2").trim(),
        "STATUS=waiting: 1/2"
    );
    server.register("node-2");
    manager.heard("STATUS=serving generation 1 to 2 nodes");
    server.signal(Signal::HUP);
    let reloading = manager.heard("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.heard("READY=1");
    server.log_until("is read again");
    server.signal(Signal::TERM);
    let stopping = manager.heard("STOPPING=1");
    // Ten seconds of --drain-timeout, and two for threads.
    assert!(
        stopping.contains("EXTEND_TIMEOUT_USEC=12000000"),
        "{stopping}"
    );
    assert_eq!(server.end(), 0);
}

#[test]
fn a_watchdog_hears_of_the_server_again_and_again() {
    let place = Place::new();
    let manager = Manager::of(&place);
    let watchdog = [("WATCHDOG_USEC", "20000")];
    let server = Server::is(manager.start(&place, &SERVE, &watchdog));
    for _ in 0..3 {
        manager.heard("WATCHDOG=1");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
}

#[test]
fn a_node_that_waits_asks_for_more_time_and_leaves_ready_to_its_program() {
    let place = Place::new();
    let manager = Manager::of(&place);
    let server = place.serve(&[]);
    let ready = ["--", "sh", "-c", "test -n \"$NOTIFY_SOCKET\""];
    let arguments = [&join(&server.url, "node-1")[..], &ready].concat();
    let node = manager.start(&place, &arguments, &[]);
    manager.heard("EXTEND_TIMEOUT_USEC=60000000");
    manager.heard("STATUS=waiting: 1/2");
    server.register("node-2");
    // Not what it waited for: that would stand in `systemctl status` from then on.
    let delivered = manager.heard("STATUS=delivered");
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
fn a_node_that_goes_on_without_the_server_or_fails_says_so_last() {
    let place = Place::new();
    let manager = Manager::of(&place);
    let receipt = ["--receipt", "receipt.json"];
    let server = place.serve(&[]);
    server.register("node-2");
    let arguments = [&join(&server.url, "node-1")[..], &receipt].concat();
    let (code, log) = place.start(&arguments).end();
    assert_eq!(code, 0, "{log}");

    let refused = [&join(&server.url, "node-1")[..], &["--cluster", "another"]].concat();
    let (code, log) = manager.start(&place, &refused, &[]).end();
    assert_eq!(code, 77, "{log}");
    let said = manager.heard("STATUS=");
    assert!(said.contains("another"), "{said}");

    let fallback = ["--fallback", "existing=100ms"];
    let nobody = &join("http://127.0.0.1:1", "node-1")[..];
    let arguments = [nobody, &receipt, &fallback].concat();
    let (code, log) = manager.start(&place, &arguments, &[]).end();
    assert_eq!(code, 0, "{log}");
    let said = manager.heard("STATUS=going on");
    assert_eq!(
        said.trim(),
        "STATUS=going on with what was delivered before: 2 files of generation 1"
    );
}

#[test]
fn a_socket_that_the_manager_passed_is_listened_on() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Sockets are passed from descriptor 3 on, to the process that is named.
    let pass = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut command = place.command_under(&["/bin/sh", "-c", pass], &["serve", "cluster.yaml"]);
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let mut process = Process::start(command);
    process.log_until("sockets that the service manager passed");
    let server = Server::is(process);
    assert_eq!(server.url, format!("http://{address}"));
    server.register("node-1");
}

#[test]
fn a_passed_socket_that_others_reach_is_refused_like_any_other() {
    let place = Place::new();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let pass = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut command = place.command_under(&["/bin/sh", "-c", pass], &["serve", "cluster.yaml"]);
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let (code, log) = Process::start(command).end();
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("--allow-anonymous"), "{log}");
}
