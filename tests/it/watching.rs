//! `join --watch`: the node's files follow the cluster, and CMD is a child process.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::sandbox::{Process, Sandbox, Server, code, has_ended, join, namespace, text};

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
    node.log_until(
        "cannot write generation 2: cannot write node-1/config: it is a directory (name a file, or",
    );
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
    let flags = [
        "--watch",
        "--check",
        "true & true",
        "--on-change",
        "(true & true &)",
    ];
    let arguments = [&arguments[..], &flags, &["--", "sh", "-c", script]].concat();
    let mut node = Process::start(cluster.sandbox.command_under(&wrapper, &arguments));
    node.log_until("is up");
    let zombies = cluster.sandbox.path().join("zombies");
    let await_collection = || {
        let _ = fs::remove_file(&zombies);
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::read_to_string(&zombies).unwrap_or_default() != "0\n" {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    };
    await_collection();
    // The exit statuses of these programs are not those of orphans.
    cluster.change("two");
    node.log_until("--on-change is done");
    await_collection();
    let children = format!("/proc/{0}/task/{0}/children", node.pid().as_raw_nonzero());
    let inner = fs::read_to_string(children).unwrap();
    let inner = Pid::from_raw(inner.trim().parse().unwrap()).unwrap();
    kill_process(inner, Signal::TERM).unwrap();
    let (code, log) = node.end();
    assert_eq!(code, 7, "{log}");
}

#[test]
fn flags_of_following_need_watch_and_a_command() {
    let sandbox = Sandbox::new();
    let cases: [(&[&str], &str); 6] = [
        (&["--check", "true"], "--check needs --watch"),
        (
            &["--watch", "--signal", "HUP"],
            "--signal needs --pid-file FILE",
        ),
        (
            &["--watch", "--pid-file", "pid"],
            "--pid-file needs --signal",
        ),
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

fn receipt(cluster: &Cluster) -> Value {
    serde_json::from_str(&cluster.sandbox.read("receipt")).unwrap()
}

/// Copies the staged files, notes the mode of their directory, and refuses `bad`.
const CHECK: &str = "cat $CFGSYNC_STAGED/config >>checked; echo \" $CFGSYNC_GENERATION\" >>checked; \
    stat -c %a $CFGSYNC_STAGED >mode; ls $CFGSYNC_STAGED/d >>mode; echo $CFGSYNC_STAGED >>mode; \
    if grep -q bad $CFGSYNC_STAGED/config; then echo 'line 1: bad' >&2; exit 1; fi";

#[test]
fn refused_generation_leaves_the_old_files_until_the_next_one() {
    let others = [("d/other", "x")];
    let cluster = Cluster::with("one", &others, &[]);
    let mut node = cluster.follow(&["--check", CHECK, "--receipt", "receipt"]);
    cluster.change_to("bad", &others);
    node.log_until("generation 2 is not used: --check exited with 1: line 1: bad");
    assert_eq!(cluster.config(), "one");
    assert_eq!(receipt(&cluster)["generation"], 1);
    // Operators see it, without the output of the check, because the files are secret.
    let arguments = [
        "inspect",
        "node",
        "node-1",
        "--server",
        &cluster.server.url,
        "-o",
        "json",
    ];
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let output = cluster.sandbox.run(&arguments, &[]);
        let state: Value = serde_json::from_slice(&output.stdout).unwrap();
        if state["node"]["phases"]
            .to_string()
            .contains("--check exited with 1\"")
        {
            break;
        }
        assert!(Instant::now() < deadline, "{state}");
    }
    // The server is asked again, and has no other generation.
    cluster.change_to("good", &others);
    node.log_until("wrote node-1/config");
    assert_eq!(cluster.config(), "good");
    // A generation that changes back is no change.
    cluster.change_to("bad", &others);
    node.log_until("generation 4 is not used");
    cluster.change_to("good", &others);
    node.log_until("2 files unchanged");
    node.signal(Signal::TERM);
    let (code, log) = node.end();
    assert_eq!(code, 143, "{log}");
    assert_eq!(
        cluster.sandbox.read("checked"),
        "one 1\nbad 2\ngood 3\nbad 4\n"
    );
    let mode = cluster.sandbox.read("mode");
    let [mode, other, staged] = mode.lines().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((mode, other), ("700", "other"));
    assert!(!std::path::Path::new(staged).exists());
}

#[test]
fn check_that_hangs_floods_or_is_killed_refuses_the_files() {
    let cases = [
        (
            "if grep -q one $CFGSYNC_STAGED/config; then exit 0; fi; sleep 1000 & sleep 1000",
            "--check did not end within 1s, so it was killed",
        ),
        (
            "if grep -q one $CFGSYNC_STAGED/config; then exit 0; fi; yes",
            "--check printed more than 1 MiB, so it was killed",
        ),
        (
            "if grep -q one $CFGSYNC_STAGED/config; then exit 0; fi; kill -9 $$",
            "--check was killed by signal 9",
        ),
    ];
    for (check, message) in cases {
        let cluster = Cluster::new("one");
        let mut node = cluster.follow(&["--check", check, "--check-timeout", "1s"]);
        cluster.change("two");
        node.log_until(message);
        assert_eq!(cluster.config(), "one");
    }
}

#[test]
fn check_leaves_no_process_and_an_action_may() {
    let cluster = Cluster::new("one");
    let leave = |file| format!("sleep 1000 >/dev/null 2>&1 & echo $! >{file}");
    let (check, action) = (leave("checking"), leave("acting"));
    let mut node = cluster.follow(&["--check", &check, "--on-change", &action]);
    node.log_until("--on-change is done");
    let pid = |file| Pid::from_raw(cluster.sandbox.read(file).trim().parse().unwrap()).unwrap();
    assert!(has_ended(pid("checking")));
    kill_process(pid("acting"), Signal::KILL).unwrap();
}

#[test]
fn first_delivery_is_checked_too() {
    let mut cluster = Cluster::new("one");
    let flags = ["--check", CHECK, "--receipt", "receipt"];
    let node = cluster.follow(&flags);
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, 143);
    cluster.change("bad");
    cluster.server.log_until("generation 2");
    let (code, log) = cluster.start(&["--check", CHECK]).end();
    assert_eq!(code, 65, "{log}");
    assert!(
        log.contains("exit 65: --check exited with 1: line 1: bad"),
        "{log}"
    );
    // With a receipt, the node continues with its files.
    let mut node = cluster.start(&flags);
    node.log_until("--check exited with 1: line 1: bad; continuing with the previous delivery, 1 file of generation 1");
    node.log_until("following the cluster");
    cluster.change("good");
    node.log_until("wrote node-1/config");
    assert_eq!(cluster.config(), "good");
}

#[test]
fn one_action_follows_each_change() {
    let others = [("a", "x"), ("b", "x")];
    let cluster = Cluster::with("one", &others, &[]);
    let action = "echo $CFGSYNC_GENERATION $(cat node-1/config) >>actions";
    let flags = ["--on-change", action, "--receipt", "receipt"];
    let mut node = cluster.follow(&flags);
    node.log_until("--on-change is done");
    cluster.change_to("two", &[("a", "y"), ("b", "y")]);
    node.log_until("--on-change is done");
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, 143);
    // Nothing has changed at the next start.
    let mut node = cluster.start(&flags);
    node.log_until("following the cluster");
    cluster.change("three");
    node.log_until("--on-change is done");
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, 143);
    assert_eq!(cluster.sandbox.read("actions"), "1 one\n2 two\n3 three\n");
    assert_eq!(receipt(&cluster)["action_pending"], Value::Null);
}

#[test]
fn first_delivery_with_a_new_receipt_does_the_action() {
    let cluster = Cluster::new("one");
    let node = cluster.follow(&[]);
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, 143);
    // The files are in place, but nothing says whether an action was done for them.
    let mut node = cluster.start(&["--on-change", "true", "--receipt", "receipt"]);
    node.log_until("--on-change is done");
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, 143);
    assert_eq!(receipt(&cluster)["action_pending"], Value::Null);
}

#[test]
fn programs_of_join_do_not_get_its_settings() {
    let cluster = Cluster::new("one");
    let print = "env | grep -E '^CFGSYNC_(TIMEOUT|OUTPUT|WATCH|RECEIPT)=' >settings; echo done >>settings; sleep 1000";
    let mut command = cluster
        .sandbox
        .command(&join(&cluster.server.url, "node-1"));
    command.args(["--on-change", "env >hook", "--", "sh", "-c", print]);
    for (name, value) in [
        ("TIMEOUT", "20s"),
        ("WATCH", "true"),
        ("RECEIPT", "receipt"),
    ] {
        command.env(format!("CFGSYNC_{name}"), value);
    }
    let mut node = Process::start(command);
    node.log_until("following the cluster");
    cluster.change("two");
    node.log_until("--on-change is done");
    assert_eq!(cluster.sandbox.read("settings"), "done\n");
    let hook = cluster.sandbox.read("hook");
    assert!(hook.contains("CFGSYNC_ID=node-1\n"), "{hook}");
    assert!(!hook.contains("CFGSYNC_TIMEOUT"), "{hook}");
}

/// `kill -9` between the commit and the action.
#[test]
fn action_that_a_killed_join_owes_is_done_at_the_next_start() {
    let cluster = Cluster::new("one");
    let kill = ["--on-change", "kill -9 $PPID", "--receipt", "receipt"];
    let (code, log) = cluster.start(&kill).end();
    assert_eq!(code, 137, "{log}");
    assert_eq!(cluster.config(), "one");
    assert_eq!(receipt(&cluster)["action_pending"], true);
    let fail = ["--on-change", "echo broken; exit 3", "--receipt", "receipt"];
    let mut node = cluster.start(&fail);
    node.log_until("--on-change exited with 3: broken; the new files stay");
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, 143);
    assert_eq!(receipt(&cluster)["action_pending"], true);
    let mut node = cluster.start(&["--on-change", "true", "--receipt", "receipt"]);
    node.log_until("--on-change is done");
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, 143);
    assert_eq!(receipt(&cluster)["action_pending"], Value::Null);
}

#[test]
fn signal_goes_to_the_process_of_the_pid_file() {
    let cluster = Cluster::new("one");
    let script = "trap 'echo reloaded >&2' HUP; echo $$ >pid; while :; do sleep 0.01; done";
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", script])
        .current_dir(cluster.sandbox.path());
    let mut program = Process::start(command);
    while fs::read_to_string(cluster.sandbox.path().join("pid"))
        .unwrap_or_default()
        .is_empty()
    {
        std::thread::yield_now();
    }
    let mut node = cluster.follow(&["--signal", "HUP", "--pid-file", "pid"]);
    program.log_until("reloaded");
    cluster.sandbox.put("pid", "none\n");
    cluster.change("two");
    node.log_until(
        "cannot send SIGHUP to the process of pid: the file does not contain a process id",
    );
    cluster
        .sandbox
        .put("pid", &format!("{}\n", program.pid().as_raw_nonzero()));
    cluster.change("three");
    program.log_until("reloaded");
}

#[test]
fn changes_are_spread_and_spaced() {
    let cluster = Cluster::new("one");
    for flag in ["--splay", "--min-interval"] {
        cluster.change("one");
        let mut node = cluster.start(&[flag, "1h"]);
        node.log_until("following the cluster");
        cluster.change(flag);
        node.log_until("is there; its files are written within ");
        assert_eq!(cluster.config(), "one");
        node.signal(Signal::TERM);
        assert_eq!(node.end().0, 143);
    }
    let mut node = cluster.start(&["--splay", "100ms", "--min-interval", "50ms"]);
    node.log_until("following the cluster");
    cluster.change("two");
    node.log_until("wrote node-1/config");
    cluster.change("three");
    node.log_until("wrote node-1/config");
    assert_eq!(cluster.config(), "three");
}

/// Regression test: the C library kept the memory of a large payload for hours.
#[test]
fn follower_keeps_no_memory_of_a_large_payload() {
    let large = |text: &str| {
        format!(
            "{text} {{% for i in range(40000) %}}{}{{% endfor %}}",
            "x".repeat(200)
        )
    };
    let cluster = Cluster::new(&large("one"));
    let mut node = cluster.follow(&["--on-change", "true"]);
    for text in ["two", "three", "four"] {
        cluster.change(&large(text));
        node.log_until("wrote node-1/config");
        node.log_until("--on-change is done");
        // The next change is received after the memory of this one was returned.
    }
    cluster.change("small");
    node.log_until("wrote node-1/config");
    let status =
        fs::read_to_string(format!("/proc/{}/status", node.pid().as_raw_nonzero())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    let anonymous_kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(anonymous_kib < 12 << 10, "{line}");
}

#[test]
fn node_that_fell_back_on_its_files_follows_once_the_server_is_there() {
    let cluster = Cluster::with("one", &[], &["--port-file", "port"]);
    let flags = ["--receipt", "receipt"];
    let mut node = cluster.follow(&flags);
    node.signal(Signal::TERM);
    node.log_until("ended by SIGTERM");
    let port = cluster.sandbox.read("port");
    let Cluster { sandbox, server } = cluster;
    let url = server.url.clone();
    drop(server);
    let arguments = [
        &join(&url, "node-1")[..],
        &flags,
        &[
            "--watch",
            "--fallback",
            "existing=100ms",
            "--reload-signal",
            "HUP",
        ],
        &["--", "sh", "-c", PROGRAM],
    ];
    let mut node = sandbox.start(&arguments.concat());
    node.log_until("continuing with the previous delivery");
    node.log_until("is up");
    sandbox.put("cluster.yaml", &spec("two", &[]));
    let listen = format!("127.0.0.1:{}", port.trim());
    let _server = sandbox.start(&["serve", "cluster.yaml", "--listen", &listen]);
    node.log_until("reloaded");
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, 7);
    assert_eq!(sandbox.read("events"), "start one\nreload two\nend\n");
}

#[test]
fn node_whose_token_was_revoked_keeps_its_files_and_its_program() {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", &spec("one", &[]));
    sandbox.token("other", &["--role", "node"]);
    let without = sandbox.read("tokens");
    sandbox.token("node", &["--role", "node"]);
    let tokens = sandbox.read("tokens");
    let mut server = sandbox.serve(&["--tokens", "tokens", "--min-generation-interval", "0s"]);
    let arguments = [
        &join(&server.url, "node-1")[..],
        &[
            "--token-file",
            "node.token",
            "--watch",
            "--reload-signal",
            "HUP",
        ],
        &["--", "sh", "-c", PROGRAM],
    ];
    let mut node = sandbox.start(&arguments.concat());
    node.log_until("is up");
    sandbox.put("tokens", &without);
    server.signal(Signal::HUP);
    server.log_until("read tokens again");
    sandbox.put("cluster.yaml", &spec("two", &[]));
    server.signal(Signal::HUP);
    node.log_until("this server does not know the token");
    assert_eq!(sandbox.read("node-1/config"), "one");
    sandbox.put("tokens", &tokens);
    server.signal(Signal::HUP);
    node.log_until("reloaded");
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, 7);
    assert_eq!(sandbox.read("events"), "start one\nreload two\nend\n");
}

/// A second machine with the same name: the first one must not write files that are rendered for the other address.
#[test]
fn node_stops_following_once_another_machine_takes_its_place() {
    let cluster = Cluster::new("{{ node.ip }}");
    let mut with_command = cluster.start(&program(&["--reload-signal", "HUP"]));
    with_command.log_until("is up");
    let other = [
        "join",
        "--server",
        &cluster.server.url,
        "--id",
        "node-1",
        "--out-dir",
        "other",
    ];
    let other = |ip| [&other[..], &["--ip", ip]].concat();
    let output = cluster.sandbox.run(&other("10.0.0.2"), &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    with_command.log_until("another machine registered as node-1 from 10.0.0.2, and takes its place; this node follows no longer");
    assert_eq!(cluster.config(), "10.0.0.1");
    with_command.signal(Signal::TERM);
    assert_eq!(with_command.end().0, 7);

    let mut node = cluster.start(&[]);
    node.log_until("following the cluster");
    let output = cluster.sandbox.run(&other("10.0.0.3"), &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    node.log_until("takes its place");
    assert_eq!(node.end().0, 77);
    assert_eq!(cluster.config(), "10.0.0.1");
}

/// Otherwise its lease could expire while the action runs.
#[test]
fn node_holds_a_request_while_the_action_runs() {
    let cluster = Cluster::new("one");
    let pipe = cluster.sandbox.pipe("pipe");
    let mut node = cluster.follow(&["--on-change", "cat pipe"]);
    // This open returns once the action opens the pipe. The action then blocks in its read.
    let writer = fs::OpenOptions::new().write(true).open(pipe).unwrap();
    let arguments = ["inspect", "--server", &cluster.server.url, "-o", "json"];
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let output = cluster.sandbox.run(&arguments, &[]);
        let state: Value = serde_json::from_slice(&output.stdout).unwrap();
        if state["registrations"][0]["waits"] == true {
            break;
        }
        assert!(Instant::now() < deadline, "{state}");
    }
    drop(writer);
    node.log_until("--on-change is done");
}

#[test]
fn next_start_removes_what_a_join_left_that_was_killed_during_a_check() {
    let cluster = Cluster::new("one");
    let sandbox = &cluster.sandbox;
    let temporary = sandbox.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let run = |check: &str| {
        let node = join(&cluster.server.url, "node-1");
        let flags = ["--watch", "--check", check, "--", "true"];
        let output = sandbox.run(&[&node[..], &flags].concat(), &[("TMPDIR", "tmp")]);
        let left = |path| fs::read_dir(path).unwrap().count();
        let files = left(sandbox.path().join("node-1"));
        (code(&output), files, left(temporary.clone()))
    };
    // A staged file, and the copies for the check.
    assert_eq!(run("kill -9 $PPID"), (137, 1, 1));
    assert!(!sandbox.path().join("node-1/config").exists());
    assert_eq!(run("true"), (0, 1, 0));
    assert_eq!(cluster.config(), "one");
}

/// Otherwise the old server of a shell script would still have its port.
#[test]
fn restart_ends_the_whole_process_group_of_the_command() {
    let cluster = Cluster::new("one");
    let script = "sleep 1000 & echo $! >sleeping; trap 'exit 0' TERM; \
                  echo is up $(cat node-1/config) >&2; while :; do sleep 0.01; done";
    let mut node = cluster.start(&["--restart-on-change", "--", "sh", "-c", script]);
    node.log_until("is up one");
    let sleeping = cluster.sandbox.read("sleeping");
    cluster.change("two");
    node.log_until("is up two");
    // Until its new parent collects it, a dead process is a zombie.
    let stat = format!("/proc/{}/stat", sleeping.trim());
    let deadline = Instant::now() + Duration::from_secs(20);
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "it still runs");
        std::thread::yield_now();
    }
    let second = cluster.sandbox.read("sleeping");
    node.signal(Signal::TERM);
    assert_eq!(node.end().0, 0);
    let pid = Pid::from_raw(second.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Otherwise the lease would have to be longer than `--check-timeout`.
#[test]
fn lease_is_renewed_while_a_check_runs() {
    let cluster = Cluster::new("one");
    let leased = spec("one", &[]).replace("ready:", "lease: 1s\nready:");
    cluster.sandbox.put("cluster.yaml", &leased);
    cluster.server.signal(Signal::HUP);
    let pipe = cluster.sandbox.pipe("pipe");
    let check = "grep -q one $CFGSYNC_STAGED/config || cat pipe";
    let mut node = cluster.follow(&["--check", check, "--check-timeout", "1m"]);
    cluster
        .sandbox
        .put("cluster.yaml", &leased.replace("one", "two"));
    cluster.server.signal(Signal::HUP);
    // This open returns once the check opens the pipe. The check then blocks in its read.
    let writer = fs::OpenOptions::new().write(true).open(pipe).unwrap();
    let renewed = "cfgsync_requests_total{route=\"/v1/nodes/{id}/lease\",status=\"200\"} ";
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let metrics = cluster
            .server
            .send("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let count = metrics.lines().find_map(|line| line.strip_prefix(renewed));
        // So many renewals take longer than the lease.
        if count.is_some_and(|count| count.trim().parse::<u32>().unwrap() >= 5) {
            break;
        }
        assert!(Instant::now() < deadline, "{metrics}");
    }
    assert_eq!(
        cluster.sandbox.registered(&cluster.server.url),
        ["node-1".to_owned()]
    );
    drop(writer);
    node.log_until("wrote node-1/config");
    assert_eq!(cluster.config(), "two");
}
