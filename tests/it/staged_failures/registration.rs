//! Nodes that the server refuses, and waits that end without files.

use super::stage::{ONE_NODE, Stage};
use crate::sandbox::join;

const TWO_NODES: &str = "\
cfgsync: 1
cluster: devnet
ready: { nodes: [node-1, node-2] }
materializers:
  - kind: template
    files: [{ path: app.conf, template: \"id = {{ node.identifier }}\\n\" }]
";

#[test]
fn metadata_have_another_type() {
    let mut stage = Stage::new(ONE_NODE);
    let server = stage.serve(&[]);
    stage.join(&server.url, &["--meta", "port=9000"]);
    stage.stop(server, &[]);
    stage.expect("metadata_have_another_type");
}

#[test]
fn metadata_are_missing() {
    let spec = ONE_NODE.replace(
        "port: { type: integer, default: 9000 }",
        "port: { type: integer }",
    );
    let mut stage = Stage::new(&spec);
    let server = stage.serve(&[]);
    stage.join(&server.url, &[]);
    stage.expect("metadata_are_missing");
}

#[test]
fn metadata_are_too_large() {
    let mut stage = Stage::new(ONE_NODE);
    stage.sandbox.put("notes", &"x".repeat(100_000));
    let server = stage.serve(&[]);
    stage.join(&server.url, &["--meta", "notes=@notes"]);
    stage.expect("metadata_are_too_large");
}

#[test]
fn node_is_not_listed() {
    let mut stage = Stage::new(TWO_NODES);
    let server = stage.serve(&[]);
    stage.run(&join(&server.url, "node-3"));
    stage.stop(server, &[]);
    stage.expect("node_is_not_listed");
}

#[test]
fn node_is_too_late() {
    let mut stage = Stage::new(&ONE_NODE.replace("ready:", "late: refuse\nready:"));
    let server = stage.serve(&[]);
    let (code, log) = stage.sandbox.join(&server.url, "node-0", &[]).end();
    assert_eq!(code, 0, "{log}");
    stage.join(&server.url, &[]);
    stage.stop(server, &[]);
    stage.expect("node_is_too_late");
}

#[test]
fn another_machine_has_the_name() {
    let mut stage = Stage::new(TWO_NODES);
    let mut server = stage.serve(&[]);
    let url = server.url.clone();
    let arguments = join(&url, "node-1");
    let first = stage.sandbox.start(&arguments);
    server.log_until("node-1 registered");
    let mut again = arguments;
    again[6] = "10.0.0.2";
    let _second = stage.sandbox.start(&again);
    stage.end(first, &arguments);
    stage.expect("another_machine_has_the_name");
}

#[test]
fn host_name_is_localhost() {
    let mut stage = Stage::new(ONE_NODE);
    let server = stage.serve(&[]);
    stage.run(&[
        "join",
        "--server",
        &server.url,
        "--id",
        "localhost",
        "--out-dir",
        ".",
    ]);
    stage.expect("host_name_is_localhost");
}

#[test]
fn nodes_are_missing_at_the_timeout() {
    let mut stage = Stage::new(TWO_NODES);
    let server = stage.serve(&[]);
    // Whether the first response counts this node already is left open.
    stage.join(&server.url, &["--timeout", "1s", "--log-level", "warn"]);
    stage.expect("nodes_are_missing_at_the_timeout");
}

#[test]
fn deadline_passes() {
    let mut stage =
        Stage::new(&TWO_NODES.replace("ready: { nodes:", "ready: { deadline: 300ms, nodes:"));
    let server = stage.serve(&[]);
    stage.join(&server.url, &[]);
    stage.stop(server, &[]);
    stage.expect("deadline_passes");
}

#[test]
fn operator_declares_the_cluster_failed() {
    let mut stage = Stage::new(TWO_NODES);
    let mut server = stage.serve(&[]);
    let url = server.url.clone();
    let arguments = join(&url, "node-1");
    let node = stage.sandbox.start(&arguments);
    server.log_until("node-1 registered");
    let fail = ["fail", "--server", &url, "--reason", "wrong network"];
    stage.run(&fail);
    stage.end(node, &arguments);
    stage.expect("operator_declares_the_cluster_failed");
}
