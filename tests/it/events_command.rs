//! `inspect events`, `inspect --watch` and `values watch` with real processes.

use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{Process, Sandbox, Server, code, text};

/// Starts a command whose output a test reads as its log.
fn start_printing(sandbox: &Sandbox, arguments: &[&str]) -> Process {
    let wrapper = ["sh", "-c", "exec \"$@\" >&2", "sh"];
    Process::start(sandbox.command_under(&wrapper, arguments))
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let output = sandbox.run(arguments, &[]);
    assert_eq!(code(&output), 0, "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn events(sandbox: &Sandbox, server: &Server, arguments: &[&str]) -> Vec<Value> {
    let first = ["inspect", "events", "--server", &server.url, "-o", "json"];
    let lines = run(sandbox, &[&first, arguments].concat());
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn serve_on(sandbox: &Sandbox, address: &str) -> Server {
    let arguments = [
        "serve",
        "cluster.yaml",
        "--listen",
        address,
        "--state-dir",
        "state",
    ];
    Server::from_process(sandbox.start(&arguments))
}

/// The events that the first test looks at.
const KINDS: [&str; 6] = [
    "--kind",
    "node_registered",
    "--kind",
    "generation_sealed",
    "--kind",
    "set",
];

/// A server with two nodes, a generation and a value.
fn formed(sandbox: &Sandbox) -> Server {
    let server = serve_on(sandbox, "127.0.0.1:0");
    for node in ["node-1", "node-2"] {
        server.register(node);
    }
    let ready = ["inspect", "--server", &server.url, "--wait", "ready"];
    run(sandbox, &ready);
    let set = ["values", "set", "prod/app/timeout", "30", "--server"];
    run(sandbox, &[&set[..], &[&server.url]].concat());
    server
}

#[test]
fn events_are_printed_also_after_a_restart() {
    let sandbox = Sandbox::new();
    let server = formed(&sandbox);
    let address = server.url["http://".len()..].to_owned();
    let before = events(&sandbox, &server, &KINDS);
    let names: Vec<_> = before.iter().map(|event| &event["event"]).collect();
    let expected = [
        "node_registered",
        "node_registered",
        "generation_sealed",
        "set",
    ];
    assert_eq!(names, expected);
    assert_eq!(before[3]["data"]["value"], "MzA=");
    let all = events(&sandbox, &server, &[]);
    let last = all.last().unwrap();
    let found = (&last["event"], &last["data"]["state"]);
    assert_eq!(found, (&"readiness".into(), &"ready".into()));

    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    let server = serve_on(&sandbox, &address);
    assert_eq!(events(&sandbox, &server, &KINDS), before);
    let id = before[1]["id"].as_str().unwrap();
    let revision = id.rsplit('-').next().unwrap();
    for (since, rest) in [(id, &before[2..]), (revision, &before[2..]), ("now", &[])] {
        let found = events(
            &sandbox,
            &server,
            &[&KINDS[..], &["--since", since]].concat(),
        );
        assert_eq!(found, rest, "{since}");
    }
    let of_node = events(&sandbox, &server, &["--node", "node-2"]);
    assert_eq!(of_node.len(), 1);
}

#[test]
fn events_are_lines_and_wrong_kinds_are_refused() {
    let sandbox = Sandbox::new();
    let server = formed(&sandbox);
    let command = ["inspect", "events", "--server", &server.url, "--kind"];
    let lines = run(&sandbox, &[&command[..], &["set"]].concat());
    let expected = "set                   prod/app/timeout version 1: 30\n";
    assert!(lines.ends_with(expected), "{lines}");
    let wrong = sandbox.run(&[&command[..], &["sat"]].concat(), &[]);
    let message = text(&wrong.stderr);
    assert_eq!(code(&wrong), 2, "{message}");
    assert!(
        message.contains("a similar value exists: 'set'"),
        "{message}"
    );
    let offline = sandbox.run(&["inspect", "events", "--state-dir", "state"], &[]);
    assert_eq!(code(&offline), 2);
}

#[test]
fn watch_of_values_goes_on_after_a_restart_of_the_server() {
    let sandbox = Sandbox::new();
    let server = serve_on(&sandbox, "127.0.0.1:0");
    let url = server.url.clone();
    let set = |content: &str| {
        run(
            &sandbox,
            &["values", "set", "prod/k", content, "--server", &url],
        );
    };
    set("1");
    let watch = [
        "values", "watch", "prod", "--since", "oldest", "--server", &url,
    ];
    let mut watch = start_printing(&sandbox, &watch);
    watch.log_until("prod/k version 1: 1");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    watch.log_until("connecting again");
    let server = serve_on(&sandbox, &url["http://".len()..]);
    set("2");
    watch.log_until("prod/k version 2: 2");
    watch.signal(Signal::TERM);
    let (_, log) = watch.end();
    assert_eq!(log.matches("version 1").count(), 1, "{log}");
    assert!(!log.contains("reset"), "{log}");
    drop(server);
}

#[test]
fn watched_cluster_is_printed_after_each_event() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&[]);
    let mut watch = start_printing(&sandbox, &["inspect", "--watch", "--server", &server.url]);
    watch.log_until("0/2");
    server.register("node-1");
    watch.log_until("node-1");
    server.register("node-2");
    watch.log_until("generation 1");
}

#[test]
fn unreachable_server_ends_the_command_at_once() {
    let sandbox = Sandbox::new();
    let server = "http://127.0.0.1:1";
    for command in [
        &["inspect", "events"][..],
        &["values", "watch"],
        &["inspect", "--watch"],
    ] {
        let output = sandbox.run(&[command, &["--server", server]].concat(), &[]);
        assert_eq!(code(&output), 69, "{command:?} {}", text(&output.stderr));
    }
}
