//! `join --receipt` and `--fallback`: the receipt records the delivery and allows a start without the server.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Output,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{Process, Sandbox, Server, code, join, text};

/// A short fallback delay that is still long enough for a running server to respond first.
const SHORT_FALLBACK: &str = "existing=300ms";
/// The URL of a port at which no server listens.
const UNREACHABLE: &str = "http://127.0.0.1:1";

/// Returns a directory to which node-1's files were delivered, with a receipt.
fn delivered() -> Sandbox {
    let sandbox = Sandbox::new();
    let server = serve(&sandbox);
    let output = run(&sandbox, &server.url, &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    sandbox
}

/// Starts a server whose spec is ready with node-1 alone.
fn serve(sandbox: &Sandbox) -> Server {
    sandbox.put(
        "cluster.yaml",
        &crate::sandbox::SPEC.replace("nodes: 2", "nodes: 1"),
    );
    sandbox.serve(&[])
}

fn run(sandbox: &Sandbox, url: &str, more: &[&str]) -> Output {
    sandbox.run(&arguments(url, more), &[])
}

fn arguments<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [
        &join(url, "node-1")[..],
        &["--receipt", "receipt.json"],
        more,
    ]
    .concat()
}

fn receipt(sandbox: &Sandbox) -> Value {
    serde_json::from_str(&sandbox.read("receipt.json")).unwrap()
}

/// Starts a join at an unreachable server and waits until it reports that it cannot use the existing files.
fn start_with_unusable_files(sandbox: &Sandbox) -> (Process, String) {
    let mut node = sandbox.start(&arguments(
        UNREACHABLE,
        &["--fallback", SHORT_FALLBACK, "--", "touch", "started"],
    ));
    let message = node.log_until("nothing was delivered within");
    (node, message)
}

#[test]
fn receipt_lists_files_without_their_content() {
    let sandbox = delivered();
    let receipt_json = receipt(&sandbox);
    assert_eq!(receipt_json["cfgsync_receipt"], 1);
    assert_eq!(receipt_json["identifier"], "node-1");
    assert_eq!(receipt_json["cluster"], "devnet");
    assert_eq!(receipt_json["generation"], 1);
    assert_eq!(receipt_json["instance"].as_str().unwrap().len(), 32);
    assert_eq!(receipt_json["digest"].as_str().unwrap().len(), 64);
    let file = &receipt_json["files"][0];
    assert_eq!(file["artifact"], "/config.yaml");
    assert_eq!(file["path"], "node-1/config.yaml");
    assert_eq!(file["bytes"], sandbox.read("node-1/config.yaml").len());
    assert!(!sandbox.read("receipt.json").contains("9000"));
    let stat = fs::metadata(sandbox.path().join("receipt.json")).unwrap();
    assert_eq!(stat.permissions().mode() & 0o7777, 0o600);
}

#[test]
fn unchanged_delivery_keeps_the_receipt_file() {
    let sandbox = Sandbox::new();
    let server = serve(&sandbox);
    let inode = |sandbox: &Sandbox| {
        let stat = fs::metadata(sandbox.path().join("receipt.json")).unwrap();
        (stat.ino(), stat.mtime_nsec())
    };
    assert_eq!(code(&run(&sandbox, &server.url, &[])), 0);
    let before = inode(&sandbox);
    assert_eq!(code(&run(&sandbox, &server.url, &[])), 0);
    assert_eq!(inode(&sandbox), before);
}

#[test]
fn node_starts_with_existing_files_while_the_server_is_unreachable() {
    let sandbox = delivered();
    let more = [
        "--fallback",
        SHORT_FALLBACK,
        "-o",
        "json",
        "--",
        "touch",
        "started",
    ];
    let output = run(&sandbox, UNREACHABLE, &more);
    let log = text(&output.stderr);
    assert_eq!(code(&output), 0, "{log}");
    assert!(sandbox.path().join("started").exists());
    assert!(
        log.contains("WARN")
            && log.contains("continuing with the previous delivery, 2 files of generation 1"),
        "{log}"
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let receipt_json = receipt(&sandbox);
    assert_eq!(report["source"], "existing");
    assert_eq!(report["generation"], 1);
    assert_eq!(report["digest"], receipt_json["digest"]);
    assert_eq!(report["files"][0]["outcome"], "existing");
    assert_eq!(report["files"][0]["path"], "node-1/config.yaml");
}

#[test]
fn server_response_in_time_overrides_the_fallback() {
    let sandbox = delivered();
    let server = serve(&sandbox);
    let output = run(
        &sandbox,
        &server.url,
        &["--fallback", "existing=1m", "-o", "json"],
    );
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["source"], "server");
    // The new server has another instance ID, so the files came from it.
    assert_eq!(report["instance"], receipt(&sandbox)["instance"]);
}

#[test]
fn node_stays_registered_after_fallback() {
    let sandbox = delivered();
    sandbox.put("cluster.yaml", crate::sandbox::SPEC);
    let mut server = sandbox.serve(&[]);
    let output = run(&sandbox, &server.url, &["--fallback", SHORT_FALLBACK]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    server.log_until("node-1 registered");
    assert_eq!(sandbox.registered(&server.url), ["node-1"]);
}

/// An expected message, and the change of the delivered files that causes it.
type Change = (&'static str, fn(&Path));

#[test]
fn fallback_rejects_files_that_differ_from_the_receipt() {
    let changes: [Change; 9] = [
        (
            "node-1/config.yaml has changed since its delivery",
            |directory| {
                let config = directory.join("node-1/config.yaml");
                let same_length = fs::read_to_string(&config).unwrap().replace("9000", "9001");
                fs::write(config, same_length).unwrap();
            },
        ),
        (
            "node-1/cookie has changed since its delivery",
            |directory| {
                fs::write(directory.join("node-1/cookie"), "").unwrap();
            },
        ),
        ("node-1/cookie does not exist", |directory| {
            fs::remove_file(directory.join("node-1/cookie")).unwrap();
        }),
        ("node-1/config.yaml does not exist", |directory| {
            fs::rename(directory.join("node-1"), directory.join("elsewhere")).unwrap();
        }),
        ("node-1/cookie does not exist", |directory| {
            fs::rename(directory.join("node-1/cookie"), directory.join("cookie")).unwrap();
            symlink("../cookie", directory.join("node-1/cookie")).unwrap();
        }),
        ("the receipt is for node-2", |directory| {
            let receipt = directory.join("receipt.json");
            let others = fs::read_to_string(&receipt).unwrap();
            fs::write(receipt, others.replace("\"node-1\"", "\"node-2\"")).unwrap();
        }),
        ("receipt.json is not a receipt: ", |directory| {
            fs::write(directory.join("receipt.json"), "{").unwrap();
        }),
        (
            "has version 2; this cfgsync supports version 1",
            |directory| {
                let newer = "{\"cfgsync_receipt\": 2}";
                fs::write(directory.join("receipt.json"), newer).unwrap();
            },
        ),
        (
            "and there is no receipt receipt.json of a previous delivery",
            |directory| {
                fs::remove_file(directory.join("receipt.json")).unwrap();
            },
        ),
    ];
    for (expected, change) in changes {
        let sandbox = delivered();
        change(sandbox.path());
        let (node, message) = start_with_unusable_files(&sandbox);
        assert!(message.contains(expected), "{message}");
        node.signal(Signal::TERM);
        let (ended, log) = node.end();
        assert_eq!(ended, 143, "{log}");
        assert_eq!(log.matches("nothing was delivered within").count(), 1);
        assert!(!sandbox.path().join("started").exists());
    }
}

#[test]
fn discarded_artifact_is_neither_written_nor_verified() {
    let sandbox = Sandbox::new();
    let server = serve(&sandbox);
    let discard = ["--discard", "cookie", "-o", "json"];
    let output = run(&sandbox, &server.url, &discard);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(!exists(&sandbox, "node-1/cookie"));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["files"][1]["outcome"], "discarded");
    assert_eq!(receipt(&sandbox)["files"][1]["path"], Value::Null);

    let fallback = [&discard[..], &["--fallback", SHORT_FALLBACK]].concat();
    let output = run(&sandbox, UNREACHABLE, &fallback);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    // Without the flag, the file is missing.
    let mut node = sandbox.start(&arguments(UNREACHABLE, &["--fallback", SHORT_FALLBACK]));
    let message = node.log_until("nothing was delivered within");
    assert!(message.contains("cookie"), "{message}");
}

/// The files could change between their verification and the start of CMD.
#[test]
fn fallback_rejects_files_that_another_delivery_writes() {
    let sandbox = delivered();
    let directory = fs::File::open(sandbox.path().join("node-1")).unwrap();
    rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (node, message) = start_with_unusable_files(&sandbox);
    let expected = "cannot write to node-1: another delivery or program has locked the directory";
    assert!(message.contains(expected), "{message}");
    node.signal(Signal::TERM);
    let (ended, log) = node.end();
    assert_eq!(ended, 143, "{log}");
    assert!(!sandbox.path().join("started").exists());
}

/// Regression test: `--cluster` was checked only if a server responded.
#[test]
fn fallback_rejects_files_of_another_cluster() {
    let fallback_for = |cluster: &'static str| ["--cluster", cluster, "--fallback", SHORT_FALLBACK];
    let sandbox = delivered();
    let own = run(&sandbox, UNREACHABLE, &fallback_for("devnet"));
    assert_eq!(code(&own), 0, "{}", text(&own.stderr));
    let other = |expected: &str| {
        let mut node = sandbox.start(&arguments(UNREACHABLE, &fallback_for("other")));
        let message = node.log_until("nothing was delivered within");
        assert!(message.contains(expected), "{message}");
    };
    other("the receipt is for the cluster \"devnet\", not for the cluster \"other\"");
    // A receipt without a cluster name is rejected too.
    let unnamed = sandbox.read("receipt.json").replace("\"devnet\"", "null");
    sandbox.put("receipt.json", &unnamed);
    other("the receipt is for a cluster without a name, not for the cluster \"other\"");
}

#[test]
fn fallback_rejects_changed_routes() {
    let sandbox = delivered();
    let elsewhere = ["--out", "config.yaml=c.yaml", "--fallback", SHORT_FALLBACK];
    let mut node = sandbox.start(&arguments(UNREACHABLE, &elsewhere));
    let message = node.log_until("nothing was delivered within");
    assert!(message.contains("c.yaml does not exist"), "{message}");
}

#[test]
fn after_a_failed_fallback_join_waits_until_its_timeout() {
    let sandbox = delivered();
    fs::remove_file(sandbox.path().join("node-1/cookie")).unwrap();
    sandbox.put("cluster.yaml", crate::sandbox::SPEC);
    let server = sandbox.serve(&[]);
    let mut node = sandbox.start(&arguments(&server.url, &["--fallback", SHORT_FALLBACK]));
    node.log_until("still waiting");
    server.register("node-2");
    let (ended, log) = node.end();
    assert_eq!(ended, 0, "{log}");
    assert!(sandbox.path().join("node-1/cookie").exists());

    fs::remove_file(sandbox.path().join("node-1/cookie")).unwrap();
    let short = ["--fallback", "existing=100ms", "--timeout", "500ms"];
    let output = run(&sandbox, UNREACHABLE, &short);
    assert_eq!(code(&output), 69, "{}", text(&output.stderr));

    let never = ["--fallback", "existing=1m", "--timeout", "100ms"];
    let output = run(&sandbox, UNREACHABLE, &never);
    let log = text(&output.stderr);
    assert_eq!(code(&output), 69, "{log}");
    assert!(
        log.contains("--fallback has no effect: --timeout ends the join"),
        "{log}"
    );
}

#[test]
fn receipt_of_another_node_is_replaced() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve(&[]);
    server.register("node-2");
    assert_eq!(code(&run(&sandbox, &server.url, &[])), 0);
    let first = join(&server.url, "node-2");
    let output = sandbox.run(&[&first[..], &["--receipt", "receipt.json"]].concat(), &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(receipt(&sandbox)["identifier"], "node-2");
}

#[test]
fn unreadable_receipt_is_replaced_with_a_warning() {
    let sandbox = delivered();
    sandbox.put("receipt.json", "{");
    let server = serve(&sandbox);
    let output = run(&sandbox, &server.url, &[]);
    let log = text(&output.stderr);
    assert_eq!(code(&output), 0, "{log}");
    assert_eq!(log.matches("receipt.json is not a receipt").count(), 1);
    assert!(
        log.contains("This delivery replaced it and removed no files of earlier deliveries"),
        "{log}"
    );
    assert_eq!(receipt(&sandbox)["identifier"], "node-1");
}

#[test]
fn refusal_by_the_server_ends_the_join_despite_fallback() {
    let sandbox = delivered();
    let closed = crate::sandbox::SPEC.replace("nodes: 2", "nodes: [other]");
    sandbox.put("cluster.yaml", &closed);
    let server = sandbox.serve(&[]);
    let output = run(&sandbox, &server.url, &["--fallback", "existing=30s"]);
    assert_eq!(code(&output), 77, "{}", text(&output.stderr));
}

/// Regression test: after a reboot with an expired token, the node could not start.
#[test]
fn expired_token_falls_back_and_revoked_token_does_not() {
    let sandbox = delivered();
    let secret = sandbox.token("node", &["--role", "node"]);
    let tokens = sandbox.read("tokens");
    let expired = format!("{} expires=2001-01-01T00:00:00Z\n", tokens.trim_end());
    let later = ["--fallback", "existing=30s", "--token-file", "node.token"];
    let started = || sandbox.path().join("started").exists();
    let join = |tokens: &str| {
        sandbox.put("tokens", tokens);
        let server = sandbox.serve(&["--tokens", "tokens"]);
        let more = [&later[..], &["--", "touch", "started"]].concat();
        let output = run(&sandbox, &server.url, &more);
        (code(&output), text(&output.stderr))
    };
    // Revoking a token is an operator's decision, so the join must fail.
    let (exit, log) = join(
        "other node sha256:0000000000000000000000000000000000000000000000000000000000000000\n",
    );
    assert_eq!(exit, 77, "{log}");
    assert!(!started());

    let (exit, log) = join(&expired);
    assert_eq!(exit, 0, "{log}");
    assert!(started());
    for words in [
        "the token \"node\" expired at 2001-01-01T00:00:00Z; ask an operator for a new one",
        "until the credential is renewed: continuing with the previous delivery, 2 files of generation 1",
    ] {
        assert_eq!(log.matches(words).count(), 1, "{log}");
    }
    assert!(!log.contains(&secret), "{log}");

    // Without usable files, the join fails as before.
    fs::write(sandbox.path().join("node-1/cookie"), "").unwrap();
    let (exit, log) = join(&expired);
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("node-1/cookie has changed since its delivery"),
        "{log}"
    );
}

#[test]
fn unwritable_receipt_restores_all_files() {
    let sandbox = Sandbox::new();
    let server = serve(&sandbox);
    fs::create_dir(sandbox.path().join("receipt.json")).unwrap();
    let output = run(&sandbox, &server.url, &[]);
    assert_eq!(code(&output), 73, "{}", text(&output.stderr));
    assert!(!sandbox.path().join("node-1/config.yaml").exists());
}

#[test]
fn rejects_invalid_receipt_flags_before_registration() {
    let sandbox = Sandbox::new();
    let mut messages = String::new();
    for more in [
        &["--out-dir", "x", "--fallback", "existing=1s"][..],
        &["--out-dir", "x", "--receipt", "r", "--fallback", "10s"],
        &[
            "--out-dir",
            "x",
            "--receipt",
            "r",
            "--fallback",
            "existing=0",
        ],
        &[
            "--out",
            "a=-",
            "--receipt",
            "r",
            "--fallback",
            "existing=1s",
        ],
        &["--out-dir", "x", "--receipt", "r/"],
    ] {
        let first = ["join", "--server", UNREACHABLE, "--id", "a"];
        let output = sandbox.run(&[&first, more].concat(), &[]);
        assert_eq!(code(&output), 2);
        let stderr = text(&output.stderr);
        messages.push_str(stderr.lines().next().unwrap());
        messages.push('\n');
    }
    insta::assert_snapshot!(messages, @r"
    cfgsync: exit 2: --fallback needs --receipt FILE, which lists the delivered files
    cfgsync: exit 2: invalid value '10s' for '--fallback <existing=DURATION>': expected `existing=` and a duration, such as `existing=10s`
    cfgsync: exit 2: invalid value 'existing=0' for '--fallback <existing=DURATION>': the duration must not be zero, because `join` would never ask the server
    cfgsync: exit 2: --fallback needs every artifact in a file: it cannot be combined with --env or a route to '-'
    cfgsync: exit 2: invalid value 'r/' for '--receipt <FILE>': expected the path of a file
    ");
}

/// The spec of a node with these files besides `stays`, all of them secret.
fn spec_with(files: &[&str]) -> String {
    let mut spec = crate::sandbox::SPEC[..crate::sandbox::SPEC.find("once:").unwrap()]
        .replace("nodes: 2", "nodes: 1");
    spec.push_str("materializers:\n  - kind: template\n    files:\n");
    for name in ["stays"].iter().chain(files) {
        spec.push_str(&format!(
            "      - {{ path: {name}, secret: true, template: \"key of {name}\" }}\n"
        ));
    }
    spec
}

/// Delivers three files, and then a payload without `d/gone` and `gone`. `change` changes the delivered files in
/// between. Returns the sandbox, the log and the report.
fn deliver_fewer(change: fn(&Path), more: &[&str]) -> (Sandbox, String, Value) {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", &spec_with(&["gone", "d/gone"]));
    let mut server = sandbox.serve(&[]);
    let output = run(&sandbox, &server.url, &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    change(sandbox.path());
    sandbox.put("cluster.yaml", &spec_with(&[]));
    server.signal(Signal::HUP);
    server.log_until("generation 2");
    let output = run(&sandbox, &server.url, &[&["-o", "json"][..], more].concat());
    let log = text(&output.stderr);
    assert_eq!(code(&output), 0, "{log}");
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (sandbox, log, report)
}

fn exists(sandbox: &Sandbox, name: &str) -> bool {
    sandbox.path().join(name).symlink_metadata().is_ok()
}

/// Regression test: a secret key that was no longer part of the payload stayed on the node.
#[test]
fn files_that_are_no_longer_in_the_payload_are_removed() {
    let (sandbox, log, report) = deliver_fewer(|_| (), &[]);
    assert!(exists(&sandbox, "node-1/stays"));
    assert!(!exists(&sandbox, "node-1/gone") && !exists(&sandbox, "node-1/d/gone"));
    assert_eq!(
        fs::read_dir(sandbox.path().join("node-1/d"))
            .unwrap()
            .count(),
        0
    );
    assert!(
        log.contains("removed node-1/d/gone, which is no longer part of the payload"),
        "{log}"
    );
    let stale = &report["stale"];
    assert_eq!(stale[0]["path"], "node-1/gone");
    assert_eq!(stale[0]["outcome"], "removed");
    assert_eq!(stale.as_array().unwrap().len(), 2);
    let receipt_json = receipt(&sandbox);
    assert_eq!(receipt_json["files"].as_array().unwrap().len(), 1);
    assert_eq!(
        receipt_json["removed"],
        serde_json::json!(["gone", "d/gone"])
    );

    // The delivery may have been killed before it deleted the removed files.
    let leftover = sandbox.put("node-1/d/.cfgsync-0123456789abcdef.tmp", "key");
    let server = sandbox.serve(&[]);
    assert_eq!(code(&run(&sandbox, &server.url, &[])), 0);
    assert!(!leftover.exists());
    assert_eq!(receipt(&sandbox)["removed"], Value::Null);
}

#[test]
fn stale_files_are_only_listed_with_keep_stale() {
    let (sandbox, log, report) = deliver_fewer(|_| (), &["--keep-stale"]);
    assert_eq!(sandbox.read("node-1/gone"), "key of gone");
    assert!(
        log.contains("node-1/gone is no longer part of the payload, and stays. It holds a secret."),
        "{log}"
    );
    assert_eq!(report["stale"][1]["outcome"], "kept");
    let output = sandbox.run(
        &[&join(UNREACHABLE, "a")[..], &["--keep-stale"]].concat(),
        &[],
    );
    assert_eq!(code(&output), 2);
    let message = text(&output.stderr);
    assert!(
        message.contains("--keep-stale needs --receipt FILE"),
        "{message}"
    );
}

#[test]
fn stale_file_stays_if_it_is_not_the_delivered_one() {
    let (sandbox, log, report) = deliver_fewer(
        |directory| {
            fs::write(directory.join("node-1/gone"), "KEY OF GONE").unwrap();
            // A link below the routes leads elsewhere.
            fs::rename(directory.join("node-1/d"), directory.join("elsewhere")).unwrap();
            symlink("../elsewhere", directory.join("node-1/d")).unwrap();
        },
        &[],
    );
    assert_eq!(sandbox.read("node-1/gone"), "KEY OF GONE");
    assert_eq!(sandbox.read("elsewhere/gone"), "key of d/gone");
    assert!(
        log.contains(
            "node-1/gone is no longer part of the payload. It stays because it has changed since its delivery"
        ),
        "{log}"
    );
    assert_eq!(report["stale"].as_array().unwrap().len(), 2);
}

/// Regression test: a secret file behind a symbolic link stayed without a warning.
#[test]
fn stale_file_behind_a_link_is_named_by_each_delivery_until_it_is_gone() {
    type Case = (fn(&Path), &'static str, &'static str, &'static str);
    let cases: [Case; 4] = [
        (
            |directory| {
                fs::rename(directory.join("node-1/d"), directory.join("elsewhere")).unwrap();
                symlink("../elsewhere", directory.join("node-1/d")).unwrap();
            },
            "node-1/d is now a symbolic link, which is not followed",
            "symbolic_link",
            "elsewhere/gone",
        ),
        (
            |directory| {
                fs::rename(directory.join("node-1/d"), directory.join("node-1/b")).unwrap();
                symlink("b", directory.join("node-1/d")).unwrap();
            },
            "node-1/d is now a symbolic link, which is not followed",
            "symbolic_link",
            "node-1/b/gone",
        ),
        (
            |directory| {
                fs::rename(directory.join("node-1/d/gone"), directory.join("key")).unwrap();
                symlink("../../key", directory.join("node-1/d/gone")).unwrap();
            },
            "it is now a symbolic link, which is not followed",
            "symbolic_link",
            "key",
        ),
        (
            |directory| {
                fs::remove_file(directory.join("node-1/d/gone")).unwrap();
                fs::create_dir(directory.join("node-1/d/gone")).unwrap();
            },
            "it is no longer a file",
            "not_a_file",
            "",
        ),
    ];
    for (change, reason, outcome, key) in cases {
        let (sandbox, log, report) = deliver_fewer(change, &[]);
        let warning = format!(
            "node-1/d/gone is no longer part of the payload. It stays because {reason}: remove it if nothing uses it. \
             It holds a secret."
        );
        assert!(log.contains(&warning), "{log}");
        assert_eq!(report["stale"][1]["outcome"], outcome);
        assert!(!exists(&sandbox, "node-1/gone"));
        if !key.is_empty() {
            assert_eq!(sandbox.read(key), "key of d/gone");
        }
        let server = sandbox.serve(&[]);
        let deliver = || {
            let output = run(&sandbox, &server.url, &[]);
            let log = text(&output.stderr);
            assert_eq!(code(&output), 0, "{log}");
            log
        };
        for _ in 0..2 {
            let log = deliver();
            assert_eq!(log.matches(&warning).count(), 1, "{log}");
        }
        let place = sandbox.path().join("node-1/d/gone");
        if outcome == "not_a_file" {
            fs::remove_dir(place).unwrap();
        } else {
            fs::remove_file(place).unwrap();
        }
        assert!(!deliver().contains("node-1/d/gone"));
        assert_eq!(receipt(&sandbox)["remaining"], Value::Null);
    }
}

#[test]
fn kept_stale_file_is_removed_once_keep_stale_is_not_given() {
    let (sandbox, ..) = deliver_fewer(|_| (), &["--keep-stale"]);
    let server = sandbox.serve(&[]);
    assert_eq!(code(&run(&sandbox, &server.url, &[])), 0);
    assert!(!exists(&sandbox, "node-1/gone") && !exists(&sandbox, "node-1/d/gone"));
}

/// Regression test: the receipt of another node or cluster removed files in the output directory.
#[test]
fn stale_files_of_another_node_or_cluster_stay_and_are_named() {
    type Case = (fn(&mut Value), &'static str);
    let cases: [Case; 2] = [
        (
            |receipt| receipt["identifier"] = "node-2".into(),
            "node-1/gone was delivered to node-2",
        ),
        (
            |receipt| receipt["cluster"] = "other".into(),
            "node-1/gone was delivered to node-1 by the cluster \"other\" before",
        ),
    ];
    for (change, warning) in cases {
        let sandbox = Sandbox::new();
        sandbox.put("cluster.yaml", &spec_with(&["gone"]));
        let server = sandbox.serve(&[]);
        assert_eq!(code(&run(&sandbox, &server.url, &[])), 0);
        drop(server);
        let mut foreign = receipt(&sandbox);
        change(&mut foreign);
        sandbox.put("receipt.json", &foreign.to_string());
        sandbox.put("cluster.yaml", &spec_with(&[]));
        let server = sandbox.serve(&[]);
        for _ in 0..2 {
            let output = run(&sandbox, &server.url, &[]);
            let log = text(&output.stderr);
            assert_eq!(code(&output), 0, "{log}");
            assert!(log.contains(warning), "{log}");
            assert_eq!(sandbox.read("node-1/gone"), "key of gone");
        }
    }
}

#[test]
fn file_becomes_a_directory_and_the_reverse() {
    for (old, new) in [("e", "e/x"), ("e/x", "e")] {
        let sandbox = Sandbox::new();
        sandbox.put("cluster.yaml", &spec_with(&[old]));
        let server = sandbox.serve(&[]);
        assert_eq!(code(&run(&sandbox, &server.url, &[])), 0);
        drop(server);
        sandbox.put("cluster.yaml", &spec_with(&[new]));
        let server = sandbox.serve(&[]);
        let output = run(&sandbox, &server.url, &[]);
        let log = text(&output.stderr);
        assert_eq!(code(&output), 0, "{log}");
        let removed = format!("removed node-1/{old}, which is no longer part of the payload");
        assert!(log.contains(&removed), "{log}");
        assert_eq!(
            sandbox.read(&format!("node-1/{new}")),
            format!("key of {new}")
        );
    }
}

/// Regression test: the message named the operating system's error and gave no way out.
#[test]
fn changed_file_in_the_way_is_explained() {
    let cases = [
        (
            "e",
            "e/x",
            "cannot write below node-1/e: it is a file of an earlier delivery",
            "the payload now has a directory of this name, but the file has changed or --keep-stale is given: remove it and run the command again",
        ),
        (
            "e/x",
            "e",
            "cannot write node-1/e: it is a directory with files of an earlier delivery",
            "the payload now has a file of this name, but the directory has other or changed files, or --keep-stale is given: remove it and run the command again",
        ),
    ];
    for (old, new, message, hint) in cases {
        let sandbox = Sandbox::new();
        sandbox.put("cluster.yaml", &spec_with(&[old]));
        let server = sandbox.serve(&[]);
        assert_eq!(code(&run(&sandbox, &server.url, &[])), 0);
        drop(server);
        sandbox.put(&format!("node-1/{old}"), "changed");
        sandbox.put("cluster.yaml", &spec_with(&[new]));
        let server = sandbox.serve(&[]);
        let output = run(&sandbox, &server.url, &[]);
        let log = text(&output.stderr);
        assert_eq!(code(&output), 73, "{log}");
        assert!(log.contains(message) && log.contains(hint), "{log}");
        assert_eq!(sandbox.read(&format!("node-1/{old}")), "changed");
    }
}

#[test]
fn stale_file_of_other_routes_stays_and_is_named() {
    let sandbox = delivered();
    let server = serve(&sandbox);
    let output = run(&sandbox, &server.url, &["--out", "cookie=c"]);
    let log = text(&output.stderr);
    assert_eq!(code(&output), 0, "{log}");
    assert!(exists(&sandbox, "node-1/cookie"));
    assert!(
        log.contains("node-1/cookie was delivered by other routes before. It stays"),
        "{log}"
    );
}

/// A changed receipt must not make `join` remove a file that no route covers.
#[test]
fn receipt_cannot_make_join_remove_other_files() {
    let sandbox = delivered();
    let victim = sandbox.put("victim", "mine");
    let digest = cfgsync_model::Digest::of(b"mine").to_string();
    let mut forged = receipt(&sandbox);
    forged["files"] = serde_json::json!([
        {"artifact": "x", "path": victim, "mode": "0644", "bytes": 4, "sha256": digest},
        {"artifact": "victim", "path": "victim", "mode": "0644", "bytes": 4, "sha256": digest},
    ]);
    sandbox.put("receipt.json", &forged.to_string());
    let server = serve(&sandbox);
    let output = run(&sandbox, &server.url, &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(sandbox.read("victim"), "mine");
}

#[test]
fn owner_of_the_spec_is_used_and_the_flag_has_priority() {
    let sandbox = Sandbox::new();
    let uid = fs::metadata(sandbox.path()).unwrap().uid();
    let owned = |owner: &str| {
        let files = format!("path: stays, owner: {owner}");
        sandbox.put(
            "cluster.yaml",
            &spec_with(&[]).replace("path: stays", &files),
        );
        sandbox.serve(&[])
    };
    let server = owned("no-such-user");
    let output = run(&sandbox, &server.url, &[]);
    assert_eq!(code(&output), 73, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("/etc/passwd has no user no-such-user"));
    let own = uid.to_string();
    let output = run(&sandbox, &server.url, &["--owner", &own]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));

    let server = owned(&own);
    let output = run(&sandbox, &server.url, &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));

    for (owner, exit, message) in [
        (
            "no-such-user",
            78,
            "--owner: /etc/passwd has no user no-such-user",
        ),
        (
            ":no-such-group",
            78,
            "--owner: /etc/group has no group no-such-group",
        ),
        ("4294967295", 2, "is neither the name nor the number"),
        (":", 2, "expected USER, USER:GROUP or :GROUP"),
    ] {
        let output = run(&sandbox, UNREACHABLE, &["--owner", owner]);
        assert_eq!(code(&output), exit);
        assert!(
            text(&output.stderr).contains(message),
            "{}",
            text(&output.stderr)
        );
    }
}
