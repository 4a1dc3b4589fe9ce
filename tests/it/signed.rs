//! Signed payloads and rollback protection on the node.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use cfgsync::{ArtifactFile, ArtifactSet, Client, Identifier};
use cfgsync_client::{DeliveredGeneration, JoinError, JoinOptions, NodeAddress, Session};
use cfgsync_model::{GenerationNumber, Instance, generation_digest};
use cfgsync_wire::{PayloadEncoder, ReceivedPayload, SigningKey, VerifyKey};
use rustix::process::Signal;

use crate::{
    fake::{FakeServer, Reply},
    sandbox::{SPEC, Sandbox, Server, code, join, text},
    support::INSTANCE,
};

/// Builds the payload that a server sends to `node`: one file with `content`.
fn payload(
    node: &str,
    (instance, generation): (Instance, u64),
    content: &str,
    key: Option<&Arc<SigningKey>>,
) -> String {
    let node: Identifier = node.parse().unwrap();
    let file = ArtifactFile::new("a".parse().unwrap(), content.to_owned());
    let own = ArtifactSet::new(vec![file]).unwrap();
    let shared = ArtifactSet::default();
    let nodes = BTreeMap::from([(node.clone(), own)]);
    let (nodes, _) = generation_digest(instance, nodes, &shared);
    let encoder = PayloadEncoder::new(instance, GenerationNumber(generation), &shared);
    let body = encoder.signed_by(key).encode(&node, &nodes[&node]);
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// Joins as node-1 at a server that answers each fetch with `body`.
async fn join_with_payload(
    body: String,
    verify_keys: Vec<VerifyKey>,
    delivered: Option<DeliveredGeneration>,
) -> Result<ReceivedPayload, JoinError> {
    let fake = FakeServer::start(move |request| match request.line.as_str() {
        "POST /register" => Reply::Answer(202, "", String::new()),
        _ => Reply::Answer(200, "", body.clone()),
    })
    .await;
    let mut options = JoinOptions::new("node-1".parse().unwrap())
        .with_address(NodeAddress::Fixed("10.0.0.1".parse().unwrap()))
        .with_verify_keys(verify_keys)
        .with_wait_max(std::time::Duration::from_secs(1));
    options.delivered = delivered;
    Session::new(Client::new([fake.url.clone()]), options)
        .run(|_| ())
        .await
}

fn unusable_reason(outcome: Result<ReceivedPayload, JoinError>) -> String {
    match outcome.unwrap_err() {
        JoinError::Unusable(problem) => problem,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn accepts_only_payloads_signed_for_this_node() {
    let key = || Arc::new(SigningKey::generate().unwrap().0);
    let (ours, another) = (key(), key());
    let keys = || vec![ours.verify_key()];
    let first = (INSTANCE, 1);
    let good = payload("node-1", first, "x", Some(&ours));
    join_with_payload(good.clone(), keys(), None).await.unwrap();
    join_with_payload(good.clone(), vec![], None).await.unwrap();
    let both = vec![another.verify_key(), ours.verify_key()];
    join_with_payload(good.clone(), both, None).await.unwrap();

    let forged = "is by a key that is not trusted here, or belongs to another payload";
    let number = good.replace("\"generation\":1", "\"generation\":2");
    for (body, problem) in [
        (payload("node-1", first, "x", Some(&another)), forged),
        (payload("node-2", first, "x", Some(&ours)), forged),
        (payload("node-1", first, "x", None), "it is not signed"),
        (number, forged),
        (
            good.replace("\"content\":\"x\"", "\"content\":\"y\""),
            "does not match its digest",
        ),
        (
            good.replace("\"signature\":\"", "\"signature\":\"A"),
            "it is not signed",
        ),
        (
            r#"{"schema_version":1,"files":[{"path":"a","content":"x"}]}"#.to_owned(),
            "it is not signed; its server may be too old",
        ),
        // Valid digest and file, with the signature of another generation.
        (
            payload("node-1", (INSTANCE, 2), "evil", None)
                .replace("]}", &good[good.find("],\"signature\"").unwrap()..]),
            forged,
        ),
    ] {
        let actual = unusable_reason(join_with_payload(body, keys(), None).await);
        assert!(actual.contains(problem), "{actual}");
    }
}

#[tokio::test(start_paused = true)]
async fn rejects_rollback_within_an_instance() {
    let before = ReceivedPayload::decode(payload("node-1", (INSTANCE, 3), "x", None).as_bytes());
    let delivered = Some(DeliveredGeneration {
        instance: INSTANCE,
        generation: GenerationNumber(3),
        digest: before.unwrap().digest.unwrap(),
    });
    let another = Instance::from_bytes([9; 16]);
    for (of, content) in [
        ((INSTANCE, 3), "x"),
        ((INSTANCE, 4), "y"),
        ((another, 1), "y"),
    ] {
        let body = payload("node-1", of, content, None);
        join_with_payload(body, vec![], delivered).await.unwrap();
    }
    for (of, content, problem) in [
        (
            (INSTANCE, 2),
            "x",
            "generation 2 is older than generation 3, which was delivered before",
        ),
        (
            (INSTANCE, 3),
            "y",
            "generation 3 differs from the generation 3 that was delivered before",
        ),
    ] {
        let body = payload("node-1", of, content, None);
        let problem_found = unusable_reason(join_with_payload(body, vec![], delivered).await);
        assert!(problem_found.contains(problem), "{problem_found}");
    }
}

fn key_pair(sandbox: &Sandbox, directory: &str) {
    let output = sandbox.run(&["key", "new", "--out-dir", directory], &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
}

#[test]
fn generated_key_pair_signs_and_verifies() {
    let sandbox = Sandbox::new();
    key_pair(&sandbox, "keys");
    key_pair(&sandbox, "others");
    let mode = |name: &str| {
        let stat = fs::metadata(sandbox.path().join(name)).unwrap();
        stat.permissions().mode() & 0o7777
    };
    assert_eq!(mode("keys/sign-key.pem"), 0o600);
    assert_eq!(mode("keys/verify-key.pem"), 0o644);
    let spec = SPEC.replace("nodes: 2", "nodes: 1");
    sandbox.put("cluster.yaml", &spec);
    let server = sandbox.serve(&["--sign-key", "keys/sign-key.pem"]);
    let run = |more: &[&str]| sandbox.run(&[&join(&server.url, "node-1")[..], more].concat(), &[]);

    let output = run(&["--verify-key", "others/verify-key.pem"]);
    assert_eq!(code(&output), 65, "{}", text(&output.stderr));
    assert!(!sandbox.path().join("node-1").exists());
    let both = "others/verify-key.pem\nkeys/verify-key.pem";
    for more in [&[][..], &["--verify-key", "keys/verify-key.pem"]] {
        let output = run(more);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    }
    let output = sandbox.run(
        &join(&server.url, "node-1"),
        &[("CFGSYNC_VERIFY_KEY", both)],
    );
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
}

#[test]
fn new_signing_key_takes_effect_at_restart_and_sighup_warns() {
    let sandbox = Sandbox::new();
    sandbox.put("cluster.yaml", &SPEC.replace("nodes: 2", "nodes: 1"));
    key_pair(&sandbox, "first");
    key_pair(&sandbox, "second");
    let copy =
        |from: &str| fs::copy(sandbox.path().join(from), sandbox.path().join("key")).unwrap();
    copy("first/sign-key.pem");
    let mut server = sandbox.serve(&["--sign-key", "key", "--state-dir", "state"]);
    let accepts = |server: &Server, key: &str| {
        let verify = ["--verify-key", &format!("{key}/verify-key.pem")];
        code(&sandbox.run(&[&join(&server.url, "node-1")[..], &verify].concat(), &[])) == 0
    };
    // An unchanged key causes no warning.
    server.signal(Signal::HUP);
    server.log_until("the spec was read again");
    copy("second/sign-key.pem");
    server.signal(Signal::HUP);
    server.log_until("key contains another key, which the server uses after a restart");
    assert!(accepts(&server, "first") && !accepts(&server, "second"));
    server.signal(Signal::TERM);
    let (_, log) = server.process.end();
    assert_eq!(log.matches("contains another key").count(), 1, "{log}");
    let server = sandbox.serve(&["--sign-key", "key", "--state-dir", "state"]);
    assert!(accepts(&server, "second") && !accepts(&server, "first"));
}

#[test]
fn rejects_invalid_keys() {
    let sandbox = Sandbox::new();
    key_pair(&sandbox, ".");
    sandbox.put("empty.pem", "");
    let transcripts = [
        sandbox.transcript(&["key", "new"], &[]),
        sandbox.transcript(
            &["serve", "cluster.yaml", "--sign-key", "verify-key.pem"],
            &[],
        ),
        sandbox.transcript(&["serve", "cluster.yaml", "--sign-key", "none.pem"], &[]),
        sandbox.transcript(
            &[
                "join",
                "--server",
                "http://127.0.0.1:1",
                "--out-dir",
                "o",
                "--id",
                "a",
                "--verify-key",
                "sign-key.pem",
            ],
            &[],
        ),
        sandbox.transcript(
            &[
                "join",
                "--server",
                "http://127.0.0.1:1",
                "--out-dir",
                "o",
                "--id",
                "a",
                "--verify-key",
                "empty.pem",
            ],
            &[],
        ),
    ];
    insta::assert_snapshot!(transcripts.concat(), @r"
    $ cfgsync key new
    cfgsync: exit 73: cannot write ./sign-key.pem: it already exists
    help: remove the file if no node uses that key, or choose another --out-dir
    [exit 73]
    $ cfgsync serve cluster.yaml --sign-key verify-key.pem
    cfgsync: exit 78: --sign-key verify-key.pem: it contains no private key: expected PEM with BEGIN PRIVATE KEY (PKCS#8)
    [exit 78]
    $ cfgsync serve cluster.yaml --sign-key none.pem
    cfgsync: exit 78: cannot read --sign-key none.pem: no such file
    [exit 78]
    $ cfgsync join --server http://127.0.0.1:1 --out-dir o --id a --verify-key sign-key.pem
    cfgsync: exit 78: --verify-key sign-key.pem: it contains a private key, which only the server may have: give the node the public key
    [exit 78]
    $ cfgsync join --server http://127.0.0.1:1 --out-dir o --id a --verify-key empty.pem
    cfgsync: exit 78: --verify-key empty.pem: it contains no public key: expected PEM with BEGIN PUBLIC KEY
    [exit 78]
    ");
    assert!(!transcripts.concat().contains(secret(sandbox.path()).trim()));
}

/// Returns the secret line of a private key file.
fn secret(directory: &Path) -> String {
    let pem = fs::read_to_string(directory.join("sign-key.pem")).unwrap();
    pem.lines().nth(1).unwrap().to_owned()
}
