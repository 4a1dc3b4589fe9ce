//! A server with a state directory, whatever ends it: what it acknowledged is there, and what it handed out is
//! what it hands out again.

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
    place::{Place, Process, Server, code, text},
    processes::Reserved,
};

/// How often the server is killed; `TEST_KILLS` says otherwise.
const KILLS: u64 = 10;
/// How many clients register and fetch meanwhile.
const CLIENTS: u64 = 4;

const STATE: [&str; 2] = ["--state-dir", "state"];

/// One request on a connection of its own, held if it is for a payload; `None` when there was no whole answer.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
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

fn facts(name: &str, turn: u64) -> String {
    format!(r#"{{"identifier":"{name}","ip":"10.0.0.1","metadata":{{"turn":{turn}}}}}"#)
}

#[test]
fn nodes_that_wait_get_their_files_from_the_server_that_comes_back() {
    let place = Place::new();
    let door = Reserved::new();
    let mut server = door.serve_with(&place, &STATE);
    let waiting = place.join(&door.url(), "node-1", &[]);
    server.log_until("node-1 registered");
    server.signal(Signal::KILL);
    assert_eq!(server.end(), 128 + 9);
    let mut server = door.serve_with(&place, &STATE);
    server.log_until("has 1 node and no generation yet");
    // Who is known need not come again for the set to be complete.
    assert_eq!(place.registered(&door.url()), ["node-1"]);
    let last = place.join(&door.url(), "node-2", &[]);
    for node in [waiting, last] {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    let cookie = place.read("node-1/cookie");
    assert_eq!(place.read("node-2/cookie"), cookie);
    // The same after another kill, from what was sealed.
    server.signal(Signal::KILL);
    server.end();
    let mut server = door.serve_with(&place, &STATE);
    server.log_until("has 2 nodes and generation 1");
    fs::remove_file(place.path().join("node-1/cookie")).unwrap();
    let again = place.join(&door.url(), "node-1", &[]);
    let (code, log) = again.end();
    assert_eq!(code, 0, "{log}");
    assert_eq!(place.read("node-1/cookie"), cookie);
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
}

#[test]
fn a_server_that_comes_back_with_less_room_keeps_whom_it_has() {
    let place = Place::new();
    let door = Reserved::new();
    let server = door.serve_with(&place, &STATE);
    server.register("node-1");
    server.register("other");
    server.signal(Signal::KILL);
    server.end();
    let less = [&STATE[..], &["--nodes-max", "1"]].concat();
    let mut server = door.serve_with(&place, &less);
    server.register("node-1");
    let mut new = place.join(&door.url(), "node-2", &["--timeout", "50s"]);
    server.log_until("registrations are refused: the maximum number of nodes (1) is registered");
    let told = new.log_until("503");
    assert!(told.contains("raise serve --nodes-max"), "{told}");
    // It comes again until there is room.
    for gone in ["node-1", "other"] {
        let removed = place.run(&["rm", gone, "--server", &door.url()], &[]);
        assert_eq!(code(&removed), 0, "{}", text(&removed.stderr));
    }
    server.log_until("node-2 registered");
    assert_eq!(place.registered(&door.url()), ["node-2"]);
}

#[test]
fn a_state_directory_is_closed_to_others_and_to_a_second_server() {
    let place = Place::new();
    let server = place.serve(&STATE);
    server.register("node-1");
    let second = place.run(
        &[
            &["serve", "cluster.yaml", "--listen", "127.0.0.1:0"],
            &STATE[..],
        ]
        .concat(),
        &[],
    );
    assert_eq!(code(&second), 1);
    let told = text(&second.stderr);
    let holder = format!("process id {}", server.process.pid().as_raw_nonzero());
    assert!(told.contains(&holder), "{told}");
    let mut found = vec![];
    list(&place.path().join("state"), &mut found);
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
        match path.is_dir() {
            true => list(&path, found),
            false => found.push((path.display().to_string(), mode(&path))),
        }
    }
}

#[test]
fn a_server_without_a_state_directory_says_what_it_forgets() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    server.log_until("the state is kept in memory");
    server.log_until(
        "this spec uses values of `once`, which changes at each restart of a server without",
    );
}

#[test]
fn under_systemd_the_units_state_directory_is_the_servers() {
    let place = Place::new();
    let mut command = place.command(&["serve", "cluster.yaml", "--listen", "127.0.0.1:0"]);
    command.env("STATE_DIRECTORY", "first:second");
    let mut server = Server::is(Process::start(command));
    server.log_until("first has 0 nodes and no generation yet");
    assert!(place.path().join("first/log").exists());
}

#[test]
fn a_directory_is_read_beside_its_server_and_without_one() {
    let place = Place::new();
    let server = place.serve(&STATE);
    for node in ["node-1", "node-2"] {
        server.register(node);
    }
    let node = place.join(&server.url, "node-2", &[]);
    assert_eq!(node.end().0, 0);
    let inspect = |arguments: &[&str]| {
        let output = place.run(&[&["inspect"], &STATE[..], arguments].concat(), &[]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        text(&output.stdout)
    };
    for beside in [true, false] {
        if !beside {
            server.signal(Signal::KILL);
        }
        let told = inspect(&["-o", "json"]);
        let body: cfgsync_wire::ClusterBody = serde_json::from_str(&told).unwrap();
        assert_eq!(
            (body.cluster.as_str(), body.registrations.len()),
            ("devnet", 2)
        );
        assert_eq!(
            inspect(&["file", "node-2", "cookie"]),
            place.read("node-2/cookie")
        );
        assert!(inspect(&["--verify"]).contains("generation 1: 2 nodes, digest "));
    }
    let sealed = place.path().join("state/generations");
    let sealed = fs::read_dir(sealed)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = fs::read(&sealed).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&sealed, bytes).unwrap();
    let output = place.run(&[&["inspect", "--verify"], &STATE[..]].concat(), &[]);
    assert_eq!(code(&output), 65);
    let told = text(&output.stderr);
    // The first frame follows the two lines of the header.
    let header = format!(
        "cfgsync generation 2\nwritten by cfgsync {}\n",
        env!("CARGO_PKG_VERSION")
    );
    let expected = format!("is damaged at byte {}", header.len());
    assert!(told.contains(&expected), "{told}");
    // Nor does a server start with it, however often it is tried.
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    assert_eq!(code(&place.run(&[&serve[..], &STATE].concat(), &[])), 65);
}

/// Who ended its side once its registration was sent was registered, and not told so.
#[test]
fn who_ends_its_side_is_told_once_its_registration_is_on_the_disk() {
    let place = Place::new();
    let server = place.serve(&STATE);
    let address = server.url.strip_prefix("http://").unwrap();
    for turn in 0..20 {
        let body = format!(r#"{{"identifier":"node-{turn}","ip":"10.0.0.1"}}"#);
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

/// What clients know, of all servers that there were.
#[derive(Default)]
struct Known {
    /// The newest turn that was acknowledged, by node.
    acknowledged: Mutex<HashMap<String, u64>>,
    /// The digest of each payload that was handed out, by generation and node.
    handed_out: Mutex<BTreeMap<(u64, String), String>>,
    turns: AtomicU64,
}

impl Known {
    /// Registers and fetches until told to stop; the server comes and goes meanwhile.
    fn load(&self, address: SocketAddr, client: u64, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let turn = self.turns.fetch_add(1, Ordering::Relaxed);
            let name = format!("n{client}-{}", turn % 5);
            let body = facts(&name, turn);
            match ask(address, "POST", "/register", &body) {
                Some((202, _)) => {
                    self.acknowledged.lock().unwrap().insert(name.clone(), turn);
                }
                Some((status, told)) => panic!("{status}: {told}"),
                None => {
                    std::thread::yield_now();
                    continue;
                }
            }
            if let Some((200, payload)) = ask(address, "POST", "/node", &body) {
                self.note(name, &payload);
            }
        }
    }

    /// Returns in the midst of the load: once something was handed out, or after so many requests more, another
    /// number each time.
    fn wait_for_a_moment(&self, kill: u64) {
        let handed_out = || self.handed_out.lock().unwrap().len();
        let (turns, before) = (self.turns.load(Ordering::Relaxed), handed_out());
        let until = turns + 20 + kill * 7 % 31;
        let is_over = || match kill % 2 {
            0 => self.turns.load(Ordering::Relaxed) >= until,
            _ => handed_out() > before,
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        while !is_over() {
            assert!(Instant::now() < deadline, "nothing is handed out");
            std::thread::yield_now();
        }
    }

    fn note(&self, name: String, payload: &Value) {
        let generation = payload["generation"].as_u64().unwrap();
        let digest = payload["digest"].as_str().unwrap();
        let mut handed_out = self.handed_out.lock().unwrap();
        let known = handed_out.insert((generation, name), digest.to_owned());
        assert!(known.is_none_or(|known| known == digest), "two digests");
    }

    /// Compares a server that came back with what is known; answers its instance and generation.
    fn check(&self, address: SocketAddr) -> (String, u64) {
        // First what is promised, then what is there: the clients go on meanwhile.
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let handed_out = self.handed_out.lock().unwrap().clone();
        let get = |path: &str| ask(address, "GET", path, "").unwrap().1;
        let snapshot = get("/v1/snapshot");
        let turns: HashMap<&str, u64> = snapshot["registrations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| {
                let turn = &node["metadata"]["turn"];
                (node["identifier"].as_str().unwrap(), turn.as_u64().unwrap())
            })
            .collect();
        for (name, turn) in &acknowledged {
            let kept = turns.get(name.as_str()).copied();
            // A newer one may have been written whose answer was cut off.
            assert!(
                kept >= Some(*turn),
                "{name}: {turn} was acknowledged, {kept:?} is kept"
            );
        }
        let newest = snapshot["generation"].as_u64().unwrap_or(0);
        let kept = get("/v1/generations");
        let oldest = kept.as_array().unwrap().last();
        let oldest = oldest.map_or(0, |oldest| oldest["number"].as_u64().unwrap());
        for ((generation, name), digest) in handed_out {
            assert!(generation <= newest, "generation {generation} is lost");
            if generation >= oldest {
                let path = format!("/v1/generations/{generation}/nodes/{name}/payload");
                match ask(address, "GET", &path, "").unwrap() {
                    (200, payload) => assert_eq!(payload["digest"].as_str(), Some(&*digest)),
                    // Newer ones have come, and it is no longer kept.
                    (status, told) => assert_eq!(status, 404, "{told}"),
                }
            }
        }
        (snapshot["instance"].as_str().unwrap().to_owned(), newest)
    }
}

/// Tells the clients to stop.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nothing_acknowledged_is_lost_however_often_the_server_is_killed() {
    let kills = std::env::var("TEST_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let place = Place::new();
    let spec = "cfgsync: 1\ncluster: devnet\nready: {nodes: 3}\nonce: {cookie: random_hex(8)}\nmaterializers:\n  \
                - kind: template\n    files:\n      - path: c\n        template: '{{ once.cookie }} {{ node.seat }} \
                {% for n in nodes %}{{ n.identifier }}={{ n.metadata.turn }} {% endfor %}'\n";
    place.put("cluster.yaml", spec);
    let door = Reserved::new();
    let arguments = [
        &STATE[..],
        &["--min-generation-interval", "5ms", "--history", "40"],
    ]
    .concat();
    let (known, stop) = (Known::default(), AtomicBool::new(false));
    let mut server = door.serve_with(&place, &arguments);
    let (instance, mut newest) = known.check(door.address);
    let server = std::thread::scope(|scope| {
        // Also when an assertion fails.
        let _stopping = Stopping(&stop);
        for client in 0..CLIENTS {
            let (known, stop) = (&known, &stop);
            scope.spawn(move || known.load(door.address, client, stop));
        }
        for kill in 1..=kills {
            known.wait_for_a_moment(kill);
            server.signal(Signal::KILL);
            assert_eq!(server.end(), 128 + 9);
            server = door.serve_with(&place, &arguments);
            let (same, generation) = known.check(door.address);
            assert_eq!(same, instance);
            assert!(generation >= newest, "{generation} after {newest}");
            newest = generation;
        }
        server
    });
    known.check(door.address);
    assert!(newest > 0 && !known.handed_out.lock().unwrap().is_empty());
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    let verified = place.run(&[&["inspect", "--verify"], &STATE[..]].concat(), &[]);
    assert_eq!(code(&verified), 0, "{}", text(&verified.stderr));
}
