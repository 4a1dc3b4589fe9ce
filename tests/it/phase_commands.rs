//! `cfgsync report`, `cfgsync wait` and `inspect --wait PHASE`, in the programs that `join` starts.

use std::fs;

use crate::sandbox::{PROGRAM, Process, SPEC, Sandbox, Server, code, text};

/// Starts both nodes, each with a script as its program.
fn start_both(sandbox: &Sandbox, url: &str, more: &[&str], scripts: [&str; 2]) -> [Process; 2] {
    let mut at = 0;
    scripts.map(|script| {
        at += 1;
        let identifier = format!("node-{at}");
        let script = script.replace("cfgsync ", &format!("{PROGRAM} "));
        let command = [more, &["--", "sh", "-euc", &script]].concat();
        sandbox.join(url, &identifier, &command)
    })
}

fn run(sandbox: &Sandbox, server: &Server, arguments: &[&str]) -> (i32, String) {
    let all = [arguments, &["--server", &server.url]].concat();
    let output = sandbox.run(&all, &[]);
    (code(&output), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn programs_of_join_meet_at_a_barrier() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&[]);
    let script = "env | grep ^CFGSYNC_ | sort >env-$CFGSYNC_ID
        cfgsync report started --reason here
        cfgsync wait started --all --timeout 1m
        cfgsync report healthy";
    for process in start_both(&sandbox, &server.url, &[], [script, script]) {
        let (exit, log) = process.end();
        assert_eq!(exit, 0, "{log}");
        assert!(log.contains("started: 2/2"), "{log}");
        assert!(!log.contains("unknown variable"), "{log}");
    }
    let expected = format!(
        "CFGSYNC_CLUSTER=devnet\nCFGSYNC_GENERATION=1\nCFGSYNC_ID=node-2\nCFGSYNC_SEAT=1\nCFGSYNC_SERVER={}\n",
        server.url
    );
    assert_eq!(sandbox.read("env-node-2"), expected);
    for phase in ["delivered", "started", "healthy"] {
        let (exit, log) = run(&sandbox, &server, &["inspect", "--wait", phase]);
        assert_eq!(exit, 0, "{log}");
    }
    let (exit, log) = run(&sandbox, &server, &["inspect", "node", "node-1"]);
    assert_eq!(exit, 0, "{log}");
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(": generation 1, 2"))
        .collect();
    assert!(lines[0].starts_with("healthy: generation 1, "), "{log}");
    assert!(
        lines[1].starts_with("started: generation 1, ") && lines[1].ends_with("Z: here"),
        "{log}"
    );
}

#[test]
fn wait_exits_with_124_or_with_70_and_the_culprit() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&[]);
    let scripts = [
        "cfgsync report up",
        "cfgsync report failed --reason 'no disk'",
    ];
    let [first, second] = start_both(&sandbox, &server.url, &[], ["true", "true"]);
    assert_eq!(first.end().0, 0);
    assert_eq!(second.end().0, 0);
    let wait = ["wait", "up", "--timeout", "1s"];
    let (exit, log) = run(&sandbox, &server, &wait);
    assert_eq!(exit, 124, "{log}");
    let text = "cfgsync: exit 124: not reached within 1s: up: 0/2, missing node-1, node-2";
    assert!(log.contains(text), "{log}");
    // Regression test: the command sent requests without a pause during the last second.
    let (exit, log) = run(&sandbox, &server, &["wait", "up", "--timeout", "900ms"]);
    assert_eq!(exit, 124, "{log}");
    assert!(log.matches("waiting: ").count() <= 2, "{log}");
    for process in start_both(&sandbox, &server.url, &[], scripts) {
        assert_eq!(process.end().0, 0);
    }
    let (exit, log) = run(&sandbox, &server, &wait);
    assert_eq!(exit, 70, "{log}");
    assert!(
        log.contains("cfgsync: exit 70: up: 1/2; node-2 failed: no disk"),
        "{log}"
    );
    for nodes in [["--nodes", "node-1"], ["--count", "1"]] {
        let (exit, log) = run(&sandbox, &server, &[&wait[..], &nodes].concat());
        assert_eq!(exit, 0, "{log}");
    }
    let (exit, log) = run(
        &sandbox,
        &server,
        &["wait", "up", "--generation", "2", "--timeout", "1s"],
    );
    assert_eq!(exit, 124, "{log}");
    assert!(log.contains("generation 2 is not sealed yet"), "{log}");
}

#[test]
fn fail_fast_ends_each_wait_with_the_failed_node() {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", &format!("{SPEC}fail_fast: true\n"));
    let server = sandbox.serve(&[]);
    let scripts = [
        "cfgsync wait up --timeout 1m",
        "cfgsync report failed --reason 'no disk'",
    ];
    let [first, second] = start_both(&sandbox, &server.url, &[], scripts);
    assert_eq!(second.end().0, 0);
    let (exit, log) = first.end();
    assert_eq!(exit, 70, "{log}");
    assert!(
        log.contains("the cluster failed: node-2 failed: no disk"),
        "{log}"
    );
    let (exit, log) = run(&sandbox, &server, &["inspect", "--wait", "up"]);
    assert_eq!(exit, 70, "{log}");
}

/// The program acts as its node by files: the environment has neither the token nor the key.
#[test]
fn programs_act_as_their_node_with_its_token_and_its_key() {
    let sandbox = Sandbox::new();
    sandbox.put(
        "cluster.yaml",
        &SPEC.replace("ready:", "identity: first-use\nready:"),
    );
    let output = sandbox.run(
        &[
            "token", "new", "--name", "nodes", "--role", "node", "--append", "tokens",
        ],
        &[],
    );
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let secret = text(&output.stdout);
    sandbox.put("nodes.token", &secret);
    let server = sandbox.serve(&["--tokens", "tokens"]);
    let script = "env >env-$CFGSYNC_ID; cd /
        cfgsync report up
        cfgsync wait up --timeout 1m";
    let mut at = 0;
    let joins = ["node-1", "node-2"].map(|identifier| {
        at += 1;
        let key = format!("key-{at}");
        let more = ["--token-file", "nodes.token", "--identity-file", &key];
        let script = script.replace("cfgsync ", &format!("{PROGRAM} "));
        let command = [&more[..], &["--", "sh", "-euc", &script]].concat();
        sandbox.join(&server.url, identifier, &command)
    });
    for process in joins {
        let (exit, log) = process.end();
        assert_eq!(exit, 0, "{log}");
    }
    let environment = sandbox.read("env-node-1");
    let directory = fs::canonicalize(sandbox.path()).unwrap();
    for (name, file) in [("TOKEN_FILE", "nodes.token"), ("IDENTITY_FILE", "key-1")] {
        let line = format!("CFGSYNC_{name}={}\n", directory.join(file).display());
        assert!(environment.contains(&line), "{environment}");
    }
    let key = sandbox.read("key-1");
    let key = key.lines().last().unwrap();
    assert!(!environment.contains(secret.trim()) && !environment.contains(key));
    // Another node's name is refused.
    let report = ["report", "up", "--id", "node-2", "--identity-file", "key-1"];
    let (exit, log) = run(
        &sandbox,
        &server,
        &[&report[..], &["--token-file", "nodes.token"]].concat(),
    );
    assert_eq!(exit, 77, "{log}");
}

#[test]
fn report_and_wait_refuse_wrong_arguments() {
    let sandbox = Sandbox::new();
    for (arguments, message) in [
        (
            &["report", "up"][..],
            "the identifier of the node is missing: add --id",
        ),
        (&["report", "Up", "--id", "a"], "phase \"Up\" contains 'U'"),
        (&["wait", "up", "--count", "0"], "0 is not in 1.."),
        (
            &["wait", "up", "--all", "--count", "1"],
            "cannot be used with",
        ),
        (
            &["wait", "up", "--generation", "x"],
            "expected the number of a generation, or `newest`",
        ),
        (&["inspect", "--wait", "reddy"], "did you mean"),
    ] {
        let output = sandbox.run(arguments, &[]);
        let log = text(&output.stderr);
        assert_eq!(code(&output), 2, "{arguments:?}: {log}");
        assert!(log.contains(message), "{arguments:?}: {log}");
    }
}
