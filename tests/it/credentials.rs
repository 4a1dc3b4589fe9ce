//! Tokens, node keys and certificates with real processes: creation, use, rotation, theft and secrecy.

use std::{collections::BTreeMap, fs, process::Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    pki::{Authority, Pair, with_host_name_first},
    sandbox::{Process, SPEC, Sandbox, Server, code, text},
};

impl Sandbox {
    /// Creates a token, appends it to the file `tokens`, and writes its secret to the file `NAME.token`.
    pub(crate) fn token(&self, name: &str, more: &[&str]) -> String {
        let first = ["token", "new", "--name", name, "--append", "tokens"];
        let output = self.run(&[&first, more].concat(), &[]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        let secret = text(&output.stdout);
        self.put(&format!("{name}.token"), &secret);
        secret.trim().to_owned()
    }

    /// Revokes a token of the file `tokens`.
    fn revoke(&self, name: &str) {
        let output = self.run(&["token", "revoke", name, "--tokens", "tokens"], &[]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    }
}

#[test]
fn token_list_shows_the_last_use_without_secrets() {
    let sandbox = Sandbox::new();
    let secrets = [
        sandbox.token("ops", &["--role", "operator"]),
        sandbox.token("eye", &["--role", "viewer"]),
        sandbox.token(
            "web",
            &["--role", "node", "--identifier", "web-*", "--expires", "1h"],
        ),
    ];
    let mut server = sandbox.serve(&["--tokens", "tokens"]);
    let url = server.url.clone();
    let list = |token: &str| {
        let token = format!("{token}.token");
        let command = [
            "token",
            "list",
            "--server",
            &url,
            "--token-file",
            &token,
            "-o",
            "json",
        ];
        sandbox.run(&command, &[])
    };
    assert_eq!(code(&list("eye")), 77, "a viewer may not see the tokens");
    sandbox.revoke("web");
    // The uses of the tokens that stay are kept.
    reload_tokens(&mut server);
    let output = list("ops");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let tokens: Value = serde_json::from_str(&shown).unwrap();
    let names = tokens
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["eye", "ops"]);
    assert_eq!(tokens[0]["role"], "viewer");
    assert_eq!(tokens[0]["last_used"]["from"], "127.0.0.1");
    assert!(tokens[0]["last_used"]["at"].is_string(), "{shown}");
    let hashes = sandbox.read("tokens");
    let hashes = hashes
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("sha256:"));
    for hidden in secrets.iter().map(String::as_str).chain(hashes) {
        assert!(!shown.contains(hidden), "{shown}");
    }
    let unknown = sandbox.run(&["token", "revoke", "web", "--tokens", "tokens"], &[]);
    assert_eq!(code(&unknown), 3, "{}", text(&unknown.stderr));
}

#[test]
fn limits_of_an_operators_token_are_made_and_listed() {
    let sandbox = Sandbox::new();
    sandbox.token("ops", &["--role", "operator"]);
    let limits = [
        "--namespace",
        "team-*",
        "--namespace",
        "shared",
        "--read-only",
    ];
    sandbox.token("team", &[&["--role", "operator"], &limits[..]].concat());
    let tokens = sandbox.read("tokens");
    assert!(
        tokens.contains(" namespace=team-* namespace=shared read-only\n"),
        "{tokens}"
    );
    let server = sandbox.serve(&["--tokens", "tokens"]);
    let run = |token: &str, arguments: &[&str]| {
        let more = ["--server", &server.url, "--token-file", token];
        sandbox.run(&[arguments, &more].concat(), &[])
    };
    let list = text(&run("ops.token", &["token", "list"]).stdout);
    assert!(
        list.contains("team  operator, read-only  -      team-* shared  "),
        "{list}"
    );
    let set = ["values", "set", "team-a/x", "1"];
    let refused = run("team.token", &set);
    assert_eq!(code(&refused), 77);
    let log = text(&refused.stderr);
    assert!(log.contains("the token team is for reading only"), "{log}");
    assert_eq!(code(&run("ops.token", &set)), 0);
    assert_eq!(code(&run("team.token", &["values", "get", "team-a/x"])), 0);
    let refused = run("team.token", &["values", "get", "other/x"]);
    assert_eq!(code(&refused), 77);
    let log = text(&refused.stderr);
    assert!(
        log.contains("for namespaces that match team-* or shared, not for other"),
        "{log}"
    );
    let new = ["token", "new", "--role", "viewer", "--read-only"];
    let usage = sandbox.run(&new, &[]);
    assert_eq!(code(&usage), 2, "{}", text(&usage.stderr));
}

fn reload_tokens(server: &mut Server) {
    server.signal(Signal::HUP);
    server.log_until("read tokens again");
}

#[test]
fn tokens_are_rotated_while_nodes_join() {
    let sandbox = Sandbox::new();
    sandbox.token("ops", &["--role", "operator"]);
    sandbox.token("first", &["--role", "node"]);
    let mut server = sandbox.serve(&["--tokens", "tokens"]);
    let url = server.url.clone();
    let with = |token: &'static str| ["--token-file", token];

    let (exit, log) = sandbox.join(&url, "node-1", &[]).end();
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("the request has no credentials"), "{log}");
    let waiting = sandbox.join(&url, "node-1", &with("first.token"));
    server.log_until("node-1 registered");

    // Both tokens are valid for a while, then the first one is revoked.
    sandbox.token(
        "second",
        &[
            "--role",
            "node",
            "--identifier",
            "node-*",
            "--expires",
            "1h",
        ],
    );
    reload_tokens(&mut server);
    let (exit, log) = sandbox.join(&url, "other-1", &with("second.token")).end();
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("the token \"second\" is for nodes that match node-*, not for other-1"),
        "{log}"
    );
    // After a reload with an invalid file, the last valid tokens stay in use.
    let good = sandbox.read("tokens");
    sandbox.put("tokens", "nonsense\n");
    server.signal(Signal::HUP);
    server.log_until("the last good ones stay in force: tokens:1: expected NAME ROLE sha256:HASH");
    sandbox.put("tokens", &good);
    let last = sandbox.join(&url, "node-2", &with("second.token"));
    for node in [waiting, last] {
        let (exit, log) = node.end();
        assert_eq!(exit, 0, "{log}");
    }
    sandbox.revoke("first");
    reload_tokens(&mut server);
    let (exit, log) = sandbox.join(&url, "node-1", &with("first.token")).end();
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("does not know the token"), "{log}");

    // Operator commands take the token from a file, the environment, or systemd credentials.
    let ops = sandbox.read("ops.token");
    sandbox.put("credentials/cfgsync-token", &ops);
    let inspect = ["inspect", "--server", &url];
    for (arguments, variables, exit) in [
        (&[][..], vec![], 77),
        (&["--token-file", "second.token"], vec![], 77),
        (&["--token-file", "ops.token"], vec![], 0),
        (&[], vec![("CFGSYNC_TOKEN_FILE", "ops.token")], 0),
        (&[], vec![("CFGSYNC_TOKEN", &*ops)], 0),
        (&[], vec![("CREDENTIALS_DIRECTORY", "credentials")], 0),
        (&["--token-file", "nowhere"], vec![], 78),
    ] {
        let output = sandbox.run(&[&inspect, arguments].concat(), &variables);
        let message = text(&output.stderr);
        assert_eq!(
            code(&output),
            exit,
            "{arguments:?} {variables:?}: {message}"
        );
        assert!(!message.contains("unknown variable"), "{message}");
    }
    let health = sandbox.run(&["inspect", "health", "--server", &url], &[]);
    assert_eq!(code(&health), 0);
    let fail = ["fail", "--reason", "no", "--server", &url, "--token-file"];
    assert_eq!(
        code(&sandbox.run(&[&fail[..], &["second.token"]].concat(), &[])),
        77
    );
    assert_eq!(
        code(&sandbox.run(&[&fail[..], &["ops.token"]].concat(), &[])),
        0
    );
}

#[test]
fn first_use_name_stays_with_first_key_until_released() {
    let sandbox = Sandbox::new();
    sandbox.put(
        "cluster.yaml",
        &SPEC.replace("ready:", "identity: first-use\nready:"),
    );
    let first = sandbox.run(&["serve", "cluster.yaml", "--listen", "127.0.0.1:0"], &[]);
    assert_eq!(code(&first), 78, "{}", text(&first.stderr));
    sandbox.token("ops", &["--role", "operator"]);
    // The nodes use no tokens.
    let mut server = sandbox.serve(&["--tokens", "tokens", "--allow-anonymous"]);
    let url = server.url.clone();
    let machine = |name: &str| {
        let mut command = sandbox.command(&crate::sandbox::join(&url, "node-1"));
        command.env("STATE_DIRECTORY", sandbox.path().join(name));
        command
    };
    let owner = Process::start(machine("owner"));
    server.log_until("node-1 registered");
    let (exit, log) = Process::start(machine("thief")).end();
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("cfgsync release node-1"), "{log}");

    // The same machine registers again after a restart of its process.
    owner.signal(Signal::KILL);
    owner.end();
    let again = Process::start(machine("owner"));
    let other = sandbox.join(&url, "node-2", &["--identity-file", "key"]);
    for node in [again, other] {
        let (exit, log) = node.end();
        assert_eq!(exit, 0, "{log}");
    }
    let (exit, _) = Process::start(machine("thief")).end();
    assert_eq!(exit, 77);

    let release = ["release", "node-1", "--server", &url];
    assert_eq!(code(&sandbox.run(&release, &[])), 77);
    let by_operator = [&release[..], &["--token-file", "ops.token"]].concat();
    assert_eq!(code(&sandbox.run(&by_operator, &[])), 0);
    let (exit, log) = Process::start(machine("thief")).end();
    assert_eq!(exit, 0, "{log}");
    let (exit, _) = Process::start(machine("owner")).end();
    assert_eq!(exit, 77);
    let keys = [
        "owner/keys/devnet/node-1",
        "thief/keys/devnet/node-1",
        "key",
    ];
    for path in keys.map(|key| sandbox.path().join(key)) {
        let mode = fs::metadata(&path).unwrap().permissions();
        let mode = std::os::unix::fs::PermissionsExt::mode(&mode);
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn first_use_name_survives_a_server_restart() {
    let sandbox = Sandbox::new();
    sandbox.put(
        "cluster.yaml",
        &SPEC.replace("ready:", "identity: first-use\nready:"),
    );
    sandbox.token("ops", &["--role", "operator"]);
    sandbox.token("node", &["--role", "node"]);
    let serve = ["--tokens", "tokens", "--state-dir", "state"];
    let node = |url: &str, key: &str, timeout: &str| {
        let more = ["--token-file", "node.token", "--identity-file", key];
        sandbox.join(
            url,
            "node-1",
            &[&more[..], &["--timeout", timeout]].concat(),
        )
    };
    let mut server = sandbox.serve(&serve);
    let owner = node(&server.url, "owner", "1h");
    server.log_until("node-1 registered");
    // A process that is killed does not give its name back, as one that ends by itself does.
    owner.signal(Signal::KILL);
    owner.end();
    assert_eq!(node(&server.url, "thief", "1s").end().0, 77);
    server.signal(Signal::TERM);
    server.end();
    let server = sandbox.serve(&serve);
    assert_eq!(node(&server.url, "thief", "1s").end().0, 77);
    assert_eq!(node(&server.url, "owner", "1s").end().0, 124);
}

#[test]
fn non_loopback_listener_needs_credentials_or_allow_anonymous() {
    let sandbox = Sandbox::new();
    sandbox.token("ops", &["--role", "operator"]);
    let serve = ["serve", "cluster.yaml", "--listen", "0.0.0.0:0"];
    assert_eq!(code(&sandbox.run(&serve, &[])), 78);
    let mut server = sandbox.start(&[&serve[..], &["--tokens", "tokens"]].concat());
    server.log_until("serving devnet");
    let mut server = sandbox.start(&[&serve[..], &["--allow-anonymous"]].concat());
    server.log_until("serving devnet");
}

#[test]
fn rejects_invalid_access_settings() {
    let sandbox = Sandbox::new();
    sandbox.put("tokens", "ops operator sha256:12\n");
    sandbox.put("empty", "");
    sandbox.put(
        "wants-names.yaml",
        &SPEC.replace("ready:", "identity: token\nready:"),
    );
    sandbox.put(
        "wants-certificates.yaml",
        &SPEC.replace("ready:", "identity: certificate\nready:"),
    );
    sandbox.put(
        "wants-what.yaml",
        &SPEC.replace("ready:", "identity: certificates\nready:"),
    );
    let none = format!("# none\nops operator sha256:{}\n", "0".repeat(64));
    sandbox.put("some", &none);
    let serve = |arguments: &[&str]| sandbox.transcript(&[&["serve"], arguments].concat(), &[]);
    let transcripts = [
        serve(&["cluster.yaml", "--tokens", "tokens"]),
        serve(&["cluster.yaml", "--tokens", "empty"]),
        serve(&["cluster.yaml", "--tokens", "nowhere"]),
        serve(&["cluster.yaml", "--audit-log", "no/directory"]),
        serve(&["cluster.yaml", "--audit-required"]),
        serve(&["cluster.yaml", "--operator-cert", "ops"]),
        serve(&["wants-names.yaml"]),
        serve(&["wants-certificates.yaml", "--tokens", "some"]),
        serve(&["wants-what.yaml"]),
        sandbox.transcript(&["token", "new"], &[]),
        sandbox.transcript(&["token", "new", "--role", "root"], &[]),
        sandbox.transcript(
            &["token", "new", "--role", "node", "--identifier", "[a]"],
            &[],
        ),
        sandbox.transcript(
            &["token", "new", "--role", "node", "--append", "no/directory"],
            &[],
        ),
        sandbox.transcript(
            &[
                "token", "new", "--role", "node", "--name", "ops", "--append", "some",
            ],
            &[],
        ),
        sandbox.transcript(&["inspect", "--token-file", "empty"], &[]),
        sandbox.transcript(&["inspect"], &[("CFGSYNC_TOKEN", "two words")]),
        sandbox.transcript(
            &[
                "join",
                "--server",
                "http://127.0.0.1:1",
                "--id",
                "node-1",
                "--out-dir",
                "x",
                "--token-file",
                "nowhere",
            ],
            &[],
        ),
    ];
    insta::assert_snapshot!(transcripts.join("\n"));
}

/// Regression test: if the secret could not be printed, the token file still got its line.
#[test]
fn token_is_not_added_if_its_secret_cannot_be_printed() {
    let sandbox = Sandbox::new();
    sandbox.token("ops", &["--role", "operator"]);
    let before = sandbox.read("tokens");
    let new = ["token", "new", "--role", "node", "--append", "tokens"];
    let (read_end, closed) = std::io::pipe().unwrap();
    drop(read_end);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    for (stdout, problem) in [
        (Stdio::from(full), "No space left"),
        (closed.into(), "Broken pipe"),
    ] {
        let output = sandbox.command(&new).stdout(stdout).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(code(&output), 73, "{message}");
        assert!(
            message.contains(problem) && message.contains("tokens was restored"),
            "{message}"
        );
        assert_eq!(sandbox.read("tokens"), before);
    }
    // Regression test: a token file created by the failed command stayed behind, empty.
    let new = ["token", "new", "--role", "node", "--append", "new"];
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = sandbox.command(&new).stdout(full).output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(code(&output), 73, "{message}");
    assert!(
        message.contains("new, which was new, was removed"),
        "{message}"
    );
    assert!(!sandbox.path().join("new").exists());
    // A device that can be read without end is not a token file.
    let output = sandbox.run(
        &["token", "new", "--role", "node", "--append", "/dev/full"],
        &[],
    );
    assert_eq!(code(&output), 73);
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn secrets_never_appear_in_output_logs_or_audit_log() {
    let sandbox = Sandbox::new();
    sandbox.put(
        "cluster.yaml",
        &SPEC.replace("ready:", "identity: first-use\nready:"),
    );
    let mut planted = vec![
        sandbox.token("ops", &["--role", "operator"]),
        sandbox.token("node", &["--role", "node"]),
    ];
    let wrong = "PLANTED-wrong-token-0123456789";
    let misplaced = "PLANTED-misplaced-token-0123456789";
    planted.extend([wrong.to_owned(), misplaced.to_owned()]);
    let mut written = String::new();
    let trace_level = ["--log-level", "trace"];
    for level in [
        &trace_level[..],
        &[&trace_level[..], &["--log-format", "json"]].concat(),
    ] {
        let guards = ["--tokens", "tokens", "--audit-log", "audit"];
        let mut server = sandbox.serve(&[&guards[..], &trace_level].concat());
        let url = server.url.clone();
        let node = |id: &str, key: &str, token: &str| {
            let more = ["--token-file", token, "--identity-file", key];
            sandbox.join(&url, id, &[&more[..], level].concat())
        };
        sandbox.put("wrong.token", wrong);
        sandbox.put("words.token", &format!("{misplaced} {misplaced}"));
        for (id, key, token) in [
            ("node-3", "key-3", "wrong.token"),
            ("node-3", "key-3", "words.token"),
            ("node-3", "words.token", "node.token"),
        ] {
            written += &node(id, key, token).end().1;
        }
        let nodes = [
            node("node-1", "key-1", "node.token"),
            node("node-2", "key-2", "node.token"),
        ];
        for node in nodes {
            let (exit, log) = node.end();
            assert_eq!(exit, 0, "{log}");
            written += &log;
        }
        written += &node("node-1", "key-2", "node.token").end().1;
        for key in ["key-1", "key-2"] {
            planted.push(sandbox.read(key).trim().to_owned());
        }
        let ops = planted[0].clone();
        for (arguments, variables) in [
            (
                &["inspect", "--server", &url][..],
                [("CFGSYNC_TOKEN", &*ops)],
            ),
            (&["inspect", "--server", &url], [("CFGSYNC_TOKEN", wrong)]),
            (
                &["inspect", "--server", &url],
                [("CFGSYNC_TOKEN_FILE", wrong)],
            ),
            (
                &["inspect", "--server", &url, "-o", "json"],
                [("CFGSYNC_TOKEN", &*ops)],
            ),
            (
                &["inspect", "node", "node-1", "--server", &url],
                [("CFGSYNC_TOKEN", &*ops)],
            ),
        ] {
            let output = sandbox.run(&[arguments, level].concat(), &variables);
            // This value was passed as a file name, and an error message may repeat a file name.
            if variables[0] != ("CFGSYNC_TOKEN_FILE", wrong) {
                written += &text(&output.stdout);
                written += &text(&output.stderr);
            }
        }
        // Secrets in the wrong column of the token file.
        let good = sandbox.read("tokens");
        for line in [
            format!("x node {misplaced}"),
            format!("x {misplaced}"),
            format!("x node sha256:{misplaced} {misplaced}={misplaced}"),
        ] {
            sandbox.put("tokens", &(good.clone() + &line));
            server.signal(Signal::HUP);
            written += &server.log_until("tokens:");
        }
        sandbox.put("tokens", &good);
        server.signal(Signal::TERM);
        written += &server.process.end().1;
    }
    written += &sandbox.read("audit");
    // The search below is meaningless without enough output.
    assert!(written.len() > 10_000, "{written}");
    for secret in planted {
        assert!(!written.contains(&secret), "{secret} in:\n{written}");
    }
}

#[test]
fn started_program_does_not_inherit_the_token() {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 1"));
    let secret = sandbox.token("node", &["--role", "node"]);
    let server = sandbox.serve(&["--tokens", "tokens"]);
    let join = crate::sandbox::join(&server.url, "node-1");
    let show = ["--", "sh", "-c", "env >&2; echo shown >&2"];
    let invitation = "cfgsync://boot/?pin=sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    let variables = [
        ("CFGSYNC_TOKEN", &*secret),
        ("CFGSYNC_SERVER", &*format!("{invitation}&token=PLANTED")),
    ];
    let output = sandbox.run(&[&join[..], &show].concat(), &variables);
    let message = text(&output.stderr);
    assert!(message.ends_with("shown\n"), "{message}");
    assert!(
        !message.contains(&secret) && !message.contains("PLANTED"),
        "{message}"
    );
}

/// Regression test: `join` sent a token over plain HTTP without a warning.
#[test]
fn warns_once_of_secrets_over_plain_http() {
    let sandbox = Sandbox::new();
    let spec = SPEC.replace("nodes: 2", "nodes: 1");
    sandbox.put(
        "cluster.yaml",
        &spec.replace("ready:", "identity: first-use\nready:"),
    );
    sandbox.token("node", &["--role", "node"]);
    sandbox.token("ops", &["--role", "operator"]);
    let server = sandbox.serve(&["--tokens", "tokens"]);
    // 0.0.0.0 reaches this machine but is not a loopback address.
    let elsewhere = server.url.replace("127.0.0.1", "0.0.0.0");
    let words = |of: &str| format!("{of} goes to {elsewhere} unencrypted");
    let (token, key) = (words("the token"), words("this node's own key"));
    for (url, times) in [(&server.url, 0), (&elsewhere, 1)] {
        let more = ["--token-file", "node.token", "--identity-file", "key"];
        let (exit, log) = sandbox.join(url, "node-1", &more).end();
        assert_eq!(exit, 0, "{log}");
        for words in [&token, &key] {
            assert_eq!(log.matches(words).count(), times, "{log}");
        }
        assert_eq!(log.matches("use its join URL").count(), times * 2, "{log}");
        let inspect = ["inspect", "--server", url, "--token-file", "ops.token"];
        let output = sandbox.run(&inspect, &[]);
        let message = text(&output.stderr);
        assert_eq!(message.matches(&token).count(), times, "{message}");
    }
}

/// Regression test: enabling `first-use` later assigned registered names to the next client without a warning.
#[test]
fn warns_of_registered_nodes_without_a_key() {
    let sandbox = Sandbox::new();
    let nodes: Vec<String> = (10..22).map(|number| format!("node-{number}")).collect();
    let spec = SPEC.replace("nodes: 2", "nodes: 20");
    sandbox.put("cluster.yaml", &spec);
    sandbox.token("node", &["--role", "node"]);
    let durable = ["--state-dir", "state", "--tokens", "tokens"];
    let mut server = sandbox.serve(&[&durable[..], &["--allow-anonymous"]].concat());
    for node in &nodes {
        server.register(node);
    }
    sandbox.put(
        "cluster.yaml",
        &spec.replace("ready:", "identity: first-use\nready:"),
    );
    server.signal(Signal::HUP);
    let warning = format!(
        "but 12 registered nodes have no key ({} and 2 more); the next node that registers",
        nodes[..10].join(", ")
    );
    server.log_until(&warning);
    // A node that joins again becomes the owner of its name.
    let more = ["--token-file", "node.token", "--identity-file", "key"];
    let mut joining = sandbox.join(&server.url, "node-10", &more);
    joining.log_until("registered with");
    server.signal(Signal::KILL);
    server.end();
    let mut server = sandbox.serve(&durable);
    server.log_until("but 11 registered nodes have no key (node-11, ");
}

#[test]
fn audit_log_is_reopened_on_sighup() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&["--audit-log", "audit"]);
    server.register("node-1");
    fs::rename(sandbox.path().join("audit"), sandbox.path().join("audit.1")).unwrap();
    server.signal(Signal::HUP);
    server.log_until("the spec was read again");
    server.register("node-2");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    for (name, node) in [("audit.1", "node-1"), ("audit", "node-2")] {
        let log = sandbox.read(name);
        let line = format!(r#""who":"anybody","from":"127.0.0.1","node":"{node}""#);
        assert_eq!(log.matches("/register").count(), 1, "{log}");
        assert!(log.contains(&line), "{log}");
    }
}

/// Regression test: the audit log lacked seals, failures and reloads.
#[test]
fn audit_log_records_actions_of_the_server() {
    let sandbox = Sandbox::new();
    sandbox.token("ops", &["--role", "operator"]);
    sandbox.token("node", &["--role", "node"]);
    let authority = Authority::new(sandbox.path(), "authority");
    let write_pair = |name: &str| {
        let pair = authority.sign("127.0.0.1");
        let text = fs::read_to_string(&pair.certificate).unwrap();
        sandbox.put(name, &(text + &fs::read_to_string(&pair.key).unwrap()));
    };
    write_pair("pair");
    let good = sandbox.read("tokens");
    let guards = ["--tokens", "tokens", "--tls-cert", "pair"];
    let log = ["--audit-log", "audit", "--audit-required"];
    let mut running = sandbox.serve(&[&guards[..], &log].concat());
    let server = &mut running;
    let trust = ["--token-file", "node.token", "--ca-file"];
    let file = authority.file();
    let trust = [&trust[..], &[file.to_str().unwrap()]].concat();
    let nodes = ["node-1", "node-2"].map(|node| sandbox.join(&server.url, node, &trust));
    for node in nodes {
        let (exit, log) = node.end();
        assert_eq!(exit, 0, "{log}");
    }
    // The server reloads each file independently, so wait for the log line of each one.
    let reload = |server: &mut Server, message: [&str; 3]| {
        server.signal(Signal::HUP);
        for words in message {
            server.log_until(words);
        }
    };
    write_pair("pair");
    reload(
        server,
        [
            "read tokens again",
            "the spec was read again",
            "the TLS certificate was read again",
        ],
    );
    sandbox.put("tokens", "nonsense\n");
    sandbox.put("pair", "nonsense\n");
    sandbox.put("cluster.yaml", &SPEC.replace("devnet", "other"));
    reload(
        server,
        [
            "the tokens were not reloaded",
            "the last good one stays in force: the spec names the cluster other",
            "the TLS certificate was not reloaded",
        ],
    );
    sandbox.put("tokens", &good);
    write_pair("pair");
    sandbox.put(
        "cluster.yaml",
        &SPEC.replace("ready:", "identity: certificate\nready:"),
    );
    reload(
        server,
        [
            "read tokens again",
            "the last good one stays in force: the spec says `identity: certificate`",
            "the TLS certificate was read again",
        ],
    );
    sandbox.put(
        "cluster.yaml",
        &SPEC.replace("node.metadata.port", "node.metadata.other"),
    );
    reload(
        server,
        [
            "read tokens again",
            "the spec was read again",
            "the TLS certificate was read again",
        ],
    );
    server.log_until("the render of revision");
    sandbox.put("cluster.yaml", "nonsense\n");
    reload(
        server,
        [
            "read tokens again",
            "the last good one stays in force:",
            "the TLS certificate was read again",
        ],
    );
    server.signal(Signal::TERM);
    assert_eq!(running.end(), 0);
    insta::assert_debug_snapshot!(server_actions(&sandbox.read("audit")));
}

/// Returns the audit log's entries for actions of the server itself, grouped by action.
fn server_actions(audit: &str) -> BTreeMap<String, Vec<String>> {
    let mut actions = BTreeMap::<String, Vec<String>>::new();
    for line in audit.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["who"] != "server" {
            continue;
        }
        assert!(line.get("from").is_none(), "{line}");
        let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
        let hashed = line["sha256"].as_object().map(serde_json::Map::len);
        let numbers = (line["generation"].as_u64(), line["revision"].as_u64());
        let (outcome, reason) = (text("outcome"), text("reason"));
        let line = format!("{outcome} {reason} {hashed:?} {numbers:?}");
        let lines = actions.entry(text("what")).or_default();
        // The server also reloads a changed certificate without SIGHUP, so this line can appear twice.
        if text("what") != "certificate" || !lines.contains(&line) {
            lines.push(line);
        }
    }
    actions
}

#[test]
fn certificate_determines_role_and_identifier() {
    let sandbox = Sandbox::new();
    let spec = SPEC.replace("ready:", "identity: certificate\nready:");
    sandbox.put("cluster.yaml", &spec);
    let members = Authority::new(sandbox.path(), "members");
    let authority = members.file();
    let authority = authority.to_str().unwrap();
    let tls = ["--tls", "self-signed", "--join-url-file", "url"];
    let access = ["--client-ca", authority, "--operator-cert", "ops-*"];
    let log = ["--audit-log", "audit"];
    let mut server = sandbox.serve(&[&tls[..], &access, &log].concat());
    server.log_until("nodes join with ");
    let url = sandbox.read("url").trim().to_owned();
    let identity_flags = |pair: &Pair| -> Vec<String> {
        let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let (certificate, key) = (path(&pair.certificate), path(&pair.key));
        vec![
            "--client-cert".into(),
            certificate,
            "--client-key".into(),
            key,
        ]
    };
    let pairs = ["node-1", "node-2", "ops-1"]
        .map(|name| identity_flags(&members.sign_with(name, with_host_name_first)));
    let [node_1, node_2, ops]: [Vec<&str>; 3] =
        std::array::from_fn(|at| pairs[at].iter().map(String::as_str).collect());
    let (exit, log) = sandbox.join(&url, "node-1", &node_2).end();
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("the client certificate does not contain the name node-1"),
        "{log}"
    );
    let nodes = [("node-1", &node_1), ("node-2", &node_2)];
    let nodes = nodes.map(|(name, identity)| sandbox.join(&url, name, identity));
    for node in nodes {
        let (exit, log) = node.end();
        assert_eq!(exit, 0, "{log}");
    }
    let inspect = ["inspect", "--server", &url];
    assert_eq!(
        code(&sandbox.run(&[&inspect[..], &node_1].concat(), &[])),
        77
    );
    assert_eq!(code(&sandbox.run(&[&inspect[..], &ops].concat(), &[])), 0);
    let remove = ["rm", "node-2", "--server", &url];
    assert_eq!(code(&sandbox.run(&[&remove[..], &ops].concat(), &[])), 0);
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    // Regression test: the audit log named the certificate's first name instead of the one that authorized the request.
    let log = sandbox.read("audit");
    for (what, who, node, outcome) in [
        ("POST /register", "machine.example", "node-1", "refused"),
        ("POST /register", "node-1", "node-1", "changed"),
        ("POST /register", "node-2", "node-2", "changed"),
        ("DELETE /v1/nodes/{id}", "ops-1", "node-2", "changed"),
    ] {
        let line = format!(
            r#""what":"{what}","outcome":"{outcome}","who":"certificate {who}","from":"127.0.0.1","node":"{node}""#
        );
        assert_eq!(log.matches(&line).count(), 1, "{line}\n{log}");
    }
}

#[test]
fn join_url_with_token_is_enough_to_join() {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 1"));
    sandbox.token("ops", &["--role", "operator"]);
    let tls = ["--tls", "self-signed", "--join-url-file", "url"];
    let mut server = sandbox.serve(&[&tls[..], &["--tokens", "tokens"]].concat());
    server.log_until("nodes join with ");
    let url = sandbox.read("url").trim().to_owned();
    let more = ["--role", "node", "--expires", "1h", "--url", &url];
    let invitation = sandbox.token("invitation", &more);
    reload_tokens(&mut server);
    let secret = invitation.split("token=").nth(1).unwrap();
    let join = |url: &str| {
        let node = [
            "join",
            url,
            "--id",
            "node-1",
            "--ip",
            "10.0.0.1",
            "--out-dir",
            "out",
        ];
        sandbox.start(&node).end()
    };
    let (exit, log) = join(&url);
    assert_eq!(exit, 77, "{log}");
    let (exit, log) = join(&invitation);
    assert_eq!(exit, 0, "{log}");
    assert!(!log.contains(secret), "{log}");
    let plain = [
        "token",
        "new",
        "--role",
        "node",
        "--url",
        "https://boot:4400",
    ];
    assert_eq!(code(&sandbox.run(&plain, &[])), 2);
}

/// "Which node failed?" could be answered only on the machine of the node.
#[test]
fn refused_node_is_named_in_the_log_and_by_inspect() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve(&[]);
    let join = sandbox.join(&server.url, "node-4", &["--meta", "port=abc"]);
    let (exit, log) = join.end();
    assert_eq!(exit, 77, "{log}");
    let line =
        server.log_until("node-4 from 10.0.0.1 was refused: metadata.port: expected an integer");
    assert!(line.contains("WARN"), "{line}");
    for query in [&["inspect"][..], &["inspect", "node", "node-4"]] {
        let output = sandbox.run(&[query, &["--server", &server.url]].concat(), &[]);
        let shown = text(&output.stdout);
        assert!(
            shown.contains("refused: node-4 from 10.0.0.1 at "),
            "{query:?}: {shown}"
        );
        assert!(
            shown.contains(": metadata.port: expected an integer"),
            "{query:?}: {shown}"
        );
    }
    let (exit, log) = sandbox
        .join(&server.url, "node-4", &["--timeout", "1s"])
        .end();
    assert_eq!(exit, 124, "{log}");
    let output = sandbox.run(&["inspect", "--server", &server.url], &[]);
    assert!(
        !text(&output.stdout).contains("refused"),
        "{}",
        text(&output.stdout)
    );
}
