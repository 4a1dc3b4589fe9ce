//! TLS, tokens, the cluster's name, and signatures.

use super::stage::{ONE_NODE, Stage};
use crate::{
    pki::{Authority, Pair, expired},
    sandbox::{code, text},
};

/// Returns the flags of a server with this certificate.
fn tls(pair: &Pair) -> [String; 4] {
    let path = |path: &std::path::Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.to_owned()
    };
    [
        "--tls-cert".to_owned(),
        path(&pair.certificate),
        "--tls-key".to_owned(),
        path(&pair.key),
    ]
}

/// Joins a server that has the certificate of `make`.
fn join_tls(make: impl Fn(&Authority) -> Pair, scheme: &str, more: &[&str]) -> Stage {
    let mut stage = Stage::new(ONE_NODE);
    let authority = Authority::new(stage.sandbox.path(), "authority");
    Authority::new(stage.sandbox.path(), "other");
    let flags = tls(&make(&authority));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = stage.serve(&flags);
    let url = server.url.replace("https", scheme);
    stage.join(&url, &[more, &["--timeout", "1s"]].concat());
    stage
}

#[test]
fn http_to_a_tls_port() {
    let stage = join_tls(|authority| authority.sign("127.0.0.1"), "http", &[]);
    stage.expect("http_to_a_tls_port");
}

#[test]
fn https_to_a_plain_port() {
    let mut stage = Stage::new(ONE_NODE);
    let server = stage.serve(&[]);
    stage.join(&server.url.replace("http", "https"), &["--timeout", "1s"]);
    stage.expect("https_to_a_plain_port");
}

#[test]
fn certificate_of_an_unknown_authority() {
    let stage = join_tls(|authority| authority.sign("127.0.0.1"), "https", &[]);
    stage.expect("certificate_of_an_unknown_authority");
}

#[test]
fn certificate_of_another_authority() {
    let other = ["--ca-file", "other.pem"];
    let stage = join_tls(|authority| authority.sign("127.0.0.1"), "https", &other);
    stage.expect("certificate_of_another_authority");
}

#[test]
fn certificate_for_another_name() {
    let trusting = ["--ca-file", "authority.pem"];
    let stage = join_tls(
        |authority| authority.sign("boot.example"),
        "https",
        &trusting,
    );
    stage.expect("certificate_for_another_name");
}

#[test]
fn certificate_has_expired() {
    let trusting = ["--ca-file", "authority.pem"];
    let late = |authority: &Authority| authority.sign_with("127.0.0.1", expired);
    join_tls(late, "https", &trusting).expect("certificate_has_expired");
}

#[test]
fn pin_of_another_key() {
    let pin = "sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    let stage = join_tls(
        |authority| authority.sign("127.0.0.1"),
        "https",
        &["--pin", pin],
    );
    stage.expect("pin_of_another_key");
}

/// A stage with tokens for all nodes, for other nodes, and for operators.
fn with_tokens() -> Stage {
    let stage = Stage::new(ONE_NODE);
    stage.sandbox.token("nodes", &["--role", "node"]);
    let others = ["--role", "node", "--identifier", "db-*"];
    stage.sandbox.token("databases", &others);
    stage.sandbox.token("ops", &["--role", "operator"]);
    stage
}

#[test]
fn token_is_missing() {
    let mut stage = with_tokens();
    let server = stage.serve(&["--tokens", "tokens"]);
    stage.join(&server.url, &[]);
    stage.stop(server, &["--tokens", "tokens"]);
    stage.expect("token_is_missing");
}

#[test]
fn token_is_unknown() {
    let mut stage = with_tokens();
    let server = stage.serve(&["--tokens", "tokens"]);
    stage.sandbox.put("tokens", "");
    stage.sandbox.token("new", &["--role", "node"]);
    stage.join(&server.url, &["--token-file", "new.token"]);
    stage.stop(server, &["--tokens", "tokens"]);
    stage.expect("token_is_unknown");
}

#[test]
fn token_is_for_other_nodes() {
    let mut stage = with_tokens();
    let server = stage.serve(&["--tokens", "tokens"]);
    stage.join(&server.url, &["--token-file", "databases.token"]);
    stage.stop(server, &["--tokens", "tokens"]);
    stage.expect("token_is_for_other_nodes");
}

#[test]
fn token_of_a_node_for_an_operator() {
    let mut stage = with_tokens();
    let server = stage.serve(&["--tokens", "tokens"]);
    let fail = ["fail", "--reason", "test", "--server", &server.url];
    stage.run(&[&fail[..], &["--token-file", "nodes.token"]].concat());
    stage.expect("token_of_a_node_for_an_operator");
}

#[test]
fn server_of_another_cluster() {
    let mut stage = Stage::new(ONE_NODE);
    let server = stage.serve(&[]);
    stage.join(&server.url, &["--cluster", "prod"]);
    stage.expect("server_of_another_cluster");
}

#[test]
fn signature_of_another_key() {
    let mut stage = Stage::new(ONE_NODE);
    for directory in ["old", "new"] {
        let output = stage
            .sandbox
            .run(&["key", "new", "--out-dir", directory], &[]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    }
    let server = stage.serve(&["--sign-key", "new/sign-key.pem"]);
    stage.join(&server.url, &["--verify-key", "old/verify-key.pem"]);
    stage.expect("signature_of_another_key");
}
