//! `cfgsync run-once`: real processes that die, stop and fail, and servers that are killed.

use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{Process, Sandbox, Server, code, has_ended, text};

/// A sandbox with a server that has registered both nodes. A lease lasts two seconds.
struct Pair {
    sandbox: Sandbox,
    server: Server,
}

impl Pair {
    fn start(more: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let server = sandbox.serve(&[&["--run-lease", "2s"], more].concat());
        let joins = ["node-1", "node-2"].map(|id| sandbox.join(&server.url, id, &[]));
        for join in joins {
            assert_eq!(join.end().0, 0);
        }
        Self { sandbox, server }
    }

    /// Starts `run-once init` on a node, with a script as its program.
    fn run(&self, id: &str, more: &[&str], script: &str) -> Process {
        let url = &self.server.url;
        let first = [
            "run-once",
            "init",
            "--id",
            id,
            "--server",
            url,
            "--timeout",
            "1m",
        ];
        let script = ["--", "sh", "-euc", script];
        self.sandbox.start(&[&first, more, &script].concat())
    }

    /// Runs `run-once` with these arguments. Returns the exit code, standard output and standard error.
    fn call(&self, arguments: &[&str]) -> (i32, String, String) {
        let all = [&["run-once", "--server", &self.server.url], arguments].concat();
        let output = self.sandbox.run(&all, &[]);
        (code(&output), text(&output.stdout), text(&output.stderr))
    }

    /// Returns the result that a node gets, which must not run anything.
    fn result(&self, id: &str) -> (i32, String, String) {
        self.call(&[
            "init",
            "--id",
            id,
            "--timeout",
            "1m",
            "--",
            "touch",
            "again",
        ])
    }

    fn pid(&self, file: &str) -> Pid {
        let pid = self.sandbox.read(file).trim().parse().unwrap();
        Pid::from_raw(pid).unwrap()
    }
}

#[test]
fn one_of_two_nodes_runs_the_program_and_both_print_its_output() {
    let pair = Pair::start(&[]);
    let script = "echo $CFGSYNC_FENCE >>runs; echo made it";
    let both = ["node-1", "node-2"].map(|id| pair.run(id, &[], script));
    for process in both {
        let (exit, log) = process.end();
        assert_eq!(exit, 0, "{log}");
        assert!(log.contains("init was done by node-"), "{log}");
    }
    assert_eq!(pair.sandbox.read("runs"), "1\n");
    let (exit, stdout, log) = pair.result("node-2");
    assert_eq!((exit, &*stdout), (0, "made it\n"), "{log}");
    let (exit, table, log) = pair.call(&["--list"]);
    assert_eq!(exit, 0, "{log}");
    assert!(
        table
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("init  done   node-"),
        "{table}"
    );
    // An operator lets it be done once more. The fence goes on.
    assert_eq!(pair.call(&["--forget", "init"]).0, 0);
    assert_eq!(pair.call(&["--forget", "init"]).0, 77);
    assert_eq!(pair.run("node-1", &[], script).end().0, 0);
    assert_eq!(pair.sandbox.read("runs"), "1\n2\n");
    assert!(!pair.sandbox.path().join("again").exists());
}

#[test]
fn failures_are_tried_on_another_node_until_the_tries_are_used_up() {
    let pair = Pair::start(&[]);
    let script = "echo $CFGSYNC_ID >>runs; echo one >&2; echo 'no database' >&2; exit 3";
    let both = ["node-1", "node-2"].map(|id| pair.run(id, &["--tries", "2"], script));
    for process in both {
        let (exit, log) = process.end();
        assert_eq!(exit, 70, "{log}");
        assert!(
            log.contains("cfgsync: exit 70: init failed after 2 tries, last on node-"),
            "{log}"
        );
        assert!(log.contains(": exit 3: no database\n"), "{log}");
    }
    assert_eq!(pair.sandbox.read("runs").lines().count(), 2);
    // With more tries, it goes on.
    let (exit, log) = pair.run("node-1", &["--tries", "3"], "true").end();
    assert_eq!(exit, 0, "{log}");
}

#[test]
fn next_node_takes_over_after_the_runner_was_killed() {
    let pair = Pair::start(&[]);
    let mut first = pair.run("node-1", &[], "echo $$ >pid; echo up >&2; exec sleep 1000");
    first.log_until("up");
    let mut second = pair.run("node-2", &[], "echo fence $CFGSYNC_FENCE");
    second.log_until("waiting: node-1 runs init");
    first.signal(Signal::KILL);
    // CMD of a killed runner goes on: nobody can prevent that.
    let orphan = pair.pid("pid");
    let (exit, log) = second.end();
    kill_process(orphan, Signal::KILL).unwrap();
    assert_eq!(exit, 0, "{log}");
    assert_eq!(pair.result("node-1").1, "fence 2\n");
}

#[test]
fn late_success_of_a_stopped_runner_is_refused() {
    let pair = Pair::start(&[]);
    // The program of the first runner succeeds while its runner is stopped.
    let mut first = pair.run(
        "node-1",
        &[],
        "echo up >&2; while [ ! -e go ]; do sleep 0.05; done; echo late",
    );
    first.log_until("up");
    first.signal(Signal::STOP);
    let (exit, log) = pair.run("node-2", &[], "echo second").end();
    assert_eq!(exit, 0, "{log}");
    pair.sandbox.put("go", "");
    first.signal(Signal::CONT);
    let (exit, log) = first.end();
    assert_eq!(exit, 0, "{log}");
    assert!(
        log.contains("the result is not used: ") || log.contains("killed CMD of init: "),
        "{log}"
    );
    // Both nodes have the recorded result.
    for id in ["node-1", "node-2"] {
        assert_eq!(pair.result(id).1, "second\n");
    }
}

#[test]
fn runner_kills_its_program_if_it_cannot_renew_the_lease() {
    let pair = Pair::start(&[]);
    let mut first = pair.run(
        "node-1",
        &[],
        "sleep 1000 & echo $! >pid; echo up >&2; wait",
    );
    first.log_until("up");
    // A server that is stopped answers no renewal.
    pair.server.signal(Signal::STOP);
    first.log_until("killed CMD of init: its lease could not be renewed");
    assert!(
        has_ended(pair.pid("pid")),
        "the whole process group is killed"
    );
    pair.server.signal(Signal::CONT);
    first.signal(Signal::TERM);
    assert_eq!(first.end().0, 143);
}

#[test]
fn killed_server_loses_no_run() {
    let pair = Pair::start(&["--state-dir", "state"]);
    let port = pair.server.url.rsplit(':').next().unwrap().to_owned();
    let mut first = pair.run(
        "node-1",
        &[],
        "echo up >&2; while [ ! -e go ]; do sleep 0.05; done; echo done",
    );
    first.log_until("up");
    pair.server.signal(Signal::KILL);
    assert!(has_ended(pair.server.process.pid()));
    let listen = format!("127.0.0.1:{port}");
    let again = [
        "serve",
        "cluster.yaml",
        "--listen",
        &listen,
        "--state-dir",
        "state",
        "--run-lease",
        "2s",
    ];
    let again = Server::from_process(pair.sandbox.start(&again));
    // The lease of the runner begins anew, so nobody else takes over.
    let mut second = pair.run("node-2", &[], "echo other");
    second.log_until("waiting: node-1 runs init");
    pair.sandbox.put("go", "");
    for process in [first, second] {
        let (exit, log) = process.end();
        assert_eq!(exit, 0, "{log}");
    }
    assert_eq!(pair.result("node-2").1, "done\n");
    again.signal(Signal::KILL);
    assert!(has_ended(again.process.pid()));
    let _third = Server::from_process(pair.sandbox.start(&[
        "serve",
        "cluster.yaml",
        "--listen",
        &listen,
        "--state-dir",
        "state",
    ]));
    assert_eq!(pair.result("node-2").1, "done\n", "the result is durable");
}

#[test]
fn signal_ends_the_program_and_passes_the_run_on() {
    let pair = Pair::start(&[]);
    let script = "trap 'echo ended >ended; exit 1' TERM; echo up >&2; while :; do sleep 0.05; done";
    let mut first = pair.run("node-1", &[], script);
    first.log_until("up");
    first.signal(Signal::TERM);
    let (exit, log) = first.end();
    assert_eq!(exit, 143, "{log}");
    assert_eq!(pair.sandbox.read("ended"), "ended\n");
    let (_, table, _) = pair.call(&["--list"]);
    assert!(table.contains("ended by SIGTERM"), "{table}");
    assert_eq!(pair.run("node-2", &[], "true").end().0, 0);
}

#[test]
fn nothing_of_a_program_is_left_when_the_next_node_runs_it() {
    let pair = Pair::start(&[]);
    let script = "(trap '' TERM; while :; do sleep 0.05; done) & echo $! >pid; echo up >&2; ";
    let mut first = pair.run("node-1", &[], &format!("{script} exec sleep 1000"));
    first.log_until("up");
    first.signal(Signal::TERM);
    assert_eq!(first.end().0, 143);
    assert!(has_ended(pair.pid("pid")), "after a signal");

    let (exit, log) = pair
        .run("node-1", &["--tries", "2"], &format!("{script} exit 3"))
        .end();
    assert_eq!(exit, 70, "{log}");
    assert!(has_ended(pair.pid("pid")), "after a failure");
}

#[test]
fn program_that_ignores_a_signal_is_killed_before_its_lease_ends() {
    let pair = Pair::start(&[]);
    let script = "echo $$ >pid; trap '' TERM; echo up >&2; while :; do sleep 0.05; done";
    let mut first = pair.run("node-1", &[], script);
    first.log_until("up");
    let second = "if kill -0 $(cat pid); then echo both; else echo one; fi";
    let mut second = pair.run("node-2", &[], second);
    second.log_until("waiting: node-1 runs init");
    first.signal(Signal::TERM);
    assert_eq!(first.end().0, 143);
    assert_eq!(second.end().0, 0);
    assert_eq!(pair.result("node-1").1, "one\n");
}

#[test]
fn long_output_is_cut_and_wrong_arguments_are_refused() {
    let pair = Pair::start(&[]);
    let script = "head -c 100000 /dev/zero | tr '\\0' x";
    let (exit, log) = pair.run("node-1", &[], script).end();
    assert_eq!(exit, 0, "{log}");
    assert!(
        log.contains("is longer than 65536 bytes, and is cut"),
        "{log}"
    );
    assert_eq!(pair.result("node-2").1.len(), 65536);
    let script = ["--", "sh", "-c", "head -c 65536 /dev/zero"];
    let (_, output, log) = pair.call(&[&["all", "--id", "node-1"], &script[..]].concat());
    assert_eq!(output.len(), 65536);
    assert!(!log.contains("is cut"), "{log}");
    for (arguments, exit, message) in [
        (&["init"][..], 2, "the program is missing"),
        (&["Init", "--", "true"], 2, "contains 'I'"),
        (&[], 2, "required"),
        (
            &["init", "--", "true"],
            2,
            "the identifier of the node is missing",
        ),
        (
            &["other", "--id", "node-9", "--", "true"],
            77,
            "node-9 is not registered",
        ),
        (
            &["other", "--id", "node-1", "--tries", "1", "--", "./missing"],
            127,
            "no such file",
        ),
        (
            &["other", "--id", "node-1", "--tries", "1", "--", "true"],
            70,
            "no such file",
        ),
    ] {
        let (found, _, log) = pair.call(arguments);
        assert_eq!(found, exit, "{arguments:?}: {log}");
        assert!(log.contains(message), "{arguments:?}: {log}");
    }
    let short = pair
        .sandbox
        .run(&["serve", "cluster.yaml", "--run-lease", "500ms"], &[]);
    assert!(text(&short.stderr).contains("a lease is at least 1s"));
}
