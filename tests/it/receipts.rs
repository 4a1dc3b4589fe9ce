//! `join --receipt` and `--fallback`: what was delivered is noted, and is enough for a start without the server.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Output,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::place::{Place, Process, Server, code, join, text};

/// Soon, and long enough for a server that is there to answer first.
const SOON: &str = "existing=300ms";
/// An address where nobody listens: of all ports, nobody serves on this one.
const NOBODY: &str = "http://127.0.0.1:1";

/// A place where node-1 was delivered its files, with a receipt.
fn delivered() -> Place {
    let place = Place::new();
    let server = serve(&place);
    let output = run(&place, &server.url, &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    place
}

/// A server that node-1 alone completes.
fn serve(place: &Place) -> Server {
    place.put(
        "cluster.yaml",
        &crate::place::SPEC.replace("nodes: 2", "nodes: 1"),
    );
    place.serve(&[])
}

fn run(place: &Place, url: &str, more: &[&str]) -> Output {
    place.run(&arguments(url, more), &[])
}

fn arguments<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [
        &join(url, "node-1")[..],
        &["--receipt", "receipt.json"],
        more,
    ]
    .concat()
}

fn receipt(place: &Place) -> Value {
    serde_json::from_str(&place.read("receipt.json")).unwrap()
}

/// Starts a join that nobody answers, until it has said that it does not go on with what is there.
fn refused(place: &Place) -> (Process, String) {
    let mut node = place.start(&arguments(
        NOBODY,
        &["--fallback", SOON, "--", "touch", "started"],
    ));
    let said = node.log_until("nothing was delivered within");
    (node, said)
}

#[test]
fn a_receipt_names_what_was_delivered_and_nothing_of_what_it_says() {
    let place = delivered();
    let noted = receipt(&place);
    assert_eq!(noted["cfgsync_receipt"], 1);
    assert_eq!(noted["identifier"], "node-1");
    assert_eq!(noted["cluster"], "devnet");
    assert_eq!(noted["generation"], 1);
    assert_eq!(noted["instance"].as_str().unwrap().len(), 32);
    assert_eq!(noted["digest"].as_str().unwrap().len(), 64);
    let file = &noted["files"][0];
    assert_eq!(file["artifact"], "/config.yaml");
    assert_eq!(file["path"], "node-1/config.yaml");
    assert_eq!(file["bytes"], place.read("node-1/config.yaml").len());
    assert!(!place.read("receipt.json").contains("9000"));
    let stat = fs::metadata(place.path().join("receipt.json")).unwrap();
    assert_eq!(stat.permissions().mode() & 0o7777, 0o600);
}

#[test]
fn the_same_delivery_leaves_its_receipt_untouched() {
    let place = Place::new();
    let server = serve(&place);
    let inode = |place: &Place| {
        let stat = fs::metadata(place.path().join("receipt.json")).unwrap();
        (stat.ino(), stat.mtime_nsec())
    };
    assert_eq!(code(&run(&place, &server.url, &[])), 0);
    let before = inode(&place);
    assert_eq!(code(&run(&place, &server.url, &[])), 0);
    assert_eq!(inode(&place), before);
}

#[test]
fn a_node_starts_with_what_was_delivered_while_the_server_is_away() {
    let place = delivered();
    let more = ["--fallback", SOON, "-o", "json", "--", "touch", "started"];
    let output = run(&place, NOBODY, &more);
    let log = text(&output.stderr);
    assert_eq!(code(&output), 0, "{log}");
    assert!(place.path().join("started").exists());
    assert!(
        log.contains("WARN") && log.contains("going on with 2 files of generation 1"),
        "{log}"
    );
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let noted = receipt(&place);
    assert_eq!(told["source"], "existing");
    assert_eq!(told["generation"], 1);
    assert_eq!(told["digest"], noted["digest"]);
    assert_eq!(told["files"][0]["outcome"], "existing");
    assert_eq!(told["files"][0]["path"], "node-1/config.yaml");
}

#[test]
fn a_server_that_answers_in_time_is_what_counts() {
    let place = delivered();
    let server = serve(&place);
    let output = run(
        &place,
        &server.url,
        &["--fallback", "existing=1m", "-o", "json"],
    );
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["source"], "server");
    // The cookie was drawn again: it is another instance.
    assert_eq!(told["instance"], receipt(&place)["instance"]);
}

#[test]
fn a_node_that_goes_on_with_its_files_stays_registered() {
    let place = delivered();
    place.put("cluster.yaml", crate::place::SPEC);
    let mut server = place.serve(&[]);
    let output = run(&place, &server.url, &["--fallback", SOON]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    server.log_until("node-1 registered");
    assert_eq!(place.registered(&server.url), ["node-1"]);
}

/// Something done to what was delivered, and what is said of it.
type Change = (&'static str, fn(&Path));

#[test]
fn files_that_are_not_those_of_the_receipt_are_not_gone_on_with() {
    let changes: [Change; 9] = [
        ("node-1/config.yaml was changed since", |place| {
            let config = place.join("node-1/config.yaml");
            let same_length = fs::read_to_string(&config).unwrap().replace("9000", "9001");
            fs::write(config, same_length).unwrap();
        }),
        ("node-1/cookie was changed since", |place| {
            fs::write(place.join("node-1/cookie"), "").unwrap();
        }),
        ("node-1/cookie is not there", |place| {
            fs::remove_file(place.join("node-1/cookie")).unwrap();
        }),
        ("node-1/config.yaml is not there", |place| {
            fs::rename(place.join("node-1"), place.join("elsewhere")).unwrap();
        }),
        ("node-1/cookie is not there", |place| {
            fs::rename(place.join("node-1/cookie"), place.join("cookie")).unwrap();
            symlink("../cookie", place.join("node-1/cookie")).unwrap();
        }),
        ("the receipt is node-2's", |place| {
            let receipt = place.join("receipt.json");
            let others = fs::read_to_string(&receipt).unwrap();
            fs::write(receipt, others.replace("\"node-1\"", "\"node-2\"")).unwrap();
        }),
        ("receipt.json is not a receipt: ", |place| {
            fs::write(place.join("receipt.json"), "{").unwrap();
        }),
        ("has version 2; this cfgsync understands 1", |place| {
            let newer = "{\"cfgsync_receipt\": 2}";
            fs::write(place.join("receipt.json"), newer).unwrap();
        }),
        ("nor ever before: there is no receipt", |place| {
            fs::remove_file(place.join("receipt.json")).unwrap();
        }),
    ];
    for (expected, change) in changes {
        let place = delivered();
        change(place.path());
        let (node, said) = refused(&place);
        assert!(said.contains(expected), "{said}");
        node.signal(Signal::TERM);
        let (ended, log) = node.end();
        assert_eq!(ended, 143, "{log}");
        assert_eq!(log.matches("nothing was delivered within").count(), 1);
        assert!(!place.path().join("started").exists());
    }
}

/// `--cluster` was heeded by those alone who had a server to ask.
#[test]
fn another_clusters_files_are_not_gone_on_with() {
    let insists = |cluster: &'static str| ["--cluster", cluster, "--fallback", SOON];
    let place = delivered();
    let own = run(&place, NOBODY, &insists("devnet"));
    assert_eq!(code(&own), 0, "{}", text(&own.stderr));
    let other = |expected: &str| {
        let mut node = place.start(&arguments(NOBODY, &insists("other")));
        let said = node.log_until("nothing was delivered within");
        assert!(said.contains(expected), "{said}");
    };
    other("the receipt is of the cluster \"devnet\", not of the cluster \"other\"");
    // As one is that was written where no cluster was told.
    let unnamed = place.read("receipt.json").replace("\"devnet\"", "null");
    place.put("receipt.json", &unnamed);
    other("the receipt is of a cluster that it does not name, not of the cluster \"other\"");
}

#[test]
fn other_routes_than_at_the_delivery_are_not_gone_on_with() {
    let place = delivered();
    let elsewhere = ["--out", "config.yaml=c.yaml", "--fallback", SOON];
    let mut node = place.start(&arguments(NOBODY, &elsewhere));
    let said = node.log_until("nothing was delivered within");
    assert!(said.contains("c.yaml is not there"), "{said}");
}

#[test]
fn a_node_that_waits_on_gets_its_files_and_a_time_that_is_up_is_up() {
    let place = delivered();
    fs::remove_file(place.path().join("node-1/cookie")).unwrap();
    place.put("cluster.yaml", crate::place::SPEC);
    let server = place.serve(&[]);
    let mut node = place.start(&arguments(&server.url, &["--fallback", SOON]));
    node.log_until("waiting on");
    server.register("node-2");
    let (ended, log) = node.end();
    assert_eq!(ended, 0, "{log}");
    assert!(place.path().join("node-1/cookie").exists());

    fs::remove_file(place.path().join("node-1/cookie")).unwrap();
    let short = ["--fallback", "existing=100ms", "--timeout", "500ms"];
    let output = run(&place, NOBODY, &short);
    assert_eq!(code(&output), 69, "{}", text(&output.stderr));

    let never = ["--fallback", "existing=1m", "--timeout", "100ms"];
    let output = run(&place, NOBODY, &never);
    let log = text(&output.stderr);
    assert_eq!(code(&output), 69, "{log}");
    assert!(
        log.contains("never comes: --timeout ends the join"),
        "{log}"
    );
}

#[test]
fn another_nodes_receipt_binds_nobody() {
    let place = Place::new();
    let server = place.serve(&[]);
    server.register("node-2");
    assert_eq!(code(&run(&place, &server.url, &[])), 0);
    let first = join(&server.url, "node-2");
    let output = place.run(&[&first[..], &["--receipt", "receipt.json"]].concat(), &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(receipt(&place)["identifier"], "node-2");
}

#[test]
fn a_server_that_says_no_is_obeyed() {
    let place = delivered();
    let closed = crate::place::SPEC.replace("nodes: 2", "nodes: [other]");
    place.put("cluster.yaml", &closed);
    let server = place.serve(&[]);
    let output = run(&place, &server.url, &["--fallback", "existing=30s"]);
    assert_eq!(code(&output), 77, "{}", text(&output.stderr));
}

/// A reboot a year later, with the token of the first day, was the end of the node.
#[test]
fn a_token_that_has_expired_since_is_no_refusal() {
    let place = delivered();
    let secret = place.token("node", &["--role", "node"]);
    let tokens = place.read("tokens");
    let expired = format!("{} expires=2001-01-01T00:00:00Z\n", tokens.trim_end());
    let later = ["--fallback", "existing=30s", "--token-file", "node.token"];
    let started = || place.path().join("started").exists();
    let join = |tokens: &str| {
        place.put("tokens", tokens);
        let server = place.serve(&["--tokens", "tokens"]);
        let more = [&later[..], &["--", "touch", "started"]].concat();
        let output = run(&place, &server.url, &more);
        (code(&output), text(&output.stderr))
    };
    // One that is revoked is somebody's.
    let (exit, log) = join(
        "other node sha256:0000000000000000000000000000000000000000000000000000000000000000\n",
    );
    assert_eq!(exit, 77, "{log}");
    assert!(!started());

    let (exit, log) = join(&expired);
    assert_eq!(exit, 0, "{log}");
    assert!(started());
    for words in [
        "the token node expired at 2001-01-01T00:00:00Z; ask an operator for a new one",
        "until that is renewed: going on with 2 files of generation 1, delivered before",
    ] {
        assert_eq!(log.matches(words).count(), 1, "{log}");
    }
    assert!(!log.contains(&secret), "{log}");

    // Without the files, or without the flag, it is the end as before.
    fs::write(place.path().join("node-1/cookie"), "").unwrap();
    let (exit, log) = join(&expired);
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("node-1/cookie was changed since"), "{log}");
}

#[test]
fn a_receipt_that_cannot_be_written_puts_everything_back() {
    let place = Place::new();
    let server = serve(&place);
    fs::create_dir(place.path().join("receipt.json")).unwrap();
    let output = run(&place, &server.url, &[]);
    assert_eq!(code(&output), 73, "{}", text(&output.stderr));
    assert!(!place.path().join("node-1/config.yaml").exists());
}

#[test]
fn mistakes_with_receipts_are_told_before_anything_is_registered() {
    let place = Place::new();
    let mut seen = String::new();
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
        let first = ["join", "--server", NOBODY, "--id", "a"];
        let output = place.run(&[&first, more].concat(), &[]);
        assert_eq!(code(&output), 2);
        let told = text(&output.stderr);
        seen.push_str(told.lines().next().unwrap());
        seen.push('\n');
    }
    insta::assert_snapshot!(seen, @r"
    cfgsync: exit 2: --fallback needs --receipt FILE, to know which files were delivered
    cfgsync: exit 2: invalid value '10s' for '--fallback <existing=DURATION>': expected `existing=` and a duration, such as `existing=10s`
    cfgsync: exit 2: invalid value 'existing=0' for '--fallback <existing=DURATION>': a fallback after no time at all would never ask the server
    cfgsync: exit 2: --fallback goes on with files, and what --env or a route to '-' takes is none: leave one of them out
    cfgsync: exit 2: invalid value 'r/' for '--receipt <FILE>': expected the path of a file
    ");
}
