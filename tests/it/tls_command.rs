//! TLS through the program: keys of its own, join URLs, files that change, and what it says when it does not trust.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rustix::process::Signal;

use crate::{
    pki::{Authority, Pair, expired},
    place::{PROGRAM, Place, SPEC, Server, code, join, text},
};

const OWN: [&str; 4] = ["--tls", "self-signed", "--join-url-file", "url"];

/// The join URL in the log, once it is there; then it is in the file as well.
fn join_url(server: &mut Server) -> String {
    let line = server.log_until("nodes join with ");
    line.trim_end().rsplit(' ').next().unwrap().to_owned()
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// How `join` ends: its exit code, and the line that says why it failed.
fn ends(place: &Place, arguments: &[&str]) -> (i32, String) {
    let output = place.run(arguments, &[]);
    let said = text(&output.stderr);
    let mut lines = said.lines();
    let failure = lines.find(|line| line.starts_with("cfgsync: exit "));
    (code(&output), failure.unwrap_or_default().to_owned())
}

#[test]
fn a_key_of_its_own_is_kept_over_a_restart_and_nodes_know_the_server_by_it() {
    let place = Place::new();
    let kept = [&OWN[..], &["--state-dir", "state"]].concat();
    let mut server = place.serve(&kept);
    assert!(server.url.starts_with("https://127.0.0.1:"));
    let first = join_url(&mut server);
    assert_eq!(place.read("url"), format!("{first}\n"));
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
        place.start(&arguments)
    });
    for node in nodes {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    assert_eq!(place.read("node-1/cookie"), place.read("node-2/cookie"));
    assert_eq!(place.registered(&first), ["node-1", "node-2"]);
    let file = fs::metadata(place.path().join("state/tls-self-signed.pem")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);

    server.signal(Signal::KILL);
    server.end();
    let mut server = place.serve(&kept);
    let second = join_url(&mut server);
    let pin = |url: &str| url.split_once("pin=").unwrap().1.to_owned();
    assert_eq!(pin(&first), pin(&second));
    assert_eq!(place.registered(&second), ["node-1", "node-2"]);

    // Without a place to keep it, it is another one at each start.
    let mut server = place.serve(&OWN);
    server.log_until("the TLS key is lost when the server stops");
    assert_ne!(pin(&join_url(&mut server)), pin(&first));
}

#[test]
fn a_command_beside_the_server_finds_it_in_a_join_url() {
    let place = Place::new();
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    let health = ["--", PROGRAM, "inspect", "health"];
    let output = place.run(&[&serve[..], &OWN, &health].concat(), &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
}

#[test]
fn who_is_not_trusted_is_left_at_once_with_a_way_out() {
    let place = Place::new();
    let authority = Authority::new(place.path(), "authority");
    let nodes = Authority::new(place.path(), "nodes");
    let pair = authority.sign("127.0.0.1");
    let tls = |pair: &Pair| {
        let (certificate, key) = (
            shown(&pair.certificate).to_owned(),
            shown(&pair.key).to_owned(),
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
    let trusting = ["--ca-file", shown(&ca)];
    let mut seen = Vec::new();
    let mut look = |url: &str, arguments: &[&str]| {
        let all = [&join(url, "node-1")[..], arguments].concat();
        let output = place.run(&all, &[]);
        assert_eq!(code(&output), 77, "{}", text(&output.stderr));
        seen.push(text(&output.stderr).replace(url, "[URL]"));
    };
    let mut server = place.serve(&flags);
    let url = server.url.clone();
    look(&url, &[]);
    let pin = join_url(&mut server)
        .split_once("pin=")
        .unwrap()
        .1
        .to_owned();
    let other = "sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    look(&url, &["--pin", other]);
    look(&url.replace("127.0.0.1", "localhost"), &trusting);
    look(&url.replace("https", "http"), &[]);
    drop(server);

    let late = tls(&authority.sign_with("late", expired));
    let late: Vec<&str> = late.iter().map(String::as_str).collect();
    let mut server = place.serve(&late);
    server.log_until("the TLS certificate expired at 2001-01-01T00:00:00Z");
    look(&server.url, &trusting);
    drop(server);

    let client_ca = nodes.file();
    flags.extend(["--client-ca", shown(&client_ca)]);
    let server = place.serve(&flags);
    look(&server.url, &trusting);
    let stranger = authority.sign("stranger");
    let identity = [
        "--client-cert",
        shown(&stranger.certificate),
        "--client-key",
        shown(&stranger.key),
    ];
    look(&server.url, &[&trusting[..], &identity].concat());
    // Beside it, a health check needs none of that.
    let plain = server.url.replace("https", "http");
    assert_eq!(
        ends(&place, &["inspect", "health", "--server", &plain]).0,
        0
    );
    // And who belongs is let in.
    let member = nodes.sign("node-1");
    let identity = [
        "--client-cert",
        shown(&member.certificate),
        "--client-key",
        shown(&member.key),
    ];
    let url = server.url.clone();
    let health = [
        &["inspect", "health", "--server", &url],
        &trusting[..],
        &identity,
    ]
    .concat();
    assert_eq!(ends(&place, &health).0, 0);

    let seen = seen
        .join("\n")
        .replace(&pin, "[PIN]")
        .replace("localhost", "[NAME]");
    insta::assert_snapshot!(seen.replace(&place.path().display().to_string(), "[DIR]"));
}

#[test]
fn with_identity_by_certificate_nobody_is_another() {
    let place = Place::new();
    place.put("cluster.yaml", &format!("identity: certificate\n{SPEC}"));
    let authority = Authority::new(place.path(), "authority");
    let nodes = Authority::new(place.path(), "nodes");
    let own = authority.sign("127.0.0.1");
    let client_ca = nodes.file();
    let server = place.serve(&[
        "--tls-cert",
        shown(&own.certificate),
        "--tls-key",
        shown(&own.key),
        "--client-ca",
        shown(&client_ca),
        "--operator-cert",
        "ops",
    ]);
    let ca = authority.file();
    let held = ["node-1", "node-2", "ops"].map(|name| (name, nodes.sign(name)));
    let asks = |of: usize, arguments: &[&str]| {
        let pair = &held[of].1;
        let identity = [
            "--ca-file",
            shown(&ca),
            "--client-cert",
            shown(&pair.certificate),
            "--client-key",
            shown(&pair.key),
        ];
        place.start(&[arguments, &identity].concat())
    };
    let (code, log) = asks(1, &join(&server.url, "node-1")).end();
    assert_eq!(code, 77, "{log}");
    let nodes = [0, 1].map(|of| asks(of, &join(&server.url, held[of].0)));
    for node in nodes {
        let (code, log) = node.end();
        assert_eq!(code, 0, "{log}");
    }
    assert!(
        place
            .read("node-1/config.yaml")
            .starts_with("id: \"node-1\"")
    );
    // Once both have their files, still nobody gets the other's, and only an operator sees all.
    let (code, log) = asks(1, &join(&server.url, "node-1")).end();
    assert_eq!(code, 77, "{log}");
    for (of, expected) in [(0, 77), (2, 0)] {
        let (code, log) = asks(of, &["inspect", "--server", &server.url]).end();
        assert_eq!(code, expected, "{log}");
    }
}

#[test]
fn changed_files_are_read_again_and_the_last_good_ones_stay() {
    let place = Place::new();
    let authority = Authority::new(place.path(), "authority");
    let pair = authority.sign("127.0.0.1");
    let (certificate, key) = (shown(&pair.certificate), shown(&pair.key));
    let flags = [
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
        "--join-url-file",
        "url",
    ];
    let mut server = place.serve(&flags);
    let first = join_url(&mut server);

    // By itself, when they change.
    let other = Authority::new(place.path(), "other").sign("127.0.0.1");
    fs::copy(&other.key, &pair.key).unwrap();
    server.log_until("the last good TLS certificate stays in use: the key in ");
    assert_eq!(place.registered(&first), [""; 0]);
    fs::copy(&other.certificate, &pair.certificate).unwrap();
    server.log_until("the TLS certificate was read again");
    server.log_until("the certificate has another key");
    let second = join_url(&mut server);
    assert_ne!(first, second);
    assert_eq!(place.read("url"), format!("{second}\n"));
    assert_eq!(place.registered(&second), [""; 0]);
    assert_eq!(ends(&place, &["inspect", "--server", &first]).0, 77);

    // And at once, when it is told to.
    fs::write(&pair.certificate, "").unwrap();
    server.signal(Signal::HUP);
    server.log_until("the last good TLS certificate stays in use: ");
    assert_eq!(place.registered(&second), [""; 0]);
}

/// Whoever called itself as the cluster does was sent the key of its node.
#[test]
fn a_nodes_key_is_not_shown_to_another_server_that_calls_itself_the_same() {
    let place = Place::new();
    let spec = SPEC.replace("nodes: 2", "nodes: 1");
    let spec = spec.replace("ready:", "identity: first-use\nready:");
    place.put("cluster.yaml", &spec);
    place.token("node", &["--role", "node"]);
    let tokens = ["--tokens", "tokens"];
    let mut first = place.serve(&[&OWN[..], &tokens].concat());
    let first = join_url(&mut first);
    let more = ["--token-file", "node.token", "--identity-file", "key"];
    let (exit, log) = place.join(&first, "node-1", &more).end();
    assert_eq!(exit, 0, "{log}");
    let pin = first.split_once("pin=").unwrap().1;
    let kept = place.read("key");
    assert!(
        kept.ends_with(&format!("\nserver {pin}\n")),
        "it says for whom it is"
    );
    for tls in [&OWN[..], &[]] {
        let mut other = place.serve(&[tls, &tokens].concat());
        let url = match tls {
            [] => other.url.clone(),
            _ => join_url(&mut other),
        };
        let (exit, log) = place.join(&url, "node-1", &more).end();
        assert_eq!(exit, 77, "{log}");
        let told = format!(
            "this node's own key in key is for the server known by {pin}, and is not shown"
        );
        assert!(
            log.contains(&told) && log.contains("delete the `server …` lines"),
            "{log}"
        );
    }
    // Nor to one in the clear that stands in a list beside the one that it is for: it was.
    let clear = place.serve(&tokens);
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
    let (exit, log) = place.join(&away, "node-1", &both).end();
    assert_eq!(exit, 77, "{log}");
    assert!(log.contains("and is not shown to one known by"), "{log}");
    assert_eq!(place.read("key"), kept);
}

#[test]
fn flags_that_make_no_sense_are_said_so() {
    let place = Place::new();
    place.put("empty.pem", "");
    let leaf = Authority::new(place.path(), "authority").sign("node-1");
    place.put("leaf.pem", &fs::read_to_string(leaf.certificate).unwrap());
    let serve = ["serve", "cluster.yaml", "--listen", "127.0.0.1:0"];
    let mut seen = String::new();
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
        let seen_now = place.seen(&[&serve[..], flags].concat(), &[]);
        let lines = seen_now.lines().filter(|line| !line.contains("Z  "));
        seen.extend(lines.flat_map(|line| [line, "\n"]));
    }
    insta::assert_snapshot!(seen);
}
