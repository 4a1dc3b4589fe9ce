//! `cfgsync reload` and SIGHUP: one operation reads spec, tokens and certificates again, and reports each part.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use cfgsync_support::clock::Timestamp;
use rustix::process::Signal;

use crate::sandbox::{SPEC, Sandbox, code, text};

#[test]
fn reload_reports_each_part_and_keeps_the_last_good_files() {
    let sandbox = Sandbox::new();
    sandbox.token("ops", &["--role", "operator"]);
    sandbox.token("node", &["--role", "node"]);
    let flags = [
        "--tokens",
        "tokens",
        "--audit-log",
        "audit",
        "--tls",
        "self-signed",
        "--state-dir",
        "state",
        "--join-url-file",
        "url",
    ];
    let mut server = sandbox.serve(&flags);
    server.log_until("nodes join with");
    let url = sandbox.read("url").trim().to_owned();
    let reload = |token: &str, more: &[&str]| {
        let first = ["reload", "--server", &url, "--token-file", token];
        let output = sandbox.run(&[&first, more].concat(), &[]);
        let printed = text(&output.stdout) + &text(&output.stderr);
        (code(&output), printed)
    };

    let (exit, printed) = reload("node.token", &[]);
    assert_eq!(exit, 77, "{printed}");

    let (exit, printed) = reload("ops.token", &[]);
    assert_eq!(exit, 0, "{printed}");
    let directory = sandbox.path().join("state");
    let directory = fs::canonicalize(directory).unwrap();
    let expected = format!(
        "tokens: reloaded: read tokens again: 2 tokens\n\
         certificates: reloaded: read {} again\n\
         sign_key: not used: the server signs no payloads\n\
         spec: reloaded: read cluster.yaml again\n",
        directory.join("tls-self-signed.pem").display()
    );
    let shown = printed.replace("read state/", &format!("read {}/", directory.display()));
    assert_eq!(shown, expected);

    // The spec has a mistake. The tokens are reloaded, and the last good spec stays in force.
    sandbox.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodez: 2"));
    sandbox.token("third", &["--role", "node"]);
    let (exit, printed) = reload("ops.token", &["--only", "tokens"]);
    assert_eq!(
        (exit, printed.as_str()),
        (0, "tokens: reloaded: read tokens again: 3 tokens\n")
    );
    let (exit, printed) = reload("ops.token", &["--only", "spec"]);
    assert_eq!(exit, 78, "{printed}");
    assert!(
        printed.starts_with("spec: not reloaded:\n    error: "),
        "{printed}"
    );
    assert!(printed.contains("cluster.yaml:6:3"), "{printed}");
    assert!(
        printed.contains("exit 78: the server did not reload the spec, and keeps what it has"),
        "{printed}"
    );
    server.log_until("reload: the spec was not reloaded");

    // SIGHUP runs the same operation.
    sandbox.put("cluster.yaml", SPEC);
    server.signal(Signal::HUP);
    for part in [
        "SIGHUP: read tokens again: 3 tokens",
        "the TLS certificate was read again",
        "SIGHUP: read cluster.yaml again",
    ] {
        server.log_until(part);
    }
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);

    // The audit log names the operator of each request, and has a line for each part.
    let log = sandbox.read("audit");
    let requests: Vec<&str> = (log.lines())
        .filter(|line| line.contains("/v1/reload"))
        .collect();
    let outcomes: Vec<String> = (requests.iter())
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", line["who"], line["outcome"])
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            r#""token node" "refused""#,
            r#""token ops" "changed""#,
            r#""token ops" "changed""#,
            r#""token ops" "refused""#,
        ]
    );
}

#[test]
fn join_is_warned_of_an_old_generation_after_a_failed_render() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&[]);
    for node in ["node-1", "node-2"] {
        server.register(node);
    }
    let (exit, log) = sandbox.join(&server.url, "node-1", &[]).end();
    assert_eq!(exit, 0, "{log}");
    assert!(!log.contains("older generation"), "{log}");
    sandbox.put(
        "cluster.yaml",
        &SPEC.replace("node.metadata.port", "1 // 0"),
    );
    server.signal(Signal::HUP);
    server.log_until("the render of revision 2 failed");
    let (exit, log) = sandbox.join(&server.url, "node-1", &[]).end();
    assert_eq!(exit, 0, "{log}");
    let warning = "WARN node-1: the files are those of an older generation, because the newest render failed: ";
    assert!(log.contains(warning), "{log}");
}

#[test]
fn metrics_show_reloads_and_expiries() {
    let sandbox = Sandbox::new();
    sandbox.token("ops", &["--role", "operator"]);
    sandbox.token("short", &["--role", "node", "--expires", "1h"]);
    let server = sandbox.serve(&["--tokens", "tokens"]);
    let url = server.url.clone();
    let token = sandbox.read("ops.token");
    let metrics = || {
        let text = scrape(&url, token.trim());
        move |name: &str| -> Option<f64> {
            let mut lines = text.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map(|value| value.parse().unwrap())
        }
    };
    let reload = |exit| {
        let token = ["--token-file", "ops.token"];
        let all = [&["reload", "--server", &url][..], &token].concat();
        assert_eq!(code(&sandbox.run(&all, &[])), exit);
    };
    let now = Timestamp::now().as_second() as f64;
    let before = metrics();
    assert_eq!(before("cfgsync_reload_success{part=\"spec\"}"), None);
    assert!((before("cfgsync_start_time_seconds").unwrap() - now).abs() < 300.0);
    let version = format!(
        "cfgsync_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(before(&version), Some(1.0));
    // This server has no certificate.
    assert_eq!(before("cfgsync_certificate_expiry_timestamp_seconds"), None);
    let short = before("cfgsync_token_expiry_timestamp_seconds{name=\"short\"}").unwrap();
    assert!((short - now - 3600.0).abs() < 300.0, "{short}");
    assert_eq!(
        before("cfgsync_token_expiry_timestamp_seconds{name=\"ops\"}"),
        None
    );
    sandbox.put("cluster.yaml", "cfgsync: 2\n");
    reload(78);
    let after = metrics();
    assert_eq!(after("cfgsync_reload_success{part=\"spec\"}"), Some(0.0));
    assert_eq!(after("cfgsync_reload_success{part=\"tokens\"}"), Some(1.0));
    sandbox.put("cluster.yaml", SPEC);
    reload(0);
    assert_eq!(
        metrics()("cfgsync_reload_success{part=\"spec\"}"),
        Some(1.0)
    );
    let at = metrics()("cfgsync_reload_success_timestamp_seconds{part=\"spec\"}");
    assert!((at.unwrap() - now).abs() < 300.0);
}

/// Returns the text of `/metrics`.
fn scrape(url: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(&url["http://".len()..]).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer
}
