//! `inspect record`, `serve --record` and the reasons of `inspect diff`, with real processes.

use std::time::{Duration, Instant};

use cfgsync_wire::{RecordBody, RecordNodeState, RecordOutcome};
use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{SPEC, Sandbox, Server, code, text};

fn run(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let output = sandbox.run(arguments, &[]);
    assert_eq!(code(&output), 0, "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Joins nodes that get the files of one generation.
fn form(sandbox: &Sandbox, url: &str) {
    let nodes = ["node-1", "node-2"].map(|node| sandbox.join(url, node, &[]));
    for node in nodes {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
}

fn record_of(sandbox: &Sandbox, source: &[&str]) -> RecordBody {
    let first = ["inspect", "record", "-o", "json"];
    let output = run(sandbox, &[&first, source].concat());
    serde_json::from_str(&output).unwrap()
}

fn read_record(sandbox: &Sandbox, name: &str) -> RecordBody {
    serde_json::from_str(&sandbox.read(name)).unwrap()
}

#[test]
fn record_is_the_same_online_and_in_the_directory_of_a_killed_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&["--state-dir", "state"]);
    form(&sandbox, &server.url);
    let delivered = ["inspect", "--wait", "delivered", "--server", &server.url];
    run(&sandbox, &delivered);
    let report = [
        "report",
        "failed",
        "--reason",
        "no disk",
        "--generation",
        "1",
    ];
    let by = ["--id", "node-2", "--server", &server.url];
    run(&sandbox, &[&report[..], &by].concat());
    let online = record_of(&sandbox, &["--server", &server.url]);
    assert_eq!(online.outcome, RecordOutcome::Sealed);
    assert!(online.complete);
    let nodes: Vec<_> = (online.nodes.iter())
        .map(|node| (node.identifier.as_str(), node.state))
        .collect();
    let expected = [
        ("node-2", RecordNodeState::Failed),
        ("node-1", RecordNodeState::Delivered),
    ];
    assert_eq!(nodes, expected);
    assert_eq!(online.nodes[0].failure.as_deref(), Some("no disk"));
    assert!(online.nodes.iter().all(|node| node.delivered_at.is_some()));
    assert_eq!(online.waits[0].message, "0/2");
    server.signal(Signal::KILL);
    server.end();
    let offline = record_of(&sandbox, &["--state-dir", "state"]);
    assert_eq!(offline.nodes, online.nodes);
    assert_eq!(offline.waits, online.waits);
    let same = [&online, &offline].map(|record| (record.sealed_at, record.render.clone()));
    assert_eq!(same[0], same[1]);
    assert!(offline.complete);
    let table = run(&sandbox, &["inspect", "record", "--state-dir", "state"]);
    assert!(table.contains("  node-2 (failed): no disk"), "{table}");
    let absent = [
        "inspect",
        "record",
        "--state-dir",
        "state",
        "--generation",
        "7",
    ];
    assert_eq!(code(&sandbox.run(&absent, &[])), 3);
    let wrong = ["inspect", "--state-dir", "state", "-o", "svg"];
    assert_eq!(code(&sandbox.run(&wrong, &[])), 2);
}

#[test]
fn server_that_was_killed_while_nodes_waited_leaves_a_record() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&["--state-dir", "state"]);
    server.register("node-1");
    server.log_until("node-1 registered");
    // The notes are written beside the state, soon after it.
    let notes = sandbox.path().join("state/notes");
    let deadline = Instant::now() + Duration::from_mins(1);
    while !std::fs::read_to_string(&notes).is_ok_and(|notes| notes.contains("1 of 2")) {
        assert!(Instant::now() < deadline, "the notes are not written");
        std::thread::yield_now();
    }
    server.signal(Signal::KILL);
    server.end();
    let record = record_of(&sandbox, &["--state-dir", "state"]);
    assert_eq!(
        (record.generation, record.outcome),
        (None, RecordOutcome::Waiting)
    );
    assert_eq!(record.message, "not sealed: 1/2");
    assert_eq!((record.nodes.len(), record.missing_more), (1, 1));
    assert_eq!(record.nodes[0].state, RecordNodeState::Waiting);
}

#[test]
fn record_is_written_whatever_ends_the_server() {
    let sandbox = Sandbox::new();
    // CMD fails before the cluster has formed.
    let server = sandbox.serve(&["--record", "cmd.json", "--", "sh", "-c", "exit 9"]);
    assert_eq!(server.end(), 9);
    let record = read_record(&sandbox, "cmd.json");
    assert_eq!(record.outcome, RecordOutcome::Waiting);
    // A signal ends a server whose cluster has formed.
    let server = sandbox.serve(&["--record", "signal", "--record-format", "json"]);
    form(&sandbox, &server.url);
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    let record = read_record(&sandbox, "signal");
    assert_eq!(record.outcome, RecordOutcome::Sealed);
    let delivered = |node: &cfgsync_wire::RecordNode| node.delivered_at.is_some();
    assert!(record.nodes.iter().all(delivered), "{record:#?}");
    // The deadline passes.
    sandbox.put(
        "cluster.yaml",
        &SPEC.replace("nodes: 2", "nodes: 2\n  deadline: 100ms"),
    );
    let mut server = sandbox.serve(&["--record", "deadline.json"]);
    let node = sandbox.join(&server.url, "node-1", &[]);
    assert_ne!(node.end().0, 0);
    server.signal(Signal::TERM);
    server.log_until("wrote the flight record to deadline.json");
    server.end();
    let record = read_record(&sandbox, "deadline.json");
    assert_eq!(record.outcome, RecordOutcome::Failed);
    assert!(record.message.contains("1/2"), "{}", record.message);
    // A render fails.
    sandbox.put(
        "cluster.yaml",
        &SPEC.replace("node.metadata.port", "value(\"prod\", \"absent\")"),
    );
    let server = sandbox.serve(&["--record", "render.json"]);
    let nodes = ["node-1", "node-2"].map(|node| sandbox.join(&server.url, node, &[]));
    for node in nodes {
        assert_ne!(node.end().0, 0);
    }
    server.signal(Signal::INT);
    server.end();
    let record = read_record(&sandbox, "render.json");
    assert_eq!(record.outcome, RecordOutcome::Failed);
    assert!(record.message.contains("prod/absent"), "{}", record.message);
}

#[test]
fn record_has_the_format_of_its_extension() {
    let sandbox = Sandbox::new();
    for (name, beginning) in [
        ("record.txt", "devnet: not sealed: "),
        ("record.json", "{"),
        (
            "record.xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>",
        ),
        ("record.svg", "<svg xmlns="),
    ] {
        sandbox.put(name, "that of an earlier run");
        let server = sandbox.serve(&["--record", name, "--", "true"]);
        assert_eq!(server.end(), 0);
        let written = sandbox.read(name);
        assert!(written.starts_with(beginning), "{written}");
    }
}

#[test]
fn record_that_cannot_be_written_ends_the_server_at_its_start() {
    let sandbox = Sandbox::new();
    for (file, expected) in [("absent/record.svg", 73), ("record.png", 2), ("record", 2)] {
        let arguments = [
            "serve",
            "cluster.yaml",
            "--listen",
            "127.0.0.1:0",
            "--record",
            file,
        ];
        let output = sandbox.run(&[&arguments[..], &["--", "touch", "started"]].concat(), &[]);
        let log = text(&output.stderr);
        assert_eq!(code(&output), expected, "{log}");
        assert!(log.contains(file) && log.contains("--record"), "{log}");
    }
    assert!(!sandbox.path().join("started").exists());
}

fn differences(sandbox: &Sandbox, source: &[&str], from: &str, to: &str) -> Value {
    let first = ["inspect", "diff", from, to, "-o", "json"];
    let output = sandbox.run(&[&first[..], source].concat(), &[]);
    assert_eq!(code(&output), 3, "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn reload(server: &mut Server) {
    server.signal(Signal::HUP);
    server.log_until("read again");
}

#[test]
fn diff_says_why_also_after_a_restart_and_offline() {
    const READING: &str = "{{ value(\"prod\", \"app/timeout\", default=30) }}";
    let sandbox = Sandbox::new();
    sandbox.put("config.j2", "one");
    let spec = SPEC.replace(
        "      - path: cookie",
        "      - path: more\n        source: config.j2\n      - path: cookie",
    );
    let spec = spec.replace("id: {{", &format!("timeout: {READING}\n          id: {{{{"));
    sandbox.put("cluster.yaml", &spec);
    let serve = ["--state-dir", "state", "--min-generation-interval", "0s"];
    let mut server = sandbox.serve(&serve);
    form(&sandbox, &server.url);
    sandbox.put("config.j2", "two");
    reload(&mut server);
    server.log_until("sealed generation 2");
    let set = [
        "values",
        "set",
        "prod/app/timeout",
        "60",
        "--server",
        &server.url,
    ];
    run(&sandbox, &set);
    server.log_until("sealed generation 3");
    let metadata = [
        "join",
        "--server",
        &server.url,
        "--id",
        "node-1",
        "--ip",
        "10.0.0.7",
    ];
    let other = ["--meta", "port:=9001", "--out-dir", "node-1"];
    run(&sandbox, &[&metadata[..], &other].concat());
    server.log_until("sealed generation 4");
    let server_source = ["--server".to_owned(), server.url.clone()];
    let server_source: Vec<&str> = server_source.iter().map(String::as_str).collect();
    let online = differences(&sandbox, &server_source, "1", "4");
    let kinds: Vec<_> = (online["why"].as_array().unwrap().iter())
        .map(|why| {
            (
                why["generation"].as_u64(),
                why["changes"]["changes"].clone(),
            )
        })
        .collect();
    let expected = [
        (
            Some(2),
            serde_json::json!([{"kind": "file_changed", "file": "config.j2"}]),
        ),
        (
            Some(3),
            serde_json::json!([{"kind": "value_set", "namespace": "prod", "key": "app/timeout", "version": 1,
                "is_secret": false}]),
        ),
        (
            Some(4),
            serde_json::json!([{"kind": "node_changed", "identifier": "node-1", "fields": ["ip", "metadata.port"],
                "more": 0}]),
        ),
    ];
    assert_eq!(kinds, expected);
    server.signal(Signal::TERM);
    server.end();
    let offline = ["--state-dir", "state"];
    assert_eq!(differences(&sandbox, &offline, "1", "4"), online);
    let server = sandbox.serve(&serve);
    let again = ["--server", &server.url];
    assert_eq!(differences(&sandbox, &again, "1", "4"), online);
    let output = sandbox.run(&["inspect", "diff", "2", "3", "--state-dir", "state"], &[]);
    let shown = text(&output.stdout);
    let why = "generation 3: the value prod/app/timeout has version 1\n";
    assert!(shown.starts_with(why), "{shown}");
}
