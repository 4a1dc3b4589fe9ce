//! `cfgsync reload` and SIGHUP: one operation reads spec, tokens and certificates again, and reports each part.

use std::fs;

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
