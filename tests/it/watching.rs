//! `join --watch`: the node's files follow the cluster, and CMD is a child process.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::sandbox::{Process, Sandbox, Server, code, join, namespace, text};

/// A spec of one node with the file `config`, and others given as `path: template`.
fn spec(config: &str, others: &[(&str, &str)]) -> String {
    let mut spec = crate::sandbox::SPEC[..crate::sandbox::SPEC.find("once:").unwrap()]
        .replace("nodes: 2", "nodes: 1");
    spec.push_str("materializers:\n  - kind: template\n    files:\n");
    for (path, template) in [("config", config)].iter().chain(others) {
        spec.push_str(&format!(
            "      - {{ path: {path}, secret: true, template: \"{template}\" }}\n"
        ));
    }
    spec
}

/// A server with one node, whose files the test changes.
struct Cluster {
    sandbox: Sandbox,
    server: Server,
}

impl Cluster {
    fn new(config: &str) -> Self {
        Self::with(config, &[], &[])
    }

    fn with(config: &str, others: &[(&str, &str)], flags: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        sandbox.put("cluster.yaml", &spec(config, others));
        let server = sandbox.serve(&[&["--min-generation-interval", "0s"], flags].concat());
        Self { sandbox, server }
    }

    fn start(&self, more: &[&str]) -> Process {
        let node = join(&self.server.url, "node-1");
        self.sandbox
            .start(&[&node[..], &["--watch"], more].concat())
    }

    /// Starts a node and waits until it follows.
    fn follow(&self, more: &[&str]) -> Process {
        let mut node = self.start(more);
        node.log_until("wrote node-1/config");
        node.log_until("following the cluster");
        node
    }

    /// Gives the cluster another content of `config`.
    fn change(&self, config: &str) {
        self.change_to(config, &[]);
    }

    fn change_to(&self, config: &str, others: &[(&str, &str)]) {
        self.sandbox.put("cluster.yaml", &spec(config, others));
        self.server.signal(Signal::HUP);
    }

    fn config(&self) -> String {
        self.sandbox.read("node-1/config")
    }
}

#[test]
fn each_generation_is_written_like_the_first() {
    let cluster = Cluster::with("one", &[("old", "key")], &[]);
    let mut node = cluster.follow(&["--receipt", "receipt"]);
    assert_eq!(cluster.config(), "one");
    cluster.change_to("two", &[("new", "key")]);
    node.log_until("wrote node-1/config");
    node.log_until("removed node-1/old, which is no longer part of the payload");
    assert_eq!(cluster.config(), "two");
    assert_eq!(cluster.sandbox.read("node-1/new"), "key");
    let receipt: Value = serde_json::from_str(&cluster.sandbox.read("receipt")).unwrap();
    assert_eq!(receipt["generation"], 2);
    assert_eq!(receipt["removed"][0], "old");
    // The server records the delivery shortly after.
    let deadline = Instant::now() + Duration::from_secs(20);
    let arguments = ["inspect", "--server", &cluster.server.url, "-o", "json"];
    loop {
        let output = cluster.sandbox.run(&arguments, &[]);
        let state: Value = serde_json::from_slice(&output.stdout).unwrap();
        if state["registrations"][0]["delivered"] == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{state}");
    }
    node.signal(Signal::TERM);
    let (code, log) = node.end();
    assert_eq!(code, 143, "{log}");
}

#[test]
fn node_keeps_its_files_while_the_server_is_away_and_then_follows_again() {
    let cluster = Cluster::with("one", &[], &["--port-file", "port"]);
    let mut node = cluster.follow(&[]);
    let port = cluster.sandbox.read("port");
    let Cluster { sandbox, server } = cluster;
    drop(server);
    node.log_until("trying again: ");
    assert_eq!(sandbox.read("node-1/config"), "one");
    // A new instance on the same port, which does not know the node.
    sandbox.put("cluster.yaml", &spec("two", &[]));
    let listen = format!("127.0.0.1:{}", port.trim());
    let mut server = sandbox.start(&["serve", "cluster.yaml", "--listen", &listen]);
    server.log_until("node-1 registered");
    node.log_until("wrote node-1/config");
    assert_eq!(sandbox.read("node-1/config"), "two");
}

#[test]
fn delivery_that_fails_is_tried_again() {
    let cluster = Cluster::new("one");
    let mut node = cluster.follow(&[]);
    let place = cluster.sandbox.path().join("node-1/config");
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    cluster.change("two");
    node.log_until("cannot write generation 2: cannot write node-1/config: it is a directory");
    fs::remove_dir(&place).unwrap();
    node.log_until("wrote node-1/config");
    assert_eq!(cluster.config(), "two");
}

#[test]
fn payload_without_a_route_is_refused_until_the_next_generation() {
    let cluster = Cluster::new("one");
    let node = [
        "join",
        "--server",
        &cluster.server.url,
        "--id",
        "node-1",
        "--ip",
        "10.0.0.1",
    ];
    let node = [&node[..], &["--out", "config=node-1/config", "--watch"]].concat();
    let mut node = cluster.sandbox.start(&node);
    node.log_until("wrote node-1/config");
    node.log_until("following the cluster");
    cluster.change_to("two", &[("other", "x")]);
    node.log_until("generation 2 is not used: no route for the artifact other");
    assert_eq!(cluster.config(), "one");
    cluster.change("three");
    node.log_until("wrote node-1/config");
    assert_eq!(cluster.config(), "three");
    node.signal(Signal::INT);
    let (code, log) = node.end();
    assert_eq!(code, 130, "{log}");
    assert_eq!(log.matches("is not used").count(), 1, "{log}");
}

/// A program that notes its starts and signals in the file `events`, and ends with 7 on SIGTERM.
const PROGRAM: &str = "echo start $(cat node-1/config) $MODE >>events; \
    trap 'echo reload $(cat node-1/config) >>events; echo reloaded >&2' HUP; \
    trap 'echo end >>events; exit 7' TERM; \
    echo is up >&2; while :; do sleep 0.01; done";

fn program<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    [flags, &["--", "sh", "-c", PROGRAM]].concat()
}

#[test]
fn command_gets_the_reload_signal_and_join_ends_with_its_code() {
    let cluster = Cluster::new("one");
    let mut node = cluster.start(&program(&[
        "--reload-signal",
        "HUP",
        "--receipt",
        "receipt",
    ]));
    node.log_until("is up");
    cluster.change("two");
    node.log_until("sent SIGHUP to the command, because its files have changed");
    node.log_until("reloaded");
    // A signal from elsewhere is forwarded.
    node.signal(Signal::HUP);
    node.log_until("reloaded");
    let receipt: Value = serde_json::from_str(&cluster.sandbox.read("receipt")).unwrap();
    assert_eq!(receipt["generation"], 2);
    assert_eq!(receipt["action_pending"], Value::Null);
    node.signal(Signal::TERM);
    let (code, log) = node.end();
    assert_eq!(code, 7, "{log}");
    assert_eq!(
        cluster.sandbox.read("events"),
        "start one\nreload two\nreload two\nend\n"
    );
}

#[test]
fn command_is_restarted_for_changed_files_and_for_a_changed_environment() {
    let cluster = Cluster::with("one", &[("env", "MODE=a")], &[]);
    let mut node = cluster.start(&program(&["--restart-on-change", "--env", "env"]));
    node.log_until("is up");
    cluster.change_to("two", &[("env", "MODE=a")]);
    node.log_until("restarting the command, because its files have changed: sent SIGTERM");
    node.log_until("the command was started again");
    node.log_until("is up");
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, 7);

    let mut node = cluster.start(&program(&["--reload-signal", "HUP", "--env", "env"]));
    node.log_until("is up");
    cluster.change_to("two", &[("env", "MODE=b")]);
    node.log_until("the command was started again");
    node.log_until("is up");
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, 7);
    assert_eq!(
        cluster.sandbox.read("events"),
        "start one a\nend\nstart two a\nend\nstart two a\nend\nstart two b\nend\n"
    );
}

#[test]
fn command_that_ignores_the_kill_signal_is_killed_after_the_timeout() {
    let cluster = Cluster::new("one");
    let script = "trap '' TERM; echo is up $(cat node-1/config) >&2; while :; do sleep 0.01; done";
    let mut node = cluster.start(&[
        "--restart-on-change",
        "--kill-timeout",
        "100ms",
        "--",
        "sh",
        "-c",
        script,
    ]);
    node.log_until("is up one");
    cluster.change("two");
    node.log_until("killed the command: it did not exit within --kill-timeout");
    node.log_until("is up two");
    node.signal(Signal::TERM);
    let (code, log) = node.end();
    assert_eq!(code, 137, "{log}");
}

#[test]
fn end_of_the_command_ends_the_join() {
    let cluster = Cluster::new("one");
    for (script, expected) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)] {
        let node = cluster.start(&["--", "sh", "-c", script]);
        let (code, log) = node.end();
        assert_eq!(code, expected, "{log}");
    }
    let node = cluster.start(&["--", "./missing"]);
    assert_eq!(node.end().0, 127);
}

#[test]
fn process_1_collects_the_orphans_of_the_command() {
    let cluster = Cluster::new("one");
    let script = "trap 'exit 7' TERM; (true & true &); (sleep 0.01 &); echo is up >&2; \
                  while :; do sleep 0.01; ls /proc/[0-9]*/stat | xargs cat 2>/dev/null | grep -c ') Z 1 ' >zombies; done";
    let wrapper = namespace(&["--pid", "--fork", "--mount-proc"]);
    let arguments = join(&cluster.server.url, "node-1");
    let arguments = [&arguments[..], &["--watch", "--", "sh", "-c", script]].concat();
    let mut node = Process::start(cluster.sandbox.command_under(&wrapper, &arguments));
    node.log_until("is up");
    let zombies = cluster.sandbox.path().join("zombies");
    let deadline = Instant::now() + Duration::from_secs(20);
    while fs::read_to_string(&zombies).is_ok_and(|text| text != "0\n") || !zombies.exists() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let children = format!("/proc/{0}/task/{0}/children", node.pid().as_raw_nonzero());
    let inner = fs::read_to_string(children).unwrap();
    let inner = rustix::process::Pid::from_raw(inner.trim().parse().unwrap()).unwrap();
    kill_process(inner, Signal::TERM).unwrap();
    let (code, log) = node.end();
    assert_eq!(code, 7, "{log}");
}

#[test]
fn flags_of_following_need_watch_and_a_command() {
    let sandbox = Sandbox::new();
    let cases: [(&[&str], &str); 3] = [
        (
            &["--reload-signal", "HUP", "--", "true"],
            "--reload-signal needs --watch",
        ),
        (
            &["--watch", "--restart-on-change"],
            "--restart-on-change needs a program: add -- CMD",
        ),
        (
            &["--watch", "--reload-signal", "HAP", "--", "true"],
            "did you mean `HUP`?",
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
