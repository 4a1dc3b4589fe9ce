//! Durability: with a state directory, acknowledged registrations and delivered generations survive any end of the
//! server.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    processes::ReservedPort,
    sandbox::{Process, Sandbox, Server, code, text},
};

/// How many times the server is killed. `TEST_KILLS` overrides it.
const KILLS: u64 = 10;
/// Number of clients that register and fetch during the kills.
const CLIENTS: u64 = 4;

const STATE: [&str; 2] = ["--state-dir", "state"];

/// Sends one request on a new connection. Payload requests are held up to 10 s. Returns `None` unless the complete
/// response arrived.
fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nprefer: wait=10\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() == length).then(|| (status, serde_json::from_str(body).unwrap_or_default()))
}

fn registration(name: &str, sequence: u64) -> String {
    format!(r#"{{"identifier":"{name}","ip":"10.0.0.1","metadata":{{"sequence":{sequence}}}}}"#)
}

#[test]
fn waiting_nodes_get_their_files_from_the_restarted_server() {
    let sandbox = Sandbox::new();
    let port = ReservedPort::new();
    let mut server = port.serve_with(&sandbox, &STATE);
    let waiting = sandbox.join(&port.url(), "node-1", &[]);
    server.log_until("node-1 registered");
    server.signal(Signal::KILL);
    assert_eq!(server.end(), 128 + 9);
    let mut server = port.serve_with(&sandbox, &STATE);
    server.log_until("has 1 node and no generation yet");
    // The restarted server counts node-1 without a new registration.
    assert_eq!(sandbox.registered(&port.url()), ["node-1"]);
    let last = sandbox.join(&port.url(), "node-2", &[]);
    for node in [waiting, last] {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    let cookie = sandbox.read("node-1/cookie");
    assert_eq!(sandbox.read("node-2/cookie"), cookie);
    // After another kill, the server delivers the sealed generation again.
    server.signal(Signal::KILL);
    server.end();
    let mut server = port.serve_with(&sandbox, &STATE);
    server.log_until("has 2 nodes and generation 1");
    fs::remove_file(sandbox.path().join("node-1/cookie")).unwrap();
    let again = sandbox.join(&port.url(), "node-1", &[]);
    let (code, log) = again.end();
    assert_eq!(code, 0, "{log}");
    assert_eq!(sandbox.read("node-1/cookie"), cookie);
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
}

#[test]
fn render_that_ends_the_server_twice_is_paused_until_an_operator_retries() {
    let sandbox = Sandbox::new();
    let spec = "cfgsync: 1\ncluster: devnet\nready: {nodes: 1}\nmaterializers:\n  - kind: exec\n    \
                command: [/bin/sh, render]\n";
    sandbox.put("cluster.yaml", spec);
    sandbox.put(
        "render",
        "[ -e harmless ] || kill -9 $PPID\necho '{\"status\": \"ready\", \"nodes\": {}}'\n",
    );
    let port = ReservedPort::new();
    let server = port.serve_with(&sandbox, &STATE);
    let waiting = sandbox.join(&port.url(), "node-1", &[]);
    assert_eq!(server.end(), 128 + 9, "the first render");

    let mut server = port.serve_with(&sandbox, &STATE);
    server
        .log_until("the server before ended while it rendered these files; trying again after 10s");
    server.signal(Signal::HUP);
    assert_eq!(server.end(), 128 + 9, "SIGHUP tries again at once");

    let mut server = port.serve_with(&sandbox, &STATE);
    server.log_until("rendering is paused, because 2 servers in a row ended");
    assert_eq!(sandbox.registered(&port.url()), ["node-1"]);
    let (status, log) = waiting.end();
    assert_eq!(status, 70, "{log}");
    assert!(log.contains("rendering is paused"), "{log}");

    sandbox.put("harmless", "");
    let reset = sandbox.run(&["reset", "--server", &port.url()], &[]);
    assert_eq!(code(&reset), 0, "{}", text(&reset.stderr));
    server.log_until("sealed generation 1");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    assert!(!sandbox.path().join("state/rendering").exists());
}

#[test]
fn lower_node_limit_after_restart_keeps_existing_nodes() {
    let sandbox = Sandbox::new();
    let port = ReservedPort::new();
    let server = port.serve_with(&sandbox, &STATE);
    server.register("node-1");
    server.register("other");
    server.signal(Signal::KILL);
    server.end();
    let less = [&STATE[..], &["--nodes-max", "1"]].concat();
    let mut server = port.serve_with(&sandbox, &less);
    server.register("node-1");
    let mut new = sandbox.join(&port.url(), "node-2", &["--timeout", "50s"]);
    server.log_until("registrations are refused: the limit of registered nodes");
    let message = new.log_until("503");
    assert!(message.contains("raise serve --nodes-max"), "{message}");
    // The node retries until an operator has removed others.
    for removed_node in ["node-1", "other"] {
        let removed = sandbox.run(&["rm", removed_node, "--server", &port.url()], &[]);
        assert_eq!(code(&removed), 0, "{}", text(&removed.stderr));
    }
    server.log_until("node-2 registered");
    assert_eq!(sandbox.registered(&port.url()), ["node-2"]);
}

#[test]
fn state_directory_is_private_and_locked() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&STATE);
    server.register("node-1");
    let second = sandbox.run(
        &[
            &["serve", "cluster.yaml", "--listen", "127.0.0.1:0"],
            &STATE[..],
        ]
        .concat(),
        &[],
    );
    assert_eq!(code(&second), 1);
    let message = text(&second.stderr);
    let holder = format!("process id {}", server.process.pid().as_raw_nonzero());
    assert!(message.contains(&holder), "{message}");
    let mut found = vec![];
    list(&sandbox.path().join("state"), &mut found);
    assert!(found.len() >= 4, "{found:?}");
    for (path, mode) in found {
        let expected = if Path::new(&path).is_dir() {
            0o700
        } else {
            0o600
        };
        assert_eq!(mode, expected, "{path}");
    }
}

fn list(directory: &Path, found: &mut Vec<(String, u32)>) {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    found.push((directory.display().to_string(), mode(directory)));
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, found);
        } else {
            found.push((path.display().to_string(), mode(&path)));
        }
    }
}

#[test]
fn redrawn_value_is_audited_and_survives_a_restart() {
    let sandbox = Sandbox::new();
    let port = ReservedPort::new();
    let flags = [&STATE[..], &["--audit-log", "audit"]].concat();
    let mut server = port.serve_with(&sandbox, &flags);
    let join = || {
        let nodes = ["node-1", "node-2"].map(|node| sandbox.join(&port.url(), node, &[]));
        for node in nodes {
            assert_eq!(node.end().0, 0);
        }
        sandbox.read("node-1/cookie")
    };
    let redraw = |key: &str| sandbox.run(&["redraw", key, "--server", &port.url()], &[]);
    let early = redraw("cookie");
    assert_eq!(code(&early), 77);
    let message = text(&early.stderr);
    assert!(
        message.contains("once.cookie has no value yet"),
        "{message}"
    );
    let first = join();
    let done = redraw("cookie");
    assert_eq!(code(&done), 0, "{}", text(&done.stderr));
    let message = text(&done.stderr);
    assert!(message.contains("evaluated once.cookie again"), "{message}");
    server.log_until("an operator requested another value of once.cookie");
    let second = join();
    assert_ne!(first, second);
    let unknown = redraw("cokie");
    assert_eq!(code(&unknown), 77);
    assert!(text(&unknown.stderr).contains("did you mean `cookie`?"));
    let audit = sandbox.read("audit");
    let line = audit
        .lines()
        .find(|line| line.contains("/v1/redraw\",\"outcome\":\"changed"));
    assert!(line.unwrap().contains("\"once\":\"cookie\""), "{audit}");

    // A changed expression has no effect on a sealed value, and the server says so.
    let spec = sandbox.read("cluster.yaml");
    assert!(spec.contains("random_hex(8)"), "{spec}");
    sandbox.put(
        "cluster.yaml",
        &spec.replace("random_hex(8)", "random_hex(16)"),
    );
    server.signal(Signal::HUP);
    server.log_until(
        "once.cookie: the expression has changed, and the sealed value stays; to evaluate it again, run `cfgsync redraw \
         cookie`",
    );
    assert_eq!(join(), second);
    server.signal(Signal::KILL);
    server.end();
    let _server = port.serve_with(&sandbox, &flags);
    assert_eq!(join(), second);
    assert_eq!(code(&redraw("cookie")), 0);
    assert_eq!(join().trim().len(), 2 * second.trim().len());
}

#[test]
fn redraw_fails_if_its_render_fails() {
    let sandbox = Sandbox::new();
    let port = ReservedPort::new();
    let mut server = port.serve_with(&sandbox, &STATE);
    let nodes = ["node-1", "node-2"].map(|node| sandbox.join(&port.url(), node, &[]));
    for node in nodes {
        assert_eq!(node.end().0, 0);
    }
    let spec = sandbox.read("cluster.yaml");
    let broken = spec.replace(
        "{{ once.cookie }}",
        "{{ once.cookie }}{{ nodes[0].metadata.zone }}",
    );
    assert_ne!(broken, spec);
    sandbox.put("cluster.yaml", &broken);
    server.signal(Signal::HUP);
    server.log_until("the render of revision");
    let redrawn = sandbox.run(&["redraw", "cookie", "--server", &port.url()], &[]);
    let message = text(&redrawn.stderr);
    assert_eq!(code(&redrawn), 70, "{message}");
    assert!(
        message.contains("once.cookie keeps its value, because the render failed"),
        "{message}"
    );
}

#[test]
fn banned_node_is_kept_out_until_it_is_unbanned() {
    let sandbox = Sandbox::new();
    let port = ReservedPort::new();
    let mut server = port.serve_with(&sandbox, &STATE);
    let operate = |arguments: &[&str]| {
        let output = sandbox.run(&[arguments, &["--server", &port.url()]].concat(), &[]);
        (code(&output), text(&output.stdout) + &text(&output.stderr))
    };
    let waiting = sandbox.join(&port.url(), "node-1", &[]);
    server.log_until("node-1 registered");
    let (exit, message) = operate(&["rm", "node-1", "--ban"]);
    assert_eq!(exit, 0, "{message}");
    server.log_until("node-1 was banned");
    let refused = |node: Process| {
        let (exit, log) = node.end();
        assert_eq!(exit, 77, "{log}");
        assert!(
            log.contains("an operator runs `cfgsync unban node-1`"),
            "{log}"
        );
    };
    refused(waiting);
    server.signal(Signal::KILL);
    server.end();
    let mut server = port.serve_with(&sandbox, &STATE);
    refused(sandbox.join(&port.url(), "node-1", &[]));
    for from in [&["--server", &port.url()][..], &STATE] {
        let output = sandbox.run(&[&["inspect"], from].concat(), &[]);
        let message = text(&output.stdout);
        assert!(message.contains("banned: node-1\n"), "{message}");
    }
    let (exit, message) = operate(&["unban", "node-1"]);
    assert_eq!(exit, 0, "{message}");
    let (exit, message) = operate(&["unban", "node-1"]);
    assert_eq!(exit, 77);
    assert!(message.contains("node-1 is not banned"), "{message}");
    let _node = sandbox.join(&port.url(), "node-1", &[]);
    server.log_until("node-1 registered");
}

#[test]
fn warns_what_is_lost_without_a_state_directory() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&[]);
    server.log_until("the state is only in memory");
    server.log_until(
        "this spec uses values of `once`; without a state directory, a restart of the server loses them",
    );
}

#[test]
fn uses_the_state_directory_of_the_systemd_unit() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["serve", "cluster.yaml", "--listen", "127.0.0.1:0"]);
    command.env("STATE_DIRECTORY", "first:second");
    let mut server = Server::from_process(Process::start(command));
    server.log_until("first has 0 nodes and no generation yet");
    assert!(sandbox.path().join("first/log").exists());
}

#[test]
fn inspect_reads_a_state_directory_with_and_without_its_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&STATE);
    for node in ["node-1", "node-2"] {
        server.register(node);
    }
    let node = sandbox.join(&server.url, "node-2", &[]);
    assert_eq!(node.end().0, 0);
    let inspect = |arguments: &[&str]| {
        let output = sandbox.run(&[&["inspect"], &STATE[..], arguments].concat(), &[]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        text(&output.stdout)
    };
    for beside in [true, false] {
        if !beside {
            server.signal(Signal::KILL);
        }
        let message = inspect(&["-o", "json"]);
        let body: cfgsync_wire::ClusterBody = serde_json::from_str(&message).unwrap();
        assert_eq!(
            (body.cluster.as_str(), body.registrations.len()),
            ("devnet", 2)
        );
        assert_eq!(
            inspect(&["file", "node-2", "cookie"]),
            sandbox.read("node-2/cookie")
        );
        assert!(inspect(&["--verify"]).contains("generation 1: 2 nodes, digest "));
    }
    let sealed = sandbox.path().join("state/generations");
    let sealed = fs::read_dir(sealed)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = fs::read(&sealed).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&sealed, bytes).unwrap();
    let output = sandbox.run(&[&["inspect", "--verify"], &STATE[..]].concat(), &[]);
    assert_eq!(code(&output), 65);
    let message = text(&output.stderr);
    // The first frame follows the two lines of the header.
    let header = format!(
        "cfgsync generation 2\nwritten by cfgsync {}\n",
        env!("CARGO_PKG_VERSION")
    );
    let expected = format!("is damaged at byte {}", header.len());
    assert!(message.contains(&expected), "{message}");
    // A server refuses to start with a damaged file, also on further attempts.
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    assert_eq!(code(&sandbox.run(&[&serve[..], &STATE].concat(), &[])), 65);
}

/// Regression test: clients that shut down their write side after sending a registration got no response.
#[test]
fn half_closed_registration_is_answered_once_durable() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&STATE);
    let address = server.url.strip_prefix("http://").unwrap();
    for number in 0..20 {
        let body = format!(r#"{{"identifier":"node-{number}","ip":"10.0.0.1"}}"#);
        let length = body.len();
        let request =
            format!("POST /register HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer:?}");
    }
}

/// The observations of the clients across all restarts of the server.
#[derive(Default)]
struct Observed {
    /// The newest acknowledged sequence number of each node.
    acknowledged: Mutex<HashMap<String, u64>>,
    /// The digest of each delivered payload, by generation and node.
    delivered: Mutex<BTreeMap<(u64, String), String>>,
    /// The next sequence number of a registration.
    next_sequence: AtomicU64,
}

impl Observed {
    /// Registers and fetches until `stop` is set, while the server is killed and restarted.
    fn run_client(&self, address: SocketAddr, client: u64, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let sequence = self.next_sequence.fetch_add(1, Ordering::Relaxed);
            let name = format!("n{client}-{}", sequence % 5);
            let body = registration(&name, sequence);
            match request(address, "POST", "/register", &body) {
                Some((202, _)) => {
                    self.acknowledged
                        .lock()
                        .unwrap()
                        .insert(name.clone(), sequence);
                }
                Some((status, message)) => panic!("{status}: {message}"),
                None => {
                    std::thread::yield_now();
                    continue;
                }
            }
            if let Some((200, payload)) = request(address, "POST", "/node", &body) {
                self.record_payload(name, &payload);
            }
        }
    }

    /// Returns while the clients are active, so that kills hit different points: after the next delivery for odd `kill`,
    /// else after a number of registrations that varies with `kill`.
    fn wait_under_load(&self, kill: u64) {
        let delivered = || self.delivered.lock().unwrap().len();
        let (sequence, before) = (self.next_sequence.load(Ordering::Relaxed), delivered());
        let until = sequence + 20 + kill * 7 % 31;
        let is_over = || match kill % 2 {
            0 => self.next_sequence.load(Ordering::Relaxed) >= until,
            _ => delivered() > before,
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        while !is_over() {
            assert!(Instant::now() < deadline, "nothing is delivered");
            std::thread::yield_now();
        }
    }

    fn record_payload(&self, name: String, payload: &Value) {
        let generation = payload["generation"].as_u64().unwrap();
        let digest = payload["digest"].as_str().unwrap();
        let mut delivered = self.delivered.lock().unwrap();
        let observed = delivered.insert((generation, name), digest.to_owned());
        assert!(
            observed.is_none_or(|observed| observed == digest),
            "two digests"
        );
    }

    /// Compares a restarted server with the observations. Returns its instance and its newest generation.
    fn verify(&self, address: SocketAddr) -> (String, u64) {
        // Read the observations before the server's state, because the clients continue.
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let delivered = self.delivered.lock().unwrap().clone();
        let get = |path: &str| request(address, "GET", path, "").unwrap().1;
        let snapshot = get("/v1/snapshot");
        let sequences: HashMap<&str, u64> = snapshot["registrations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| {
                let sequence = &node["metadata"]["sequence"];
                (
                    node["identifier"].as_str().unwrap(),
                    sequence.as_u64().unwrap(),
                )
            })
            .collect();
        for (name, sequence) in &acknowledged {
            let kept = sequences.get(name.as_str()).copied();
            // The server may have a newer registration whose response was lost.
            assert!(
                kept >= Some(*sequence),
                "{name}: {sequence} was acknowledged, {kept:?} is kept"
            );
        }
        let newest = snapshot["generation"].as_u64().unwrap_or(0);
        let kept = get("/v1/generations");
        let oldest = kept.as_array().unwrap().last();
        let oldest = oldest.map_or(0, |oldest| oldest["number"].as_u64().unwrap());
        for ((generation, name), digest) in delivered {
            assert!(generation <= newest, "generation {generation} is lost");
            if generation >= oldest {
                let path = format!("/v1/generations/{generation}/nodes/{name}/payload");
                match request(address, "GET", &path, "").unwrap() {
                    (200, payload) => assert_eq!(payload["digest"].as_str(), Some(&*digest)),
                    // The history limit has dropped this generation since.
                    (status, message) => assert_eq!(status, 404, "{message}"),
                }
            }
        }
        (snapshot["instance"].as_str().unwrap().to_owned(), newest)
    }
}

/// Stops the clients when dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn repeated_kills_lose_nothing_acknowledged() {
    let kills = std::env::var("TEST_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let sandbox = Sandbox::new();
    let spec = "cfgsync: 1\ncluster: devnet\nready: {nodes: 3}\nonce: {cookie: random_hex(8)}\nmaterializers:\n  \
                - kind: template\n    files:\n      - path: c\n        template: '{{ once.cookie }} {{ node.seat }} \
                {% for n in nodes %}{{ n.identifier }}={{ n.metadata.sequence }} {% endfor %}'\n";
    sandbox.put("cluster.yaml", spec);
    let port = ReservedPort::new();
    let arguments = [
        &STATE[..],
        &["--min-generation-interval", "5ms", "--history", "40"],
    ]
    .concat();
    let (observed, stop) = (Observed::default(), AtomicBool::new(false));
    let mut server = port.serve_with(&sandbox, &arguments);
    let (instance, mut newest) = observed.verify(port.address);
    let server = std::thread::scope(|scope| {
        // Stops the clients also if an assertion fails.
        let _stop_on_drop = StopOnDrop(&stop);
        for client in 0..CLIENTS {
            let (observed, stop) = (&observed, &stop);
            scope.spawn(move || observed.run_client(port.address, client, stop));
        }
        for kill in 1..=kills {
            observed.wait_under_load(kill);
            server.signal(Signal::KILL);
            assert_eq!(server.end(), 128 + 9);
            server = port.serve_with(&sandbox, &arguments);
            let (same, generation) = observed.verify(port.address);
            assert_eq!(same, instance);
            assert!(generation >= newest, "{generation} after {newest}");
            newest = generation;
        }
        server
    });
    observed.verify(port.address);
    assert!(newest > 0 && !observed.delivered.lock().unwrap().is_empty());
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    let verified = sandbox.run(&[&["inspect", "--verify"], &STATE[..]].concat(), &[]);
    assert_eq!(code(&verified), 0, "{}", text(&verified.stderr));
}
