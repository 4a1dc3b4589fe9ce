//! TLS on the command line: self-signed keys, join URLs, certificate reloads, and messages about untrusted peers.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rustix::process::Signal;

use crate::{
    pki::{Authority, Pair, expired},
    sandbox::{PROGRAM, SPEC, Sandbox, Server, code, join, text},
};

const SELF_SIGNED: [&str; 4] = ["--tls", "self-signed", "--join-url-file", "url"];

/// Waits for the join URL in the log. The file `url` is written before that.
fn join_url(server: &mut Server) -> String {
    let line = server.log_until("nodes join with ");
    line.trim_end().rsplit(' ').next().unwrap().to_owned()
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs cfgsync and returns its exit code and the line that says why it failed.
fn exit_code_and_failure(sandbox: &Sandbox, arguments: &[&str]) -> (i32, String) {
    let output = sandbox.run(arguments, &[]);
    let stderr = text(&output.stderr);
    let mut lines = stderr.lines();
    let failure = lines.find(|line| line.starts_with("cfgsync: exit "));
    (code(&output), failure.unwrap_or_default().to_owned())
}

#[test]
fn self_signed_key_survives_a_restart_and_is_pinned_by_nodes() {
    let sandbox = Sandbox::new();
    let kept = [&SELF_SIGNED[..], &["--state-dir", "state"]].concat();
    let mut server = sandbox.serve(&kept);
    assert!(server.url.starts_with("https://127.0.0.1:"));
    let first = join_url(&mut server);
    assert_eq!(sandbox.read("url"), format!("{first}\n"));
    let nodes = ["node-1", "node-2"].map(|node| {
        let arguments = [
            "join",
            &first,
            "--id",
            node,
            "--ip",
            "10.0.0.1",
            "--out-dir",
            node,
        ];
        sandbox.start(&arguments)
    });
    for node in nodes {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    assert_eq!(sandbox.read("node-1/cookie"), sandbox.read("node-2/cookie"));
    assert_eq!(sandbox.registered(&first), ["node-1", "node-2"]);
    let file = fs::metadata(sandbox.path().join("state/tls-self-signed.pem")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);

    server.signal(Signal::KILL);
    server.end();
    let mut server = sandbox.serve(&kept);
    let second = join_url(&mut server);
    let pin = |url: &str| url.split_once("pin=").unwrap().1.to_owned();
    assert_eq!(pin(&first), pin(&second));
    assert_eq!(sandbox.registered(&second), ["node-1", "node-2"]);

    // Without a state directory, each start creates a new key.
    let mut server = sandbox.serve(&SELF_SIGNED);
    server.log_until("the TLS key is only in memory");
    assert_ne!(pin(&join_url(&mut server)), pin(&first));
}

#[test]
fn command_started_by_serve_gets_a_join_url() {
    let sandbox = Sandbox::new();
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    let health = ["--", PROGRAM, "inspect", "health"];
    let output = sandbox.run(&[&serve[..], &SELF_SIGNED, &health].concat(), &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
}

#[test]
fn untrusted_peers_end_the_join_with_a_fix() {
    let sandbox = Sandbox::new();
    let authority = Authority::new(sandbox.path(), "authority");
    let nodes = Authority::new(sandbox.path(), "nodes");
    let pair = authority.sign("127.0.0.1");
    let tls = |pair: &Pair| {
        let (certificate, key) = (
            path_text(&pair.certificate).to_owned(),
            path_text(&pair.key).to_owned(),
        );
        [
            "--tls-cert".to_owned(),
            certificate,
            "--tls-key".to_owned(),
            key,
        ]
    };
    let own = tls(&pair);
    let mut flags: Vec<&str> = own.iter().map(String::as_str).collect();
    let ca = authority.file();
    let trusting = ["--ca-file", path_text(&ca)];
    let mut messages = Vec::new();
    let mut expect_refusal = |url: &str, arguments: &[&str]| {
        let all = [&join(url, "node-1")[..], arguments].concat();
        let output = sandbox.run(&all, &[]);
        assert_eq!(code(&output), 77, "{}", text(&output.stderr));
        messages.push(text(&output.stderr).replace(url, "[URL]"));
    };
    let mut server = sandbox.serve(&flags);
    let url = server.url.clone();
    expect_refusal(&url, &[]);
    let pin = join_url(&mut server)
        .split_once("pin=")
        .unwrap()
        .1
        .to_owned();
    let other = "sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    expect_refusal(&url, &["--pin", other]);
    let other_ca = nodes.file();
    expect_refusal(&url, &["--ca-file", path_text(&other_ca)]);
    expect_refusal(&url.replace("127.0.0.1", "localhost"), &trusting);
    expect_refusal(&url.replace("https", "http"), &[]);
    drop(server);

    let late = tls(&authority.sign_with("late", expired));
    let late: Vec<&str> = late.iter().map(String::as_str).collect();
    let mut server = sandbox.serve(&late);
    server.log_until("the TLS certificate expired at 2001-01-01T00:00:00Z");
    expect_refusal(&server.url, &trusting);
    drop(server);

    let client_ca = nodes.file();
    flags.extend(["--client-ca", path_text(&client_ca)]);
    let server = sandbox.serve(&flags);
    expect_refusal(&server.url, &trusting);
    let stranger = authority.sign("stranger");
    let identity = [
        "--client-cert",
        path_text(&stranger.certificate),
        "--client-key",
        path_text(&stranger.key),
    ];
    expect_refusal(&server.url, &[&trusting[..], &identity].concat());
    // A health check on the same machine needs no certificate.
    let plain = server.url.replace("https", "http");
    assert_eq!(
        exit_code_and_failure(&sandbox, &["inspect", "health", "--server", &plain]).0,
        0
    );
    // A client with a valid certificate is accepted.
    let member = nodes.sign("node-1");
    let identity = [
        "--client-cert",
        path_text(&member.certificate),
        "--client-key",
        path_text(&member.key),
    ];
    let url = server.url.clone();
    let health = [
        &["inspect", "health", "--server", &url],
        &trusting[..],
        &identity,
    ]
    .concat();
    assert_eq!(exit_code_and_failure(&sandbox, &health).0, 0);

    let messages = messages
        .join("\n")
        .replace(&pin, "[PIN]")
        .replace("localhost", "[NAME]");
    insta::assert_snapshot!(messages.replace(&sandbox.path().display().to_string(), "[DIR]"));
}

#[test]
fn certificate_identity_prevents_impersonation() {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", &format!("identity: certificate\n{SPEC}"));
    let authority = Authority::new(sandbox.path(), "authority");
    let nodes = Authority::new(sandbox.path(), "nodes");
    let own = authority.sign("127.0.0.1");
    let client_ca = nodes.file();
    let server = sandbox.serve(&[
        "--tls-cert",
        path_text(&own.certificate),
        "--tls-key",
        path_text(&own.key),
        "--client-ca",
        path_text(&client_ca),
        "--operator-cert",
        "ops",
    ]);
    let ca = authority.file();
    let certificates = ["node-1", "node-2", "ops"].map(|name| (name, nodes.sign(name)));
    let run_as = |of: usize, arguments: &[&str]| {
        let pair = &certificates[of].1;
        let identity = [
            "--ca-file",
            path_text(&ca),
            "--client-cert",
            path_text(&pair.certificate),
            "--client-key",
            path_text(&pair.key),
        ];
        sandbox.start(&[arguments, &identity].concat())
    };
    let (code, log) = run_as(1, &join(&server.url, "node-1")).end();
    assert_eq!(code, 77, "{log}");
    let nodes = [0, 1].map(|of| run_as(of, &join(&server.url, certificates[of].0)));
    for node in nodes {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    assert!(
        sandbox
            .read("node-1/config.yaml")
            .starts_with("id: \"node-1\"")
    );
    // After delivery, a node still cannot fetch another node's files, and only an operator can inspect the cluster.
    let (code, log) = run_as(1, &join(&server.url, "node-1")).end();
    assert_eq!(code, 77, "{log}");
    for (of, expected) in [(0, 77), (2, 0)] {
        let (code, log) = run_as(of, &["inspect", "--server", &server.url]).end();
        assert_eq!(code, expected, "{log}");
    }
}

#[test]
fn changed_certificate_is_reloaded_and_the_last_valid_one_kept() {
    let sandbox = Sandbox::new();
    let authority = Authority::new(sandbox.path(), "authority");
    let pair = authority.sign("127.0.0.1");
    let (certificate, key) = (path_text(&pair.certificate), path_text(&pair.key));
    let flags = [
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
        "--join-url-file",
        "url",
    ];
    let mut server = sandbox.serve(&flags);
    let first = join_url(&mut server);

    // The server notices changed files without a signal.
    let other = Authority::new(sandbox.path(), "other").sign("127.0.0.1");
    fs::copy(&other.key, &pair.key).unwrap();
    server.log_until("the last good one stays in use: the key in ");
    assert_eq!(sandbox.registered(&first), [""; 0]);
    fs::copy(&other.certificate, &pair.certificate).unwrap();
    server.log_until("the TLS certificate was read again");
    server.log_until("the certificate has another key");
    let second = join_url(&mut server);
    assert_ne!(first, second);
    assert_eq!(sandbox.read("url"), format!("{second}\n"));
    assert_eq!(sandbox.registered(&second), [""; 0]);
    assert_eq!(
        exit_code_and_failure(&sandbox, &["inspect", "--server", &first]).0,
        77
    );

    // SIGHUP reloads them at once.
    fs::write(&pair.certificate, "").unwrap();
    server.signal(Signal::HUP);
    server.log_until("the last good one stays in use: ");
    assert_eq!(sandbox.registered(&second), [""; 0]);
}

/// Regression test: any server with the cluster's name was sent the node's key.
#[test]
fn node_key_is_not_sent_to_another_server_with_the_same_cluster_name() {
    let sandbox = Sandbox::new();
    let spec = SPEC.replace("nodes: 2", "nodes: 1");
    let spec = spec.replace("ready:", "identity: first-use\nready:");
    sandbox.put("cluster.yaml", &spec);
    sandbox.token("node", &["--role", "node"]);
    let tokens = ["--tokens", "tokens"];
    let mut first = sandbox.serve(&[&SELF_SIGNED[..], &tokens].concat());
    let first = join_url(&mut first);
    let more = ["--token-file", "node.token", "--identity-file", "key"];
    let (exit, log) = sandbox.join(&first, "node-1", &more).end();
    assert_eq!(exit, 0, "{log}");
    let pin = first.split_once("pin=").unwrap().1;
    let kept = sandbox.read("key");
    assert!(
        kept.ends_with(&format!("\nserver {pin}\n")),
        "the key file must name its server"
    );
    for tls in [&SELF_SIGNED[..], &[]] {
        let mut other = sandbox.serve(&[tls, &tokens].concat());
        let url = match tls {
            [] => other.url.clone(),
            _ => join_url(&mut other),
        };
        let (exit, log) = sandbox.join(&url, "node-1", &more).end();
        assert_eq!(exit, 77, "{log}");
        let message =
            format!("the node key in key is for the server identified by {pin}; it is not sent");
        assert!(
            log.contains(&message) && log.contains("delete the `server …` lines"),
            "{log}"
        );
    }
    // Regression test: in a list of servers, the key was sent to a plain HTTP server next to the right one.
    let clear = sandbox.serve(&tokens);
    let first_url = first.as_str();
    let absent = "127.0.0.1:1";
    let away = first_url.replace(
        first_url
            .trim_start_matches("cfgsync://")
            .split('/')
            .next()
            .unwrap(),
        absent,
    );
    let both = [&["--server", &clear.url][..], &more].concat();
    let (exit, log) = sandbox.join(&away, "node-1", &both).end();
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("it is not sent to a server identified by"),
        "{log}"
    );
    assert_eq!(sandbox.read("key"), kept);
}

#[test]
fn rejects_invalid_tls_flags() {
    let sandbox = Sandbox::new();
    sandbox.put("empty.pem", "");
    let leaf = Authority::new(sandbox.path(), "authority").sign("node-1");
    sandbox.put("leaf.pem", &fs::read_to_string(leaf.certificate).unwrap());
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    let mut transcripts = String::new();
    for flags in [
        &["--tls-key", "key.pem"][..],
        &["--client-ca", "ca.pem"],
        &["--join-url-file", "url"],
        &["--tls", "self-signed", "--tls-cert", "cert.pem"],
        &["--tls-cert", "missing.pem"],
        &["--tls-cert", "empty.pem"],
        &["--tls", "self-signed", "--client-ca", "empty.pem"],
        &["--tls", "self-signed", "--client-ca", "leaf.pem"],
        &["--tls", "self-signed", "--join-url-file", "missing/url"],
    ] {
        let transcript = sandbox.transcript(&[&serve[..], flags].concat(), &[]);
        let lines = transcript.lines().filter(|line| !line.contains("Z  "));
        transcripts.extend(lines.flat_map(|line| [line, "\n"]));
    }
    insta::assert_snapshot!(transcripts);
}
