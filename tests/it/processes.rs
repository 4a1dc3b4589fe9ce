//! What holds between processes: servers that come late, are killed and come back, nodes that are told to go,
//! and the program as PID 1.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};

use crate::place::{Place, Process, Server, join};

/// A port that is ours while this lives, and at which nobody answers until a server listens there.
///
/// A socket that is bound and does not listen keeps it: the system gives it to nobody who asks for a free one.
pub(crate) struct Reserved {
    _socket: Socket,
    pub(crate) address: SocketAddr,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self {
            _socket: socket,
            address,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn serve(&self, place: &Place) -> Server {
        self.serve_with(place, &[])
    }

    pub(crate) fn serve_with(&self, place: &Place, arguments: &[&str]) -> Server {
        let listen = self.address.to_string();
        let first = ["serve", "cluster.yaml", "--listen", &listen];
        Server::is(place.start(&[&first, arguments].concat()))
    }
}

#[test]
fn nodes_wait_for_a_server_that_starts_late() {
    let place = Place::new();
    let door = Reserved::new();
    let mut nodes = ["node-1", "node-2"].map(|node| place.join(&door.url(), node, &[]));
    for node in &mut nodes {
        node.log_until("Connection refused");
    }
    let _server = door.serve(&place);
    for node in nodes {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    assert_eq!(
        place.read("node-2/config.yaml"),
        "id: \"node-2\"\nport: 9000\n"
    );
    assert_eq!(place.read("node-1/cookie"), place.read("node-2/cookie"));
}

#[test]
fn a_server_that_is_killed_and_comes_back_without_memory_is_registered_with_again() {
    let place = Place::new();
    let door = Reserved::new();
    let mut server = door.serve(&place);
    let waiting = place.join(&door.url(), "node-1", &[]);
    for _ in 0..2 {
        server.log_until("node-1 registered");
        server.signal(Signal::KILL);
        assert_eq!(server.end(), 128 + 9);
        server = door.serve(&place);
    }
    server.log_until("node-1 registered");
    let last = place.join(&door.url(), "node-2", &[]);
    for node in [waiting, last] {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    assert_eq!(
        place.read("node-1/config.yaml"),
        "id: \"node-1\"\nport: 9000\n"
    );
    assert_eq!(place.read("node-1/cookie"), place.read("node-2/cookie"));
}

#[test]
fn a_node_that_is_told_to_go_before_the_seal_is_gone() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let node = place.join(&server.url, "node-1", &["--", "touch", "started"]);
        server.log_until("node-1 registered");
        assert_eq!(place.registered(&server.url), ["node-1"]);
        node.signal(signal);
        let (ended, log) = node.end();
        assert_eq!(ended, code, "{log}");
        assert_eq!(place.registered(&server.url), [""; 0]);
    }
    // Had it stayed, these two would be three.
    let nodes = ["node-2", "node-3"].map(|node| place.join(&server.url, node, &[]));
    for node in nodes {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    assert_eq!(place.registered(&server.url), ["node-2", "node-3"]);
    assert!(!place.path().join("started").exists());
    assert!(!place.path().join("node-1").exists());
}

#[test]
fn pid_1_is_told_to_go_like_any_other() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let node = pid_1(&place, &join(&server.url, "node-1"));
        server.log_until("node-1 registered");
        kill_process(first_of(&node), signal).unwrap();
        let (ended, log) = node.end();
        assert_eq!(ended, code, "{log}");
        assert_eq!(place.registered(&server.url), [""; 0]);
    }
}

/// A signal that came while PID 1 read its settings was dropped by the kernel, and the process never ended.
#[test]
fn who_is_told_to_go_while_it_still_reads_goes() {
    let place = Place::new();
    let pipe = place.pipe("pipe");
    let serve = ["serve", "pipe", "--listen", "127.0.0.1:0"];
    let with_command = [&serve[..], &["--", "touch", "started"]].concat();
    let with_token = join("http://127.0.0.1:1", "node-1");
    let with_token = [&with_token[..], &["--token-file", "pipe"]].concat();
    for (arguments, code) in [(&serve[..], 0), (&with_command, 143), (&with_token, 143)] {
        for is_first in [false, true] {
            let process = match is_first {
                true => pid_1(&place, arguments),
                false => place.start(arguments),
            };
            // Opens once the process does: it is in the midst of reading then, and the end does not come.
            let writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
            let pid = match is_first {
                true => first_of(&process),
                false => process.pid(),
            };
            kill_process(pid, Signal::TERM).unwrap();
            let (ended, log) = process.end();
            assert_eq!(ended, code, "{arguments:?}: {log}");
            drop(writer);
        }
    }
    assert!(!place.path().join("started").exists());
}

/// Once a signal that came right after the start seemed to be lost.
#[test]
fn a_server_whose_port_is_known_heeds_signals() {
    let place = Place::new();
    let port = place.path().join("port");
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    let serve = [&serve[..], &["--port-file", "port"]].concat();
    for at in 0..40 {
        let is_first = at % 4 == 0;
        let server = match is_first {
            true => pid_1(&place, &serve),
            false => place.start(&serve),
        };
        while fs::remove_file(&port).is_err() {
            std::thread::yield_now();
        }
        let pid = match is_first {
            true => first_of(&server),
            false => server.pid(),
        };
        kill_process(pid, Signal::TERM).unwrap();
        let (ended, log) = server.end();
        assert_eq!(ended, 0, "{log}");
        assert!(log.contains("SIGTERM: stopping"), "{log}");
    }
}

#[test]
fn pid_1_hands_its_place_to_the_program() {
    let place = Place::new();
    let server = place.serve(&[]);
    server.register("node-2");
    let program = ["--", "sh", "-c", "echo I am $$ >&2; exit 7"];
    let node = pid_1(
        &place,
        &[&join(&server.url, "node-1")[..], &program].concat(),
    );
    let (code, log) = node.end();
    assert_eq!(code, 7, "{log}");
    assert!(log.ends_with("I am 1\n"), "{log}");
}

#[test]
fn a_server_as_pid_1_drains_and_ends() {
    let place = Place::new();
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    let mut server = Server::is(pid_1(&place, &serve));
    let node = place.join(&server.url, "node-1", &["--timeout", "1s"]);
    server.log_until("node-1 registered");
    kill_process(first_of(&server.process), Signal::TERM).unwrap();
    server.log_until("stopped after");
    assert_eq!(server.end(), 0);
    let (code, log) = node.end();
    assert!([69, 124].contains(&code), "{code}: {log}");
}

/// Starts the program as the first process of a namespace.
fn pid_1(place: &Place, arguments: &[&str]) -> Process {
    let namespace = ["unshare", "--pid", "--fork", "--kill-child"];
    let of_anybody = ["--user", "--map-root-user"];
    let works = |wrapper: &[&str]| {
        let mut trial = Command::new(wrapper[0]);
        trial.args(&wrapper[1..]).arg("true").stderr(Stdio::null());
        trial.status().is_ok_and(|status| status.success())
    };
    let wrapper = [namespace.to_vec(), [&namespace[..], &of_anybody].concat()]
        .into_iter()
        .find(|wrapper| works(wrapper))
        .expect("this needs `unshare` (util-linux), and root or namespaces that anybody may make");
    Process::start(place.command_under(&wrapper, arguments))
}

/// The process that is PID 1 inside, by its number outside.
fn first_of(unshare: &Process) -> Pid {
    let pid = unshare.pid();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(children).unwrap();
    Pid::from_raw(children.trim().parse().unwrap()).unwrap()
}
