//! Tokens and keys with real processes: made, used, changed, stolen; and never seen in anything that is written.

use std::{collections::BTreeMap, fs, process::Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    pki::{Authority, Pair, of_a_machine},
    place::{Place, Process, SPEC, Server, code, text},
};

impl Place {
    /// Makes a token, adds it to `tokens`, and keeps the secret in the file `NAME.token`.
    pub(crate) fn token(&self, name: &str, more: &[&str]) -> String {
        let first = ["token", "new", "--name", name, "--append", "tokens"];
        let output = self.run(&[&first, more].concat(), &[]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        let secret = text(&output.stdout);
        self.put(&format!("{name}.token"), &secret);
        secret.trim().to_owned()
    }

    /// Takes a token's line out of `tokens`.
    fn revoke(&self, name: &str) {
        let all = self.read("tokens");
        let others = all.split_inclusive('\n');
        let left: String = others.filter(|line| !line.starts_with(name)).collect();
        self.put("tokens", &format!("# who may come in\n{left}"));
    }
}

fn reread(server: &mut Server) {
    server.signal(Signal::HUP);
    server.log_until("tokens is read again");
}

#[test]
fn tokens_are_changed_while_nodes_join() {
    let place = Place::new();
    place.token("ops", &["--role", "operator"]);
    place.token("first", &["--role", "node"]);
    let mut server = place.serve(&["--tokens", "tokens"]);
    let url = server.url.clone();
    let with = |token: &'static str| ["--token-file", token];

    let (exit, log) = place.join(&url, "node-1", &[]).end();
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("credentials are needed: a node's token"),
        "{log}"
    );
    let waiting = place.join(&url, "node-1", &with("first.token"));
    server.log_until("node-1 registered");

    // Two are good for a while, then the first one is not.
    place.token(
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
    reread(&mut server);
    let (exit, log) = place.join(&url, "other-1", &with("second.token")).end();
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("the token second is for nodes called node-*, not for other-1"),
        "{log}"
    );
    // A mistake keeps the last good ones.
    let good = place.read("tokens");
    place.put("tokens", "nonsense\n");
    server.signal(Signal::HUP);
    server.log_until("the last good tokens stay in force");
    server.log_until("tokens:1: expected NAME ROLE sha256:HASH");
    place.put("tokens", &good);
    let last = place.join(&url, "node-2", &with("second.token"));
    for node in [waiting, last] {
        let (exit, log) = node.end();
        assert_eq!(exit, 0, "{log}");
    }
    place.revoke("first");
    reread(&mut server);
    let (exit, log) = place.join(&url, "node-1", &with("first.token")).end();
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("does not know the token"), "{log}");

    // Operators' commands: from a file, the environment, systemd's credentials.
    let ops = place.read("ops.token");
    place.put("credentials/cfgsync-token", &ops);
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
        let output = place.run(&[&inspect, arguments].concat(), &variables);
        let told = text(&output.stderr);
        assert_eq!(code(&output), exit, "{arguments:?} {variables:?}: {told}");
        assert!(!told.contains("unknown variable"), "{told}");
    }
    let health = place.run(&["inspect", "health", "--server", &url], &[]);
    assert_eq!(code(&health), 0);
    let fail = ["fail", "--reason", "no", "--server", &url, "--token-file"];
    assert_eq!(
        code(&place.run(&[&fail[..], &["second.token"]].concat(), &[])),
        77
    );
    assert_eq!(
        code(&place.run(&[&fail[..], &["ops.token"]].concat(), &[])),
        0
    );
}

#[test]
fn a_name_is_the_first_machines_until_an_operator_gives_it_free() {
    let place = Place::new();
    place.put(
        "cluster.yaml",
        &SPEC.replace("ready:", "identity: first-use\nready:"),
    );
    let first = place.run(&["serve", "cluster.yaml", "--listen", "127.0.0.1:0"], &[]);
    assert_eq!(code(&first), 78, "{}", text(&first.stderr));
    place.token("ops", &["--role", "operator"]);
    // Nodes come without tokens.
    let mut server = place.serve(&["--tokens", "tokens", "--allow-anonymous"]);
    let url = server.url.clone();
    let machine = |name: &str| {
        let mut command = place.command(&crate::place::join(&url, "node-1"));
        command.env("STATE_DIRECTORY", place.path().join(name));
        command
    };
    let mine = Process::start(machine("mine"));
    server.log_until("node-1 registered");
    let (exit, log) = Process::start(machine("thiefs")).end();
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("cfgsync release node-1"), "{log}");

    // The same machine after a restart of its process.
    mine.signal(Signal::KILL);
    mine.end();
    let again = Process::start(machine("mine"));
    let other = place.join(&url, "node-2", &["--identity-file", "key"]);
    for node in [again, other] {
        let (exit, log) = node.end();
        assert_eq!(exit, 0, "{log}");
    }
    let (exit, _) = Process::start(machine("thiefs")).end();
    assert_eq!(exit, 77);

    let release = ["release", "node-1", "--server", &url];
    assert_eq!(code(&place.run(&release, &[])), 77);
    let by_operator = [&release[..], &["--token-file", "ops.token"]].concat();
    assert_eq!(code(&place.run(&by_operator, &[])), 0);
    let (exit, log) = Process::start(machine("thiefs")).end();
    assert_eq!(exit, 0, "{log}");
    let (exit, _) = Process::start(machine("mine")).end();
    assert_eq!(exit, 77);
    let keys = [
        "mine/keys/devnet/node-1",
        "thiefs/keys/devnet/node-1",
        "key",
    ];
    for path in keys.map(|key| place.path().join(key)) {
        let mode = fs::metadata(&path).unwrap().permissions();
        let mode = std::os::unix::fs::PermissionsExt::mode(&mode);
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn a_name_stays_the_first_machines_when_the_server_starts_again() {
    let place = Place::new();
    place.put(
        "cluster.yaml",
        &SPEC.replace("ready:", "identity: first-use\nready:"),
    );
    place.token("ops", &["--role", "operator"]);
    place.token("node", &["--role", "node"]);
    let serve = ["--tokens", "tokens", "--state-dir", "state"];
    let node = |url: &str, key: &str| {
        let more = ["--token-file", "node.token", "--identity-file", key];
        place
            .join(url, "node-1", &[&more[..], &["--timeout", "1s"]].concat())
            .end()
            .0
    };
    for _ in 0..2 {
        let server = place.serve(&serve);
        assert_eq!(node(&server.url, "mine"), 124);
        assert_eq!(node(&server.url, "thiefs"), 77);
        server.signal(Signal::TERM);
        server.end();
    }
}

#[test]
fn the_door_beyond_this_machine_wants_credentials_or_a_word() {
    let place = Place::new();
    place.token("ops", &["--role", "operator"]);
    let serve = ["serve", "cluster.yaml", "--listen", "0.0.0.0:0"];
    assert_eq!(code(&place.run(&serve, &[])), 78);
    let mut door = place.start(&[&serve[..], &["--tokens", "tokens"]].concat());
    door.log_until("serving devnet");
    let mut door = place.start(&[&serve[..], &["--allow-anonymous"]].concat());
    door.log_until("serving devnet");
}

#[test]
fn what_cannot_guard_is_told() {
    let place = Place::new();
    place.put("tokens", "ops operator sha256:12\n");
    place.put("empty", "");
    place.put(
        "wants-names.yaml",
        &SPEC.replace("ready:", "identity: token\nready:"),
    );
    place.put(
        "wants-certificates.yaml",
        &SPEC.replace("ready:", "identity: certificate\nready:"),
    );
    place.put(
        "wants-what.yaml",
        &SPEC.replace("ready:", "identity: certificates\nready:"),
    );
    let none = format!("# none\nops operator sha256:{}\n", "0".repeat(64));
    place.put("some", &none);
    let serve = |arguments: &[&str]| place.seen(&[&["serve"], arguments].concat(), &[]);
    let seen = [
        serve(&["cluster.yaml", "--tokens", "tokens"]),
        serve(&["cluster.yaml", "--tokens", "empty"]),
        serve(&["cluster.yaml", "--tokens", "nowhere"]),
        serve(&["cluster.yaml", "--audit-log", "no/directory"]),
        serve(&["cluster.yaml", "--audit-required"]),
        serve(&["cluster.yaml", "--operator-cert", "ops"]),
        serve(&["wants-names.yaml"]),
        serve(&["wants-certificates.yaml", "--tokens", "some"]),
        serve(&["wants-what.yaml"]),
        place.seen(&["token", "new"], &[]),
        place.seen(&["token", "new", "--role", "root"], &[]),
        place.seen(
            &["token", "new", "--role", "node", "--identifier", "[a]"],
            &[],
        ),
        place.seen(
            &["token", "new", "--role", "node", "--append", "no/directory"],
            &[],
        ),
        place.seen(
            &[
                "token", "new", "--role", "node", "--name", "ops", "--append", "some",
            ],
            &[],
        ),
        place.seen(&["inspect", "--token-file", "empty"], &[]),
        place.seen(&["inspect"], &[("CFGSYNC_TOKEN", "two words")]),
        place.seen(
            &[
                "join",
                "--server",
                "http://127.0.0.1:1",
                "--out-dir",
                "x",
                "--token-file",
                "nowhere",
            ],
            &[],
        ),
    ];
    insta::assert_snapshot!(seen.join("\n"));
}

/// The file had a line whose secret nobody was ever shown.
#[test]
fn a_token_that_is_not_shown_is_not_added() {
    let place = Place::new();
    place.token("ops", &["--role", "operator"]);
    let before = place.read("tokens");
    let new = ["token", "new", "--role", "node", "--append", "tokens"];
    let (read_end, closed) = std::io::pipe().unwrap();
    drop(read_end);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    for (stdout, problem) in [
        (Stdio::from(full), "No space left"),
        (closed.into(), "Broken pipe"),
    ] {
        let output = place.command(&new).stdout(stdout).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(code(&output), 73, "{told}");
        assert!(
            told.contains(problem) && told.contains("tokens is as it was"),
            "{told}"
        );
        assert_eq!(place.read("tokens"), before);
    }
    // A file that was made for it was left, and empty.
    let new = ["token", "new", "--role", "node", "--append", "new"];
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = place.command(&new).stdout(full).output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(code(&output), 73, "{told}");
    assert!(
        told.contains("new was made for it, and is gone again"),
        "{told}"
    );
    assert!(!place.path().join("new").exists());
    // What is read without end is no file to add to.
    let output = place.run(
        &["token", "new", "--role", "node", "--append", "/dev/full"],
        &[],
    );
    assert_eq!(code(&output), 73);
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn no_secret_is_in_anything_that_is_written() {
    let place = Place::new();
    place.put(
        "cluster.yaml",
        &SPEC.replace("ready:", "identity: first-use\nready:"),
    );
    let mut planted = vec![
        place.token("ops", &["--role", "operator"]),
        place.token("node", &["--role", "node"]),
    ];
    let wrong = "PLANTED-wrong-token-0123456789";
    let misplaced = "PLANTED-misplaced-token-0123456789";
    planted.extend([wrong.to_owned(), misplaced.to_owned()]);
    let mut written = String::new();
    let everything = ["--log-level", "trace"];
    for level in [
        &everything[..],
        &[&everything[..], &["--log-format", "json"]].concat(),
    ] {
        let guards = ["--tokens", "tokens", "--audit-log", "audit"];
        let mut server = place.serve(&[&guards[..], &everything].concat());
        let url = server.url.clone();
        let node = |id: &str, key: &str, token: &str| {
            let more = ["--token-file", token, "--identity-file", key];
            place.join(&url, id, &[&more[..], level].concat())
        };
        place.put("wrong.token", wrong);
        place.put("words.token", &format!("{misplaced} {misplaced}"));
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
            planted.push(place.read(key).trim().to_owned());
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
            let output = place.run(&[arguments, level].concat(), &variables);
            // What was typed in a wrong place may be said: here the name of a file.
            if variables[0] != ("CFGSYNC_TOKEN_FILE", wrong) {
                written += &text(&output.stdout);
                written += &text(&output.stderr);
            }
        }
        // What stands in the wrong place of the server's file.
        let good = place.read("tokens");
        for line in [
            format!("x node {misplaced}"),
            format!("x {misplaced}"),
            format!("x node sha256:{misplaced} {misplaced}={misplaced}"),
        ] {
            place.put("tokens", &(good.clone() + &line));
            server.signal(Signal::HUP);
            written += &server.log_until("tokens:");
        }
        place.put("tokens", &good);
        server.signal(Signal::TERM);
        written += &server.process.end().1;
    }
    written += &place.read("audit");
    // There was something to look through.
    assert!(written.len() > 10_000, "{written}");
    for secret in planted {
        assert!(!written.contains(&secret), "{secret} in:\n{written}");
    }
}

#[test]
fn the_program_does_not_inherit_the_token() {
    let place = Place::new();
    place.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 1"));
    let secret = place.token("node", &["--role", "node"]);
    let server = place.serve(&["--tokens", "tokens"]);
    let join = crate::place::join(&server.url, "node-1");
    let show = ["--", "sh", "-c", "env >&2; echo shown >&2"];
    let invitation = "cfgsync://boot/?pin=sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    let variables = [
        ("CFGSYNC_TOKEN", &*secret),
        ("CFGSYNC_SERVER", &*format!("{invitation}&token=PLANTED")),
    ];
    let output = place.run(&[&join[..], &show].concat(), &variables);
    let told = text(&output.stderr);
    assert!(told.ends_with("shown\n"), "{told}");
    assert!(
        !told.contains(&secret) && !told.contains("PLANTED"),
        "{told}"
    );
}

/// A token over plain HTTP went out without a word of `join`.
#[test]
fn a_secret_that_goes_out_in_the_clear_is_warned_of_once() {
    let place = Place::new();
    let spec = SPEC.replace("nodes: 2", "nodes: 1");
    place.put(
        "cluster.yaml",
        &spec.replace("ready:", "identity: first-use\nready:"),
    );
    place.token("node", &["--role", "node"]);
    place.token("ops", &["--role", "operator"]);
    let server = place.serve(&["--tokens", "tokens"]);
    // This machine by an address that does not say so.
    let elsewhere = server.url.replace("127.0.0.1", "0.0.0.0");
    let words = |of: &str| format!("{of} goes to {elsewhere} in the clear");
    let (token, key) = (words("the token"), words("this node's own key"));
    for (url, times) in [(&server.url, 0), (&elsewhere, 1)] {
        let more = ["--token-file", "node.token", "--identity-file", "key"];
        let (exit, log) = place.join(url, "node-1", &more).end();
        assert_eq!(exit, 0, "{log}");
        for words in [&token, &key] {
            assert_eq!(log.matches(words).count(), times, "{log}");
        }
        assert_eq!(log.matches("take its join URL").count(), times * 2, "{log}");
        let inspect = ["inspect", "--server", url, "--token-file", "ops.token"];
        let output = place.run(&inspect, &[]);
        let told = text(&output.stderr);
        assert_eq!(told.matches(&token).count(), times, "{told}");
    }
}

/// Switched on later, `first-use` gave registered names to whoever came first, without a word.
#[test]
fn registered_names_that_no_key_has_are_warned_of() {
    let place = Place::new();
    let nodes: Vec<String> = (10..22).map(|number| format!("node-{number}")).collect();
    let spec = SPEC.replace("nodes: 2", "nodes: 20");
    place.put("cluster.yaml", &spec);
    place.token("node", &["--role", "node"]);
    let durable = ["--state-dir", "state", "--tokens", "tokens"];
    let mut server = place.serve(&[&durable[..], &["--allow-anonymous"]].concat());
    for node in &nodes {
        server.register(node);
    }
    place.put(
        "cluster.yaml",
        &spec.replace("ready:", "identity: first-use\nready:"),
    );
    server.signal(Signal::HUP);
    let warning = format!(
        "but 12 registered nodes have no key ({} and 2 more); the next node that registers",
        nodes[..10].join(", ")
    );
    server.log_until(&warning);
    // One that joins again has its name.
    let more = ["--token-file", "node.token", "--identity-file", "key"];
    let mut joining = place.join(&server.url, "node-10", &more);
    joining.log_until("registered with");
    server.signal(Signal::KILL);
    server.end();
    let mut server = place.serve(&durable);
    server.log_until("but 11 registered nodes have no key (node-11, ");
}

#[test]
fn the_audit_log_is_opened_again_on_a_hangup() {
    let place = Place::new();
    let mut server = place.serve(&["--audit-log", "audit"]);
    server.register("node-1");
    fs::rename(place.path().join("audit"), place.path().join("audit.1")).unwrap();
    server.signal(Signal::HUP);
    server.log_until("the spec was read again");
    server.register("node-2");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    for (name, node) in [("audit.1", "node-1"), ("audit", "node-2")] {
        let log = place.read(name);
        let line = format!(r#""who":"anybody","from":"127.0.0.1","node":"{node}""#);
        assert_eq!(log.matches("/register").count(), 1, "{log}");
        assert!(log.contains(&line), "{log}");
    }
}

/// Seals, failures and what is read again were changes that the audit log did not have.
#[test]
fn the_audit_log_has_what_a_server_does_by_itself() {
    let place = Place::new();
    place.token("ops", &["--role", "operator"]);
    place.token("node", &["--role", "node"]);
    let authority = Authority::new(place.path(), "authority");
    let show = |name: &str| {
        let pair = authority.sign("127.0.0.1");
        let text = fs::read_to_string(&pair.certificate).unwrap();
        place.put(name, &(text + &fs::read_to_string(&pair.key).unwrap()));
    };
    show("pair");
    let good = place.read("tokens");
    let guards = ["--tokens", "tokens", "--tls-cert", "pair"];
    let log = ["--audit-log", "audit", "--audit-required"];
    let mut running = place.serve(&[&guards[..], &log].concat());
    let server = &mut running;
    let trust = ["--token-file", "node.token", "--ca-file"];
    let file = authority.file();
    let trust = [&trust[..], &[file.to_str().unwrap()]].concat();
    let nodes = ["node-1", "node-2"].map(|node| place.join(&server.url, node, &trust));
    for node in nodes {
        let (exit, log) = node.end();
        assert_eq!(exit, 0, "{log}");
    }
    // Each is read for itself: all that is told of one hangup is awaited.
    let hangup = |server: &mut Server, told: [&str; 3]| {
        server.signal(Signal::HUP);
        for words in told {
            server.log_until(words);
        }
    };
    show("pair");
    hangup(
        server,
        [
            "tokens is read again",
            "the spec was read again",
            "the TLS certificate was read again",
        ],
    );
    place.put("tokens", "nonsense\n");
    place.put("pair", "nonsense\n");
    place.put("cluster.yaml", &SPEC.replace("devnet", "other"));
    hangup(
        server,
        [
            "the last good tokens stay in force",
            "the last good spec stays in force: the spec is now of cluster other",
            "the last good TLS certificate stays in use",
        ],
    );
    place.put("tokens", &good);
    show("pair");
    place.put(
        "cluster.yaml",
        &SPEC.replace("ready:", "identity: certificate\nready:"),
    );
    hangup(
        server,
        [
            "tokens is read again",
            "the last good spec stays in force: the spec says `identity: certificate`",
            "the TLS certificate was read again",
        ],
    );
    place.put(
        "cluster.yaml",
        &SPEC.replace("node.metadata.port", "node.metadata.other"),
    );
    hangup(
        server,
        [
            "tokens is read again",
            "the spec was read again",
            "the TLS certificate was read again",
        ],
    );
    server.log_until("the render of revision");
    place.put("cluster.yaml", "nonsense\n");
    hangup(
        server,
        [
            "tokens is read again",
            "the last good spec stays in force:",
            "the TLS certificate was read again",
        ],
    );
    server.signal(Signal::TERM);
    assert_eq!(running.end(), 0);
    insta::assert_debug_snapshot!(of_the_server(&place.read("audit")));
}

/// What a server did without a request, by its audit log.
fn of_the_server(audit: &str) -> BTreeMap<String, Vec<String>> {
    let mut told = BTreeMap::<String, Vec<String>>::new();
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
        let lines = told.entry(text("what")).or_default();
        // A certificate that changed is read without a hangup as well, if that is slow to come.
        if text("what") != "certificate" || !lines.contains(&line) {
            lines.push(line);
        }
    }
    told
}

#[test]
fn a_certificate_is_the_role_and_the_name() {
    let place = Place::new();
    let spec = SPEC.replace("ready:", "identity: certificate\nready:");
    place.put("cluster.yaml", &spec);
    let members = Authority::new(place.path(), "members");
    let authority = members.file();
    let authority = authority.to_str().unwrap();
    let tls = ["--tls", "self-signed", "--join-url-file", "url"];
    let access = ["--client-ca", authority, "--operator-cert", "ops-*"];
    let log = ["--audit-log", "audit"];
    let mut server = place.serve(&[&tls[..], &access, &log].concat());
    server.log_until("nodes join with ");
    let url = place.read("url").trim().to_owned();
    let shows = |pair: &Pair| -> Vec<String> {
        let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let (certificate, key) = (path(&pair.certificate), path(&pair.key));
        vec![
            "--client-cert".into(),
            certificate,
            "--client-key".into(),
            key,
        ]
    };
    let pairs =
        ["node-1", "node-2", "ops-1"].map(|name| shows(&members.sign_with(name, of_a_machine)));
    let [node_1, node_2, ops]: [Vec<&str>; 3] =
        std::array::from_fn(|at| pairs[at].iter().map(String::as_str).collect());
    let (exit, log) = place.join(&url, "node-1", &node_2).end();
    assert_eq!(exit, 77, "{log}");
    assert!(
        log.contains("the client certificate is not that of node-1"),
        "{log}"
    );
    let nodes = [("node-1", &node_1), ("node-2", &node_2)];
    let nodes = nodes.map(|(name, shows)| place.join(&url, name, shows));
    for node in nodes {
        let (exit, log) = node.end();
        assert_eq!(exit, 0, "{log}");
    }
    let inspect = ["inspect", "--server", &url];
    assert_eq!(code(&place.run(&[&inspect[..], &node_1].concat(), &[])), 77);
    assert_eq!(code(&place.run(&[&inspect[..], &ops].concat(), &[])), 0);
    let remove = ["rm", "node-2", "--server", &url];
    assert_eq!(code(&place.run(&[&remove[..], &ops].concat(), &[])), 0);
    server.signal(Signal::TERM);
    assert_eq!(server.end(), 0);
    // Who was let in was called by the certificate's first name, whichever had let it in.
    let log = place.read("audit");
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
fn one_string_lets_a_node_in() {
    let place = Place::new();
    place.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 1"));
    place.token("ops", &["--role", "operator"]);
    let tls = ["--tls", "self-signed", "--join-url-file", "url"];
    let mut server = place.serve(&[&tls[..], &["--tokens", "tokens"]].concat());
    server.log_until("nodes join with ");
    let url = place.read("url").trim().to_owned();
    let more = ["--role", "node", "--expires", "1h", "--url", &url];
    let invitation = place.token("invitation", &more);
    reread(&mut server);
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
        place.start(&node).end()
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
    assert_eq!(code(&place.run(&plain, &[])), 2);
}
