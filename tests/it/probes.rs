//! `join --watch --probe`: the node checks its service and reports the phases `started`, `healthy` and `failed`.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{PROGRAM, Process, Sandbox, Server, code, join, text};

/// A spec of `nodes` nodes with the file `config`, which shows a constant.
fn spec(nodes: usize, config: &str, more: &str) -> String {
    format!(
        "cfgsync: 1\ncluster: devnet\nready: {{ nodes: {nodes} }}\n{more}materializers:\n  - kind: template\n    \
         files:\n      - {{ path: config, template: \"{config}\" }}\n"
    )
}

struct Cluster {
    sandbox: Sandbox,
    server: Server,
    nodes: usize,
    more: &'static str,
}

impl Cluster {
    fn new(nodes: usize, more: &'static str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.put("cluster.yaml", &spec(nodes, "one", more));
        let server = sandbox.serve(&["--min-generation-interval", "0s"]);
        Self {
            sandbox,
            server,
            nodes,
            more,
        }
    }

    fn change(&self, config: &str) {
        let spec = spec(self.nodes, config, self.more);
        self.sandbox.put("cluster.yaml", &spec);
        self.server.signal(Signal::HUP);
    }

    fn start(&self, id: &str, more: &[&str]) -> Process {
        let node = join(&self.server.url, id);
        let quick = [
            "--watch",
            "--probe-interval",
            "100ms",
            "--probe-start-period",
            "0s",
        ];
        self.sandbox.start(&[&node[..], &quick, more].concat())
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let all = [arguments, &["--server", &self.server.url]].concat();
        let output = self.sandbox.run(&all, &[]);
        (code(&output), text(&output.stdout) + &text(&output.stderr))
    }

    /// Waits until all nodes have reached a phase with this generation, or one has failed.
    fn wait(&self, phase: &str, generation: &str) -> (i32, String) {
        self.run(&["wait", phase, "--generation", generation, "--timeout", "1m"])
    }

    /// Returns the report of a node about a phase.
    fn report(&self, id: &str, phase: &str) -> Value {
        let (code, body) = self.run(&["inspect", "node", id, "-o", "json"]);
        assert_eq!(code, 0, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let reports = body["node"]["phases"].as_array().cloned();
        let mut reports = reports.unwrap_or_default().into_iter();
        reports.find(|it| it["phase"] == phase).unwrap_or_default()
    }
}

/// Reports when it starts and is told to reload.
const SERVICE: &str = "trap 'echo reloaded >&2' HUP; trap 'exit 0' TERM; echo is up >&2; while :; do sleep 0.01; done";

#[test]
fn command_decides_and_each_generation_is_checked_anew() {
    let cluster = Cluster::new(1, "");
    let probe = "echo $CFGSYNC_GENERATION $(cat node-1/config) >>probed; echo noise; \
                 grep -qv bad node-1/config || { echo line 1; echo no good >&2; exit 3; }";
    let mut node = cluster.start(
        "node-1",
        &[
            "--probe",
            probe,
            "--reload-signal",
            "HUP",
            "--",
            "sh",
            "-c",
            SERVICE,
        ],
    );
    for phase in ["started", "healthy"] {
        let (exit, log) = cluster.wait(phase, "1");
        assert_eq!(exit, 0, "{log}");
    }
    node.log_until("the node is healthy with generation 1");
    cluster.change("bad");
    node.log_until("the node has failed with generation 2: --probe exited with 3: no good");
    let (exit, log) = cluster.wait("healthy", "2");
    assert_eq!(exit, 70, "{log}");
    let reason = "node-1 failed: --probe exited with 3: no good";
    assert!(log.contains(reason), "{log}");
    cluster.change("three");
    node.log_until("the node is healthy with generation 3");
    let (exit, log) = cluster.wait("healthy", "3");
    assert_eq!(exit, 0, "{log}");
    let (exit, log) = cluster.wait("started", "3");
    assert_eq!(exit, 0, "{log}");
    node.signal(Signal::TERM);
    let (exit, log) = node.end();
    assert_eq!(exit, 0, "{log}");
    assert!(!log.contains("noise"), "{log}");
    let probed = cluster.sandbox.read("probed");
    for line in ["1 one\n", "2 bad\n", "3 three\n"] {
        assert!(probed.matches(line).count() >= 3, "{probed}");
    }
    // The node that ends was not reported as failed.
    assert_eq!(cluster.report("node-1", "failed")["generation"], 2);
}

/// Answers each request with this status, until the value is dropped.
struct Service {
    port: u16,
    is_ended: Arc<AtomicBool>,
}

impl Service {
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_ended = Arc::<AtomicBool>::default();
        let ended = is_ended.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            }
        });
        Self { port, is_ended }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
    }
}

#[test]
fn service_of_another_unit_is_checked_over_http_and_tcp() {
    let good = Service::start("204 No Content");
    let bad = Service::start("503 Service Unavailable");
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let cases = [
        (
            format!("http://127.0.0.1:{}/health", good.port),
            "the node is healthy with generation 1",
        ),
        (
            format!("tcp://localhost:{}", good.port),
            "the node is healthy with generation 1",
        ),
        (
            format!("http://127.0.0.1:{}/", bad.port),
            "the node has failed with generation 1: --probe: HTTP status 503 Service Unavailable",
        ),
        (
            format!("tcp://127.0.0.1:{closed}"),
            "the node has failed with generation 1: --probe: cannot connect to 127.0.0.1:",
        ),
    ];
    for (url, expected) in cases {
        let cluster = Cluster::new(1, "");
        let mut node = cluster.start("node-1", &["--probe", &url]);
        node.log_until(expected);
        let phase = if expected.contains("healthy") {
            "healthy"
        } else {
            "failed"
        };
        let (exit, log) = cluster.wait(phase, "1");
        assert_eq!(exit, 0, "{log}");
        // Without CMD, nothing has started.
        assert_eq!(cluster.report("node-1", "started"), Value::Null);
    }
}

#[test]
fn probe_that_hangs_or_floods_is_killed_with_its_children() {
    for (probe, expected) in [
        (
            "sleep 1000 & echo $! >sleeping; sleep 1000",
            "--probe did not end within 200ms, so it was killed",
        ),
        (
            "sleep 1000 & echo $! >sleeping; yes",
            "--probe printed more than 1 MiB, so it was killed",
        ),
    ] {
        let cluster = Cluster::new(1, "");
        let flags = [
            "--probe",
            probe,
            "--probe-threshold",
            "1",
            "--probe-start-period",
            "0s",
        ];
        let timeout = if probe.contains("yes") { "1m" } else { "200ms" };
        let flags = [
            &flags[..],
            &["--probe-timeout", timeout, "--probe-interval", "1h"],
        ]
        .concat();
        let node = join(&cluster.server.url, "node-1");
        let mut node = cluster
            .sandbox
            .start(&[&node[..], &["--watch"], &flags].concat());
        node.log_until(expected);
        let pid = cluster.sandbox.read("sleeping");
        // Until its new parent collects it, a dead process is a zombie.
        let stat = format!("/proc/{}/stat", pid.trim());
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < deadline, "it still runs");
            thread::yield_now();
        }
    }
}

#[test]
fn command_that_fails_is_reported_without_the_probe() {
    let cluster = Cluster::new(1, "");
    let mut node = cluster.start(
        "node-1",
        &[
            "--probe",
            "true",
            "--",
            "sh",
            "-c",
            "echo is up >&2; until [ -e end ]; do sleep 0.01; done; exit 7",
        ],
    );
    node.log_until("the node is healthy");
    cluster.sandbox.put("end", "");
    let (exit, log) = node.end();
    assert_eq!(exit, 7, "{log}");
    assert_eq!(
        cluster.report("node-1", "failed")["reason"],
        "the command ended with 7"
    );
}

#[test]
fn output_of_the_probe_is_not_reported_if_a_file_is_secret() {
    let cluster = Cluster::new(1, "");
    let secret = spec(1, "one", "").replace("template: \"", "secret: true, template: \"");
    cluster.sandbox.put("cluster.yaml", &secret);
    cluster.server.signal(Signal::HUP);
    let mut node = cluster.start("node-1", &["--probe", "cat node-1/config >&2; exit 1"]);
    node.log_until("the node has failed");
    assert_eq!(cluster.wait("failed", "1").0, 0);
    assert_eq!(
        cluster.report("node-1", "failed")["reason"],
        "--probe exited with 1"
    );
}

/// The hooks get the token and the key of the node by file.
#[test]
fn hooks_act_as_their_node() {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", &spec(1, "one", "identity: first-use\n"));
    sandbox.token("nodes", &["--role", "node"]);
    let server = sandbox.serve(&["--tokens", "tokens"]);
    let hook = |phase: &str| {
        format!(
            "env | grep ^CFGSYNC_ | sort >env-{phase}; cd /
             {PROGRAM} report {phase} && {PROGRAM} wait {phase} && {PROGRAM} run-once {phase} -- true"
        )
    };
    let (check, change, probe) = (hook("checked"), hook("changed"), hook("probed"));
    let node = join(&server.url, "node-1");
    let flags = ["--watch", "--probe-threshold", "1"];
    let hooks = ["--check", &check, "--on-change", &change, "--probe", &probe];
    let access = ["--token-file", "nodes.token", "--identity-file", "key"];
    let mut node = sandbox.start(&[&node[..], &flags, &hooks, &access].concat());
    node.log_until("--on-change is done");
    node.log_until("the node is healthy with generation 1");

    let directory = fs::canonicalize(sandbox.path()).unwrap();
    let facts = format!(
        "CFGSYNC_CLUSTER=devnet\nCFGSYNC_GENERATION=1\nCFGSYNC_ID=node-1\nCFGSYNC_IDENTITY_FILE={0}/key\n\
         CFGSYNC_SEAT=0\nCFGSYNC_SERVER={1}\nCFGSYNC_TOKEN_FILE={0}/nodes.token\n",
        directory.display(),
        server.url
    );
    assert_eq!(sandbox.read("env-changed"), facts);
    assert_eq!(sandbox.read("env-probed"), facts);
    let checked = sandbox.read("env-checked");
    let is_staged = |line: &&str| line.starts_with("CFGSYNC_STAGED=/");
    assert_eq!(checked.lines().filter(is_staged).count(), 1, "{checked}");
    let others: Vec<&str> = checked.lines().filter(|line| !is_staged(line)).collect();
    assert_eq!(others, facts.lines().collect::<Vec<_>>());
}

#[test]
fn roll_out_waits_for_healthy_nodes_and_names_the_one_that_failed() {
    let rule = "rollout: { at_once: 1, wait_for: healthy }\n";
    let mut cluster = Cluster::new(3, rule);
    let probe = "! { [ $CFGSYNC_ID = node-2 ] && grep -q bad $CFGSYNC_ID/config; }";
    let mut nodes: Vec<Process> = ["node-1", "node-2", "node-3"]
        .map(|id| cluster.start(id, &["--probe", probe]))
        .into();
    for node in &mut nodes {
        node.log_until("the node is healthy with generation 1");
    }
    cluster.change("two");
    cluster
        .server
        .log_until("generation 2 is rolled out: reported healthy: 3,");
    cluster.change("bad");
    cluster
        .server
        .log_until("the roll-out of generation 3 is stopped: node-2 failed: --probe exited with 1");
    assert_eq!(cluster.sandbox.read("node-1/config"), "bad");
    assert_eq!(cluster.sandbox.read("node-3/config"), "two");
}

#[test]
fn forms_and_flags_are_checked() {
    let sandbox = Sandbox::new();
    let cases: [(&[&str], &str); 5] = [
        (&["--probe", "true"], "--probe needs --watch"),
        (
            &["--watch", "--probe", "https://localhost/"],
            "use a command in its place",
        ),
        (
            &["--watch", "--probe", "tcp://localhost"],
            "expected tcp://HOST:PORT",
        ),
        (
            &["--watch", "--probe-interval", "1ms"],
            "expected at least 100ms",
        ),
        (
            &["--watch", "--probe-threshold", "0"],
            "0 is not in 1..=1000",
        ),
    ];
    for (flags, message) in cases {
        let node = join("http://127.0.0.1:1", "node-1");
        let output = sandbox.run(&[&node[..], flags].concat(), &[]);
        let printed = text(&output.stderr);
        assert_eq!(code(&output), 2, "{printed}");
        assert!(printed.contains(message), "{printed}");
    }
}
