//! `cfgsync retry`: a node that has refused a generation tries it again.

use rustix::process::Signal;

use crate::sandbox::{Process, Sandbox, Server, code, join, text};

fn spec(config: &str) -> String {
    format!(
        "cfgsync: 1\ncluster: devnet\nready: {{ nodes: 1 }}\nmaterializers:\n  - kind: template\n    files:\n      \
         - {{ path: config, template: \"{config}\" }}\n"
    )
}

struct Cluster {
    sandbox: Sandbox,
    server: Server,
}

/// Refuses the file `bad` unless the file `allowed` exists.
const CHECK: &str = "[ -e allowed ] || ! grep -q bad $CFGSYNC_STAGED/config";

impl Cluster {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.put("cluster.yaml", &spec("one"));
        let server = sandbox.serve(&["--min-generation-interval", "0s"]);
        Self { sandbox, server }
    }

    fn change(&self, config: &str) {
        self.sandbox.put("cluster.yaml", &spec(config));
        self.server.signal(Signal::HUP);
    }

    fn start(&self) -> Process {
        let node = join(&self.server.url, "node-1");
        let flags = ["--watch", "--check", CHECK, "--receipt", "receipt"];
        self.sandbox.start(&[&node[..], &flags].concat())
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let all = [arguments, &["--server", &self.server.url]].concat();
        let output = self.sandbox.run(&all, &[]);
        (code(&output), text(&output.stdout) + &text(&output.stderr))
    }

    /// Waits until the server knows that the node has failed.
    fn failed(&self) {
        let (exit, log) = self.run(&["wait", "failed", "--timeout", "1m"]);
        assert_eq!(exit, 0, "{log}");
    }
}

#[test]
fn refused_generation_is_tried_again_once_for_each_retry() {
    let cluster = Cluster::new();
    let mut node = cluster.start();
    node.log_until("wrote node-1/config");
    node.log_until("following the cluster");
    cluster.change("bad");
    node.log_until("generation 2 is not used: --check exited with 1");
    cluster.failed();
    // The check refuses it once more.
    let (exit, log) = cluster.run(&["retry", "node-1"]);
    assert_eq!(exit, 0, "{log}");
    assert!(
        log.contains("node-1 tries the refused generation again"),
        "{log}"
    );
    node.log_until("an operator asks for another try of generation 2");
    node.log_until("generation 2 is not used: --check exited with 1");
    let (exit, log) = cluster.run(&["wait", "up", "--timeout", "20s"]);
    assert_eq!(exit, 70, "{log}");

    cluster.sandbox.put("allowed", "");
    assert_eq!(cluster.run(&["retry", "node-1"]).0, 0);
    node.log_until("wrote node-1/config");
    assert_eq!(cluster.sandbox.read("node-1/config"), "bad");
    // The failure before the retry counts no longer.
    let (exit, log) = cluster.run(&["wait", "up", "--timeout", "1s"]);
    assert_eq!(exit, 124, "{log}");
    let (_, log) = cluster.run(&[
        "inspect",
        "events",
        "--since",
        "0",
        "--kind",
        "phase_reported",
    ]);
    assert_eq!(log.matches("retry").count(), 2, "{log}");
    // A later generation is not affected.
    cluster.change("three");
    node.log_until("wrote node-1/config");
    node.signal(Signal::TERM);
    let (exit, log) = node.end();
    assert_eq!(exit, 143, "{log}");
    assert_eq!(log.matches("another try").count(), 2, "{log}");
}

#[test]
fn first_delivery_that_was_refused_is_tried_again() {
    let mut cluster = Cluster::new();
    let mut node = cluster.start();
    node.log_until("following the cluster");
    node.signal(Signal::TERM);
    node.end();
    cluster.change("bad");
    cluster.server.log_until("generation 2");
    let mut node = cluster.start();
    node.log_until("continuing with the previous delivery");
    node.log_until("following the cluster");
    cluster.failed();
    cluster.sandbox.put("allowed", "");
    assert_eq!(cluster.run(&["retry", "node-1"]).0, 0);
    node.log_until("wrote node-1/config");
    assert_eq!(cluster.sandbox.read("node-1/config"), "bad");
}

#[test]
fn retry_says_why_there_is_nothing_to_try() {
    let cluster = Cluster::new();
    let (exit, log) = cluster.run(&["retry", "node-1"]);
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("there is no node node-1"), "{log}");

    let node = join(&cluster.server.url, "node-1");
    assert_eq!(code(&cluster.sandbox.run(&node, &[])), 0);
    let (exit, log) = cluster.run(&["retry", "node-1"]);
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("node-1 does not follow changes"), "{log}");

    let mut node = cluster.start();
    node.log_until("following the cluster");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let (exit, log) = cluster.run(&["retry", "node-1"]);
        assert_eq!(exit, 77, "{log}");
        if log.contains("node-1 has not refused its newest files") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{log}");
    }
    let (exit, log) = cluster.run(&["report", "retry", "--id", "node-1"]);
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("records the phase `retry` if an operator"),
        "{log}"
    );
}
